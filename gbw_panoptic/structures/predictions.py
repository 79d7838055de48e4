"""What models predict, before post-processing, and the likeliest classes: the one place that takes them from logits,
since on a CPU torch's own is slow.

Shape legend: B images, C classes, K feature channels, Q queries, H x W pixels of the input, h x w cells of features or
masks.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

_PIXELS = 1 << 16  # whose best logits stay in a cache close to the processor


@dataclass(frozen=True)
class DensePrediction:
    """What the heads say about a batch of images of one size, before post-processing.

    Attributes:
        sem_seg: [B, C, H, W] logits.
        center: [B, 1, H, W] heatmap, about 0..1; None for the semantic task.
        offset: [B, 2, H, W] (dy, dx) in pixels; None for the semantic task.
        hidden: [B, K, h, w] features that enter the semantic head's last convolution; None where it has none
            (Mask2Former).
        feature_stride: the logits are that convolution's output, upsampled by it and cropped to H x W.
        auxiliary: [B, C, H, W] logits of the auxiliary head; None without one.
    """

    sem_seg: Tensor
    center: Tensor | None = None
    offset: Tensor | None = None
    hidden: Tensor | None = None
    feature_stride: int = 1
    auxiliary: Tensor | None = None


@dataclass(frozen=True)
class SegmentPrediction:
    """What a mask model says about images of one size, before post-processing.

    Attributes:
        class_logits: [B, Q, C + 1], the last for "no object".
        mask_logits: [B, Q, h, w].
        stride: pixels of the image per cell of the masks, which also cover the padding at the right and at the bottom.
        image_size: (H, W).
    """

    class_logits: Tensor
    mask_logits: Tensor
    stride: int
    image_size: tuple[int, int]


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


@dataclass(frozen=True)
class Prediction:
    """What a model says about one image.

    Attributes:
        labels: uint8 [H, W] (int16 of more than 256 classes), contiguous ids.
        panoptic: int32 [H, W], contiguous id * label_divisor + instance number, -1 = void; None for the semantic task.
        scores: value in ``panoptic`` of an instance -> how sure the model is of it, about 0..1; empty unless asked for.
        confidence: float32 [H, W], the probability of each pixel's class in 0..1; None unless asked for.
    """

    labels: np.ndarray
    panoptic: np.ndarray | None
    scores: Mapping[int, float] = field(default_factory=dict)
    confidence: np.ndarray | None = None


@dataclass(frozen=True)
class GroundTruth:
    """Labels of one image.

    Attributes:
        labels: ``label_dtype`` H x W contiguous ids, unions among them, ``ignore_label`` where unlabelled.
        ids: integer H x W segment ids (0 = void); None for a semantic label.
        segments: COCO-panoptic segments with contiguous ``category_id``; empty for a semantic label.
    """

    labels: np.ndarray
    ids: np.ndarray | None
    segments: Sequence[Mapping]
