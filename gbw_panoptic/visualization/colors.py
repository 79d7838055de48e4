"""Colours of label maps: the official palette for classes, shades of the same hue for further instances of a class,
patterns on top of colours that colour-blind people would confuse.

Shapes: H x W pixels, C classes, K colours. A panoptic map holds contiguous id * label_divisor + instance number (stuff
0, things from 1); negative values are void.
"""

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from ..structures.runs import compact_ids
from ..taxonomy import Taxonomy

Color = tuple[int, int, int]
VOID_COLOR = (0, 0, 0)
_GOLDEN_RATIO = 0.618034  # its multiples modulo 1 spread evenly, however many there are
_SHADES = np.linspace(-0.5, 0.5, 101)  # towards black below 0, towards white above
#: A shade stays at least so many times nearer to its own class's colour than to any other's.
_CLEARANCE = 1.5


def palette(taxonomy: Taxonomy) -> np.ndarray:
    """uint8 [C + 1, 3] RGB colours; the last row is void."""
    return np.array([*taxonomy.colors, VOID_COLOR], dtype=np.uint8)


def colorize_labels(labels: np.ndarray, taxonomy: Taxonomy) -> np.ndarray:
    """uint8 [H, W, 3] picture of an integer H x W map of contiguous ids; anything else is void."""
    is_class = (labels >= 0) & (labels < taxonomy.num_classes)
    return palette(taxonomy)[np.where(is_class, labels, taxonomy.num_classes)]


@dataclass(frozen=True)
class Segments:
    """A panoptic map whose values are places in a table.

    Attributes:
        ids: [N] panoptic ids in rising order; -1, the last one, stands for void and whatever is no id.
        numbers: [H, W] unsigned, the place of each pixel's id among ``ids``; uint8 if there are fewer than 256.
    """

    ids: np.ndarray
    numbers: np.ndarray

    @classmethod
    def of(cls, panoptic: np.ndarray, taxonomy: Taxonomy) -> "Segments":
        values, index = compact_ids(panoptic)
        known = (values >= 0) & (values < taxonomy.num_classes * taxonomy.label_divisor)
        ids = np.append(values[known], -1)
        table = np.where(known, np.cumsum(known) - 1, len(ids) - 1).astype(np.min_scalar_type(len(ids)))
        return cls(ids, _look_up(table, index))

    def colors(self, taxonomy: Taxonomy) -> np.ndarray:
        """uint8 [N, 3] of the segments."""
        return np.array([segment_color(number, taxonomy) for number in self.ids.tolist()], np.uint8)

    def paint(self, values: np.ndarray) -> np.ndarray:
        """[H, W] or [H, W, 3]: the value of each pixel's segment, of bool or uint8 [N] or uint8 [N, 3]."""
        return _look_up(values, self.numbers)


def _look_up(values: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """``values[numbers]``, of bool or unsigned [N] or uint8 [N, 3]; ten times as fast where all are of a byte."""
    if numbers.dtype != np.uint8 or values.itemsize > 1:
        return values.take(numbers, axis=0)
    table = np.zeros((256, 1, *values.shape[1:]), np.uint8)
    table[: len(values), 0] = values
    return cv2.applyColorMap(numbers, table) if values.ndim == 2 else cv2.LUT(numbers, table).view(values.dtype)


def segment_color(panoptic_id: int, taxonomy: Taxonomy) -> Color:
    """RGB of one segment of a panoptic map; all of a class have one hue, and none comes near another class's colour."""
    if not 0 <= panoptic_id < taxonomy.num_classes * taxonomy.label_divisor:
        return VOID_COLOR
    label, instance = divmod(panoptic_id, taxonomy.label_divisor)
    if instance < 2:
        return taxonomy.colors[label]
    darkest, lightest = _shade_limits(taxonomy.colors)[label]
    place = instance * _GOLDEN_RATIO % 1
    return _shade(taxonomy.colors[label], darkest + place * (lightest - darkest))


def _shade(color: Color, amount: float) -> Color:
    """The colour mixed with white (amount 0..1) or black (0..-1), which keeps its hue."""
    end = 255 if amount > 0 else 0
    return tuple(round((1 - abs(amount)) * channel + abs(amount) * end) for channel in color)


@lru_cache(maxsize=8)
def _shade_limits(colors: tuple[Color, ...]) -> list[tuple[float, float]]:
    """Darkest and lightest amount of :func:`_shade` for each class that nobody takes for another class."""
    classes = _lab(colors)
    limits = []
    for label, color in enumerate(colors):
        shades = _lab([_shade(color, amount) for amount in _SHADES])
        distances = np.linalg.norm(shades[:, None] - classes, axis=2)
        others = np.delete(distances, label, axis=1).min(axis=1, initial=np.inf)
        clear = _CLEARANCE * distances[:, label] <= others
        middle = len(_SHADES) // 2
        below = np.flatnonzero(~clear[:middle])
        above = np.flatnonzero(~clear[middle + 1 :])
        low = below[-1] + 1 if len(below) else 0
        high = middle + above[0] if len(above) else len(_SHADES) - 1
        limits.append((float(_SHADES[low]), float(_SHADES[high])))
    return limits


def _lab(colors) -> np.ndarray:
    """float32 [K, 3] CIE L*a*b* of RGB colours in 0..255."""
    return cv2.cvtColor(np.asarray(colors, np.float32).reshape(1, -1, 3) / 255, cv2.COLOR_RGB2LAB)[0]


def class_map(panoptic: np.ndarray, taxonomy: Taxonomy) -> np.ndarray:
    """int64 H x W contiguous ids of a panoptic map; ``ignore_label`` where it is void."""
    return np.where(panoptic >= 0, panoptic // taxonomy.label_divisor, taxonomy.ignore_label)


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
