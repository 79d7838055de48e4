"""The one place where a loss that is summed per class is divided.

Shape legend: G groups (classes, then groups outside the program).
"""

import torch
from torch import Tensor

#: What the weighted sum is divided by: sum_i w_{y_i} | valid pixels | all pixels.
DENOMINATORS = ("weights", "valid", "all")


def weighted_mean(
    total: Tensor,
    count: Tensor,
    num_pixels: Tensor | int,
    weights: Tensor,
    *,
    denominator: str,
    world_size: int = 1,
    min_count: float = 0.0,
) -> Tensor:
    """sum_c w_c total_c / D, with D chosen by ``denominator``.

    ``weights`` divides by sum_c w_c count_c: weights only redistribute, and 10 w gives the loss of w. ``valid`` divides
    by sum_c count_c and ``all`` by ``num_pixels`` (the settings of Detectron2's DeepLab loss and of DAFormer).

    Args:
        total: [G] float64 sums of q l on this rank, with graph.
        count: [G] float64 pixels over all ranks.
        num_pixels: pixels over all ranks, ignored ones included.
        weights: [G], detached.
        denominator: one of :data:`DENOMINATORS`.
        world_size: data-parallel averaging divides the gradient by it, so the loss is multiplied by it.
        min_count: where sum_c count_c is less, the loss is multiplied by their ratio.

    Returns:
        float32 scalar; exactly 0 with finite gradients when there is nothing to divide by.
    """
    divisor = loss_denominator(count, num_pixels, weights, denominator=denominator)
    if min_count > 0:
        total = total * (count.sum() / min_count).clamp(max=1)
    return (world_size * (weights.double() * total).sum() / divisor).float()


def loss_denominator(count: Tensor, num_pixels: Tensor | int, weights: Tensor, *, denominator: str) -> Tensor:
    """float64 scalar > 0, what a weighted sum of pixel losses is divided by; 1 where that would be 0.

    Arguments as in :func:`weighted_mean`.
    """
    if denominator == "weights":
        divisor = (weights.double() * count).sum()
    elif denominator == "valid":
        divisor = count.sum()
    elif denominator == "all":
        divisor = torch.as_tensor(num_pixels, dtype=torch.float64, device=count.device)
    else:
        raise ValueError(f"Expected denominator to be one of {DENOMINATORS}, but got {denominator!r}.")
    return torch.where(divisor > 0, divisor, 1)
