"""What models predict, before post-processing.

Shape legend: B images, C classes, K feature channels, Q queries, H x W pixels of the input, h x w cells of features or
masks.
"""

from dataclasses import dataclass

from torch import Tensor


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
