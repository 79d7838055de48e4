"""Colours of label maps: the official palette for classes, lighter shades of it for further instances of a class.

Shapes: H x W pixels, C classes. A panoptic map holds contiguous id * label_divisor + instance number (stuff 0, things
from 1); negative values are void.
"""

import numpy as np

from ..taxonomy import Taxonomy

VOID_COLOR = (0, 0, 0)
_GOLDEN_RATIO = 0.618034  # its multiples modulo 1 spread evenly, however many there are
_MAX_WHITE = 0.5


def palette(taxonomy: Taxonomy) -> np.ndarray:
    """uint8 [C + 1, 3] RGB colours; the last row is void."""
    return np.array([*taxonomy.colors, VOID_COLOR], dtype=np.uint8)


def colorize_labels(labels: np.ndarray, taxonomy: Taxonomy) -> np.ndarray:
    """uint8 [H, W, 3] picture of an integer H x W map of contiguous ids; anything else is void."""
    is_class = (labels >= 0) & (labels < taxonomy.num_classes)
    return palette(taxonomy)[np.where(is_class, labels, taxonomy.num_classes)]


def colorize_panoptic(panoptic: np.ndarray, taxonomy: Taxonomy) -> np.ndarray:
    """uint8 [H, W, 3] picture of a panoptic map: stuff and each class's first instance in the official colour."""
    ids, index = np.unique(panoptic, return_inverse=True)
    colors = np.array([segment_color(int(i), taxonomy) for i in ids], dtype=np.uint8).reshape(-1, 3)
    return colors[index.reshape(panoptic.shape)]


def segment_color(panoptic_id: int, taxonomy: Taxonomy) -> tuple[int, int, int]:
    """RGB of one segment of a panoptic map."""
    if not 0 <= panoptic_id < taxonomy.num_classes * taxonomy.label_divisor:
        return VOID_COLOR
    label, instance = divmod(panoptic_id, taxonomy.label_divisor)
    white = _MAX_WHITE * (max(instance - 1, 0) * _GOLDEN_RATIO % 1)
    return tuple(round((1 - white) * channel + white * 255) for channel in taxonomy.colors[label])


def class_map(panoptic: np.ndarray, taxonomy: Taxonomy) -> np.ndarray:
    """int64 H x W contiguous ids of a panoptic map; ``ignore_label`` where it is void."""
    return np.where(panoptic >= 0, panoptic // taxonomy.label_divisor, taxonomy.ignore_label)
