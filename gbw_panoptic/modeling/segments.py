"""What a mask model is trained on (:mod:`gbw_panoptic.data.segment_targets`) and what it predicts.

Shape legend: B images, C classes, H x W pixels of the image, h x w cells of the masks, Q queries.
"""

from dataclasses import dataclass

from torch import Tensor

from ..data.segment_targets import SegmentTargets, segment_targets
from .semantic_masks import semantic_logits

__all__ = ["SegmentPrediction", "SegmentTargets", "segment_targets"]


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

    def semantic(self) -> Tensor:
        """[B, C, H, W] float32: log of the normalised probability of each class, which is the semantic output."""
        return semantic_logits(self.class_logits, self.mask_logits, stride=self.stride, image_size=self.image_size)
