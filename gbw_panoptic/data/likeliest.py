"""The likeliest class of every pixel: the one place that takes it from logits, since on a CPU torch's own is slow.

Shapes: C classes, H x W pixels.
"""

import numpy as np
import torch
from torch import Tensor

_PIXELS = 1 << 16  # whose best logits stay in a cache close to the processor


def likeliest_classes(logits: Tensor) -> Tensor:
    """int64 [...]: the index of the largest of logits [C, ...], the first among equals, NaN above all, as ``argmax`` of
    axis 0.

    ``max`` takes twice, ``argmax`` ten times as long on a CPU.
    """
    if logits.device.type != "cpu" or logits.dtype != torch.float32 or not 1 < len(logits) <= 256:
        return logits.max(dim=0).indices
    values = logits.detach().flatten(1).numpy()
    classes = np.zeros(values.shape[1], np.uint8)
    best, larger = np.empty(_PIXELS, np.float32), np.empty(_PIXELS, bool)
    for start in range(0, len(classes), _PIXELS):
        part = values[:, start : start + _PIXELS]
        _scan(part, classes[start : start + _PIXELS], best[: part.shape[1]], larger[: part.shape[1]])
    return torch.from_numpy(classes).long().view(logits.shape[1:])


def _scan(values: np.ndarray, classes: np.ndarray, best: np.ndarray, larger: np.ndarray) -> None:
    """Write the classes [P] of values [C, P], one class after the other; ``best`` and ``larger`` [P] are scratch."""
    best[:] = values[0]
    number = larger.view(np.uint8)
    for row in range(1, len(values)):
        np.greater(values[row], best, out=larger)
        np.multiply(number, row, out=number)
        np.maximum(classes, number, out=classes)
        np.maximum(best, values[row], out=best)
    if np.isnan(best).any():
        classes[:] = values.argmax(axis=0)
