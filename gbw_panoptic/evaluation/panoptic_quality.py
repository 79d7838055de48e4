"""Panoptic quality (Kirillov et al., arXiv 1801.00868) with the semantics of panopticapi and cityscapesScripts.

Per class, SQ = sum of IoU / TP, RQ = TP / (TP + FP/2 + FN/2), PQ = SQ * RQ. What is different here: areas are counted
from the maps, and an average over no class is 0 with n = 0 (the reference programs divide by zero).

Shapes: C classes.
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from ..errors import UserError
from .counting import require_percent
from .matching import SegmentOverlaps, count_overlaps, match_segments


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
        """Adds one image; arguments and errors of :func:`count_overlaps`, plus an error for an unknown class."""
        self.add(count_overlaps(pred_ids, pred_segments, gt_ids, gt_segments))

    def add(self, overlaps: SegmentOverlaps) -> None:
        """Adds one image whose overlaps have been counted before (they serve several protocols)."""
        unknown = sorted(set(overlaps.pred_categories.tolist()) - self._index.keys())
        if unknown:
            raise UserError(
                f"expected predicted classes among {sorted(self._index)}, found {unknown}: map them to these ids"
            )
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
            raise UserError(
                "expected two panoptic qualities of the same categories, found different ones: merge like with like"
            )
        self.add_state(other.state())

    def compute(self, category_ids: Iterable[int] | None = None) -> dict[str, dict]:
        """Scores, in percent.

        Args:
            category_ids: the classes to average and list; all of them by default.

        Returns:
            ``All``, ``Things`` and ``Stuff``: ``{"PQ", "SQ", "RQ", "n"}``, the means over the n classes with TP + FP
            + FN > 0 (all 0 where n = 0); ``per_class``: id -> ``{"PQ", "SQ", "RQ", "tp", "fp", "fn", "iou",
            "recall"}`` with ``iou`` the sum over matches and ``recall`` = TP / (TP + FN) of segments.
        """
        chosen = list(self._is_thing if category_ids is None else category_ids)
        unknown = sorted(set(chosen) - self._index.keys())
        if unknown:
            raise UserError(f"expected classes among {sorted(self._index)}, found {unknown}: choose others")
        per_class = {
            c: _class_scores(*self._counts[:, self._index[c]].tolist(), float(self._iou[self._index[c]]))
            for c in chosen
        }
        return {
            "All": _average(per_class.values()),
            "Things": _average(scores for c, scores in per_class.items() if self._is_thing[c]),
            "Stuff": _average(scores for c, scores in per_class.items() if not self._is_thing[c]),
            "per_class": per_class,
        }

    def _classes(self, categories: np.ndarray) -> np.ndarray:
        """Index of each category; C for an unknown one of the ground truth (counted nowhere, as in panopticapi)."""
        return np.array([self._index.get(c, len(self._index)) for c in categories.tolist()], dtype=np.int64)


def _class_scores(tp: int, fp: int, fn: int, iou: float) -> dict[str, float]:
    sq = iou / tp if tp else 0.0
    rq = tp / (tp + 0.5 * fp + 0.5 * fn) if tp else 0.0
    recall = tp / (tp + fn) if tp else 0.0
    scores = {
        "PQ": 100 * sq * rq, "SQ": 100 * sq, "RQ": 100 * rq,
        "tp": tp, "fp": fp, "fn": fn, "iou": iou, "recall": 100 * recall,
    }  # fmt: skip
    return require_percent(scores, "PQ", "SQ", "RQ", "recall")


def _average(classes: Iterable[Mapping[str, float]]) -> dict[str, float]:
    counted = [c for c in classes if c["tp"] + c["fp"] + c["fn"] > 0]
    means = {key: sum(c[key] for c in counted) / max(len(counted), 1) for key in ("PQ", "SQ", "RQ")}
    return {**means, "n": len(counted)}
