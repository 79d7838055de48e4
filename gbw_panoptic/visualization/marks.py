"""Patterns on top of the official colours of classes that colour-blind people would confuse.

Shapes: H x W pixels.
"""

import numpy as np

from ..taxonomy import Taxonomy

#: Class -> pattern. Under one of the common colour blindnesses, each looks much like a class without its pattern:
#: fence like pole, person like vegetation, wall like sky and road, bus and train like road, a sign like a light.
MARKS = {
    "wall": "bricks",
    "fence": "lattice",
    "traffic sign": "rings",
    "person": "dots",
    "bus": "columns",
    "train": "rows",
}
_STRENGTH = 0.42


def mark(colors: np.ndarray, labels: np.ndarray, taxonomy: Taxonomy, *, period: int | None = None) -> np.ndarray:
    """Draws the patterns of the classes that have one.

    Args:
        colors: uint8 [H, W, 3] picture of the classes.
        labels: integer [H, W] contiguous ids.
        period: of the patterns in pixels; by default one that fits the picture.

    Returns:
        uint8 [H, W, 3].
    """
    picture = colors.copy()
    inside = where_marked(labels, taxonomy, period=period)
    picture[inside] = contrasting(picture[inside])
    return picture


def where_marked(labels: np.ndarray, taxonomy: Taxonomy, *, period: int | None = None) -> np.ndarray:
    """bool [H, W]: the pixels on a pattern; arguments are those of :func:`mark`."""
    height, width = labels.shape
    period = period or max(8, min(height, width) // 36)
    marked = np.zeros(labels.shape, bool)
    for name, pattern in MARKS.items():
        inside = labels == taxonomy.names.index(name) if name in taxonomy.names else np.zeros(labels.shape, bool)
        if inside.any():  # every pattern repeats itself after two periods
            tile = _PATTERNS[pattern](2 * period, 2 * period, period)
            repeats = (-(-height // len(tile)), -(-width // len(tile)))
            marked |= inside & np.tile(tile, repeats)[:height, :width]
    return marked


def contrasting(colors: np.ndarray) -> np.ndarray:
    """uint8 [N, 3]: dark colours lighter, light ones darker, with the same hue."""
    bright = (colors @ np.array([0.299, 0.587, 0.114]) > 110)[:, None]
    return np.rint(colors + _STRENGTH * (np.where(bright, 0, 255) - colors.astype(float))).astype(np.uint8)


def _lines(height: int, width: int, period: int) -> tuple[np.ndarray, np.ndarray, int]:
    """Rows [H, 1] and columns [1, W] of the pixels, and a line's thickness."""
    rows, columns = np.ogrid[:height, :width]
    return rows, columns, max(1, period // 6)


def _bricks(height: int, width: int, period: int) -> np.ndarray:
    rows, columns, thickness = _lines(height, width, period)
    shifted = columns + period * (rows // period % 2)
    return (rows % period < thickness) | (shifted % (2 * period) < thickness)


def _lattice(height: int, width: int, period: int) -> np.ndarray:
    rows, columns, thickness = _lines(height, width, period)
    return ((rows + columns) % period < thickness) | ((rows - columns) % period < thickness)


def _columns(height: int, width: int, period: int) -> np.ndarray:
    rows, columns, thickness = _lines(height, width, period)
    return (columns % period < thickness) & (rows >= 0)


def _rows(height: int, width: int, period: int) -> np.ndarray:
    rows, columns, thickness = _lines(height, width, period)
    return (rows % period < thickness) & (columns >= 0)


def _radii(height: int, width: int, period: int) -> np.ndarray:
    """Distance of every pixel to the middle of its cell of ``period`` pixels, in cells."""
    rows, columns, _ = _lines(height, width, period)
    return np.hypot(rows % period + 0.5 - period / 2, columns % period + 0.5 - period / 2) / period


def _dots(height: int, width: int, period: int) -> np.ndarray:
    return _radii(height, width, period) < 0.24


def _rings(height: int, width: int, period: int) -> np.ndarray:
    radii = _radii(height, width, period)
    return (radii > 0.26) & (radii < 0.42)


_PATTERNS = {
    "bricks": _bricks, "lattice": _lattice, "columns": _columns, "rows": _rows, "dots": _dots, "rings": _rings,
}  # fmt: skip
