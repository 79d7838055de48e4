"""Colours of label maps: the official palette for classes, shades of the same hue for further instances of a class.

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


def colorize_panoptic(panoptic: np.ndarray, taxonomy: Taxonomy) -> np.ndarray:
    """uint8 [H, W, 3] picture of a panoptic map: stuff and each class's first instance in the official colour."""
    segments = Segments.of(panoptic, taxonomy)
    return segments.paint(segments.colors(taxonomy))


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
