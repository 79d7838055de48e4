"""Agreement of two predictions of one image, counted so that it adds up over images.

Shape legend: C classes.
"""

import numpy as np

from ..evaluation.counting import distinct_values
from ..evaluation.matching import count_overlaps, match_segments
from .seen import Reference


def label_overlap(one: np.ndarray, two: np.ndarray, num_classes: int) -> np.ndarray:
    """[C, 3]: pixels that both label c, that ``one`` does, that ``two`` does."""
    inside = (one < num_classes) & (two < num_classes)
    both = np.bincount(one[inside & (one == two)].ravel(), minlength=num_classes)
    return np.stack([both, histogram(one[inside], num_classes), histogram(two[inside], num_classes)], 1).astype(float)


def intersection_over_union(sums: np.ndarray, reference: Reference) -> np.ndarray:
    """Percent [C] of :func:`label_overlap`."""
    both, one, two = sums.T
    return percent(both, one + two - both)


def segment_overlap(prediction: np.ndarray, truth: np.ndarray, reference: Reference) -> np.ndarray:
    """[C, 4]: sum of IoU, TP, FP and FN of ``prediction`` with ``truth`` in place of labels; both panoptic maps."""
    overlaps = count_overlaps(*_segments(prediction, reference), *_segments(truth, reference))
    matches = match_segments(overlaps)
    of = reference.num_classes
    matched, iou = overlaps.pred_categories[matches.pred], matches.iou
    missed, false = overlaps.gt_categories[matches.missed], overlaps.pred_categories[matches.false]
    sums = [np.bincount(matched, iou, of), histogram(matched, of), histogram(false, of), histogram(missed, of)]
    return np.stack(sums, 1).astype(float)


def _segments(panoptic: np.ndarray, reference: Reference) -> tuple[np.ndarray, list[dict]]:
    listed = [value for value in distinct_values(panoptic).tolist() if value >= 0]
    return panoptic + 1, [{"id": value + 1, "category_id": value // reference.label_divisor} for value in listed]


def panoptic_quality(sums: np.ndarray, reference: Reference) -> np.ndarray:
    """Percent [C] of :func:`segment_overlap` (Kirillov et al., 2019)."""
    iou, matched, false, missed = sums.T
    return percent(iou, matched + 0.5 * false + 0.5 * missed)


def histogram(labels: np.ndarray, num_classes: int) -> np.ndarray:
    """[C]: how often each class occurs in ``labels`` [N]."""
    return np.bincount(labels, minlength=num_classes)[:num_classes]


def percent(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """[C], NaN where ``whole`` is 0."""
    return np.divide(100 * part, whole, out=np.full(len(whole), np.nan), where=whole > 0)
