"""Semantic metrics from an additive confusion matrix: IoU, precision and recall per class and on average.

Shapes: H x W pixels, C classes.
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from ..errors import UserError
from .counting import joint_counts, joint_histogram, positions, require_percent


class SemanticConfusion:
    """Accumulates the confusion matrix over images; its rows are true classes, its columns predicted ones.

    Args:
        num_classes: C; labels 0..C-1 are classes.
        num_labels: L of the truth, C and more; by default C.

    Attributes:
        matrix: int64 [L, C + 1] pixels; the last column counts pixels predicted as none of the classes, which are
            misses. Pixels whose true label is none of the classes (``ignore_label``) are not counted.
    """

    def __init__(self, num_classes: int, num_labels: int | None = None) -> None:
        self.num_classes = num_classes
        self.matrix = np.zeros((num_labels or num_classes, num_classes + 1), np.int64)

    def update(self, predicted: np.ndarray, truth: np.ndarray) -> None:
        """Adds one image.

        Args:
            predicted, truth: integer H x W maps of contiguous ids; anything outside 0..C-1 is no class.
        """
        if predicted.shape != truth.shape:
            raise UserError(
                f"expected a prediction of the ground truth's size {truth.shape}, found {predicted.shape}: "
                "resize the prediction"
            )
        true_values, predicted_values, pixels = joint_counts(truth, predicted)
        labels, columns = len(self.matrix), positions(predicted_values, range(self.num_classes))
        rows = positions(true_values, range(labels))
        table = joint_histogram(rows, columns, (labels + 1, self.num_classes + 1), pixels)
        self.matrix += np.roll(table[1:], -1, axis=1)  # row and column 0 hold what is no class

    def merge(self, other: "SemanticConfusion") -> None:
        """Adds another accumulator's pixels."""
        self.matrix += other.matrix

    def without(self, labels: Iterable[int]) -> "SemanticConfusion":
        """The same pixels without those whose true label is one of ``labels``."""
        other = SemanticConfusion(self.num_classes, len(self.matrix))
        other.matrix += self.matrix
        other.matrix[list(labels)] = 0
        return other

    def compute(
        self, class_ids: Iterable[int] | None = None, *, void_ids: Iterable[int] = (), rare_ids: Iterable[int] = ()
    ) -> dict:
        """Scores in percent; the averages run over ``class_ids``.

        A pixel of another class that is predicted as one of ``class_ids`` is an error, unless its true class is in
        ``void_ids``.

        Args:
            class_ids: the classes to average and list; all by default.
            void_ids: classes whose ground truth is ignored.
            rare_ids: classes, among ``class_ids``, to average apart.

        Returns:
            ``mIoU`` over the ``n`` classes with TP + FP + FN > 0; ``mean_recall`` and ``mean_precision`` over those
            with true pixels (a class that is never predicted has precision 0); ``fwIoU``, the IoU weighted with the
            true pixels; with ``rare_ids`` also ``rare_recall``, ``rare_precision``, ``rare_IoU``; and ``per_class``:
            id -> ``{"IoU", "precision", "recall", "tp", "fp", "fn"}``. An average over no class is 0.
        """
        chosen = list(range(self.num_classes) if class_ids is None else class_ids)
        per_class = self._per_class(chosen, void_ids)
        occurring = [s for s in per_class.values() if s["tp"] + s["fp"] + s["fn"]]
        labelled = [s for s in per_class.values() if s["tp"] + s["fn"]]
        scores = {
            "mIoU": _mean(occurring, "IoU"),
            "mean_recall": _mean(labelled, "recall"),
            "mean_precision": _mean(labelled, "precision"),
            "fwIoU": _mean(labelled, "IoU", weights=[s["tp"] + s["fn"] for s in labelled]),
            "n": len(occurring),
        }
        rare = [per_class[c] for c in rare_ids]
        if rare:
            for metric in ("recall", "precision"):
                scores[f"rare_{metric}"] = _mean([s for s in rare if s["tp"] + s["fn"]], metric)
            scores["rare_IoU"] = _mean([s for s in rare if s["tp"] + s["fp"] + s["fn"]], "IoU")
        return {**scores, "per_class": per_class}

    def _per_class(self, chosen: Sequence[int], void_ids: Iterable[int]) -> dict[int, dict[str, float]]:
        matrix = self.matrix.copy()
        matrix[list(void_ids)] = 0
        tp = np.diagonal(matrix)
        fn, fp = matrix.sum(axis=1) - tp, matrix.sum(axis=0)[:-1] - tp
        return {c: _class_scores(int(tp[c]), int(fp[c]), int(fn[c])) for c in chosen}


def rarest_classes(pixels: Sequence[float], class_ids: Iterable[int], count: int) -> tuple[int, ...]:
    """The ``count`` classes of ``class_ids`` with the fewest source pixels, rarest first; classes without a pixel are
    left out.

    Args:
        pixels: [C] labelled source pixels per class.
    """
    return tuple(sorted((c for c in class_ids if pixels[c] > 0), key=lambda c: (pixels[c], c))[:count])


def _class_scores(tp: int, fp: int, fn: int) -> dict[str, float]:
    def percent(denominator: int) -> float:
        return 100 * tp / denominator if denominator else 0.0

    scores = {
        "IoU": percent(tp + fp + fn), "precision": percent(tp + fp), "recall": percent(tp + fn), "tp": tp, "fp": fp,
        "fn": fn,
    }  # fmt: skip
    return require_percent(scores, "IoU", "precision", "recall")


def _mean(scores: Sequence[Mapping[str, float]], metric: str, weights: Sequence[float] | None = None) -> float:
    return float(np.average([s[metric] for s in scores], weights=weights)) if scores else 0.0
