"""What the meta-architectures share: normalised images, the public calls, and the facts that checks ask for.

Shape legend: H x W pixels of the input.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any, ClassVar

import torch
from detectron2.structures import ImageList
from torch import Tensor, nn

from ..data.targets import TargetMaker, build_dense_targets
from ..structures.predictions import DensePrediction, SegmentPrediction
from ..structures.samples import ModelOutput, Sample
from ..weighting import ClassWeighting


class DomainAdaptiveModel(nn.Module, ABC):
    """In training maps a batch of one branch to its weighted losses; in evaluation to Detectron2's panoptic format.

    Attributes:
        weighted_keys: keys of WEIGHTING that weight one of its losses.
        learns_segments: whether it is trained on segments, and predicts a :class:`SegmentPrediction`; else on a label
            for each pixel, and it predicts a :class:`DensePrediction`.
        label_keys: a sample that holds one of these keys has labels.
    """

    weighted_keys: ClassVar[tuple[str, ...]] = ()
    learns_segments: ClassVar[bool] = False
    label_keys: ClassVar[tuple[str, ...]] = ("sem_seg",)

    def __init__(
        self,
        *,
        backbone: nn.Module,
        weightings: dict[str, ClassWeighting],
        post_processing: Any,
        pixel_mean: tuple[float, ...],
        pixel_std: tuple[float, ...],
        size_divisibility: int,
    ) -> None:
        """
        Args:
            weightings: name of a head or loss -> class weighting.
            post_processing: turns what it predicts into instances or segments.
            pixel_mean, pixel_std: for each channel, of pixels in 0..255.
            size_divisibility: input height and width are padded to multiples of it.
        """
        super().__init__()
        self.backbone = backbone
        self.weightings = nn.ModuleDict(weightings)
        self.post_processing = post_processing
        self.size_divisibility = size_divisibility
        self.register_buffer("pixel_mean", torch.tensor(pixel_mean).view(-1, 1, 1), persistent=False)
        self.register_buffer("pixel_std", torch.tensor(pixel_std).view(-1, 1, 1), persistent=False)

    @classmethod
    def build_targets(cls, cfg) -> TargetMaker:
        """What makes its training targets in the source mapper."""
        return build_dense_targets(cfg)

    @property
    def device(self) -> torch.device:
        return self.pixel_mean.device

    def forward(
        self,
        batched_inputs: list[Sample],
        branch: str | Mapping[str, int] = "source",
        *,
        dense: bool = False,
        instances: bool = True,
    ) -> dict[str, Tensor] | tuple[dict[str, Tensor], DensePrediction] | list[ModelOutput]:
        """
        Args:
            batched_inputs: samples; crops of one size in training.
            branch: whose weighting state is used in training, one of ``weighting.BRANCHES``; or several in one pass,
                with the number of samples of each, in order.
            dense: in training return the predictions, too, with their graph: for losses that need no labels.
            instances: run the instance heads, if there are any; without them there are no instance losses.

        Returns:
            Training: name -> scalar loss, none for samples without labels; of several branches ``<branch>/<name>`` ->
            loss; with ``dense`` (of one branch alone) a pair of these and the :class:`DensePrediction`. Evaluation: per
            image ``sem_seg`` [C, H, W] logits and, for the panoptic task, ``panoptic_seg`` (map, None), at the record's
            ``height`` x ``width``.
        """
        if not self.training:  # one image at a time: those of a batch may differ in size
            return [self.output(self.predict([record]), record) for record in batched_inputs]
        images = self.images(batched_inputs)
        raw = self.heads(images, instances=instances)
        labelled = any(key in batched_inputs[0] for key in self.label_keys)
        padded_size = tuple(images.tensor.shape[-2:])
        if not isinstance(branch, str):
            return self._losses_of_branches(raw, batched_inputs, branch, padded_size)
        losses = self.losses(raw, batched_inputs, branch, padded_size=padded_size) if labelled else {}
        return (losses, self.dense(raw, images)) if dense else losses

    def _losses_of_branches(
        self, raw: Any, batched_inputs: list[Sample], branches: Mapping[str, int], padded_size: tuple[int, int]
    ) -> dict[str, Tensor]:
        losses, start = {}, 0
        for branch, count in branches.items():
            part = slice(start, start + count)
            found = self.losses(_samples_of(raw, part), batched_inputs[part], branch, padded_size=padded_size)
            losses.update({f"{branch}/{name}": loss for name, loss in found.items()})
            start += count
        return losses

    @torch.no_grad()
    def predict(self, batched_inputs: list[Sample], *, instances: bool = True) -> DensePrediction | SegmentPrediction:
        """Predictions for images of one size, at that size; without ``instances`` no instance head need run."""
        images = self.images(batched_inputs)
        return self.prediction(self.heads(images, instances=instances), images)

    def images(self, batched_inputs: list[Sample]) -> ImageList:
        """Normalised and padded."""
        images = [x["image"].to(self.device, non_blocking=True) for x in batched_inputs]
        return ImageList.from_tensors(
            [(image - self.pixel_mean) / self.pixel_std for image in images], self.size_divisibility
        )

    @abstractmethod
    def heads(self, images: ImageList, *, instances: bool) -> Any:
        """What the heads say, in a form of the architecture's own."""

    @abstractmethod
    def losses(
        self, raw: Any, batched_inputs: list[Sample], branch: str, *, padded_size: tuple[int, int]
    ) -> dict[str, Tensor]:
        """Weighted losses of a labelled (or pseudo-labelled) batch from what :meth:`heads` said of images of that
        size."""

    @abstractmethod
    def dense(self, raw: Any, images: ImageList) -> DensePrediction:
        """The predictions that losses without labels are made of, with their graph."""

    @abstractmethod
    def prediction(self, raw: Any, images: ImageList) -> DensePrediction | SegmentPrediction:
        """What :meth:`predict` returns."""

    @abstractmethod
    def output(self, prediction: Any, record: Sample) -> ModelOutput:
        """Maps of the one image of ``prediction``, in Detectron2's panoptic format, at the record's size."""


def _samples_of(raw: Any, part: slice) -> Any:
    """Some samples' share of what the heads said: every tensor's first axis is the batch."""

    def share(value: Any) -> Any:
        return (
            value[part]
            if isinstance(value, Tensor)
            else tuple(map(share, value))
            if isinstance(value, tuple)
            else value
        )

    return replace(raw, **{field.name: share(getattr(raw, field.name)) for field in fields(raw)})


def output_size(record: Sample, size: tuple[int, int]) -> tuple[int, int]:
    """(height, width) of an image's maps: that of the file, or ``size`` where the record does not say."""
    return record.get("height", size[0]), record.get("width", size[1])
