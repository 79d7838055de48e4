"""Panoptic quality (Kirillov et al., arXiv 1801.00868) with the semantics of panopticapi and cityscapesScripts.

Per class, SQ = sum of IoU / TP, RQ = TP / (TP + FP/2 + FN/2), PQ = SQ * RQ. What the two reference programs do, and this one:

* Void is id 0 of the ground truth, and only that. The IoU's union leaves out the predicted segment's void pixels.
* An id of the ground-truth map that its segments do not list is no void and matches nothing.
* Id 0 of the prediction is unlabelled unless the predicted segments list it.
* Segments match when their classes are equal and IoU > 0.5. Crowd segments never match and are never missed.
* An unmatched prediction is no false positive when more than half of it lies on void and on its class's crowd segment (where
  a class has several, the one listed last).
* A ground-truth segment without a pixel is a miss. A predicted segment without a pixel, a predicted id that is not listed
  and a predicted class that does not exist are errors.

What it does differently: areas are counted from the maps, never read from the segments, and an average over no class is 0 with n = 0
(the reference programs divide by zero).

Shapes: H x W pixels, G ground-truth segments, P predicted segments, C classes.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

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


def count_overlaps(pred_ids, pred_segments: Sequence[Mapping], gt_ids, gt_segments: Sequence[Mapping]) -> SegmentOverlaps:
    """Counts areas and intersections of the segments of one image.

    Args:
        pred_ids, gt_ids: integer H x W arrays (NumPy or torch) of segment ids.
        pred_segments, gt_segments: ``{"id", "category_id", "iscrowd" (ground truth, 0 by default)}``; an ``area`` is not read.

    Raises:
        UserError: maps that are not two integer H x W arrays of one size; a predicted id without a listed segment, or the reverse.
    """
    pred_ids, gt_ids = _as_map(pred_ids, "prediction"), _as_map(gt_ids, "ground truth")
    if pred_ids.shape != gt_ids.shape:
        raise UserError(
            f"expected a prediction of the ground truth's size {gt_ids.shape}, found {pred_ids.shape}: resize the prediction"
        )
    # As in panopticapi, the last of several entries with one id counts. VOID comes first, listed or not.
    pred_by_id, gt_by_id = {s["id"]: s for s in pred_segments}, {s["id"]: s for s in gt_segments}
    pred_keys, gt_keys = list(dict.fromkeys([VOID, *pred_by_id])), list(dict.fromkeys([VOID, *gt_by_id]))
    gt_values, pred_values, pixels = joint_counts(gt_ids, pred_ids)
    rows, columns = positions(gt_values, gt_keys), positions(pred_values, pred_keys)
    if not columns.all():
        unlisted = np.unique(pred_values[columns == 0]).tolist()
        raise UserError(f"expected every predicted id in the predicted segments, found {unlisted} only in the map: list them")
    table = joint_histogram(rows, columns, (len(gt_keys) + 1, len(pred_keys) + 1), pixels)
    # Row and column 0 hold unlisted ids, 1 holds VOID.
    listed_gt = [1 + i for i, key in enumerate(gt_keys) if key in gt_by_id]
    listed_pred = [1 + i for i, key in enumerate(pred_keys) if key in pred_by_id]
    pred_areas = table.sum(axis=0)[listed_pred]
    if not pred_areas.all():
        absent = [i for i, area in zip((pred_keys[c - 1] for c in listed_pred), pred_areas) if not area]
        raise UserError(f"expected every predicted segment in the map, found no pixel of {absent}: remove them from the list")
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
    """Matches segments of equal class with IoU > 0.5 (then no segment has two partners) and lists misses and false positives."""
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


class PanopticQuality:
    """Accumulates panoptic quality over images; the state is additive per class, so shards and ranks merge by addition.

    Args:
        categories: COCO-panoptic categories (``id``, ``isthing``).
        void_categories: ids of categories whose ground truth becomes void before matching (protocol ``16-ignore``).
    """

    def __init__(self, categories: Sequence[Mapping], void_categories: Iterable[int] = ()) -> None:
        self._is_thing = {int(c["id"]): bool(c["isthing"]) for c in categories}
        self._index = {category: i for i, category in enumerate(self._is_thing)}
        self._void_categories = tuple(void_categories)
        #: int64 [3, C]: TP, FP, FN.
        self._counts = np.zeros((3, len(self._index)), np.int64)
        #: float64 [C]: sum of the matches' IoU.
        self._iou = np.zeros(len(self._index), np.float64)

    def update(self, pred_ids, pred_segments: Sequence[Mapping], gt_ids, gt_segments: Sequence[Mapping]) -> None:
        """Adds one image; arguments and errors as in :func:`count_overlaps`, and an error for a predicted class that does not exist."""
        self.add(count_overlaps(pred_ids, pred_segments, gt_ids, gt_segments))

    def add(self, overlaps: SegmentOverlaps) -> None:
        """Adds one image whose overlaps have been counted before (they serve several protocols)."""
        unknown = sorted(set(overlaps.pred_categories.tolist()) - self._index.keys())
        if unknown:
            raise UserError(f"expected predicted classes among {sorted(self._index)}, found {unknown}: map them to these ids")
        overlaps = overlaps.without(self._void_categories)
        matches = match_segments(overlaps)
        matched = self._classes(overlaps.gt_categories[matches.gt])
        false = self._classes(overlaps.pred_categories[matches.false])
        missed = self._classes(overlaps.gt_categories[matches.missed])
        for row, classes in enumerate((matched, false, missed)):
            self._counts[row] += np.bincount(classes, minlength=len(self._index))[: len(self._index)]
        self._iou += np.bincount(matched, weights=matches.iou, minlength=len(self._index))

    def state(self) -> dict[str, np.ndarray]:
        """Copies of the sums: ``tp``, ``fp``, ``fn`` (int64 [C]) and ``iou`` (float64 [C]) in the categories' order."""
        tp, fp, fn = self._counts.copy()
        return {"tp": tp, "fp": fp, "fn": fn, "iou": self._iou.copy()}

    def add_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Adds what :meth:`state` returned elsewhere, for the same categories."""
        self._counts += np.stack([state["tp"], state["fp"], state["fn"]])
        self._iou += state["iou"]

    def merge(self, other: "PanopticQuality") -> None:
        """Adds another accumulator of the same categories, as if its images had been added to this one."""
        if (other._is_thing, set(other._void_categories)) != (self._is_thing, set(self._void_categories)):
            raise UserError("expected two panoptic qualities of the same categories, found different ones: merge like with like")
        self.add_state(other.state())

    def compute(self, category_ids: Iterable[int] | None = None) -> dict[str, dict]:
        """Scores, in percent.

        Args:
            category_ids: the classes to average and list; all of them by default.

        Returns:
            ``All``, ``Things`` and ``Stuff``: ``{"PQ", "SQ", "RQ", "n"}``, the means over the n classes with TP + FP + FN > 0
            (all 0 where n = 0); ``per_class``: id -> ``{"PQ", "SQ", "RQ", "tp", "fp", "fn", "iou", "recall"}`` with ``iou``
            the sum over matches and ``recall`` = TP / (TP + FN) of segments.
        """
        chosen = list(self._is_thing if category_ids is None else category_ids)
        unknown = sorted(set(chosen) - self._index.keys())
        if unknown:
            raise UserError(f"expected classes among {sorted(self._index)}, found {unknown}: choose others")
        per_class = {c: _class_scores(*self._counts[:, self._index[c]].tolist(), float(self._iou[self._index[c]])) for c in chosen}
        return {
            "All": _average(per_class.values()),
            "Things": _average(scores for c, scores in per_class.items() if self._is_thing[c]),
            "Stuff": _average(scores for c, scores in per_class.items() if not self._is_thing[c]),
            "per_class": per_class,
        }

    def _classes(self, categories: np.ndarray) -> np.ndarray:
        """Index of each category; C for a ground-truth category that does not exist (counted nowhere, as in panopticapi)."""
        return np.array([self._index.get(c, len(self._index)) for c in categories.tolist()], dtype=np.int64)


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


def _class_scores(tp: int, fp: int, fn: int, iou: float) -> dict[str, float]:
    sq = iou / tp if tp else 0.0
    rq = tp / (tp + 0.5 * fp + 0.5 * fn) if tp else 0.0
    recall = tp / (tp + fn) if tp else 0.0
    return {
        "PQ": 100 * sq * rq, "SQ": 100 * sq, "RQ": 100 * rq,
        "tp": tp, "fp": fp, "fn": fn, "iou": iou, "recall": 100 * recall,
    }  # fmt: skip


def _average(classes: Iterable[Mapping[str, float]]) -> dict[str, float]:
    counted = [c for c in classes if c["tp"] + c["fp"] + c["fn"] > 0]
    means = {key: sum(c[key] for c in counted) / max(len(counted), 1) for key in ("PQ", "SQ", "RQ")}
    return {**means, "n": len(counted)}
