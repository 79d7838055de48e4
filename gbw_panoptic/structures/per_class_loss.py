"""Losses as sums per class: what every head returns and every class weighting consumes.

Shape legend: G groups (C classes, then any groups outside the weighting's program), D entries of a gradient.
"""

from dataclasses import dataclass

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
