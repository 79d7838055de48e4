"""The protocol: per-class sums in, one scalar out.

Shape legend: C classes, G groups (C classes, then groups outside the program), D entries of a class gradient.
"""

import torch
import torch.distributed as dist
from torch import Tensor, nn

from ..losses import PerClassLoss
from .reduction import DENOMINATORS, weighted_mean

#: Every branch has a state of its own: labelled source, mixed (pseudo-labelled) target, masked target.
BRANCHES = ("source", "mixed", "masked")


class ClassWeighting(nn.Module):
    """Turns a :class:`PerClassLoss` into the scalar that is minimised. This class weights every class by 1.

    Attributes:
        gradient: what the head must supply in ``PerClassLoss.gradient`` (one of ``losses.GRADIENTS``), or None.
        statistics: branch -> {"weight", "gradient", "share"}: [C] tensors of the last step, for logging.
    """

    gradient: str | None = None

    def __init__(self, *, num_classes: int, denominator: str = "weights") -> None:
        super().__init__()
        if denominator not in DENOMINATORS:
            raise ValueError(f"Expected denominator to be one of {DENOMINATORS}, but got {denominator!r}.")
        self.num_classes = num_classes
        self.denominator = denominator
        self.statistics: dict[str, dict[str, Tensor]] = {}

    def forward(self, loss: PerClassLoss, *, branch: str) -> Tensor:
        """Scalar loss of one head on one branch (methods: GBW, section 1)."""
        count, num_pixels, gradient = _all_reduce(loss)
        weights = self.class_weights(count[: self.num_classes], gradient, branch)
        outside = weights.new_ones(len(count) - self.num_classes)  # background of the centre head: weight 1
        return weighted_mean(
            loss.total,
            count,
            num_pixels,
            torch.cat((weights, outside)),
            denominator=self.denominator,
            world_size=_world_size(),
        )

    def class_weights(self, count: Tensor, gradient: Tensor | None, branch: str) -> Tensor:
        """[C] weights from the pixel counts [C] and class gradient sums [C, D] of all ranks."""
        return torch.ones_like(count)


def _world_size() -> int:
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def _all_reduce(loss: PerClassLoss) -> tuple[Tensor, Tensor, Tensor | None]:
    """Counts, number of pixels and gradient sums over all ranks, in one collective."""
    num_pixels = torch.as_tensor(loss.num_pixels, dtype=torch.float64, device=loss.count.device)
    if _world_size() == 1:
        return loss.count, num_pixels, loss.gradient
    parts = [loss.count, num_pixels.reshape(1)]
    if loss.gradient is not None:
        parts.append(loss.gradient.double().flatten())
    packed = torch.cat(parts)
    dist.all_reduce(packed)
    groups = len(loss.count)
    gradient = None if loss.gradient is None else packed[groups + 1 :].view_as(loss.gradient).to(loss.gradient.dtype)
    return packed[:groups], packed[groups], gradient
