"""Segment products against a loop."""

import pytest
import torch

from gbw_panoptic.losses.segments import segment_products


@pytest.mark.parametrize("tile", [1, 4, 64])
@pytest.mark.parametrize("rows", [1, 50])
def test_equals_loop(rows, tile):
    generator = torch.Generator().manual_seed(rows)
    left, right = torch.randn(rows, 3, generator=generator), torch.randn(rows, 5, generator=generator)
    segments = torch.randint(-1, 6, (rows,), generator=generator)  # -1 and 5 are outside
    expected = torch.stack([left[segments == s].T @ right[segments == s] for s in range(5)])
    torch.testing.assert_close(segment_products(left, right, segments, 5, tile), expected)


def test_nothing_valid():
    out = segment_products(torch.ones(3, 2), torch.ones(3, 2), torch.full((3,), -1), 4)
    assert out.shape == (4, 2, 2) and out.abs().sum() == 0
