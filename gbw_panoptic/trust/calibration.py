"""A model's confidence on labelled images that training has not seen: its temperature and threshold.

Shape legend: C classes, N labelled pixels.
"""

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from .seen import Calibration

#: Logarithms between which the temperature is sought.
_RANGE = (-3.0, 3.0)


def calibrate(logits: np.ndarray, labels: np.ndarray) -> Calibration | None:
    """
    Args:
        logits: float32 [C, N].
        labels: integers [N], below C.

    Returns:
        None without pixels.
    """
    if not labels.size:
        return None
    temperature = fit_temperature(logits, labels)
    surest = np.exp(log_softmax(logits / temperature, axis=0).max(axis=0))
    right = float((logits.argmax(axis=0) == labels).mean())
    return Calibration(temperature, float(np.quantile(surest, 1 - right)))


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """The temperature of the least mean negative log likelihood (Guo et al., 2017)."""

    def loss(logarithm: float) -> float:
        found = log_softmax(logits / np.float32(np.exp(logarithm)), axis=0)
        return -float(np.take_along_axis(found, labels[None], 0).mean())

    return float(np.exp(minimize_scalar(loss, bounds=_RANGE, method="bounded").x))
