"""The protocol: per-class sums in, one scalar out; what the readings of GBW share.

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

    def __init__(self, *, num_classes: int, denominator: str = "weights", branches: tuple[str, ...] = BRANCHES) -> None:
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


#: Share of the mean weights that a step keeps.
_DECAY = 0.99


class DynamicWeighting(ClassWeighting):
    """Counts steps whose gradients are not finite, and remembers the mean weights of every branch.

    Both are buffers, in the checkpoint. Attributes: ``skipped`` [branches] int64; ``mean_weights`` [branches, C], 1 for
    a class that a branch has not seen (not 0, since a mean teacher averages it).
    """

    #: For a warning: what weighted the classes in steps that were skipped.
    in_skipped_steps: str

    def __init__(self, *, num_classes: int, lam: float, **common) -> None:
        """
        Args:
            lam: > 0, the pull towards weight 1.
            common: ``denominator``, ``branches`` of :class:`ClassWeighting`.
        """
        super().__init__(num_classes=num_classes, **common)
        if not lam > 0:
            raise ValueError(f"Expected GBW.LAMBDA > 0, but got {lam}.")
        self.lam = lam
        self.register_buffer("skipped", torch.zeros(len(BRANCHES), dtype=torch.int64))
        self.register_buffer("mean_weights", torch.ones(len(BRANCHES), num_classes))

    def mean_class_weights(self, branch: str) -> Tensor:
        return self.mean_weights[BRANCHES.index(branch)]

    def remember(self, row: int, weights: Tensor, members: Tensor, finite: Tensor) -> None:
        """One step more: its weights [C], the classes [C] bool that they are of, and whether its gradients were
        finite."""
        mean, weights = self.mean_weights[row], weights.to(self.mean_weights.dtype)
        average = torch.where(mean == 1, weights, _DECAY * mean + (1 - _DECAY) * weights)
        self.mean_weights[row] = torch.where(members, average, mean)
        self.skipped[row] += (~finite).long()

    def _load_from_state_dict(self, state: dict, prefix: str, *arguments) -> None:
        state.setdefault(f"{prefix}mean_weights", self.mean_weights)  # checkpoints of older versions have none
        super()._load_from_state_dict(state, prefix, *arguments)
