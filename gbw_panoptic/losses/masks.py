"""Losses of predicted masks at points, one number for each mask, and the size of their gradients.

Shape legend: M masks, P points of each, C classes.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def mask_cross_entropy(logits: Tensor, targets: Tensor, counts: Tensor) -> Tensor:
    """[M] binary cross entropy, mean over the points that count; 0 where none does.

    Args:
        logits: [M, P] float32.
        targets: [M, P] in 0..1.
        counts: [M, P], 1 where a point counts, else 0.
    """
    losses = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    return (losses * counts).sum(dim=1) / counts.sum(dim=1).clamp(min=1)


def dice(logits: Tensor, targets: Tensor, counts: Tensor) -> Tensor:
    """[M] 1 - (2 sum p t + 1) / (sum p + sum t + 1) over the points that count; 0 where none does.

    Arguments as in :func:`mask_cross_entropy`.
    """
    probability = logits.sigmoid() * counts
    targets = targets * counts
    overlap = 2 * (probability * targets).sum(dim=1) + 1
    return 1 - overlap / (probability.sum(dim=1) + targets.sum(dim=1) + 1)


@torch.no_grad()
def mask_cross_entropy_slopes(logits: Tensor, targets: Tensor, counts: Tensor) -> Tensor:
    """[M] sum over the points of the absolute gradient of :func:`mask_cross_entropy` at the logits."""
    slopes = (logits.sigmoid() - targets).abs() * counts
    return slopes.sum(dim=1) / counts.sum(dim=1).clamp(min=1)


@torch.no_grad()
def dice_slopes(logits: Tensor, targets: Tensor, counts: Tensor) -> Tensor:
    """[M] sum over the points of the absolute gradient of :func:`dice` at the logits."""
    probability, targets = logits.sigmoid(), targets * counts
    overlap = 2 * (probability * targets).sum(dim=1, keepdim=True) + 1
    size = (probability * counts).sum(dim=1, keepdim=True) + targets.sum(dim=1, keepdim=True) + 1
    at_probability = (overlap - 2 * targets * size) / size.square()
    return (at_probability * probability * (1 - probability) * counts).abs().sum(dim=1)
