"""Segments of a predicted and a true panoptic map: overlaps and matches, with the semantics of panopticapi and
cityscapesScripts.

* Void is id 0 of the ground truth, and only that. The IoU's union leaves out the predicted segment's void pixels.
* An id of the ground-truth map that its segments do not list is no void and matches nothing.
* A ground truth that lists id 0 is refused: its segment would be void, and scores beyond 100 would follow.
* Id 0 of the prediction is unlabelled unless the predicted segments list it.
* Segments match when their classes are equal and IoU > 0.5. Crowd segments never match and are never missed.
* An unmatched prediction is no false positive when more than half of it lies on void and on its class's crowd segment
  (where a class has several, the one listed last).
* A ground-truth segment without a pixel is a miss. A predicted segment without a pixel and a predicted id that is not
  listed are errors.

What is different here: areas are counted from the maps, never read from the segments.

Shapes: H x W pixels, G ground-truth segments, P predicted segments.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..errors import UserError
from .counting import joint_counts, joint_histogram, positions

VOID = 0


@dataclass(frozen=True)
class SegmentOverlaps:
    """All that panoptic quality needs to know of one image.

    Attributes:
        gt_ids, gt_categories: int64 [G].
        gt_crowd: bool [G].
        gt_areas: int64 [G], pixels.
        pred_ids, pred_categories: int64 [P].
        pred_areas: int64 [P], pixels.
        intersections: int64 [G, P], pixels.
        void_overlaps: int64 [P], pixels of each predicted segment on void ground truth.
    """

    gt_ids: np.ndarray
    gt_categories: np.ndarray
    gt_crowd: np.ndarray
    gt_areas: np.ndarray
    pred_ids: np.ndarray
    pred_categories: np.ndarray
    pred_areas: np.ndarray
    intersections: np.ndarray
    void_overlaps: np.ndarray

    def without(self, categories: Iterable[int]) -> "SegmentOverlaps":
        """The same image with the ground-truth segments of ``categories`` turned into void."""
        dropped = np.isin(self.gt_categories, list(categories))
        if not dropped.any():
            return self
        newly_void = self.intersections[dropped & (self.gt_ids != VOID)].sum(axis=0)
        kept = ~dropped
        return SegmentOverlaps(
            self.gt_ids[kept], self.gt_categories[kept], self.gt_crowd[kept], self.gt_areas[kept],
            self.pred_ids, self.pred_categories, self.pred_areas,
            self.intersections[kept], self.void_overlaps + newly_void,
        )  # fmt: skip

    def predicted_as(self, categories: Iterable[int]) -> "SegmentOverlaps":
        """The same image with the predicted segments of ``categories`` only."""
        kept = np.isin(self.pred_categories, list(categories))
        return replace(
            self, pred_ids=self.pred_ids[kept], pred_categories=self.pred_categories[kept],
            pred_areas=self.pred_areas[kept], intersections=self.intersections[:, kept],
            void_overlaps=self.void_overlaps[kept],
        )  # fmt: skip


@dataclass(frozen=True)
class Matches:
    """Outcome for one image; indices into the segments of :class:`SegmentOverlaps`.

    Attributes:
        gt, pred: int64 [TP], the matched pairs.
        iou: float64 [TP], in (0.5, 1].
        missed: int64 [FN], ground-truth segments.
        false: int64 [FP], predicted segments.
    """

    gt: np.ndarray
    pred: np.ndarray
    iou: np.ndarray
    missed: np.ndarray
    false: np.ndarray


def count_overlaps(
    pred_ids, pred_segments: Sequence[Mapping], gt_ids, gt_segments: Sequence[Mapping]
) -> SegmentOverlaps:
    """Counts areas and intersections of the segments of one image.

    Args:
        pred_ids, gt_ids: integer H x W arrays (NumPy or torch) of segment ids.
        pred_segments, gt_segments: ``{"id", "category_id", "iscrowd" (ground truth, 0 by default)}``; an ``area`` is
            not read.

    Raises:
        UserError: maps that are not two integer H x W arrays of one size; a predicted id without a listed segment, or
            the reverse; a ground-truth segment with the id of void.
    """
    pred_ids, gt_ids = _as_map(pred_ids, "prediction"), _as_map(gt_ids, "ground truth")
    if pred_ids.shape != gt_ids.shape:
        raise UserError(
            f"expected a prediction of the ground truth's size {gt_ids.shape}, found {pred_ids.shape}: "
            "resize the prediction"
        )
    # As in panopticapi, the last of several entries with one id counts. VOID comes first, listed or not.
    pred_by_id, gt_by_id = {s["id"]: s for s in pred_segments}, {s["id"]: s for s in gt_segments}
    pred_keys, gt_keys = list(dict.fromkeys([VOID, *pred_by_id])), list(dict.fromkeys([VOID, *gt_by_id]))
    gt_values, pred_values, pixels = joint_counts(gt_ids, pred_ids)
    rows, columns = positions(gt_values, gt_keys), positions(pred_values, pred_keys)
    if not columns.all():
        unlisted = np.unique(pred_values[columns == 0]).tolist()
        raise UserError(
            f"expected every predicted id in the predicted segments, found {unlisted} only in the map: list them"
        )
    if VOID in gt_by_id:
        raise UserError(
            f"expected ground-truth segments with ids from 1 on, found {VOID}, which is void: number them from 1, in "
            "the map, too"
        )
    table = joint_histogram(rows, columns, (len(gt_keys) + 1, len(pred_keys) + 1), pixels)
    # Row and column 0 hold unlisted ids, 1 holds VOID.
    listed_gt = [1 + i for i, key in enumerate(gt_keys) if key in gt_by_id]
    listed_pred = [1 + i for i, key in enumerate(pred_keys) if key in pred_by_id]
    pred_areas = table.sum(axis=0)[listed_pred]
    if not pred_areas.all():
        absent = [i for i, area in zip((pred_keys[c - 1] for c in listed_pred), pred_areas) if not area]
        raise UserError(
            f"expected every predicted segment in the map, found no pixel of {absent}: remove them from the list"
        )
    gt_listed = [gt_by_id[gt_keys[r - 1]] for r in listed_gt]
    pred_listed = [pred_by_id[pred_keys[c - 1]] for c in listed_pred]
    return SegmentOverlaps(
        gt_ids=_column(gt_listed, "id"),
        gt_categories=_column(gt_listed, "category_id"),
        gt_crowd=np.array([s.get("iscrowd", 0) == 1 for s in gt_listed], dtype=bool),
        gt_areas=table.sum(axis=1)[listed_gt],
        pred_ids=_column(pred_listed, "id"),
        pred_categories=_column(pred_listed, "category_id"),
        pred_areas=pred_areas,
        intersections=table[np.ix_(listed_gt, listed_pred)],
        void_overlaps=table[1, listed_pred],
    )


def match_segments(overlaps: SegmentOverlaps) -> Matches:
    """Matches segments of equal class with IoU > 0.5, so that none has two partners; lists misses and false alarms."""
    o = overlaps
    unions = o.pred_areas + o.gt_areas[:, None] - o.intersections - o.void_overlaps
    same_class = (o.gt_categories[:, None] == o.pred_categories) & ~o.gt_crowd[:, None] & (o.intersections > 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        iou = np.where(same_class, o.intersections / unions, 0.0)
    gt, pred = np.nonzero(iou > 0.5)
    missed = np.setdiff1d(np.flatnonzero(~o.gt_crowd), gt)
    crowd_of_class = {int(o.gt_categories[i]): i for i in np.flatnonzero(o.gt_crowd)}
    unmatched = np.setdiff1d(np.arange(len(o.pred_ids)), pred)
    false = [p for p in unmatched if _excused_pixels(o, p, crowd_of_class) / o.pred_areas[p] <= 0.5]
    return Matches(gt, pred, iou[gt, pred], missed, np.array(false, dtype=np.int64))


def _as_map(ids, name: str) -> np.ndarray:
    ids = ids.cpu().numpy() if hasattr(ids, "cpu") else np.asarray(ids)
    if ids.ndim != 2 or not np.issubdtype(ids.dtype, np.integer):
        raise UserError(
            f"expected the {name} as an integer H x W map, found {ids.dtype} of shape {ids.shape}: "
            "decode colours to ids (R + 256 G + 65536 B)"
        )
    return ids


def _column(segments: Sequence[Mapping], key: str) -> np.ndarray:
    return np.array([segment[key] for segment in segments], dtype=np.int64)


def _excused_pixels(overlaps: SegmentOverlaps, pred: int, crowd_of_class: Mapping[int, int]) -> int:
    """Pixels of a predicted segment on void and on its class's crowd."""
    crowd = crowd_of_class.get(int(overlaps.pred_categories[pred]))
    return overlaps.void_overlaps[pred] + (0 if crowd is None else overlaps.intersections[crowd, pred])
