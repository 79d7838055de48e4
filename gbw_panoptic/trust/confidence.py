"""How sure a model is: of pixels, of classes, of segments, counted so that it adds up over images.

Shape legend: C classes.
"""

import numpy as np

from .agreement import histogram, percent
from .seen import Output, Reference, Seen, grid_step


def confidence(own: Output, reference: Reference, temperature: float = 1.0) -> np.ndarray:
    """[C, 2]: sum of the largest probability over the pixels that are labelled c, and their number."""
    return _by_class(np.exp(own.at_temperature(temperature).max(axis=0)), own, reference)


def entropy(seen: Seen, reference: Reference) -> np.ndarray:
    """[C, 2]: sum of the entropy of the prediction, over ln C, and the number of pixels."""
    return _by_class(seen.own.entropy / reference.log_classes, seen.own, reference)


def expected_overlap(seen: Seen, reference: Reference) -> np.ndarray:
    """[C, 3]: the expectation of :func:`.agreement.label_overlap` with a label that calibrated probabilities draw."""
    own, of = seen.own, reference.num_classes
    probability = np.exp(own.at_temperature(reference.calibration.temperature))
    both = np.bincount(own.grid_labels, np.take_along_axis(probability, own.grid_labels[None], 0)[0], of)
    return np.stack([both, histogram(own.grid_labels, of), probability.sum(axis=1, dtype=float)], 1)


def confident_pixels(seen: Seen, reference: Reference) -> np.ndarray:
    """[2]: pixels whose calibrated confidence exceeds that of source validation, and all."""
    surest = np.exp(seen.own.at_temperature(reference.calibration.temperature).max(axis=0))
    return np.array([(surest > reference.calibration.threshold).sum(), surest.size], float)


def balanced(sums: np.ndarray, reference: Reference) -> float:
    """Mean of [C, 2] over all classes of the source; 0 for one that is never predicted."""
    return float(np.nan_to_num(percent(*sums.T))[reference.source_shares > 0].mean())


def mask_confidence(seen: Seen, reference: Reference) -> np.ndarray:
    """[C, 2]: sum over segments of their mean confidence, and their number."""
    own, step = seen.own, grid_step(seen.own.labels.shape)
    panoptic = own.panoptic[::step, ::step].ravel()
    values, index = np.unique(panoptic, return_inverse=True)
    classes = np.maximum(values, 0) // reference.label_divisor
    if own.confidence is None:
        sure = np.take_along_axis(own.probabilities, classes[index][None], 0)[0]
    else:
        sure = own.confidence.ravel()
    means = np.bincount(index, sure) / np.bincount(index)
    real = values >= 0
    of = reference.num_classes
    return np.stack([np.bincount(classes[real], means[real], of), histogram(classes[real], of)], 1).astype(float)


def _by_class(values: np.ndarray, own: Output, reference: Reference) -> np.ndarray:
    of = reference.num_classes
    return np.stack([np.bincount(own.grid_labels, values, of), histogram(own.grid_labels, of)], 1).astype(float)
