"""Training on the labelled source and on the target pixels that were bought: the losses of RIPU (CVPR 2022).

Shape legend: B images per rank, C classes, H x W pixels of the crop.
"""

from dataclasses import dataclass
from typing import Iterator

import torch
from torch import Tensor

from ..distributed import mean_over_ranks
from ..losses.active import boundary_consistency, negative_learning
from ..structures.model import TrainedModel
from ..structures.samples import DomainBatch, Sample, SourceSample
from .mean_teacher.training import MeanTeacherTraining
from .strategy import Stateful, Strategy, prefixed


@dataclass(frozen=True)
class ActiveLossWeights:
    """Factors of the losses beside the source's own."""

    target: float = 1.0
    negative: float = 1.0
    consistency: float = 0.1


class ActiveTraining(Strategy):
    """Source losses with consistency across boundaries; then cross entropy on the bought pixels of the target and
    negative learning on all of it. Class weights of bought pixels are those of the branch ``target``.

    The instance heads see the source and, if the samples hold them, the instances that bought pixels belong to. Without
    source samples (RIPU's source-free setting) the terms of the target are left. With self-training, what was not
    bought has a mean teacher's labels in mixed images, whose class weights are those of the branch ``mixed`` (ours).
    """

    def __init__(
        self,
        *,
        loss_weights: ActiveLossWeights,
        negative_threshold: float,
        ignore_label: int,
        self_training: MeanTeacherTraining | None = None,
    ) -> None:
        """
        Args:
            negative_threshold: probabilities below it are pushed to 0.
            self_training: adds its terms on the target; needs source samples.
        """
        self.loss_weights = loss_weights
        self.negative_threshold = negative_threshold
        self.ignore_label = ignore_label
        self.health: dict[str, Tensor] = {}
        self.self_training = self_training
        self.modules: dict[str, Stateful] = self_training.modules if self_training else {}

    def before_step(self, model: TrainedModel, iteration: int) -> None:
        if self.self_training:
            self.self_training.before_step(model, iteration)

    def after_step(self, iteration: int) -> None:
        if self.self_training:
            self.self_training.after_step(iteration)

    def terms(self, model: TrainedModel, batch: DomainBatch, iteration: int) -> Iterator[dict[str, Tensor]]:
        source: dict[str, Tensor] = {}
        if batch.source:
            source, consistency = self._source(model, batch.source)
            yield {**prefixed("source", source), "source/loss_consistency": consistency}
        yield self._target(model, batch)
        if self.self_training:
            yield from self.self_training.target_terms(model, batch, iteration, source)
            self.health.update(self.self_training.health)

    def _target(self, model: TrainedModel, batch: DomainBatch) -> dict[str, Tensor]:
        with_instances = "center" in batch.target[0]
        losses, prediction = model(batch.target, branch="target", dense=True, instances=with_instances)
        valid = self._stack(batch.target, "valid_mask", prediction.sem_seg.device)
        negative = negative_learning(prediction.sem_seg, valid, self.negative_threshold, mean=mean_over_ranks)
        with torch.no_grad():
            known = self._stack(batch.target, "sem_seg", valid.device) != self.ignore_label
            self.health = {"target/labelled_pixels": known.float().mean()}
        return {
            **prefixed("target", losses, self.loss_weights.target),
            "target/loss_negative": self.loss_weights.negative * negative,
        }

    def _source(self, model: TrainedModel, source: list[SourceSample]) -> tuple[dict[str, Tensor], Tensor]:
        """The source's own losses, and the weighted consistency across its boundaries."""
        losses, prediction = model(source, branch="source", dense=True)
        labels = self._stack(source, "sem_seg", prediction.sem_seg.device)
        consistency = boundary_consistency(prediction.sem_seg, labels, self.ignore_label, mean=mean_over_ranks)
        return losses, self.loss_weights.consistency * consistency

    @staticmethod
    def _stack(samples: list[Sample], key: str, device: torch.device) -> Tensor:
        return torch.stack([sample[key] for sample in samples]).to(device, non_blocking=True)
