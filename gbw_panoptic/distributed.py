"""Collectives: sums, means and maxima over the ranks of data-parallel training.

Shape legend: C classes, G groups (C classes, then groups outside the program), D entries of a class gradient.
"""

import torch
import torch.distributed as dist
from torch import Tensor, nn


def world_size() -> int:
    """Number of ranks; 1 without distributed training."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def all_reduce_sums(
    count: Tensor, num_pixels: Tensor | int, gradient: Tensor | None, *, group: dist.ProcessGroup | None = None
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Counts [G], number of pixels (0-dim) and gradient sums [C, D] over all ranks, in one float64 collective."""
    if not isinstance(num_pixels, Tensor):  # torch.full: a copy from the host would wait for the device
        num_pixels = torch.full((), num_pixels, device=count.device)
    num_pixels = num_pixels.double()
    if world_size() == 1:
        return count, num_pixels, gradient
    parts = [count, num_pixels.reshape(1)]
    if gradient is not None:
        parts.append(gradient.double().flatten())
    packed = torch.cat(parts)
    dist.all_reduce(packed, group=group)
    groups = len(count)
    if gradient is not None:
        gradient = packed[groups + 1 :].view_as(gradient).to(gradient.dtype)
    return packed[:groups], packed[groups], gradient


def mean_over_ranks(total: Tensor, count: Tensor) -> Tensor:
    """A rank's part of the mean of all ranks: sum / number over all ranks, times their number, which averaging divides
    by.

    Args:
        total: scalar sum on this rank, with graph.
        count: scalar, what it is a sum over; no graph. Over all ranks at least 1 is taken.
    """
    ranks = world_size()
    if ranks > 1:
        count = count.clone()
        dist.all_reduce(count)
    return total * ranks / count.clamp(min=1)


def add_over_ranks(counts: Tensor) -> None:
    """Sum over all ranks, in place."""
    if world_size() > 1:
        dist.all_reduce(counts)


def max_over_ranks(values: Tensor) -> Tensor:
    """The largest of all ranks, entry by entry."""
    if world_size() == 1:
        return values
    values = values.clone()
    dist.all_reduce(values, op=dist.ReduceOp.MAX)
    return values


def average_gradients(module: nn.Module) -> None:
    """What a data-parallel wrapper would do; one collective."""
    if world_size() == 1:
        return
    gradients = [p.grad for p in module.parameters()]
    packed = torch.cat([g.flatten() for g in gradients])
    dist.all_reduce(packed)
    packed /= world_size()
    for gradient, mean in zip(gradients, packed.split([g.numel() for g in gradients])):
        gradient.copy_(mean.view_as(gradient))


class BackwardGroup:
    """A process group for collectives inside a backward pass.

    The data-parallel wrapper reduces parameter gradients on the default group during the same backward pass. The
    collectives of a group must start in the same order on every rank, which two independent sources cannot promise.
    """

    def __init__(self) -> None:
        self._world: dist.ProcessGroup | None = None
        self._group: dist.ProcessGroup | None = None

    def get(self) -> dist.ProcessGroup | None:
        """The group, made at the first call (which every rank must make); None with one rank."""
        if world_size() == 1:
            return None
        if self._world is not dist.group.WORLD:
            self._world, self._group = dist.group.WORLD, dist.new_group()
        return self._group

    def __deepcopy__(self, memo: dict) -> "BackwardGroup":
        return BackwardGroup()  # handles of a process group cannot be copied; a mean teacher copies the whole model

    def __reduce__(self) -> tuple:
        return BackwardGroup, ()
