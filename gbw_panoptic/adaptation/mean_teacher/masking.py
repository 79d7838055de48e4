"""Masked image consistency: blocks of the target image are hidden from the student (MIC, arXiv 2212.01322).

Shape legend: H x W pixels; images are [3, H, W].
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class BlockMasking:
    """Hides whole cells of a grid. The loss is taken at all pixels, hidden or not, as published.

    Attributes:
        ratio: in 0..1, probability of each cell to be hidden.
        block_size: side of a cell in pixels.
        fill: value per channel of hidden pixels; the network's pixel mean is 0 after normalisation.
    """

    ratio: float
    block_size: int
    fill: tuple[float, ...]

    def __call__(self, image: Tensor, generator: np.random.Generator) -> Tensor:
        """[3, H, W] float in 0..255 -> the same, with hidden cells filled."""
        keep = torch.from_numpy(block_mask(image.shape[-2:], self.block_size, self.ratio, generator))
        fill = torch.tensor(self.fill, dtype=image.dtype).view(3, 1, 1)
        return torch.where(keep.to(image.device), image, fill.to(image.device))


def block_mask(size: tuple[int, int], block_size: int, ratio: float, generator: np.random.Generator) -> np.ndarray:
    """[H, W] bool: what is kept.

    The grid has round(H / block_size) x round(W / block_size) cells, at least one; a cell is kept where a uniform
    number exceeds ``ratio``.
    """
    cells = [max(round(length / block_size), 1) for length in size]
    keep = generator.random(cells) > ratio
    rows, columns = (np.arange(length) * count // length for length, count in zip(size, cells))
    return keep[np.ix_(rows, columns)]
