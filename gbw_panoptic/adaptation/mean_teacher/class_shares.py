"""A teacher's class shares led back to the source's: distribution alignment (ReMixMatch, arXiv 1911.09785, section 3.1),
there of image labels, here of pixels (ours).

Shape legend: B images, C classes, H x W pixels.
"""

import torch
from torch import Tensor, nn

from ...distributed import add_over_ranks

#: The most that a class's odds are raised or lowered by (ours): a class that is hardly predicted yet stays a guess.
_MOST = 10.0


class ClassShares(nn.Module):
    """What a teacher's logits gain: strength * log(source's share / teacher's share) of each class.

    The teacher's share is the mean probability over the pixels of its images, averaged over updates with ``decay``;
    all ranks and micro-batches of an update count. Classes that the source does not label stay as they are. The state
    is in buffers, so that it is in the checkpoint. No host synchronisation.

    Attributes:
        source: [C] float32, shares in the source's labels.
        sums: [C] float64, probability mass of each class, and [1] pixels: both averaged over updates.
    """

    source: Tensor
    sums: Tensor
    _seen: Tensor

    def __init__(self, source_pixels: Tensor, *, strength: float, decay: float) -> None:
        """
        Args:
            source_pixels: [C] labelled pixels of the sources, not all 0.
            strength: in 0..1; 1 leads the shares back as far as the bounds allow.
            decay: in [0, 1).
        """
        super().__init__()
        self.eval()  # as the teacher that it belongs to
        self.strength = strength
        self.decay = decay
        self.register_buffer("source", (source_pixels.double() / source_pixels.sum()).float())
        self.register_buffer("sums", torch.zeros(len(source_pixels) + 1, dtype=torch.float64))
        self.register_buffer("_seen", torch.zeros_like(self.sums), persistent=False)

    def begin(self) -> None:
        """Forget what was seen since the last update."""
        self._seen.zero_()

    def see(self, logits: Tensor, valid: Tensor) -> None:
        """Take a batch in: float [B, C, H, W] logits as the teacher gives them, bool [B, H, W] pixels that count."""
        mass = (logits.float().softmax(dim=1) * valid[:, None]).sum(dim=(0, 2, 3), dtype=torch.float64)
        found = torch.cat([mass, valid.sum().double()[None]])
        add_over_ranks(found)
        self._seen += found

    def bias(self) -> Tensor:
        """float32 [C, 1, 1] that the logits gain, with what this update has seen."""
        sums = self._current()
        shares = (sums[:-1] / sums[-1].clamp(min=1e-12)).float()
        ratio = (self.source / shares.clamp(min=1e-12)).clamp(1 / _MOST, _MOST)
        known = (self.source > 0) & (shares > 0)
        return torch.where(known, self.strength * ratio.log(), 0)[:, None, None]

    def commit(self) -> None:
        """The end of an update."""
        self.sums.copy_(self._current())
        self.begin()


    def _current(self) -> Tensor:
        return torch.where(self._seen[-1] > 0, self.decay * self.sums + (1 - self.decay) * self._seen, self.sums)
