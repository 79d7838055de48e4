"""Class gradients of a pixel loss from its gradient at the prediction: what every closed form shares.

Shape legend: B images, C classes, A channels of the prediction (C for logits), H x W pixels of the loss, h x w pixels
of the features, K feature channels, P = H * W, D entries of a class gradient.
"""

from typing import Callable

import torch
from torch import Tensor

from ..structures.per_class_loss import group_sums
from .last_layer import last_layer_products

#: What the class gradient can be taken with respect to (methods: GBW, section 3).
GRADIENTS = ("logits", "last_layer", "pixel", "autograd")
#: What the released reading of GBW asks for instead: [C, A] sums over the pixels of each class of the squared
#: residuals.
SQUARES = "squares"
#: Up to so many classes, one product of matrices sums faster than a scatter, although its cost grows with their square.
_FEW_CLASSES = 64
_ENTRIES = 32  # of a residual that exist in float64 at a time


def class_gradients(
    kind: str | None,
    total: Tensor,
    residual: Callable[[], Tensor],
    groups: Tensor,
    *,
    features: Tensor | None = None,
    feature_stride: int = 1,
    parameters: tuple[Tensor, ...] = (),
) -> Tensor | None:
    """Per class the summed gradient that a weighting asks for.

    Args:
        kind: one of :data:`GRADIENTS`, :data:`SQUARES`, or None for none.
        total: [C] sums of the pixel loss per class, with graph (``autograd`` only).
        residual: makes the [B, A, H, W] float32 gradient of each pixel's loss at the prediction; called for closed
            forms only, without gradient recording.
        groups: [B, H, W] int64; pixels outside 0..C-1 take no part.
        features: [B, K, h, w] float, input of the last 1x1 convolution (``last_layer`` only).
        feature_stride: the prediction is the convolution's output, upsampled by it and cropped to H x W.
        parameters: weight and bias of the last convolution (``autograd`` only).

    Returns:
        [C, D] float32, detached, or None.

    Raises:
        ValueError: ``features`` or ``parameters`` are needed and absent.
    """
    if kind is None:
        return None
    if kind == "autograd":
        return _autograd_gradient(total, parameters)
    with torch.no_grad():
        return sum_gradients(
            kind, residual(), groups, num_classes=len(total), features=features, feature_stride=feature_stride
        )


def sum_gradients(
    kind: str,
    residual: Tensor,
    groups: Tensor,
    *,
    num_classes: int,
    features: Tensor | None = None,
    feature_stride: int = 1,
) -> Tensor:
    """[C, D] float32: the closed form ``kind`` (``logits``, ``last_layer``, ``pixel`` or ``squares``) on a [B, A, H, W]
    residual.

    In float32 under autocast, too: half precision would round every pixel's gradient to three digits.
    """
    with torch.autocast(residual.device.type, enabled=False):
        residual = residual.float()
        if kind == "logits":
            return _logits_gradient(residual, groups, num_classes)
        if kind == SQUARES:
            return _logits_gradient(residual.square(), groups, num_classes)
        if kind == "pixel":
            return _pixel_gradient(residual, groups, num_classes)
        return _last_layer_gradient(residual, groups, num_classes, features, feature_stride)


def _logits_gradient(residual: Tensor, groups: Tensor, num_classes: int) -> Tensor:
    """[C, A]: sum of the residuals of each class; also the gradient with respect to the last layer's bias."""
    if num_classes > _FEW_CLASSES and residual.device.type == "cpu":
        return _summed_by_class(residual, groups, num_classes)
    classes = torch.arange(num_classes, device=groups.device).view(1, -1, 1)
    membership = (groups.flatten(1).unsqueeze(1) == classes).to(residual.dtype)  # [B, C, P]
    return torch.bmm(membership, residual.flatten(2).transpose(1, 2)).sum(0)


def _summed_by_class(residual: Tensor, groups: Tensor, num_classes: int) -> Tensor:
    """The same at a cost that grows with A alone; some entries at a time, in float64."""
    valid = (groups >= 0) & (groups < num_classes)
    bins = torch.where(valid, groups, num_classes).flatten(1)
    sums = residual.new_zeros(residual.shape[1], num_classes + 1, dtype=torch.float64)
    for image, of_image in zip(residual.flatten(2), bins):
        for some, into in zip(image.split(_ENTRIES), sums.split(_ENTRIES)):
            into.scatter_add_(1, of_image.expand_as(some), some.double())
    return sums[:, :num_classes].T.float()


def _pixel_gradient(residual: Tensor, groups: Tensor, num_classes: int) -> Tensor:
    """[C, 1]: sum of the norms of each pixel's residual."""
    return group_sums(residual.norm(dim=1), groups, num_classes).float().unsqueeze(1)


def _last_layer_gradient(
    residual: Tensor, groups: Tensor, num_classes: int, features: Tensor | None, stride: int
) -> Tensor:
    """[C, A * (K + 1)]: sum of residual_i (x) [h_i, 1], with h interpolated to the loss exactly as the logits are."""
    if features is None:
        raise ValueError("Expected `features` for gradient 'last_layer', but got None.")
    weight = sum(
        last_layer_products(*image, stride=stride, num_classes=num_classes)
        for image in zip(residual, groups, features.detach())
    )
    bias = _logits_gradient(residual, groups, num_classes).unsqueeze(2)
    return torch.cat((weight, bias), dim=2).flatten(1)


def _autograd_gradient(total: Tensor, parameters: tuple[Tensor, ...]) -> Tensor:
    """[C, D]: one backward pass per class; the oracle of the closed forms."""
    if not parameters:
        raise ValueError("Expected `parameters` for gradient 'autograd', but got none.")
    rows = []
    for class_total in total:
        gradients = torch.autograd.grad(class_total, parameters, retain_graph=True)
        rows.append(torch.cat([g.flatten() for g in gradients]))
    return torch.stack(rows).float().detach()
