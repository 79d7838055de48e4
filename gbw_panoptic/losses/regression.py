"""Squared error of the centre heatmap and L1 of the offsets, summed per class of the thing instance.

Shape legend: B images, C classes, H x W pixels.
"""

import torch
from torch import Tensor

from ..structures.per_class_loss import PerClassLoss, group_counts, group_sums

#: Pixels; the Huber threshold of the offset head's class gradient (ours: about the default centre sigma).
OFFSET_HUBER_DELTA = 8.0


def center_loss_per_class(
    prediction: Tensor, target: Tensor, weights: Tensor, classes: Tensor, *, num_classes: int, with_gradient: bool
) -> PerClassLoss:
    """Squared error (p - t)^2 per class of the instance whose Gaussian dominates; pixels of none form a last group.

    The background group is outside a weighting's program and keeps weight 1 (methods: GBW, section 6).

    Args:
        prediction, target: [B, 1, H, W] float.
        weights: [B, 1, H, W] float >= 0; pixels of weight 0 take no part.
        classes: [B, H, W] int64 class of the dominating instance; any other value is background.
        with_gradient: also sum the per-pixel gradient norms 2 |p - t| (setting ``pixel``).

    Returns:
        :class:`PerClassLoss` with G = C + 1 and D = 1.
    """
    weights = weights.squeeze(1)
    error = (prediction.float() - target).squeeze(1)
    groups = torch.where((classes >= 0) & (classes < num_classes), classes, num_classes)
    groups = torch.where(weights > 0, groups, -1)
    norms = 2 * error.detach().abs() * weights if with_gradient else None
    return _per_class(error.square() * weights, groups, num_classes, num_classes + 1, norms)


def offset_loss_per_class(
    prediction: Tensor, target: Tensor, weights: Tensor, classes: Tensor, *, num_classes: int, with_gradient: bool
) -> PerClassLoss:
    """L1 distance |dy| + |dx| in pixels, per class of the thing instance that the pixel belongs to.

    The gradient of L1 has the same length everywhere, so the class gradient is that of the Huber loss with
    :data:`OFFSET_HUBER_DELTA`: the error, clipped (methods: GBW, section 6).

    Args:
        prediction, target: [B, 2, H, W] float, (dy, dx) in pixels.
        weights: [B, 1, H, W] float >= 0; pixels of weight 0 take no part.
        classes: [B, H, W] int64; pixels of no class (stuff, where it is not ignored) form a last group.

    Returns:
        :class:`PerClassLoss` with G = C + 1 and D = 1.
    """
    weights = weights.squeeze(1)
    error = prediction.float() - target
    groups = torch.where((classes >= 0) & (classes < num_classes), classes, num_classes)
    groups = torch.where(weights > 0, groups, -1)
    norms = None
    if with_gradient:
        norms = error.detach().clamp(-OFFSET_HUBER_DELTA, OFFSET_HUBER_DELTA).norm(dim=1) * weights
    return _per_class(error.abs().sum(1) * weights, groups, num_classes, num_classes + 1, norms)


def _per_class(
    losses: Tensor, groups: Tensor, num_classes: int, num_groups: int, gradient_norms: Tensor | None
) -> PerClassLoss:
    count = group_counts(groups, num_groups)
    gradient = None
    if gradient_norms is not None:
        gradient = group_sums(gradient_norms, groups, num_classes).float().unsqueeze(1)
    # Detectron2 and EDAPS divide instance losses by their valid pixels: `all` means the same as `valid` here.
    return PerClassLoss(group_sums(losses, groups, num_groups), count, count.sum(), gradient)
