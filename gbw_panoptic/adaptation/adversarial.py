"""Adversarial alignment of predictions: output space (AdaptSegNet, arXiv 1802.10349) and self-information maps (ADVENT,
arXiv 1811.12833), on one or two levels; of the instance heads, too (ours). Both have the same discriminator.

Shape legend: B images per rank, C classes, A = C (+ 2) channels that the discriminator sees, H x W pixels of the crop.
"""

from typing import Callable, Iterator

import torch
from torch import Tensor, nn

from ..distributed import average_gradients
from ..losses.adversarial import SOURCE, TARGET, aligned_map, domain_accuracy, domain_loss
from ..structures.model import TrainedModel
from ..structures.predictions import DensePrediction
from ..structures.samples import DomainBatch
from ..weighting import ClassWeighting, reweighted
from .strategy import Stateful, Strategy, prefixed

_CHANNELS = (64, 128, 256, 512)  # both papers
_SLOPE = 0.2  # both papers
#: Pixels a side: five strides of 2 leave nothing of smaller maps.
MIN_SIZE = 32


def discriminator(in_channels: int) -> nn.Sequential:
    """Five 4x4 convolutions of stride 2, leaky ReLU between them, no normalisation, no final sigmoid.

    Maps [B, A, H, W] to [B, 1, H // 32, W // 32] raw outputs.
    """
    layers: list[nn.Module] = []
    for channels in _CHANNELS:
        layers += [nn.Conv2d(in_channels, channels, 4, stride=2, padding=1), nn.LeakyReLU(_SLOPE, inplace=True)]
        in_channels = channels
    return nn.Sequential(*layers, nn.Conv2d(in_channels, 1, 4, stride=2, padding=1))


#: What is aligned: the semantic head's output and, with two levels, the auxiliary head's.
LEVELS = ("sem_seg", "auxiliary")


class AdversarialAlignment(Strategy):
    """Source losses; then the alignment loss of the target through frozen discriminators; then the discriminators'
    losses on detached predictions of the same step. Model and discriminators are updated together, at the end of the
    step."""

    def __init__(
        self,
        *,
        discriminators: nn.ModuleDict,
        optimizer: torch.optim.Optimizer,
        learning_rate: Callable[[int], float],
        loss_weights: dict[str, float],
        align: str,
        gan: str,
        align_instances: bool,
        class_weighting: ClassWeighting,
    ) -> None:
        """
        Args:
            discriminators: level (of :data:`LEVELS`) -> discriminator.
            optimizer: of the discriminators.
            learning_rate: iteration -> its learning rate.
            loss_weights: level -> factor of its alignment loss.
            align, gan: as in :mod:`gbw_panoptic.losses.adversarial`.
            align_instances: the discriminator of ``sem_seg`` also sees the centre heatmap and the offsets' length
                (ours).
            class_weighting: weights the alignment gradient by predicted class, in the backward form (ours).
        """
        self.discriminators = discriminators
        self.optimizer = optimizer
        self.learning_rate = learning_rate
        self.loss_weights = loss_weights
        self.align = align
        self.gan = gan
        self.align_instances = align_instances
        self.class_weighting = class_weighting
        self.health: dict[str, Tensor] = {}
        self.modules: dict[str, Stateful] = {
            "discriminators": discriminators,
            "discriminator_optimizer": optimizer,
            "alignment": class_weighting,
        }
        self.trained = {"discriminator": discriminators}

    def before_step(self, model: TrainedModel, iteration: int) -> None:
        self.optimizer.zero_grad()

    def terms(self, model: TrainedModel, batch: DomainBatch, iteration: int) -> Iterator[dict[str, Tensor]]:
        self.health = {}
        losses, prediction = model(batch.source, branch="source", dense=True)
        source = {level: x.detach() for level, x in self._maps(prediction).items()}
        del prediction
        yield prefixed("source", losses)

        self.discriminators.requires_grad_(False)  # their part of this backward pass would be waste
        _, prediction = model(batch.target, dense=True, instances=self.align_instances)
        maps = self._maps(prediction, weighted=True)
        target = {level: x.detach() for level, x in maps.items()}
        yield {
            f"target/loss_{level}_alignment": self.loss_weights[level]
            * domain_loss(self.discriminators[level](x), SOURCE, gan=self.gan)
            for level, x in maps.items()
        }
        del prediction, maps

        self.discriminators.requires_grad_(True)
        yield {f"discriminator/loss_{level}": self._discriminator_loss(level, source, target) for level in target}

    def after_step(self, iteration: int) -> None:
        """Update the discriminators."""
        average_gradients(self.discriminators)
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate(iteration)
        self.optimizer.step()

    def _maps(self, prediction: DensePrediction, *, weighted: bool = False) -> dict[str, Tensor]:
        """Level -> [B, A, H, W] map that its discriminator sees."""
        logits = {level: getattr(prediction, level) for level in self.discriminators}
        if weighted:
            logits["sem_seg"] = self._weighted_by_class(logits["sem_seg"])
        maps = {level: aligned_map(z, self.align) for level, z in logits.items()}
        if self.align_instances:
            height, width = prediction.sem_seg.shape[-2:]
            length = prediction.offset.norm(dim=1, keepdim=True) / max(height, width)
            maps["sem_seg"] = torch.cat((maps["sem_seg"], prediction.center, length), dim=1)
        return maps

    def _weighted_by_class(self, logits: Tensor) -> Tensor:
        """The logits; their gradient is weighted by predicted class and its norm logged."""
        logits.register_hook(self._log_gradient)
        return reweighted(
            logits,
            logits.detach().max(dim=1).indices,
            weighting=self.class_weighting,
            branch="target",
            scale=self.loss_weights["sem_seg"] * self.loss_scale,
        )

    def _log_gradient(self, gradient: Tensor) -> None:
        self.health["alignment/gradient_norm"] = gradient.float().norm() / self.loss_scale

    def _discriminator_loss(self, level: str, source: dict[str, Tensor], target: dict[str, Tensor]) -> Tensor:
        loss = 0.0
        for name, domain, maps in (("source", SOURCE, source), ("target", TARGET, target)):
            outputs = self.discriminators[level](maps[level])
            loss = loss + 0.5 * domain_loss(outputs, domain, gan=self.gan)
            self.health[f"discriminator/{level}_accuracy_{name}"] = domain_accuracy(outputs, domain, gan=self.gan)
        return loss
