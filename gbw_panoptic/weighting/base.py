"""The protocol: per-class sums in, one scalar out.

Shape legend: C classes, G groups (C classes, then groups outside the program), D entries of a class gradient.
"""

import torch
from torch import Tensor, nn

from ..distributed import BackwardGroup, all_reduce_sums, world_size
from ..structures.per_class_loss import PerClassLoss
from .reduction import DENOMINATORS, weighted_mean

#: Every branch has a state of its own: labelled source, mixed (pseudo-labelled) target, masked target, and the target
#: itself (labels that were bought; entropy and alignment, which have none).
BRANCHES = ("source", "mixed", "masked", "target")


class ClassWeighting(nn.Module):
    """Turns a :class:`PerClassLoss` into the scalar that is minimised. This class weights every class by 1.

    Attributes:
        gradient: what the head must supply in ``PerClassLoss.gradient`` (one of ``losses.GRADIENTS``, or ``SQUARES``),
            or None.
        branches: where the weights apply; on other branches every class weighs 1, and there are no statistics.
        backward_group: process group of the backward form (:func:`reweighted`).
        statistics: branch -> {"weight", "gradient", "share"}: [C] tensors of the last step, for logging.
    """

    gradient: str | None = None

    def __init__(
        self, *, num_classes: int, denominator: str = "weights", branches: tuple[str, ...] = BRANCHES
    ) -> None:
        super().__init__()
        if denominator not in DENOMINATORS:
            raise ValueError(f"Expected denominator to be one of {DENOMINATORS}, but got {denominator!r}.")
        self.num_classes = num_classes
        self.denominator = denominator
        self.branches = branches
        self.backward_group = BackwardGroup()
        self.statistics: dict[str, dict[str, Tensor]] = {}

    def forward(self, loss: PerClassLoss, *, branch: str) -> Tensor:
        """Scalar loss of one head on one branch (methods: GBW, section 1)."""
        count, num_pixels, gradient = all_reduce_sums(loss.count, loss.num_pixels, loss.gradient)
        return weighted_mean(
            loss.total,
            count,
            num_pixels,
            self.group_weights(count, gradient, branch),
            denominator=self.denominator,
            world_size=world_size(),
            min_count=loss.min_count,
        )

    def gradient_on(self, branch: str) -> str | None:
        """:attr:`gradient` for losses of a branch: None where the weights do not apply."""
        return self.gradient if branch in self.branches else None

    def group_weights(self, count: Tensor, gradient: Tensor | None, branch: str) -> Tensor:
        """[G] weights: those of the classes, then 1 for groups outside the program (background of the centre head)."""
        if branch not in self.branches:
            return torch.ones_like(count)
        weights = self.class_weights(count[: self.num_classes], gradient, branch)
        return torch.cat((weights, weights.new_ones(len(count) - self.num_classes)))

    def class_weights(self, count: Tensor, gradient: Tensor | None, branch: str) -> Tensor:
        """[C] weights from the pixel counts [C] and class gradient sums [C, D] of all ranks."""
        return torch.ones_like(count)

    def mean_class_weights(self, branch: str) -> Tensor:
        """[C] moving average of the branch's weights over the steps so far; 1 for a class that it has not seen."""
        return torch.ones(self.num_classes)
