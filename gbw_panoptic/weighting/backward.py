"""The backward form: class weighting of any loss, as an identity on its prediction (methods: GBW, section 5; ours).

Shape legend: B images, C classes, A channels of the prediction (C for logits), H x W pixels of the loss, h x w pixels
of the features, K feature channels, G = C + 1 groups (the classes, then the background, which keeps weight 1).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from ..distributed import all_reduce_sums, world_size
from ..losses import SQUARES, group_counts, sum_gradients
from .base import ClassWeighting
from .reduction import loss_denominator


def reweighted(
    prediction: Tensor,
    class_map: Tensor,
    *,
    weighting: ClassWeighting,
    branch: str,
    denominator: Tensor | float | None = None,
    scale: Tensor | float = 1.0,
    features: Tensor | None = None,
    feature_stride: int = 1,
) -> Tensor:
    """The prediction itself; in the backward pass its gradient is weighted by class.

    Pixel i of group c gets  grad_i * w_c * R D / S : R ranks, D the ``denominator``, S the weighting's own
    (``weights``: sum_i w over all ranks; ``valid``, ``all``: a number of pixels). So  coefficient / D * sum_i q_i l_i
    has exactly the gradient of the forward form  coefficient / S * sum_i w_i q_i l_i  (averaged over the ranks). A loss
    that is no sum over pixels (adversarial, dice) is re-weighted by this definition; no equality is claimed.

    GBW's class gradients come from the incoming gradient: G_c = D / (N_c * scale) * sum of grad_i over class c. A wrong
    ``denominator`` or ``scale`` makes the weights degenerate (all 1, or all on one class); ``normalize`` frees the
    weights of both, but a wrong D still scales what leaves.

    State and statistics are those of the forward form and change in the backward pass: each backward pass through this
    tensor is one step of the branch, and all ranks must make it. Several losses on this tensor are one step.

    Args:
        prediction: [B, A, H, W] float, at the resolution of the loss (after upsampling).
        class_map: [B, H, W] int64: label, pseudo label or argmax. 0..C-1 is the class; C is background, which counts
            but keeps weight 1; all other pixels (255, -1) take no part and get gradient 0.
        weighting: any class weighting; shared with a forward form, if there is one.
        branch: one of ``BRANCHES``.
        denominator: D > 0, what the loss divides its sum over this rank's pixels by (1 for a sum); default: the number
            of the rank's pixels that take part (the loss is a mean over them). A mean that runs over the A channels,
            too, keeps it: l_i is then a pixel's mean over channels.
        scale: > 0, factor between that loss and what ``backward`` is called on: coefficient times AMP scale. With a
            ``GradScaler``, ``coefficient * scaler.scale(torch.ones((), device=...))`` needs no host synchronisation.
        features: [B, K, h, w] float, input of the last 1x1 convolution (setting ``last_layer`` only).
        feature_stride: the prediction is that convolution's output, upsampled by it and cropped to H x W.

    Returns:
        [B, A, H, W], equal to ``prediction``.

    Raises:
        ValueError: shapes disagree, or the weighting's gradient setting needs what is not there.
    """
    _check(prediction, class_map, weighting, features)
    if not (torch.is_grad_enabled() and prediction.requires_grad):
        return prediction
    takes_part = (class_map >= 0) & (class_map <= weighting.num_classes)
    groups = torch.where(takes_part, class_map, -1).long()
    weighting.backward_group.get()  # making a group is a collective: now, not in the backward pass
    features = None if features is None else features.detach()
    return _Reweight.apply(
        prediction, groups, features, _Settings(weighting, branch, denominator, scale, feature_stride)
    )


@dataclass(frozen=True)
class _Settings:
    """Arguments of :func:`reweighted` that no gradient passes through."""

    weighting: ClassWeighting
    branch: str
    denominator: Tensor | float | None
    scale: Tensor | float
    feature_stride: int


class _Reweight(torch.autograd.Function):
    @staticmethod
    def forward(ctx, prediction: Tensor, groups: Tensor, features: Tensor | None, settings: _Settings) -> Tensor:
        ctx.save_for_backward(groups, features)
        ctx.settings = settings
        return prediction.view_as(prediction)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple:
        groups, features = ctx.saved_tensors
        with torch.no_grad():
            factors = _factors(gradient, groups, features, ctx.settings)
            factors = factors.to(torch.promote_types(gradient.dtype, torch.float32))
            factor = factors[groups].unsqueeze(1)  # -1, takes no part: the last entry
        # where, not a product: a NaN at a pixel that takes no part stays there
        scaled = torch.where((groups >= 0).unsqueeze(1), gradient * factor, 0)
        return scaled.to(gradient.dtype), None, None, None


def _factors(gradient: Tensor, groups: Tensor, features: Tensor | None, settings: _Settings) -> Tensor:
    """[G + 1] float64 factors of the gradient; the last one, 0, is for pixels that take no part."""
    weighting = settings.weighting
    num_classes = weighting.num_classes
    count = group_counts(groups, num_classes + 1)
    denominator = count.sum() if settings.denominator is None else settings.denominator
    class_gradient, kind = None, weighting.gradient_on(settings.branch)
    if kind is not None:
        # scaled per pixel: the norm of a gradient divided by millions of pixels would underflow
        residual = torch.where((groups >= 0).unsqueeze(1), gradient.float(), 0) * (denominator / settings.scale)
        class_gradient = sum_gradients(
            kind,
            residual,
            groups,
            num_classes=num_classes,
            features=features,
            feature_stride=settings.feature_stride,
        )
    count, num_pixels, class_gradient = all_reduce_sums(
        count, groups.numel(), class_gradient, group=weighting.backward_group.get()
    )
    weights = weighting.group_weights(count, class_gradient, settings.branch).double()
    divisor = loss_denominator(count, num_pixels, weights, denominator=weighting.denominator)
    return torch.cat((weights * (world_size() * denominator / divisor), weights.new_zeros(1)))


def _check(prediction: Tensor, class_map: Tensor, weighting: ClassWeighting, features: Tensor | None) -> None:
    expected = (prediction.shape[0], *prediction.shape[2:])
    if prediction.dim() != 4 or class_map.shape != expected:
        raise ValueError(
            f"Expected prediction [B, A, H, W] and class_map [B, H, W], but got {tuple(prediction.shape)} and "
            f"{tuple(class_map.shape)}; place `reweighted` after upsampling."
        )
    if weighting.gradient == "autograd":
        raise ValueError(
            "Expected gradient 'logits', 'pixel' or 'last_layer' in the backward form, but got 'autograd'; use one of "
            "them."
        )
    if weighting.gradient == SQUARES:
        raise ValueError(
            "Expected GBW.READING ours in the backward form, but got released, which is of the cross entropy of pixels "
            "only; use `GradientBasedWeighting`."
        )
    if weighting.gradient == "last_layer" and features is None:
        raise ValueError(
            "Expected `features` for gradient 'last_layer', but got None; pass the input of the last convolution, or "
            "use gradient 'logits' or 'pixel'."
        )
