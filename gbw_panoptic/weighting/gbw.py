"""Gradient-based class weighting (GBW): Alcover-Couso et al., arXiv 2407.01327.

This is a reading of the paper, with a form of it that is free of scale (ours). The authors' released code is another
reading (:mod:`.released`); docs/methods.md compares them.

Of a loss on logits, the sums of the class gradients [C, C] divided by the counts are J[y, c] = dL_y / db_c: how the
mean loss of class y changes with the bias of logit channel c. For cross entropy J[c, c] is minus what class c misses of
its own pixels, and J[y, c] what it takes of those of y, as mean probabilities.

Shape legend: C classes, D entries of a class gradient.
"""

import torch
from torch import Tensor

from .base import BRANCHES, DynamicWeighting
from .simplex import gbw_weights, score_weights

#: GBW.ERRORS: of a class's own pixels (row c of J); those and what is wrongly taken for it (column c); the same, the
#: latter counting against it.
ERRORS = ("misses", "both", "signed")


def magnitudes(gradient: Tensor, count: Tensor, errors: str = "misses") -> Tensor:
    """g of every class; of ``signed``, below 0 where a class takes more than it misses.

    ``misses``: g_c = || J[c, :] ||, the gradient of the class's own loss. ``both``: || J[:, c] ||, that of all class
    losses at the class's channel. ``signed``: g_c |g_c| = J[c, c]^2 - sum_{y != c} J[y, c]^2.

    Args:
        gradient: [C, D] float64 sums over the pixels of each class; D >= C and the channels first, but for ``misses``.
        count: [C] pixels; absent classes have gradient 0.
        errors: one of :data:`ERRORS`.

    Returns:
        [C] float64.
    """
    if errors == "misses":
        return gradient.norm(dim=1) / count.clamp(min=1)
    squares = _of_channels(gradient / count.clamp(min=1).unsqueeze(1)).square()
    column = squares.sum(0)
    if errors == "both":
        return column.sqrt()
    score = 2 * squares.diagonal() - column
    return score.sign() * score.abs().sqrt()


def excess_of_predictions(gradient: Tensor, count: Tensor) -> Tensor:
    """Mass predicted for each class beyond its labels, over their number: 1 where it is predicted twice as often as it
    occurs.

    Of cross entropy, whose gradient at a logit is q (p - e): the sum over all labelled pixels is predicted minus
    labelled mass.

    Args:
        gradient: [C, D >= C] float64 sums over the pixels of each class.
        count: [C] pixels.

    Returns:
        [C] float64, at least -1 for pixel weights q of at most 1.
    """
    return _of_channels(gradient).sum(0) / count.clamp(min=1)


def _of_channels(gradient: Tensor) -> Tensor:
    """[C, C]: without the channel of no object, which follows behind the classes."""
    return gradient[:, : len(gradient)]


#: Share of the mean excess of predictions that a step keeps.
_EXCESS_DECAY = 0.9


class GradientBasedWeighting(DynamicWeighting):
    """Weights of every step from the gradient magnitudes g_c of the per-class mean losses.

    Order of a step (methods: GBW, section 4): sums over all ranks, mean over the class's pixels, norm, moving average
    of g, normalisation, projection. The program's members are the classes present or, with a moving average, every
    class seen so far (ours). One state per branch, in buffers, so that it is in the checkpoint. Works without any host
    synchronisation. A non-finite g leaves the branch's state and its previous weights in force and is counted.
    """

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
        scale_free: bool = False,
        errors: str = "misses",
        guard: float = 0.0,
        cooldown: tuple[int, int] = (0, 0),
        **common,
    ) -> None:
        """
        Args:
            lam: > 0, the pull towards weight 1.
            gradient: what g is taken with respect to, one of ``losses.GRADIENTS``.
            normalize: divide g by its mean over the members, which frees ``lam`` of the loss's units.
            momentum: in [0, 1); 0 is the paper's per-iteration update.
            warmup_iters: weights are 1 for so many steps of the branch.
            scale_free: ``lam`` is in units of the spread of g^2 (:func:`~.simplex.score_weights`; ours).
            errors: which errors g sees, one of :data:`~.magnitudes.ERRORS` (ours).
            guard: x > 0: g^2 of a class counts less the more it is predicted beyond its labels, and not at all from an
                excess of x times their number on (:func:`~.magnitudes.excess_of_predictions`, mean over steps); 0: no
                guard (ours).
            cooldown: in the last k of n steps of the branch the weights go back to 1, in a straight line: (k, n)
                (ours).
            common: ``denominator``, ``branches`` of :class:`ClassWeighting`.

        Raises:
            ValueError: an argument is outside of its range, or ``errors`` and ``guard`` want a gradient that has one
                entry a class.
        """
        super().__init__(num_classes=num_classes, lam=lam, **common)
        if not 0 <= momentum < 1:
            raise ValueError(f"Expected GBW.MOMENTUM in [0, 1), but got {momentum}.")
        if errors not in ERRORS:
            raise ValueError(f"Expected GBW.ERRORS to be one of {ERRORS}, but got {errors!r}.")
        if gradient != "logits" and (errors != "misses" or guard):
            raise ValueError(
                f"Expected gradient 'logits' with GBW.ERRORS {errors} or GBW.GUARD {guard}, but got {gradient!r}."
            )
        self.gradient = gradient
        self.normalize = normalize
        self.momentum = momentum
        self.warmup_iters = warmup_iters
        self.scale_free = scale_free
        self.errors = errors
        self.guard = guard
        self.cooldown = cooldown
        shape = (len(BRANCHES), num_classes)
        self.register_buffer("gradient_norms", torch.zeros(shape))
        self.register_buffer("seen", torch.zeros(shape, dtype=torch.bool))
        self.register_buffer("previous_weights", torch.ones(shape))
        self.register_buffer("steps", torch.zeros(len(BRANCHES), dtype=torch.int64))
        if guard:
            self.register_buffer("excess", torch.zeros(shape))

    @torch.no_grad()
    def class_weights(self, count: Tensor, gradient: Tensor | None, branch: str) -> Tensor:
        if gradient is None:
            raise ValueError("Expected class gradients (PerClassLoss.gradient) for GBW, but the head supplied none.")
        row = BRANCHES.index(branch)
        present = count > 0
        g = magnitudes(gradient.double(), count, self.errors)
        finite = torch.isfinite(torch.where(present, g, 0)).all()
        update = present & finite
        seen = self.seen[row]
        average = torch.where(seen, self.momentum * self.gradient_norms[row] + (1 - self.momentum) * g, g)
        norms = torch.where(update, average.float(), self.gradient_norms[row])
        if self.guard:
            self._update_excess(row, gradient, count, update)
        seen = seen | update
        members = seen if self.momentum > 0 else present
        weights = torch.where(finite, self._program(norms, members, row), self.previous_weights[row])
        weights = torch.where(self.steps[row] < self.warmup_iters, 1, weights)
        self.gradient_norms[row] = norms
        self.seen[row] = seen
        self.previous_weights[row] = weights  # a skipped step cools them down itself
        weights = self._cooled(weights, row)
        self.steps[row] += 1
        self.remember(row, weights, members, finite)
        share = count / count.sum().clamp(min=1)
        self.statistics[branch] = {"weight": weights, "gradient": torch.where(present, norms, 0), "share": share}
        return weights.to(count.dtype)

    def _program(self, norms: Tensor, members: Tensor, row: int) -> Tensor:
        """[C] float32 weights of the magnitudes [C]."""
        norms = self._normalized(norms, members)
        if not (self.scale_free or self.guard or self.errors == "signed"):
            return gbw_weights(norms, self.lam, members)
        scores = norms.double() * norms.abs()
        if self.guard:
            scores = torch.where(scores > 0, scores * (1 - self.excess[row] / self.guard).clamp(0, 1), scores)
        return score_weights(scores, self.lam, members, scale_free=self.scale_free).float()

    def _update_excess(self, row: int, gradient: Tensor, count: Tensor, update: Tensor) -> None:
        excess = excess_of_predictions(gradient.double(), count).to(self.excess.dtype)
        average = _EXCESS_DECAY * self.excess[row] + (1 - _EXCESS_DECAY) * excess
        self.excess[row] = torch.where(update, average, self.excess[row])

    def _cooled(self, weights: Tensor, row: int) -> Tensor:
        """To 1 in the cool-down, in a straight line, whose convex combinations stay in the program."""
        length, end = self.cooldown
        if not length:
            return weights
        return 1 + (weights - 1) * ((end - 1 - self.steps[row]) / length).clamp(0, 1)

    def _normalized(self, norms: Tensor, members: Tensor) -> Tensor:
        if not self.normalize:
            return norms
        mean = torch.where(members, norms.abs(), 0).sum() / members.sum().clamp(min=1)
        return norms / torch.where(mean > 0, mean, 1)
