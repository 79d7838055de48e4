"""Class weights that follow from the gradients of each step: what the readings of GBW share.

Shape legend: C classes.
"""

import torch
from torch import Tensor

from .base import BRANCHES, ClassWeighting

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
