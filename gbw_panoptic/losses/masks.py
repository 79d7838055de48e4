"""Losses of predicted masks at points, one number for each mask, with their gradients in closed form.

Autograd would keep six arrays of all masks and points for each; the closed form is one array a loss.

Shape legend: M masks, P points of each, P' points among which they were chosen.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable


class MaskLosses(NamedTuple):
    """Losses [M] of each mask and their gradients [M, P] at the logits of its points."""

    cross_entropy: Tensor
    dice: Tensor
    cross_entropy_gradient: Tensor
    dice_gradient: Tensor


@torch.no_grad()
def mask_losses(logits: Tensor, targets: Tensor, counts: Tensor) -> MaskLosses:
    """Binary cross entropy, mean over the points that count, and dice, 1 - (2 sum p t + 1) / (sum p + sum t + 1) over
    them; both 0 where none does.

    Args:
        logits: [M, P] float32.
        targets: [M, P] in 0..1.
        counts: [M, P] float32, 1 where a point counts, else 0.
    """
    number = counts.sum(dim=1, keepdim=True).clamp_(min=1)
    probability, inside = logits.sigmoid(), targets * counts
    # where, not a product: an infinite logit that does not count must not become NaN
    losses = torch.where(counts > 0, F.softplus(logits) - logits * targets, 0)
    cross_entropy = losses.sum(dim=1) / number[:, 0]
    cross_entropy_gradient = (probability - targets).mul_(counts).div_(number)
    overlap = 2 * (probability * inside).sum(dim=1, keepdim=True) + 1
    size = (probability * counts).sum(dim=1, keepdim=True) + inside.sum(dim=1, keepdim=True) + 1
    dice_gradient = inside.mul_(-2 / size).addcmul_(overlap / size.square(), counts)
    dice_gradient.mul_(probability).mul_(1 - probability)
    return MaskLosses(cross_entropy, 1 - (overlap / size)[:, 0], cross_entropy_gradient, dice_gradient)


class AtChosenPoints(torch.autograd.Function):
    """Losses that were computed at some of many points, as functions of the logits at all of them."""

    @staticmethod
    def forward(ctx, logits: Tensor, chosen: Tensor, losses: Tensor, gradients: Tensor) -> Tensor:
        """
        Args:
            logits: [M, P'].
            chosen: [M, P] int64, distinct within a row.
            losses: [K, M]; gradients: [K, M, P], theirs at the chosen logits.

        Returns:
            ``losses``.
        """
        ctx.save_for_backward(chosen.int(), gradients)
        ctx.num_points = logits.shape[1]
        return losses.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        chosen, gradients = ctx.saved_tensors
        at_chosen = torch.einsum("km,kmp->mp", gradient, gradients)
        at_all = at_chosen.new_zeros(len(chosen), ctx.num_points)
        return at_all.scatter_(1, chosen.long(), at_chosen), None, None, None
