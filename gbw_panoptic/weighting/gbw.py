"""Gradient-based class weighting (GBW): Alcover-Couso et al., arXiv 2407.01327.

This is a reading of the paper. The authors' released code is another one (:mod:`.released`); docs/methods.md compares them.

Shape legend: C classes, D entries of a class gradient.
"""

import torch
from torch import Tensor

from .base import BRANCHES, ClassWeighting
from .simplex import gbw_weights


class GradientBasedWeighting(ClassWeighting):
    """Weights of every step from the gradient magnitudes g_c of the per-class mean losses.

    Order of a step (methods: GBW, section 4): sums over all ranks, mean over the class's pixels, norm, moving average of
    g, normalisation, projection. The program's members are the classes present or, with a moving average, every class
    seen so far (ours). One state per branch, in buffers, so that it is in the checkpoint. Works without any host
    synchronisation. A non-finite g leaves the branch's state and its previous weights in force and is counted.
    """

    #: For a warning: what weighted the classes in steps that were skipped.
    in_skipped_steps = "the class weights before them stayed in force"

    def __init__(
        self,
        *,
        num_classes: int,
        lam: float,
        gradient: str,
        normalize: bool = False,
        momentum: float = 0.0,
        warmup_iters: int = 0,
        **common,
    ) -> None:
        """
        Args:
            lam: > 0, the pull towards weight 1.
            gradient: what g is taken with respect to, one of ``losses.GRADIENTS``.
            normalize: divide g by its mean over the members, which frees ``lam`` of the loss's units.
            momentum: in [0, 1); 0 is the paper's per-iteration update.
            warmup_iters: weights are 1 for so many steps of the branch.
            common: ``denominator``, ``branches`` of :class:`ClassWeighting`.
        """
        super().__init__(num_classes=num_classes, **common)
        if not lam > 0:
            raise ValueError(f"Expected GBW.LAMBDA > 0, but got {lam}.")
        if not 0 <= momentum < 1:
            raise ValueError(f"Expected GBW.MOMENTUM in [0, 1), but got {momentum}.")
        self.lam = lam
        self.gradient = gradient
        self.normalize = normalize
        self.momentum = momentum
        self.warmup_iters = warmup_iters
        shape = (len(BRANCHES), num_classes)
        self.register_buffer("gradient_norms", torch.zeros(shape))
        self.register_buffer("seen", torch.zeros(shape, dtype=torch.bool))
        self.register_buffer("previous_weights", torch.ones(shape))
        self.register_buffer("steps", torch.zeros(len(BRANCHES), dtype=torch.int64))
        self.register_buffer("skipped", torch.zeros(len(BRANCHES), dtype=torch.int64))

    @torch.no_grad()
    def class_weights(self, count: Tensor, gradient: Tensor | None, branch: str) -> Tensor:
        if gradient is None:
            raise ValueError("Expected class gradients (PerClassLoss.gradient) for GBW, but the head supplied none.")
        row = BRANCHES.index(branch)
        present = count > 0
        g = gradient.double().norm(dim=1) / count.clamp(min=1)
        finite = torch.isfinite(torch.where(present, g, 0)).all()
        update = present & finite
        seen = self.seen[row]
        average = torch.where(seen, self.momentum * self.gradient_norms[row] + (1 - self.momentum) * g, g)
        norms = torch.where(update, average.float(), self.gradient_norms[row])
        seen = seen | update
        members = seen if self.momentum > 0 else present
        weights = gbw_weights(self._normalized(norms, members), self.lam, members)
        weights = torch.where(finite, weights, self.previous_weights[row])
        weights = torch.where(self.steps[row] < self.warmup_iters, 1, weights)
        self.gradient_norms[row] = norms
        self.seen[row] = seen
        self.previous_weights[row] = weights
        self.steps[row] += 1
        self.skipped[row] += (~finite).long()
        share = count / count.sum().clamp(min=1)
        self.statistics[branch] = {"weight": weights, "gradient": torch.where(present, norms, 0), "share": share}
        return weights.to(count.dtype)

    def _normalized(self, norms: Tensor, members: Tensor) -> Tensor:
        if not self.normalize:
            return norms
        mean = torch.where(members, norms, 0).sum() / members.sum().clamp(min=1)
        return norms / torch.where(mean > 0, mean, 1)
