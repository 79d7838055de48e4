"""Estimators of a model's score on images without labels.

Each is two functions: ``count`` gives numbers of one image that add up over images, ``value`` makes the estimate of
their sums. So images can be drawn again (:mod:`.choosing`), shards of ranks be added, and every part be tested alone.
All estimates are in percent; ``sign`` says whether a larger one promises a better model.

Shape legend: C classes, P pixels of the grid.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from . import structure
from .agreement import histogram, intersection_over_union, label_overlap, panoptic_quality, percent, segment_overlap
from .confidence import balanced, confidence, confident_pixels, entropy, expected_overlap, mask_confidence
from .seen import Reference, Seen

Count = Callable[[Seen, Reference], np.ndarray]
Value = Callable[[np.ndarray, Reference], float]
PerClass = Callable[[np.ndarray, Reference], np.ndarray]


@dataclass(frozen=True)
class Estimator:
    """
    Attributes:
        text: what it measures, and where it comes from.
        count: (image, reference) -> float64 array, whose sum over images is what ``value`` takes.
        value: (sums, reference) -> percent; NaN where nothing was counted.
        per_class: (sums, reference) -> percent [C], NaN for classes that do not occur; None where there is none.
        needs: what of ``own``, ``partner``, ``view`` and the reference must be there, as a path of attributes.
        sign: 1 where more is better, -1 where less is.
    """

    text: str
    count: Count
    value: Value
    per_class: PerClass | None = None
    needs: tuple[str, ...] = ()
    sign: int = 1

    def applies(self, seen: Seen, reference: Reference) -> bool:
        """Whether everything that it needs is there."""
        return all(_found(seen, reference, path) for path in self.needs)


def _found(seen: Seen, reference: Reference, path: str) -> bool:
    first, _, rest = path.partition(".")
    value = getattr(seen, first, None) if hasattr(seen, first) else getattr(reference, first)
    return value is not None and (not rest or getattr(value, rest) is not None)


def class_mean(per_class: PerClass) -> Value:
    """The mean over the source's classes, where one that never occurs counts 0: a model that forgets classes must not
    gain. Where the source's are not known, the mean over those that occur."""

    def value(sums: np.ndarray, reference: Reference) -> float:
        found = per_class(sums, reference)
        if reference.source_shares is not None and np.isfinite(found).any():
            return float(np.nan_to_num(found)[reference.source_shares > 0].mean())
        return float(found[np.isfinite(found)].mean()) if np.isfinite(found).any() else math.nan

    return value


def label_counts(seen: Seen, reference: Reference) -> np.ndarray:
    """[C]: pixels that are labelled c."""
    return histogram(seen.own.labels.ravel(), reference.num_classes).astype(float)


def share_divergence(sums: np.ndarray, reference: Reference) -> float:
    """Jensen-Shannon divergence, over ln 2, of predicted class shares from the source's."""
    return 100 * divergence(sums / max(sums.sum(), 1), reference.source_shares)


def divergence(one: np.ndarray, two: np.ndarray) -> float:
    """Jensen-Shannon divergence of two distributions [C], over ln 2: in 0..1."""
    middle = (one + two) / 2
    return float(_entropy_of(middle) - (_entropy_of(one) + _entropy_of(two)) / 2) / math.log(2)


def information(seen: Seen, reference: Reference) -> np.ndarray:
    """[C + 2]: sums of probabilities and of entropy, and the number of pixels."""
    own = seen.own
    return np.array([*own.probabilities.sum(axis=1, dtype=float), own.entropy.sum(), own.grid_labels.size])


def mutual_information(sums: np.ndarray, reference: Reference) -> float:
    """H(mean prediction) - mean H(prediction), over ln C."""
    number = max(sums[-1], 1)
    return 100 * float(_entropy_of(sums[:-2] / number) - sums[-2] / number) / reference.log_classes


def gram(seen: Seen, reference: Reference) -> np.ndarray:
    """[C + 1, C]: sum of p p^T over pixels; in the last row their number."""
    own = seen.own.probabilities.astype(float)
    return np.vstack([own @ own.T, np.full(len(own), own.shape[1], float)])


def nuclear_norm(sums: np.ndarray, reference: Reference) -> float:
    """Of the matrix [N, C] of all predictions, over its bound sqrt(N C): the sum of the roots of its Gram matrix's
    eigenvalues."""
    if not np.isfinite(sums).all():
        return math.nan
    roots = np.sqrt(np.clip(np.linalg.eigvalsh(sums[:-1]), 0, None))
    return 100 * float(roots.sum() / math.sqrt(max(sums[-1, 0], 1) * reference.num_classes))


def transfer(seen: Seen, reference: Reference) -> np.ndarray:
    """[C + 4]: distances of the Hopkins statistic, behind :func:`information`."""
    return np.concatenate([information(seen, reference), structure.hopkins_distances(seen.own)])


def transfer_score(sums: np.ndarray, reference: Reference) -> float:
    """Hopkins statistic of features plus mutual information, halved so that 100 is the most."""
    return (100 * structure.hopkins(sums[-2:]) + mutual_information(sums[:-2], reference)) / 2


def ratio(sums: np.ndarray, reference: Reference) -> float:
    """Of the summed first column to the summed second."""
    first, second = sums.reshape(-1, 2).sum(axis=0)
    return 100 * float(first / second) if second else math.nan


def _ratio_per_class(sums: np.ndarray, reference: Reference) -> np.ndarray:
    return percent(*sums.T)


def _shares(sums: np.ndarray, reference: Reference) -> np.ndarray:
    return 100 * sums / max(sums.sum(), 1)


def _mutual(part: str, what: str) -> dict[str, Estimator]:
    """Agreement with another output: ``partner`` or ``view``."""
    name = {"partner": "teacher"}.get(part, part)

    def labels(seen: Seen, reference: Reference) -> np.ndarray:
        return label_overlap(seen.own.labels, getattr(seen, part).labels, reference.num_classes)

    def segments(seen: Seen, reference: Reference) -> np.ndarray:
        return segment_overlap(seen.own.panoptic, getattr(seen, part).panoptic, reference)

    iou, quality = intersection_over_union, panoptic_quality
    return {
        f"{name}_mIoU": Estimator(f"mIoU of {what}", labels, class_mean(iou), iou, (part,)),
        f"{name}_PQ": Estimator(
            f"PQ of {what}", segments, class_mean(quality), quality, (f"{part}.panoptic", "own.panoptic")
        ),
    }


def _entropy_of(distribution: np.ndarray) -> float:
    positive = distribution[distribution > 0]
    return float(-(positive * np.log(positive)).sum())


_CALIBRATED = ("calibration",)
#: Name in metrics.json -> estimator.
ESTIMATORS = MappingProxyType(
    {
        **_mutual("partner", "student and teacher (Tarvainen and Valpola, 2017, train towards it)"),
        **_mutual("view", "the image and an augmented view of it"),
        "confidence": Estimator(
            "mean largest probability (Hendrycks and Gimpel, 2017)",
            lambda seen, ref: confidence(seen.own, ref),
            ratio,
            _ratio_per_class,
        ),
        "balanced_confidence": Estimator(
            "the same, averaged over classes; one that is never predicted counts 0 (ours)",
            lambda seen, ref: confidence(seen.own, ref),
            balanced,
            needs=("source_shares",),
        ),
        "entropy": Estimator("mean entropy (Morerio et al., 2018)", entropy, ratio, _ratio_per_class, sign=-1),
        "calibrated_confidence": Estimator(
            "confidence at the temperature of source validation (Guo et al., 2017)",
            lambda seen, ref: confidence(seen.own, ref, ref.calibration.temperature),
            ratio,
            _ratio_per_class,
            _CALIBRATED,
        ),
        "thresholded_confidence": Estimator(
            "share of pixels surer than the threshold that fits source validation (Garg et al., 2022)",
            confident_pixels,
            ratio,
            needs=_CALIBRATED,
        ),
        "expected_mIoU": Estimator(
            "mIoU that calibrated probabilities expect (ours)",
            expected_overlap,
            class_mean(intersection_over_union),
            intersection_over_union,
            _CALIBRATED,
        ),
        "shares": Estimator(
            "divergence of predicted class shares from the source's; for each class its share",
            label_counts,
            share_divergence,
            _shares,
            ("source_shares",),
            sign=-1,
        ),
        "mask_confidence": Estimator(
            "mean confidence of segments (Martinovic et al., 2024)",
            mask_confidence,
            ratio,
            _ratio_per_class,
            ("own.panoptic",),
        ),
        "centre_sharpness": Estimator(
            "height of centres above their surroundings (ours)",
            lambda seen, ref: structure.centre_heights(seen.own.heat),
            ratio,
            needs=("own.heat",),
        ),
        "soft_neighbourhood": Estimator(
            "soft neighbourhood density of predictions (Saito et al., 2021)",
            lambda seen, ref: structure.neighbourhood_entropy(seen.own),
            ratio,
        ),
        "information": Estimator(
            "mutual information of pixels and classes (Krause et al., 2010; Musgrave et al., 2022)",
            information,
            mutual_information,
        ),
        "dispersity": Estimator("nuclear norm of all predictions (Deng et al., 2023)", gram, nuclear_norm),
        "transfer": Estimator(
            "transfer score (Yang et al., 2024) without its term on the classifier's weights, which are no output",
            transfer,
            transfer_score,
            needs=("own.features",),
        ),
    }
)
