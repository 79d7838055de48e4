"""Data sets on disk, their registration, targets, samplers and the two-domain loader."""

from importlib import import_module
from typing import Any

_EXPORTS = {"register_all": "register", "check_datasets": "register", "panoptic_deeplab_targets": "targets"}

__all__ = ["check_datasets", "panoptic_deeplab_targets", "register_all"]


def __getattr__(name: str) -> Any:
    # Resolved on first use: the worker processes of datasets/prepare.py import this package and need neither torch
    # nor Detectron2, which would take each of them seconds.
    if name not in _EXPORTS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_EXPORTS[name]}", __name__), name)
