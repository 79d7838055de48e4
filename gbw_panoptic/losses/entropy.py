"""Losses of unlabelled predictions, per predicted class: entropy and maximum squares, with closed-form gradients.

Shape legend: B images, C classes, H x W pixels of the loss, h x w pixels of the features, K feature channels.
"""

import math
from typing import Callable, TypedDict, Unpack

import torch
import torch.nn.functional as F
from torch import Tensor

from ..structures.per_class_loss import PerClassLoss, group_counts, group_sums
from .class_gradients import GRADIENTS, class_gradients

#: r of the image-wise weighting of maximum squares, the public code's default.
IMAGE_WISE_RATIO = 0.2


class _GradientOptions(TypedDict, total=False):
    """Keyword arguments that :func:`class_gradients` explains."""

    gradient: str | None
    features: Tensor | None
    feature_stride: int
    parameters: tuple[Tensor, ...]


def entropy_per_class(logits: Tensor, valid: Tensor | None = None, **options: Unpack[_GradientOptions]) -> PerClassLoss:
    """Normalised entropy, summed per class of the prediction: l_i = -sum_k p_k log p_k / log C, in [0, 1].

    Its mean over all pixels is the loss of MinEnt (Vu et al., ADVENT, arXiv 1811.12833). Gradient at the logits:
    -p_k (log p_k + H) / log C with H = -sum_k p_k log p_k. The class of a pixel is its argmax, without gradient.

    Args:
        logits: [B, C, H, W] float, z, C >= 2.
        valid: [B, H, W] bool; pixels of False do not count, whatever their logits. All count when absent.
        options: ``gradient``, ``features``, ``feature_stride`` and ``parameters``, as in ``cross_entropy_per_class``.

    Returns:
        :class:`PerClassLoss` with G = C. ``num_pixels`` counts all pixels, invalid ones included.

    Raises:
        ValueError: shapes disagree, C < 2, or ``gradient`` is unknown.
    """
    _check(logits, valid, options.get("gradient"))
    scale = 1 / math.log(logits.shape[1])

    def losses(log_p: Tensor) -> Tensor:
        return -scale * (log_p.exp() * log_p).sum(1)

    def residual(log_p: Tensor) -> Tensor:
        p = log_p.exp()
        return -scale * p * (log_p - (p * log_p).sum(1, keepdim=True))

    return _per_class(logits, valid, losses, residual, **options)


def maximum_squares_per_class(
    logits: Tensor,
    valid: Tensor | None = None,
    *,
    image_wise_ratio: float | None = None,
    **options: Unpack[_GradientOptions],
) -> PerClassLoss:
    """Maximum squares (Chen et al., arXiv 1909.13589), summed per class of the prediction: l_i = -sum_k p_k^2 / (2 C).

    The division by C is the public code's, whose mean runs over classes, too. Gradient at the logits:
    -p_k (p_k - sum_j p_j^2) / C. With ``image_wise_ratio`` every pixel counts 2 N w_c times (N w_c is that of
    :func:`image_wise_factors`; the 2, because the public code's image-wise loss has no 1/2), so that the mean over all
    pixels is the public -1 / (B C) * sum_i w_{c_i} sum_k p_k^2.

    Args:
        logits: [B, C, H, W] float, z, C >= 2.
        valid: [B, H, W] bool; pixels of False do not count, whatever their logits. All count when absent.
        image_wise_ratio: r in [0, 1], or None for no image-wise weighting; published: :data:`IMAGE_WISE_RATIO`.
        options: ``gradient``, ``features``, ``feature_stride`` and ``parameters``, as in ``cross_entropy_per_class``.

    Returns:
        :class:`PerClassLoss` with G = C. ``num_pixels`` counts all pixels, invalid ones included.

    Raises:
        ValueError: shapes disagree, C < 2, or ``gradient`` is unknown.
    """
    _check(logits, valid, options.get("gradient"))
    num_classes = logits.shape[1]

    def losses(log_p: Tensor) -> Tensor:
        return log_p.exp().square().sum(1) / (-2 * num_classes)

    def residual(log_p: Tensor) -> Tensor:
        p = log_p.exp()
        return p * (p - p.square().sum(1, keepdim=True)) / -num_classes

    def factors(classes: Tensor) -> Tensor:
        return 2 * image_wise_factors(classes, num_classes, ratio=image_wise_ratio)

    return _per_class(logits, valid, losses, residual, factors if image_wise_ratio is not None else None, **options)


def image_wise_factors(classes: Tensor, num_classes: int, *, ratio: float = IMAGE_WISE_RATIO) -> Tensor:
    """N w_c of every pixel, w_c = 1 / max(N_c^r N^(1 - r), 1), with N_c pixels of class c among N in its own image.

    Times N, because the mean over pixels divides by it: so (N / N_c)^r, which is 1 for a class that fills the image and
    larger for rare ones. Counted on the device (the public code counts on the host).

    Args:
        classes: [B, H, W] int64; pixels outside 0..C-1 take no part and get 0.
        ratio: r in [0, 1].

    Returns:
        [B, H, W] float32.
    """
    takes_part = (classes >= 0) & (classes < num_classes)
    images = torch.arange(len(classes), device=classes.device).view(-1, 1, 1)
    cells = torch.where(takes_part, classes + images * num_classes, -1)  # one group per class and image
    count = group_counts(cells, len(classes) * num_classes).view(len(classes), num_classes)
    total = count.sum(1, keepdim=True)
    factors = (total / count.clamp(min=1)) ** ratio
    return torch.where(takes_part, factors.float().flatten()[cells], 0)


def _per_class(
    logits: Tensor,
    valid: Tensor | None,
    losses: Callable[[Tensor], Tensor],
    residual: Callable[[Tensor], Tensor],
    factors: Callable[[Tensor], Tensor] | None = None,
    *,
    gradient: str | None = None,
    features: Tensor | None = None,
    feature_stride: int = 1,
    parameters: tuple[Tensor, ...] = (),
) -> PerClassLoss:
    """Sums of ``losses`` (of log p [B, C, H, W]), whose gradient at the logits is ``residual``, over predicted classes.

    ``factors`` gives every pixel's factor [B, H, W] from the class map.
    """
    num_classes = logits.shape[1]
    logits = logits.float()
    if valid is not None:  # so that not even the gradient of a NaN outside the mask is NaN
        logits = torch.where(valid.unsqueeze(1), logits, 0)
    classes = logits.detach().max(1).indices  # argmax takes three times as long on a CPU
    if valid is not None:
        classes = torch.where(valid, classes, -1)
    factor = (classes >= 0).float() if factors is None else factors(classes)
    log_p = F.log_softmax(logits, dim=1)
    total = group_sums(losses(log_p) * factor, classes, num_classes)
    gradients = class_gradients(
        gradient,
        total,
        lambda: residual(log_p) * factor.unsqueeze(1),
        classes,
        features=features,
        feature_stride=feature_stride,
        parameters=parameters,
    )
    return PerClassLoss(total, group_counts(classes, num_classes), classes.numel(), gradients)


def _check(logits: Tensor, valid: Tensor | None, gradient: str | None) -> None:
    if logits.dim() != 4 or logits.shape[1] < 2:
        raise ValueError(f"Expected logits [B, C, H, W] of at least 2 classes, but got {tuple(logits.shape)}.")
    expected = (logits.shape[0], *logits.shape[2:])
    if valid is not None and valid.shape != expected:
        raise ValueError(f"Expected valid of shape {tuple(expected)}, but got {tuple(valid.shape)}.")
    if gradient is not None and gradient not in GRADIENTS:
        raise ValueError(f"Expected gradient to be one of {GRADIENTS}, but got {gradient!r}.")
