"""Streets: the embedded synthetic data sets, written in the very on-disk formats of the real ones."""

from .generate import GENERATOR_VERSION, class_table, generate

__all__ = ["GENERATOR_VERSION", "class_table", "generate"]
