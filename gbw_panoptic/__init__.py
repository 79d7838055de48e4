"""Panoptic domain adaptation with gradient-based class weighting, on Detectron2."""

from typing import Any

__version__ = "0.1.0"
__all__ = ["add_gbw_panoptic_config"]


def __getattr__(name: str) -> Any:
    """Import on first use: the data tools start without loading Detectron2."""
    if name == "add_gbw_panoptic_config":
        from .config import add_gbw_panoptic_config

        return add_gbw_panoptic_config
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
