"""Block masks: cells, shares, fill."""

import numpy as np
import pytest
import torch

from gbw_panoptic.adaptation.mean_teacher.augmentation import BlockMasking, block_mask


@pytest.mark.parametrize("size, block, cells", [((64, 128), 16, (4, 8)), ((10, 7), 4, (2, 2)), ((5, 9), 64, (1, 1))])
def test_cells_are_whole(size, block, cells):
    """Every cell of the stretched grid is of one value, for odd sizes and blocks larger than the image, too."""
    u = np.random.default_rng(0).random(cells)
    mask = block_mask(size, block, 0.5, np.random.default_rng(0))
    for y in range(size[0]):
        for x in range(size[1]):
            assert mask[y, x] == (u[y * cells[0] // size[0], x * cells[1] // size[1]] > 0.5)


def test_share_and_extremes():
    share = np.mean([block_mask((64, 64), 4, 0.7, np.random.default_rng(seed)).mean() for seed in range(40)])
    assert abs(share - 0.3) < 4 * (0.21 / (40 * 256)) ** 0.5
    assert block_mask((9, 9), 2, 0.0, np.random.default_rng(0)).all()
    assert not block_mask((9, 9), 2, 1.0, np.random.default_rng(0)).any()


def test_hidden_pixels_are_the_fill_and_others_as_they_were():
    image = torch.rand(3, 40, 60) * 255
    fill = (123.675, 116.28, 103.53)
    masked = BlockMasking(0.7, 8, fill)(image, np.random.default_rng(1))
    keep = torch.from_numpy(block_mask((40, 60), 8, 0.7, np.random.default_rng(1)))
    assert torch.equal(masked[:, keep], image[:, keep]) and 0 < keep.sum() < keep.numel()
    normalised = (masked - torch.tensor(fill).view(3, 1, 1)) / 58.0
    assert (normalised[:, ~keep] == 0).all()
    assert torch.equal(BlockMasking(0.7, 8, fill)(image, np.random.default_rng(1)), masked)
