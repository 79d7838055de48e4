"""Entropy minimisation: MinEnt (ADVENT, arXiv 1811.12833) and maximum squares (arXiv 1909.13589), weighted by predicted
class.

Shape legend: B images per rank, C classes, H x W pixels of the crop.
"""

from typing import Iterator

import torch
from torch import Tensor

from ..losses import PerClassLoss, entropy_per_class, maximum_squares_per_class
from ..structures.model import TrainedModel
from ..structures.predictions import DensePrediction
from ..structures.samples import DomainBatch
from ..weighting import ClassWeighting
from .strategy import Stateful, Strategy, prefixed

#: ENTROPY.LOSS
ENTROPY_LOSSES = ("entropy", "maximum_squares")


class EntropyMinimization(Strategy):
    """Source losses, then a loss that makes the predictions on the target certain. The instance heads see the source
    only."""

    def __init__(
        self,
        *,
        loss: str,
        image_wise_ratio: float | None,
        loss_weights: dict[str, float],
        class_weightings: dict[str, ClassWeighting],
    ) -> None:
        """
        Args:
            loss: one of :data:`ENTROPY_LOSSES`.
            image_wise_ratio: exponent of maximum squares' image-wise weighting; None for none.
            loss_weights: level (``sem_seg``, with an auxiliary head ``auxiliary``) -> factor.
            class_weightings: level -> class weighting, by predicted class.
        """
        self.loss = loss
        self.image_wise_ratio = image_wise_ratio
        self.loss_weights = loss_weights
        self.class_weightings = class_weightings
        self.health: dict[str, Tensor] = {}
        self.modules: dict[str, Stateful] = {f"{k}_{loss}": w for k, w in class_weightings.items()}

    def terms(self, model: TrainedModel, batch: DomainBatch, iteration: int) -> Iterator[dict[str, Tensor]]:
        yield prefixed("source", model(batch.source, branch="source"))
        _, prediction = model(batch.target, dense=True, instances=False)
        valid = torch.stack([x["valid_mask"] for x in batch.target]).to(prediction.sem_seg.device, non_blocking=True)
        losses = {}
        for level, weighting in self.class_weightings.items():
            value = weighting(self._per_class(prediction, level, valid), branch="target")
            losses[f"target/loss_{level}_{self.loss}"] = self.loss_weights[level] * value
        with torch.no_grad():
            confidence = prediction.sem_seg.softmax(dim=1).amax(dim=1)
            self.health = {"target/confidence": (confidence * valid).sum() / valid.sum().clamp(min=1)}
        yield losses

    def _per_class(self, prediction: DensePrediction, level: str, valid: Tensor) -> PerClassLoss:
        options = {"gradient": self.class_weightings[level].gradient}
        if level == "sem_seg":
            options |= {"features": prediction.hidden, "feature_stride": prediction.feature_stride}
        logits = getattr(prediction, level)
        if self.loss == "entropy":
            return entropy_per_class(logits, valid, **options)
        return maximum_squares_per_class(logits, valid, image_wise_ratio=self.image_wise_ratio, **options)
