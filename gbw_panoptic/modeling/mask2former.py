"""Domain-adaptive Mask2Former (Cheng et al., arXiv 2112.01527): backbone, mask head, and losses with class weightings.

Shape legend: B images, C classes, Q queries, H x W pixels of the input, h x w cells of the masks.
"""

import torch.nn.functional as F
from detectron2.config import configurable
from detectron2.modeling import META_ARCH_REGISTRY
from detectron2.structures import ImageList
from torch import Tensor

from ..data.targets import SegmentLabels, build_segment_labels
from ..structures.predictions import DensePrediction, SegmentPrediction
from ..structures.samples import ModelOutput, Sample
from ..structures.segments import SegmentTargets
from .base import DomainAdaptiveModel, output_size
from .build import mask2former_parts
from .masks.criterion import SegmentCriterion
from .masks.head import STRIDES, MaskHead, MaskHeadOutput
from .masks.merging import semantic_logits, semantic_probabilities

#: Pixels of the input per cell of the masks.
_STRIDE = STRIDES[0]
#: Class weighting -> name of its loss.
_LOSSES = {"classification": "loss_class", "mask": "loss_mask", "dice": "loss_dice"}


@META_ARCH_REGISTRY.register()
class DomainAdaptiveMask2Former(DomainAdaptiveModel):
    """Predicts segments: a class and a mask for each query."""

    weighted_keys = ("CLASSIFICATION", "MASK")
    learns_segments = True
    label_keys = ("segments", "segment_ids")

    @configurable
    def __init__(self, *, mask_head: MaskHead, criterion: SegmentCriterion, panoptic: bool, **common) -> None:
        """
        Args:
            panoptic: whether things have instances; else every class is one segment of an image, and there are no
                panoptic maps.
            common: of :class:`DomainAdaptiveModel`; the weightings are those of the losses ``classification``, ``mask``
                and ``dice``.
        """
        super().__init__(**common)
        self.mask_head = mask_head
        self.criterion = criterion
        self.panoptic = panoptic

    @classmethod
    def from_config(cls, cfg):
        return mask2former_parts(cfg)

    @classmethod
    def build_targets(cls, cfg) -> SegmentLabels:
        return build_segment_labels(cfg)

    def heads(self, images: ImageList, *, instances: bool) -> MaskHeadOutput:
        return self.segments(images.tensor)

    def segments(self, images: Tensor) -> MaskHeadOutput:
        """Of normalised and padded images [B, 3, H, W]."""
        return self.mask_head(self.backbone(images))

    def losses(
        self, raw: MaskHeadOutput, batched_inputs: list[Sample], branch: str, *, padded_size: tuple[int, int]
    ) -> dict[str, Tensor]:
        """``loss_class``, ``loss_mask`` and ``loss_dice``, each the sum over the prediction sets."""
        predictor = self.mask_head.class_predictor
        parts = self.criterion(
            raw,
            [self._targets(sample) for sample in batched_inputs],
            padded_size=padded_size,
            gradients={name: weighting.gradient_on(branch) for name, weighting in self.weightings.items()},
            class_parameters=(predictor.weight, predictor.bias),
        )
        weights = vars(self.criterion.loss_weights)
        return {_LOSSES[x]: weights[x] * self.weightings[x](loss, branch=branch) for x, loss in parts.items()}

    def dense(self, raw: MaskHeadOutput, images: ImageList) -> DensePrediction:
        """Made at the masks' size and upsampled, so that memory does not grow with Q."""
        height, width = images.image_sizes[0]
        probabilities = semantic_probabilities(raw.class_logits[-1], raw.mask_logits[-1])
        probabilities = F.interpolate(probabilities, scale_factor=_STRIDE, mode="bilinear", align_corners=False)
        return DensePrediction(probabilities[..., :height, :width].log())

    def prediction(self, raw: MaskHeadOutput, images: ImageList) -> SegmentPrediction:
        size = images.image_sizes[0]
        return SegmentPrediction(raw.class_logits[-1], raw.mask_logits[-1], stride=_STRIDE, image_size=size)

    def output(self, prediction: SegmentPrediction, record: Sample) -> ModelOutput:
        size = output_size(record, prediction.image_size)
        sem_seg = semantic_logits(
            prediction.class_logits,
            prediction.mask_logits,
            stride=prediction.stride,
            image_size=prediction.image_size,
            size=size,
        )
        result = {"sem_seg": sem_seg[0]}
        if self.panoptic:
            process = self.post_processing
            options = {"thing_ids": process.thing_ids, "label_divisor": process.label_divisor}
            segments = process(prediction, 0, size)
            result["panoptic_seg"] = (segments.panoptic(**options), None)
            if process.score_instances:
                result["instance_scores"] = segments.instance_scores(**options)
        return result

    def _targets(self, sample: Sample) -> SegmentTargets:
        if "segments" in sample:
            return sample["segments"].to(self.device)
        return SegmentTargets.of_labels(
            sample["segment_ids"].to(self.device, non_blocking=True), sample["segment_classes"]
        )
