"""Losses as sums per class: what every head returns and every class weighting consumes.

Shape legend: G groups (C classes, then any groups outside the weighting's program), D entries of a gradient.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class PerClassLoss:
    """Sums of a pixel loss over the pixels of each group, on one rank; nothing is divided yet.

    Attributes:
        total: [G] float64, sum of q_i * l_i over the pixels i of the group; carries the autograd graph.
        count: [G] float64, number of these pixels (q does not enter).
        num_pixels: scalar tensor or int, number of pixels for the denominator ``all`` (ignored ones included).
        gradient: [C, D] float32 or None, per class the sum of the gradients of q_i * l_i with respect to whatever the
            weighting asked for (methods: GBW, section 3), or what ``SQUARES`` names; detached.
        min_count: the loss is scaled down where all ranks together count less: few sure pseudo labels say little.
    """

    total: Tensor
    count: Tensor
    num_pixels: Tensor | int
    gradient: Tensor | None = None
    min_count: float = 0.0


def group_sums(values: Tensor, groups: Tensor, num_groups: int) -> Tensor:
    """Sum ``values`` over the pixels of each group, in float64 and differentiably.

    Float64, because a float32 running sum over 10^6 pixels is off by about 1e-4 of its value.

    Args:
        values: float, any shape.
        groups: int64, same shape; entries outside 0..num_groups - 1 take no part.

    Returns:
        [num_groups] float64.
    """
    valid = (groups >= 0) & (groups < num_groups)
    bins = torch.where(valid, groups, num_groups).flatten()
    sums = torch.zeros(num_groups + 1, dtype=torch.float64, device=values.device)
    # where, not a product: an infinite loss at an ignored pixel must not become NaN
    kept = torch.where(valid, values, 0).flatten().double()
    return sums.index_add(0, bins, kept)[:num_groups]


def group_counts(groups: Tensor, num_groups: int) -> Tensor:
    """[num_groups] float64 number of pixels in each group; other ids take no part."""
    return group_sums(torch.ones_like(groups, dtype=torch.float32), groups, num_groups)
