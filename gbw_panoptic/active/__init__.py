"""Active learning: which target pixels a human should label (RIPU and CBDA), and the labels that were bought."""

from .selection import select_regions

__all__ = ["select_regions"]
