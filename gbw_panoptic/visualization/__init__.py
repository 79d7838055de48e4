"""Pictures: palettes, overlays, comparison panels and plots. Nothing here reads or writes files."""

from .overlay import draw_panoptic
from .panels import make_overlay, make_panel, pixel_errors

__all__ = ["draw_panoptic", "make_overlay", "make_panel", "pixel_errors"]
