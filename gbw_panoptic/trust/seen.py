"""What estimators see: a model's output for one image, in the forms that they share, and what is known of the source:
its confidence on labelled images that training has not seen gives a temperature and a threshold.

Shape legend: C classes, H x W pixels, P pixels of a regular grid, K feature channels, N labelled
pixels.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

#: Pixels of the grid on which probabilities are looked at, at most: what an image costs does not grow with its size.
MAX_PIXELS = 1 << 15
#: Pixels whose neighbours are sought.
SAMPLES = 256


@dataclass(frozen=True)
class Output:
    """What a model says of an image.

    Attributes:
        logits: float32 [C, h, w] at every :func:`grid_step`-th pixel.
        labels: integer [H, W], the likeliest class of every pixel.
        panoptic: integer [H, W], class * label_divisor + instance number, -1 = void; None for the semantic task.
        confidence: float32 [h, w] in 0..1, of the segment that a pixel is in, where the model says it of its masks;
            None: that of the class.
        heat: float32 [H', W'], heatmap of centres; None without one.
        features: float32 [SAMPLES, K] of pixels on a grid; None where the model has none.
    """

    logits: np.ndarray
    labels: np.ndarray
    panoptic: np.ndarray | None = None
    confidence: np.ndarray | None = None
    heat: np.ndarray | None = None
    features: np.ndarray | None = None

    @cached_property
    def log_probabilities(self) -> np.ndarray:
        """float32 [C, P]."""
        return self.at_temperature(1.0)

    @cached_property
    def probabilities(self) -> np.ndarray:
        """float32 [C, P]."""
        return np.exp(self.log_probabilities)

    @cached_property
    def entropy(self) -> np.ndarray:
        """float32 [P], of the prediction."""
        return -(self.probabilities * self.log_probabilities).sum(axis=0)

    @cached_property
    def grid_labels(self) -> np.ndarray:
        """int64 [P]: the likeliest class on the grid."""
        return self.logits.reshape(len(self.logits), -1).argmax(axis=0)

    def at_temperature(self, temperature: float) -> np.ndarray:
        """float32 [C, P]: log of the softmax of logits over ``temperature``."""
        return log_softmax(self.logits.reshape(len(self.logits), -1) / np.float32(temperature), axis=0)

    def samples(self, values: np.ndarray) -> np.ndarray:
        """Of values [..., P], those of at most :data:`SAMPLES` pixels, evenly spaced."""
        return values[..., spaced(values.shape[-1], SAMPLES)]


@dataclass(frozen=True)
class Seen:
    """Everything that is seen of one image.

    Attributes:
        own: of the model that is judged.
        partner: of its teacher; of a teacher, of its student; None without.
        view: of the model itself for an augmented view, laid back on the image; None where none was made.
    """

    own: Output
    partner: Output | None = None
    view: Output | None = None


@dataclass(frozen=True)
class Calibration:
    """What labelled images of the source, which training has not seen, say of a model's confidence.

    Attributes:
        temperature: by which logits are divided (Guo et al., 2017).
        threshold: confidence at that temperature, which as many of their pixels exceed as are right (Garg et al.,
            2022).
    """

    temperature: float
    threshold: float


@dataclass(frozen=True)
class Reference:
    """What is known beside outputs.

    Attributes:
        class_names: C names.
        label_divisor: of panoptic maps.
        source_shares: float [C], sums to 1: shares of classes in the source's labels; None where they are not known.
        calibration: None without source validation.
    """

    class_names: tuple[str, ...]
    label_divisor: int
    source_shares: np.ndarray | None = None
    calibration: Calibration | None = None

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    @property
    def log_classes(self) -> float:
        """The largest entropy of a prediction."""
        return math.log(max(self.num_classes, 2))


def grid_step(size: tuple[int, int]) -> int:
    """Distance of grid pixels in an image of (height, width)."""
    return max(1, math.ceil(math.sqrt(size[0] * size[1] / MAX_PIXELS)))


def spaced(length: int, count: int) -> np.ndarray:
    """int64 [min(length, count)]: indices below ``length``, evenly spaced, in the middle of equal parts."""
    count = min(length, count)
    return (2 * np.arange(count) + 1) * length // (2 * max(count, 1))


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
