"""Domain-adaptive Panoptic-DeepLab (Cheng et al., arXiv 1911.10194): a shared backbone, a semantic head and an instance
head, each with a class weighting of its own.

Shape legend: B images, C classes, H x W pixels of the input.
"""

from collections.abc import Iterable, Iterator
from functools import partial

import torch
import torch.nn.functional as F
from detectron2.config import configurable
from detectron2.modeling import META_ARCH_REGISTRY
from detectron2.structures import ImageList
from torch import Tensor

from ..losses import Unions, cross_entropy_per_class, most_probable
from ..structures.predictions import DensePrediction, likeliest_classes
from ..structures.samples import ModelOutput, Sample
from .base import DomainAdaptiveModel, output_size
from .build import panoptic_deeplab_parts
from .heads.auxiliary import AuxiliaryHead
from .heads.daformer import DAFormerInsEmbedHead, DAFormerSemSegHead
from .heads.per_class import PerClassInsEmbedHead, PerClassSemSegHead

#: Of a mean class weight, so that its logarithm is finite.
_LEAST_WEIGHT = 0.01


@META_ARCH_REGISTRY.register()
class DomainAdaptivePanopticDeepLab(DomainAdaptiveModel):
    """Predicts dense maps: classes and, for the panoptic task, centres and offsets of instances."""

    weighted_keys = ("SEMANTIC", "CENTER", "OFFSET")

    @configurable
    def __init__(
        self,
        *,
        sem_seg_head: PerClassSemSegHead | DAFormerSemSegHead,
        ins_embed_head: PerClassInsEmbedHead | DAFormerInsEmbedHead | None,
        auxiliary_head: AuxiliaryHead | None,
        loss_weights: dict[str, float],
        num_classes: int,
        unions: Unions = (),
        tau: float = 0.0,
        log_prior: Tensor | None = None,
        **common,
    ) -> None:
        """
        Args:
            ins_embed_head: None for the semantic task.
            auxiliary_head: a second semantic head on an earlier feature map, for training only; None without one.
            loss_weights: head name (``sem_seg``, ``center``, ``offset``, ``auxiliary``) -> factor of its loss.
            unions: of labels that say less than a class.
            tau: of :meth:`decision_bias` in evaluation.
            log_prior: [C] what it takes back; None: the log of the mean class weights of the source branch.
            common: of :class:`DomainAdaptiveModel`; the weightings are those of the heads.
        """
        super().__init__(**common)
        self.sem_seg_head = sem_seg_head
        self.ins_embed_head = ins_embed_head
        self.auxiliary_head = auxiliary_head
        self.loss_weights = loss_weights
        self.num_classes = num_classes
        self.unions = tuple(unions)
        self.tau = tau
        self.register_buffer("log_prior", log_prior, persistent=False)

    @classmethod
    def from_config(cls, cfg):
        return panoptic_deeplab_parts(cfg)

    def heads(self, images: ImageList, *, instances: bool) -> DensePrediction:
        height, width = images.image_sizes[0]
        features = self.backbone(images.tensor)
        logits, hidden = self.sem_seg_head(features)
        center = offset = auxiliary = None
        if self.ins_embed_head is not None and instances:
            center, offset = (x[..., :height, :width] for x in self.ins_embed_head(features))
        if self.auxiliary_head is not None and self.training:
            auxiliary = self.auxiliary_head(features)[..., :height, :width]
        return DensePrediction(
            logits[..., :height, :width], center, offset, hidden, self.sem_seg_head.common_stride, auxiliary
        )

    def losses(
        self,
        raw: DensePrediction,
        batched_inputs: list[Sample],
        branch: str,
        *,
        padded_size: tuple[int, int] | None = None,
    ) -> dict[str, Tensor]:
        labels = self._stack(batched_inputs, "sem_seg")
        weights = self._stack(batched_inputs, "sem_seg_weights")
        gradients = {head: weighting.gradient_on(branch) for head, weighting in self.weightings.items()}
        unions = {"unions": self.unions} if self.unions else {}  # a head of a user's need not know of any
        parts = {"sem_seg": self.sem_seg_head.losses(raw, labels, weights, gradients["sem_seg"], **unions)}
        if raw.center is not None:
            parts["center"], parts["offset"] = self.ins_embed_head.losses(
                raw.center,
                raw.offset,
                self._instance_targets(batched_inputs),
                num_classes=self.num_classes,
                gradients=tuple(gradients[head] is not None for head in ("center", "offset")),
                **({"class_of": partial(most_probable, scores=raw.sem_seg, unions=self.unions)} if unions else {}),
            )
        if raw.auxiliary is not None:
            options = {"ignore_label": self.sem_seg_head.ignore_value, "gradient": gradients["auxiliary"], **unions}
            parts["auxiliary"] = cross_entropy_per_class(raw.auxiliary, labels, weights, **options)
        return {
            f"loss_{head}": self.loss_weights[head] * self.weightings[head](loss, branch=branch)
            for head, loss in parts.items()
        }

    def dense(self, raw: DensePrediction, images: ImageList) -> DensePrediction:
        return raw

    prediction = dense

    def decision_bias(self, tau: float) -> Tensor:
        """[C, 1, 1] what is added to semantic logits so that they decide as if no class had been weighted (methods:
        GBW, section 12; ours): -tau log w, with w the mean class weights of the source branch; tau 0 changes
        nothing."""
        prior = self.log_prior
        if prior is None:
            prior = log_of_weights(self.weightings["sem_seg"].mean_class_weights("source"))
        return -tau * prior.to(self.device).view(-1, 1, 1)

    def output(self, prediction: DensePrediction, record: Sample) -> ModelOutput:
        return next(self.decide(prediction, record, (self.tau,)))

    def decide(self, dense: DensePrediction, record: Sample, taus: Iterable[float]) -> Iterator[ModelOutput]:
        """The output for one image, once for each tau, from what was predicted for it."""
        seen = tuple(dense.sem_seg.shape[-2:])
        size = output_size(record, seen)
        logits = _resize(dense.sem_seg, size)[0]
        if dense.center is not None:
            scale = dense.offset.new_tensor(size) / dense.offset.new_tensor(seen)
            offset = _resize(dense.offset, size)[0] * scale.view(2, 1, 1)  # offsets are in pixels
            center = _resize(dense.center, size)[0]
        for tau in taus:
            sem_seg = logits + self.decision_bias(tau) if tau else logits
            labels = likeliest_classes(sem_seg)
            result = {"sem_seg": sem_seg, "labels": labels}
            if dense.center is not None:
                panoptic = self.post_processing(labels, center, offset)
                result["panoptic_seg"] = (panoptic, None)
                if self.post_processing.score_instances:
                    result["instance_scores"] = self.post_processing.scores(panoptic, sem_seg, center)
            yield result

    def _stack(self, batched_inputs: list[Sample], key: str) -> Tensor:
        return torch.stack([x[key].to(self.device, non_blocking=True) for x in batched_inputs])

    def _instance_targets(self, batched_inputs: list[Sample]) -> dict:
        keys = ("center_weights", "offset", "offset_weights", "center_classes", "instance_ids")
        targets = {key: self._stack(batched_inputs, key) for key in keys}
        targets["center"] = self._stack(batched_inputs, "center").unsqueeze(1)
        targets["instance_classes"] = [x["instance_classes"] for x in batched_inputs]
        return targets


def _resize(x: Tensor, size: tuple[int, int]) -> Tensor:
    if tuple(x.shape[-2:]) == tuple(size):
        return x
    return F.interpolate(x, size=size, mode="bilinear", align_corners=False)


def log_of_weights(weights: Tensor) -> Tensor:
    """[C] log of mean class weights [C]; a class of next to none is not decided for alone."""
    return weights.clamp(min=_LEAST_WEIGHT).log()
