"""Where in an image the source shows a class, as a prior of the teacher's pseudo labels: the spatial prior of
class-balanced self-training (CBST-SP, arXiv 1810.07911), without the class's frequency (ours).

Shape legend: B images, C classes, G x G cells of an image, H x W pixels of a crop.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor
from torch.nn import functional as F

from ...structures.samples import TargetSample

#: G (ours).
CELLS = 16
#: Standard deviation of the smoothing, in cells (ours; as published the prior is smoothed by a Gaussian, too).
_SIGMA = 1.1
#: The most that a class's odds change by at strength 1 (ours).
_MOST = 10.0


@dataclass(frozen=True)
class LocationPrior:
    """What a teacher's logits gain at each place: strength * log(p(place | class) / p(place)), both of the source's
    labels.

    The class's frequency is divided out, so a rare class loses nothing on average. Classes without a label gain
    nothing.

    Attributes:
        log_ratio: [C, G, G] float32, from -log 10 to log 10 times the strength; rows from the top.
    """

    log_ratio: Tensor

    @classmethod
    def of(cls, labels: Iterable[np.ndarray], num_classes: int, *, strength: float) -> "LocationPrior":
        """
        Args:
            labels: whole label maps, integers [H, W] each; others than 0..C - 1 do not count.
            strength: in 0..1.
        """
        counts = np.zeros((num_classes, CELLS, CELLS))
        for label in labels:
            counts += _in_cells(label, num_classes)
        counts += counts[..., ::-1]  # traffic keeps to the right in one data set and to the left in another
        counts = gaussian_filter(counts, _SIGMA, axes=(1, 2), mode="nearest")
        total, of_class = counts.sum(axis=0), counts.sum(axis=(1, 2), keepdims=True)
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = counts * total.sum() / (of_class * total)
        ratio = np.clip(np.nan_to_num(ratio, nan=1.0), 1 / _MOST, _MOST)
        return cls(strength * torch.from_numpy(np.log(ratio)).float())

    def __call__(self, samples: Sequence[TargetSample], size: tuple[int, int], device: torch.device) -> Tensor:
        """float32 [B, C, H, W] of crops of ``size``, by their ``place``; beyond the image's border as at the border."""
        places = torch.stack([sample["place"] for sample in samples]).to(device, non_blocking=True)
        rows, columns = (
            start[:, None] + (end - start)[:, None] * (torch.arange(length, device=device) + 0.5) / length
            for start, end, length in ((places[:, 0], places[:, 1], size[0]), (places[:, 2], places[:, 3], size[1]))
        )
        grid = torch.stack([columns[:, None].expand(-1, size[0], -1), rows[:, :, None].expand(-1, -1, size[1])], dim=-1)
        prior = self.log_ratio.to(device, non_blocking=True)[None].expand(len(samples), -1, -1, -1)
        return F.grid_sample(prior, 2 * grid.float() - 1, mode="bilinear", padding_mode="border", align_corners=False)


def _in_cells(label: np.ndarray, num_classes: int) -> np.ndarray:
    """[C, G, G] shares of the image's pixels."""
    rows, columns = (np.arange(length) * CELLS // length for length in label.shape)
    places = (label.astype(np.int64) * CELLS + rows[:, None]) * CELLS + columns
    found = np.bincount(places[label < num_classes], minlength=num_classes * CELLS * CELLS)
    return found.reshape(num_classes, CELLS, CELLS) / label.size
