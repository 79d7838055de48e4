"""Cityscapes' average precision of instances, computed by cityscapesScripts from overlaps that are counted in memory.

cityscapesScripts' own route, which is Detectron2's, too, reads one PNG per instance, calls ``np.in1d``, which NumPy 2.4
no longer has, and writes NumPy's integers to a ``matches.json`` in the working folder, which JSON refuses. What decides
the score, the assignment of predictions to ground truth and the precision-recall curve, is its ``evaluateMatches``,
called here.

What differs: instances that panoptic ground truth leaves out (caravan, trailer) are void here, and excuse a prediction.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import copy

import numpy as np

from ..errors import UserError
from ..taxonomy import Taxonomy
from .counting import require_percent
from .matching import SegmentOverlaps

#: Ids below it are groups to cityscapesScripts: pixels of several instances, which are no error and no hit.
_FIRST_INSTANCE = 1000
_MEDIAN_DISTANCE, _DISTANCE_CONFIDENCE = -1, 0.0  # unknown, as in the files


class InstanceAveragePrecision:
    """Accumulates images; the state is a list of one entry per image, so ranks merge by concatenation.

    Args:
        taxonomy: whose things are instances.
    """

    def __init__(self, taxonomy: Taxonomy) -> None:
        self._taxonomy = taxonomy
        self._images: list[tuple[SegmentOverlaps, np.ndarray]] = []

    def add(self, overlaps: SegmentOverlaps, scores: Mapping[int, float]) -> None:
        """Adds one image.

        Args:
            overlaps: of its segments; categories are contiguous ids.
            scores: confidence of every predicted thing segment by its id in ``overlaps``.

        Raises:
            UserError: a predicted thing has no score.
        """
        things = overlaps.predicted_as(self._taxonomy.thing_ids)
        missing = set(things.pred_ids.tolist()) - scores.keys()
        if missing:
            raise UserError(
                f"expected a score of every predicted instance, found none of the segments {sorted(missing)}: "
                "give each instance a confidence or set TEST.INSTANCE_AP False"
            )
        self._images.append((things, np.array([scores[i] for i in things.pred_ids.tolist()], np.float64)))

    def state(self) -> list[tuple[SegmentOverlaps, np.ndarray]]:
        """One entry per image."""
        return list(self._images)

    def add_state(self, state: Sequence[tuple[SegmentOverlaps, np.ndarray]]) -> None:
        """Adds what :meth:`state` returned elsewhere."""
        self._images.extend(state)

    def compute(self, class_ids: Iterable[int] | None = None, *, void_ids: Iterable[int] = ()) -> dict:
        """Scores in percent.

        Args:
            class_ids: the classes whose things are averaged; all by default.
            void_ids: classes whose ground truth is void.

        Returns:
            ``AP``, the mean over IoU thresholds 0.5, 0.55, ..., 0.95, and ``AP50``, of the ``n`` classes with ground
            truth of at least 100 pixels (0 for none); ``per_class``: id -> ``{"AP", "AP50"}`` of these.
        """
        from cityscapesscripts.evaluation import evalInstanceLevelSemanticLabeling as cityscapes

        chosen = set(self._taxonomy.thing_ids if class_ids is None else class_ids)
        things = [c for c in self._taxonomy.thing_ids if c in chosen]
        void_ids = tuple(void_ids)
        images = {
            str(i): _as_cityscapes(overlaps.without(void_ids), scores, things)
            for i, (overlaps, scores) in enumerate(self._images)
        }
        arguments = copy(cityscapes.args)
        arguments.instLabels, arguments.distanceAvailable = things, False
        precision = 100 * cityscapes.evaluateMatches(images, arguments)[0]  # [classes, thresholds], NaN: no truth
        occurring = [i for i in range(len(things)) if not np.isnan(precision[i]).any()]
        at_half = int(np.argmin(np.abs(arguments.overlaps - 0.5)))
        per_class = {
            things[i]: require_percent(
                {"AP": float(precision[i].mean()), "AP50": float(precision[i, at_half])}, "AP", "AP50"
            )
            for i in occurring
        }
        means = {key: float(np.mean([c[key] for c in per_class.values()] or [0])) for key in ("AP", "AP50")}
        return {**means, "n": len(per_class), "per_class": per_class}


def _as_cityscapes(overlaps: SegmentOverlaps, scores: np.ndarray, things: Sequence[int]) -> dict:
    """One image as ``evaluateMatches`` wants it: ground truth and predictions by class, each with what it overlaps."""
    truth = list(_ground_truth(overlaps))
    predictions = [
        {"pixelCount": int(area), "confidence": float(score), "voidIntersection": int(void)}
        for area, score, void in zip(overlaps.pred_areas, scores, overlaps.void_overlaps)
    ]
    same_class = overlaps.gt_categories[:, None] == overlaps.pred_categories
    meeting = zip(*np.nonzero(same_class & (overlaps.intersections > 0)))
    pairs = [(g, p, int(overlaps.intersections[g, p])) for g, p in meeting]
    for p, prediction in enumerate(predictions):
        prediction["matchedGt"] = [{**truth[g], "intersection": n} for g, q, n in pairs if q == p]
    matched = [
        {**segment, "matchedPred": [{**predictions[p], "intersection": n} for h, p, n in pairs if h == g]}
        for g, segment in enumerate(truth)
    ]
    return {
        "groundTruth": {c: [matched[i] for i in np.flatnonzero(overlaps.gt_categories == c)] for c in things},
        "prediction": {c: [predictions[i] for i in np.flatnonzero(overlaps.pred_categories == c)] for c in things},
    }


def _ground_truth(overlaps: SegmentOverlaps) -> Iterator[dict]:
    for number, (area, crowd) in enumerate(zip(overlaps.gt_areas, overlaps.gt_crowd)):
        yield {
            "instID": 0 if crowd else _FIRST_INSTANCE + number, "pixelCount": int(area),
            "medDist": _MEDIAN_DISTANCE, "distConf": _DISTANCE_CONFIDENCE,
        }  # fmt: skip
