"""Cross entropy per class, shaped or not, hard pixel mining, and its gradient at the logits in closed form.

A label may say less than a class: a pixel of a union is of one of its classes, and nobody says of which. Its loss is
that of the sum of its classes' probabilities, -log sum over U of p_c. Its gradient at the logits is p - q, q the
probabilities within U: what a label of each class of U would give, weighted by how likely the network finds it. Where
losses are summed by class, it counts for the class of U that the network finds most probable (ours).

Shape legend: B images, C classes, H x W pixels of the loss, h x w pixels of the features, K feature channels. Labels
0..C-1 are classes, C + u is union u.
"""

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ..structures.per_class_loss import PerClassLoss, group_counts, group_sums
from .class_gradients import GRADIENTS, SQUARES, class_gradients
from .shaping import LossShaping

#: Of each union the contiguous ids of its classes.
Unions = Sequence[tuple[int, ...]]


def most_probable(labels: Tensor, scores: Tensor, unions: Unions) -> Tensor:
    """``labels`` with every union replaced by its class of the highest score.

    Args:
        labels: [B, H, W] int64; other values stay.
        scores: [B, C, H, W], such as logits.
    """
    for inside, members in _occurring(labels, scores.shape[1], unions):
        best = members[scores.detach()[:, members].argmax(dim=1)]
        labels = torch.where(inside, best, labels)
    return labels


def union_losses(losses: Tensor, log_probabilities: Tensor, labels: Tensor, unions: Unions) -> Tensor:
    """``losses`` [B, H, W], at pixels of unions -log sum p_c of their classes.

    Args:
        log_probabilities: [B, C, H, W].
        labels: [B, H, W] int64, with unions.
    """
    for inside, members in _occurring(labels, log_probabilities.shape[1], unions):
        losses = torch.where(inside, -log_probabilities[:, members].logsumexp(dim=1), losses)
    return losses


def subtract_labels(probabilities: Tensor, labels: Tensor, unions: Unions) -> Tensor:
    """p - q at pixels of unions, in place; others stay.

    Args:
        probabilities: [B, C, H, W], p.
        labels: [B, H, W] int64, with unions.
    """
    for inside, members in _occurring(labels, probabilities.shape[1], unions):
        within = probabilities[:, members]
        share = within / within.sum(dim=1, keepdim=True).clamp(min=torch.finfo(within.dtype).tiny)
        probabilities[:, members] = torch.where(inside.unsqueeze(1), within - share, within)
    return probabilities


def _occurring(labels: Tensor, num_classes: int, unions: Unions) -> Iterator[tuple[Tensor, Tensor]]:
    """Where the labels are each union, and its classes; the host does not wait for the copy."""
    for number, members in enumerate(unions):
        yield labels == num_classes + number, torch.tensor(members).to(labels.device, non_blocking=True)


def cross_entropy_per_class(
    logits: Tensor,
    labels: Tensor,
    pixel_weights: Tensor | None = None,
    *,
    top_k: float = 1.0,
    shaping: LossShaping | None = None,
    ignore_label: int = 255,
    gradient: str | None = None,
    features: Tensor | None = None,
    feature_stride: int = 1,
    parameters: tuple[Tensor, ...] = (),
    unions: Unions = (),
) -> PerClassLoss:
    """Softmax cross entropy summed per class: total_c = sum over pixels i of class c of q_i * (-log softmax(z_i)_c).

    Args:
        logits: [B, C, H, W] float, z.
        labels: [B, H, W] int64 in 0..C-1, or C + u for a union; ``ignore_label`` (or any other value) takes no part.
        pixel_weights: [B, H, W] float >= 0, q; 1 when absent. Not part of any denominator.
        top_k: share (0, 1] of an image's pixels kept, those with the largest q_i * l_i ("hard pixel mining",
            DeeperLab, arXiv 1902.05093). Chosen per image, so that it does not depend on how images are spread over
            ranks (Detectron2 chooses over the batch). 1 keeps all.
        shaping: what l_i is instead of cross entropy; class gradients are those of the shaped loss.
        ignore_label: label that takes no part.
        gradient: one of :data:`GRADIENTS`, or None for no class gradients; or :data:`SQUARES`, in which q does not
            enter.
        features: [B, K, h, w] float, input of the last 1x1 convolution (``last_layer`` only).
        feature_stride: the logits are the convolution's output, upsampled by it and cropped to H x W (``last_layer``
            only).
        parameters: weight and bias of the last convolution (``autograd`` only).
        unions: of labels that say less than a class, see the module.

    Returns:
        :class:`PerClassLoss` with G = C. ``num_pixels`` counts kept pixels, ignored ones included.

    Raises:
        ValueError: shapes disagree or ``gradient`` is unknown.
    """
    _check(logits, labels, pixel_weights, gradient)
    num_classes = logits.shape[1]
    logits = logits.float()  # the exponentials of half precision are too coarse for gradients of rare classes
    given = labels
    labels = _taking_part(most_probable(labels, logits, unions), num_classes, ignore_label)
    shaping = LossShaping() if shaping is None else shaping
    adjustment = shaping.adjustment(logits.detach(), labels, pixel_weights)
    log_probabilities = F.log_softmax(logits if adjustment is None else logits + adjustment, dim=1)
    nll = -log_probabilities.gather(1, labels.clamp(min=0).unsqueeze(1)).squeeze(1)
    nll = union_losses(nll, log_probabilities, given, unions)
    losses = torch.where(labels >= 0, shaping.phi(nll), 0)
    if pixel_weights is not None:
        losses = losses * pixel_weights
    num_pixels = labels.numel()
    if top_k < 1:
        keep = hardest_pixels(losses.detach(), top_k)
        labels = torch.where(keep, labels, -1)
        num_pixels = keep.sum()
    total = group_sums(losses, labels, num_classes)
    confidence = None if gradient == SQUARES else pixel_weights
    gradients = class_gradients(
        gradient,
        total,
        lambda: _residual(log_probabilities, labels, given, unions, (shaping.slope(nll.detach()), confidence)),
        labels,
        features=features,
        feature_stride=feature_stride,
        parameters=parameters,
    )
    return PerClassLoss(total, group_counts(labels, num_classes), num_pixels, gradients)


def _taking_part(labels: Tensor, num_classes: int, ignore_label: int) -> Tensor:
    """The labels, with -1 for those that take no part."""
    valid = (labels >= 0) & (labels < num_classes) & (labels != ignore_label)
    return torch.where(valid, labels, -1)


def hardest_pixels(losses: Tensor, share: float) -> Tensor:
    """[B, H, W] bool: the ``share`` of each image's pixels with the largest loss (exactly int(share * H * W) of
    them)."""
    flat = losses.flatten(1)
    kept = flat.topk(max(int(share * flat.shape[1]), 1), dim=1, sorted=False).indices
    return torch.zeros_like(flat, dtype=torch.bool).scatter_(1, kept, True).view_as(losses)


def _residual(
    log_probabilities: Tensor, labels: Tensor, given: Tensor, unions: Unions, factors: tuple[Tensor | None, ...]
) -> Tensor:
    """[B, C, H, W] gradient of q_i * l_i at the logits, 0 where the pixel takes no part.

    softmax(z'_i) - e_{y_i}, of unions as ``given`` says, times each of ``factors``: phi' of the shaping, and q; each
    [B, H, W], or None for 1.
    """
    residual = subtract_labels(log_probabilities.exp(), given, unions)
    index = labels.clamp(min=0).unsqueeze(1)
    one = residual.new_full((), -1.0).expand(index.shape)
    if unions:
        one = torch.where(given.unsqueeze(1) == index, one, 0)
    residual.scatter_add_(1, index, one)
    product = (labels >= 0).to(residual.dtype)
    for factor in factors:
        if factor is not None:
            product = product * factor
    return residual.mul_(product.unsqueeze(1))


def _check(logits: Tensor, labels: Tensor, pixel_weights: Tensor | None, gradient: str | None) -> None:
    expected = (logits.shape[0], *logits.shape[2:])
    if labels.shape != expected:
        raise ValueError(f"Expected labels of shape {tuple(expected)}, but got {tuple(labels.shape)}.")
    if pixel_weights is not None and pixel_weights.shape != expected:
        raise ValueError(f"Expected pixel_weights of shape {tuple(expected)}, but got {tuple(pixel_weights.shape)}.")
    if gradient is not None and gradient not in (*GRADIENTS, SQUARES):
        raise ValueError(f"Expected gradient to be one of {(*GRADIENTS, SQUARES)}, but got {gradient!r}.")
