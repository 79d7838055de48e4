"""Losses of RIPU (Xie et al., CVPR 2022) beside cross entropy: negative learning and consistency across boundaries.

Shape legend: B images, C classes, H x W pixels of the crop.
"""

from typing import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

_EPSILON = 1e-6  # RIPU's

#: (sum, number) -> mean
Mean = Callable[[Tensor, Tensor], Tensor]


def mean_or_zero(total: Tensor, count: Tensor) -> Tensor:
    """``total`` / ``count``; 0 where there was nothing to sum."""
    return total / count.clamp(min=1)


def negative_learning(logits: Tensor, valid: Tensor, threshold: float = 0.05, *, mean: Mean = mean_or_zero) -> Tensor:
    """Pushes improbable classes of a pixel to 0: the mean of -ln(1 - p + 1e-6) over all probabilities p <
    ``threshold``.

    Args:
        logits: [B, C, H, W] float.
        valid: [B, H, W] bool; pixels of False take no part.
        threshold: RIPU: 0.05.
        mean: another one runs over more than this rank.

    Returns:
        A scalar; 0 where no probability is that small.
    """
    probabilities = logits.float().softmax(dim=1)
    unlikely = (probabilities.detach() < threshold) & valid.unsqueeze(1)
    losses = torch.where(unlikely, -torch.log(1 - probabilities + _EPSILON), 0)
    return mean(losses.sum(), unlikely.sum())


def boundary_consistency(logits: Tensor, labels: Tensor, ignore_label: int, *, mean: Mean = mean_or_zero) -> Tensor:
    """Scalar: mean over boundary pixels of sum_c |p_c - mean of p_c over 3 x 3 pixels|.

    A boundary pixel is labelled, and the Laplacian of the label map (8 neighbours, zeros beyond the border) is not 0
    there.

    Args:
        logits: [B, C, H, W] float.
        labels: [B, H, W] int64; ``ignore_label`` is no boundary.
        mean: another one runs over more than this rank.

    Returns:
        0 where there is no boundary.
    """
    probabilities = logits.float().softmax(dim=1)
    smooth = F.avg_pool2d(probabilities, 3, stride=1, padding=1, count_include_pad=False)
    label_map = labels.unsqueeze(1).float()
    kernel = label_map.new_full((1, 1, 3, 3), -1)
    kernel[..., 1, 1] = 8
    laplacian = F.conv2d(label_map, kernel, padding=1).squeeze(1)
    boundary = (laplacian != 0) & (labels != ignore_label)
    distance = (probabilities - smooth).abs().sum(dim=1)
    return mean(torch.where(boundary, distance, 0).sum(), boundary.sum())
