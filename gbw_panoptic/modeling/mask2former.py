"""Domain-adaptive Mask2Former (Cheng et al., arXiv 2112.01527): backbone, mask head, and losses with class weightings.

Shape legend: B images, C classes, Q queries, H x W pixels of the input, h x w cells of the masks.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from detectron2.config import configurable
from detectron2.modeling import META_ARCH_REGISTRY
from detectron2.structures import ImageList

from ..data.segment_targets import segment_targets
from ..structures.predictions import DensePrediction, SegmentPrediction
from ..structures.samples import ModelOutput, Sample
from ..structures.segments import SegmentTargets
from ..weighting import ClassWeighting
from .build_mask2former import mask2former_parts
from .masks.criterion import SegmentCriterion
from .masks.head import STRIDES, MaskHead, MaskHeadOutput
from .masks.merging import SegmentPostProcessing
from .masks.semantic import semantic_logits, semantic_probabilities

#: Pixels of the input per cell of the masks.
_STRIDE = STRIDES[0]
#: Class weighting -> name of its loss.
_LOSSES = {"classification": "loss_class", "mask": "loss_mask", "dice": "loss_dice"}


@META_ARCH_REGISTRY.register()
class DomainAdaptiveMask2Former(nn.Module):
    """In training maps a batch of one branch to its weighted losses; in evaluation to Detectron2's panoptic format."""

    @configurable
    def __init__(
        self,
        *,
        backbone: nn.Module,
        mask_head: MaskHead,
        criterion: SegmentCriterion,
        weightings: dict[str, ClassWeighting],
        post_processing: SegmentPostProcessing,
        panoptic: bool,
        ignore_label: int,
        pixel_mean: tuple[float, ...],
        pixel_std: tuple[float, ...],
        size_divisibility: int,
    ) -> None:
        """
        Args:
            weightings: loss (``classification``, ``mask``, ``dice``) -> class weighting.
            panoptic: whether things have instances; else every class is one segment of an image, and there are no
                panoptic maps.
            size_divisibility: input height and width are padded to multiples of it.
        """
        super().__init__()
        self.backbone = backbone
        self.mask_head = mask_head
        self.criterion = criterion
        self.weightings = nn.ModuleDict(weightings)
        self.post_processing = post_processing
        self.panoptic = panoptic
        self.ignore_label = ignore_label
        self.size_divisibility = size_divisibility
        self.register_buffer("pixel_mean", torch.tensor(pixel_mean).view(-1, 1, 1), persistent=False)
        self.register_buffer("pixel_std", torch.tensor(pixel_std).view(-1, 1, 1), persistent=False)

    @classmethod
    def from_config(cls, cfg):
        return mask2former_parts(cfg)

    @property
    def device(self) -> torch.device:
        return self.pixel_mean.device

    def forward(
        self, batched_inputs: list[Sample], branch: str = "source", *, dense: bool = False, instances: bool = True
    ) -> dict[str, Tensor] | tuple[dict[str, Tensor], DensePrediction] | list[ModelOutput]:
        """
        Args:
            batched_inputs: :class:`~gbw_panoptic.structures.samples.Sample` values; crops of one size in training. The key
                ``segments`` (a :class:`SegmentTargets`) replaces the labels.
            branch: whose weighting state is used in training, one of ``weighting.BRANCHES``.
            dense: in training return the semantic output, too, with its graph: for losses that need no labels.
            instances: of no effect: there are no instance heads to leave out.

        Returns:
            Training: ``{"loss_class", "loss_mask", "loss_dice"}`` scalars, each the sum over the prediction sets (none
            for samples without labels); with ``dense`` a pair of these and the :class:`DensePrediction`. Evaluation:
            per image ``sem_seg`` [C, H, W] logits and, for the panoptic task, ``panoptic_seg`` (map, None), at the
            record's ``height`` x ``width``.
        """
        if not self.training:
            return self.inference(batched_inputs)
        images = self._images(batched_inputs)
        output = self.mask_head(self.backbone(images.tensor))
        losses = {}
        if "segments" in batched_inputs[0] or "sem_seg" in batched_inputs[0]:
            losses = self.losses(output, self._targets(batched_inputs), tuple(images.tensor.shape[-2:]), branch)
        return (losses, _dense(output, images.image_sizes[0])) if dense else losses

    def losses(
        self, output: MaskHeadOutput, targets: list[SegmentTargets], padded_size: tuple[int, int], branch: str
    ) -> dict[str, Tensor]:
        """Weighted losses of a labelled (or pseudo-labelled) batch."""
        predictor = self.mask_head.class_predictor
        parts = self.criterion(
            output,
            targets,
            padded_size=padded_size,
            gradients={name: weighting.gradient_on(branch) for name, weighting in self.weightings.items()},
            class_parameters=(predictor.weight, predictor.bias),
        )
        weights = vars(self.criterion.loss_weights)
        return {_LOSSES[x]: weights[x] * self.weightings[x](loss, branch=branch) for x, loss in parts.items()}

    @torch.no_grad()
    def predict(self, batched_inputs: list[Sample]) -> SegmentPrediction:
        """Classes and masks of all queries, for images of one size."""
        images = self._images(batched_inputs)
        output = self.mask_head(self.backbone(images.tensor))
        return SegmentPrediction(
            output.class_logits[-1], output.mask_logits[-1], stride=_STRIDE, image_size=images.image_sizes[0]
        )

    def inference(self, batched_inputs: list[Sample]) -> list[ModelOutput]:
        """Semantic and panoptic maps, one image at a time: images of a batch may differ in size."""
        results = []
        for record in batched_inputs:
            prediction = self.predict([record])
            size = (record.get("height", prediction.image_size[0]), record.get("width", prediction.image_size[1]))
            sem_seg = semantic_logits(
                prediction.class_logits,
                prediction.mask_logits,
                stride=_STRIDE,
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
            results.append(result)
        return results

    def _images(self, batched_inputs: list[Sample]) -> ImageList:
        images = [x["image"].to(self.device, non_blocking=True) for x in batched_inputs]
        return ImageList.from_tensors(
            [(image - self.pixel_mean) / self.pixel_std for image in images], self.size_divisibility
        )

    def _targets(self, batched_inputs: list[Sample]) -> list[SegmentTargets]:
        targets = []
        for sample in batched_inputs:
            if "segments" in sample:
                targets.append(sample["segments"].to(self.device))
            else:
                options = {"ignore_label": self.ignore_label, "device": self.device}
                targets.append(segment_targets(sample, thing_ids=self.post_processing.thing_ids, **options))
        return targets


def _dense(output: MaskHeadOutput, image_size: tuple[int, int]) -> DensePrediction:
    """The semantic output with its graph: made at the masks' size and upsampled, so that memory does not grow with Q."""
    height, width = image_size
    probabilities = semantic_probabilities(output.class_logits[-1], output.mask_logits[-1])
    probabilities = F.interpolate(probabilities, scale_factor=_STRIDE, mode="bilinear", align_corners=False)
    return DensePrediction(probabilities[..., :height, :width].log())
