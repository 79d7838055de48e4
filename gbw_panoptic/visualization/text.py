"""Text on pictures with one bundled font (matplotlib's DejaVu Sans)."""

from functools import lru_cache
from pathlib import Path

import matplotlib
from PIL import ImageFont


@lru_cache(maxsize=16)
def font(size: int) -> ImageFont.FreeTypeFont:
    """The font at ``size`` pixels."""
    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"), size)


def text_size(text: str, size: int) -> tuple[int, int]:
    """Width and height in pixels of one line of ``text``."""
    ascent, descent = font(size).getmetrics()
    return round(font(size).getlength(text)), ascent + descent
