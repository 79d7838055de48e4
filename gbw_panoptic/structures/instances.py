"""A teacher's instances.

Shape legend: H x W pixels, K bound on the number of instances.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class PseudoInstances:
    """A teacher's instances of one target image.

    Attributes:
        ids: [H, W] int64, 0 = none, else 1..K; ids may be absent.
        classes: [K] int64, class of instance k at index k - 1.
        weights: [K] float in 0..1, factor of each instance's losses.
        pixel_weights: [H, W] float >= 0, factor of the losses at each pixel; 0 = no such losses.
    """

    ids: Tensor
    classes: Tensor
    weights: Tensor
    pixel_weights: Tensor

    @classmethod
    def none(cls, like: Tensor) -> "PseudoInstances":
        """No instances, and no losses on their absence, in a map of the size and device of ``like`` [H, W] float."""
        ids = torch.zeros_like(like, dtype=torch.int64)
        return cls(ids, ids.new_empty(0), like.new_empty(0), torch.zeros_like(like))

    def sure(self, scores: Tensor, least: float, believed: Tensor) -> "PseudoInstances":
        """Without the instances of less score, [K] float, and without pixels that are not ``believed`` [H, W] bool."""
        kept = torch.cat((scores.new_zeros(1, dtype=torch.bool), scores >= least))
        return replace(self, ids=torch.where(kept[self.ids] & believed, self.ids, 0))

    def num_kept(self) -> Tensor:
        """Scalar float: the number of instances with a pixel that counts."""
        return self._number(torch.where(self.pixel_weights > 0, self.ids, 0))

    def num_present(self) -> Tensor:
        """Scalar float: the number of instances with a pixel."""
        return self._number(self.ids)

    def _number(self, ids: Tensor) -> Tensor:
        occurs = torch.zeros(len(self.classes) + 1, dtype=torch.bool, device=ids.device)
        occurs[ids.flatten()] = True
        return occurs[1:].sum().float()
