"""Thresholds of confidence, one of each class, that follow how sure a teacher is (MC-PanDA++, arXiv 2609.39681, section
3.3.1), and the quantiles that they are made of.

Shape legend: C classes, G groups, N values.
"""

from typing import Sequence

import torch
from torch import Tensor, nn

from ...distributed import max_over_ranks
from ...structures.segments import counts_of

#: The share of a mask's pixels that is below its statistic: the third quartile (MC-PanDA++).
STATISTIC = 0.75


class ClassThresholds(nn.Module):
    """tau_k <- a tau_k + (1 - a) delta_k once in every update, with delta_k the largest statistic of the teacher's
    masks of class k in the update's images, over all ranks and micro-batches; without such a mask tau_k stays.

    The state is in buffers, so that it is in the checkpoint. No host synchronisation.

    Attributes:
        values: [C] float32 in 0..1, tau as the last update left it.
        updates: [C] int64, how often it has moved.
        names: of the classes that are logged, the first of C.
    """

    values: Tensor
    updates: Tensor
    _seen: Tensor

    def __init__(self, num_classes: int, *, start: float, decay: float, names: Sequence[str] = ()) -> None:
        """
        Args:
            start: tau before the first update.
            decay: a in [0, 1).
        """
        super().__init__()
        self.eval()  # as the teacher that it belongs to
        self.decay = decay
        self.names = tuple(names)
        self.register_buffer("values", torch.full((num_classes,), start, dtype=torch.float32))
        self.register_buffer("updates", torch.zeros(num_classes, dtype=torch.int64))
        self.register_buffer("_seen", torch.full((num_classes,), -1, dtype=torch.float32), persistent=False)

    def begin(self) -> None:
        """Forget what was seen since the last update."""
        self._seen.fill_(-1)

    def see(self, statistics: Tensor) -> None:
        """Take [C] float32 statistics of a batch in, -1 where a class has none."""
        self._seen.copy_(torch.maximum(self._seen, max_over_ranks(statistics)))

    def current(self) -> Tensor:
        """[C] float32 thresholds, with what this update has seen: the first batch is judged by its own statistics,
        too."""
        return torch.where(self._seen < 0, self.values, self.decay * self.values + (1 - self.decay) * self._seen)

    def commit(self) -> None:
        """The end of an update."""
        self.values.copy_(self.current())
        self.updates += self._seen >= 0
        self.begin()

    def health(self) -> dict[str, Tensor]:
        """Scalars for the log: the thresholds, and how often each has moved before."""
        of_classes = {"threshold": self.current(), "threshold_updates": self.updates}
        return {
            f"pseudo_labels/{kind}/{name}": values[index]
            for kind, values in of_classes.items()
            for index, name in enumerate(self.names)
        }


def group_quantiles(values: Tensor, groups: Tensor, number: int, share: float, *, lower: bool = False) -> Tensor:
    """[G] float32: the quantile of each group's values, -1 of empty groups.

    One sort of N integers with the group in the high bits and the value's bits, which order positive floats, in the low
    ones: no host synchronisation, and little memory.

    Args:
        values: N floats >= 0 of any shape.
        groups: of that shape, int64; those outside of 0..G - 1 take no part.
        number: G.
        share: in 0..1; 0.75 is the third quartile.
        lower: the element below the quantile, in place of linear interpolation between its neighbours.
    """
    bins = torch.where((groups >= 0) & (groups < number), groups, number).flatten()
    counts = counts_of(bins, number + 1)
    first = counts.cumsum(0) - counts
    bits = values.float().contiguous().view(torch.int32).flatten().long()
    ordered = (bins << 32 | bits).sort().values
    rank = share * (counts - 1).clamp(min=0).double()

    def element(place: Tensor) -> Tensor:
        chosen = ordered[(first + place.long()).clamp(max=len(ordered) - 1)] & 0xFFFFFFFF
        return chosen.to(torch.int32).view(torch.float32)

    quantile = element(rank.floor())
    if not lower:
        quantile = torch.lerp(quantile, element(rank.ceil()), rank.frac().float())
    return torch.where(counts > 0, quantile, -1)[:number]


def largest_of_classes(statistics: Tensor, classes: Tensor, num_classes: int) -> Tensor:
    """[C] the largest of the [G] statistics of each class, -1 where there is none; ``classes``: [G] int64."""
    none = torch.full((num_classes,), -1, dtype=torch.float32, device=statistics.device)
    return none.scatter_reduce(0, classes, statistics, "amax")
