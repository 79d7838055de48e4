"""Training on the labelled source and on the target pixels that were bought: the losses of RIPU (CVPR 2022).

Shape legend: B images per rank, C classes, H x W pixels of the crop.
"""

from dataclasses import dataclass
from typing import Iterator

import torch
from torch import Tensor, nn

from ..data.loader import DomainBatch
from ..losses.active import boundary_consistency, negative_learning
from .strategy import Stateful, Strategy, prefixed


@dataclass(frozen=True)
class ActiveLossWeights:
    """Factors of the losses beside the source's own."""

    target: float = 1.0
    negative: float = 1.0
    consistency: float = 0.1


class ActiveTraining(Strategy):
    """Source losses with consistency across boundaries; then cross entropy on the bought pixels of the target and negative
    learning on all of it. Class weights of bought pixels are those of the branch ``target``. The instance heads see the
    source only. Without source samples (RIPU's source-free setting) the terms of the target are left."""

    def __init__(self, *, loss_weights: ActiveLossWeights, negative_threshold: float, ignore_label: int) -> None:
        """
        Args:
            negative_threshold: probabilities below it are pushed to 0.
        """
        self.loss_weights = loss_weights
        self.negative_threshold = negative_threshold
        self.ignore_label = ignore_label
        self.health: dict[str, Tensor] = {}
        self.modules: dict[str, Stateful] = {}

    def terms(self, model: nn.Module, batch: DomainBatch, iteration: int) -> Iterator[dict[str, Tensor]]:
        if batch.source:
            yield self._source(model, batch.source)
        losses, prediction = model(batch.target, branch="target", dense=True, instances=False)
        valid = self._stack(batch.target, "valid_mask", prediction.sem_seg.device)
        negative = negative_learning(prediction.sem_seg, valid, self.negative_threshold)
        with torch.no_grad():
            known = self._stack(batch.target, "sem_seg", valid.device) != self.ignore_label
            self.health = {"target/labelled_pixels": known.float().mean()}
        yield {
            **prefixed("target", losses, self.loss_weights.target),
            "target/loss_negative": self.loss_weights.negative * negative,
        }

    def _source(self, model: nn.Module, source: list[dict]) -> dict[str, Tensor]:
        losses, prediction = model(source, branch="source", dense=True)
        labels = self._stack(source, "sem_seg", prediction.sem_seg.device)
        consistency = boundary_consistency(prediction.sem_seg, labels, self.ignore_label)
        return {
            **prefixed("source", losses),
            "source/loss_consistency": self.loss_weights.consistency * consistency,
        }

    @staticmethod
    def _stack(samples: list[dict], key: str, device: torch.device) -> Tensor:
        return torch.stack([sample[key] for sample in samples]).to(device, non_blocking=True)
