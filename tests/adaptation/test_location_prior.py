"""The prior of a place: ratios by hand, whole images and crops of them, mirrored views, bounds, rare classes."""

import math

import numpy as np
import pytest
import torch

from gbw_panoptic.adaptation.mean_teacher.location_prior import CELLS, LocationPrior
from gbw_panoptic.data.views import Window

SIZE = (2 * CELLS, 4 * CELLS)


def halves(top, bottom):
    """A label map whose upper and lower half are one class each."""
    label = np.full(SIZE, top, dtype=np.uint8)
    label[SIZE[0] // 2 :] = bottom
    return label


def sample(top=0.0, bottom=1.0, left=0.0, right=1.0):
    return {"place": torch.tensor([top, bottom, left, right])}


def test_by_hand():
    """Half of all pixels are above. Class 0 lies there only: its odds double there, and below they fall to the
    bound."""
    prior = LocationPrior.of([halves(0, 1), halves(0, 2)], 4, strength=0.5).log_ratio
    assert prior[0, 0].tolist() == pytest.approx([0.5 * math.log(2)] * CELLS, abs=1e-4)
    assert prior[0, -1].tolist() == pytest.approx([-0.5 * math.log(10)] * CELLS)
    assert torch.equal(prior[1], prior[2])  # half as frequent as class 0 is no reason to be predicted less
    assert prior[1, -1].tolist() == pytest.approx([0.5 * math.log(2)] * CELLS, abs=1e-4)
    assert torch.equal(prior[3], torch.zeros(CELLS, CELLS))  # without a label


def test_ignored_pixels_and_other_sizes():
    label = halves(0, 1)
    hidden = label.copy()
    hidden[:, ::2] = 255
    small = label[::2, ::4]
    expected = LocationPrior.of([label], 2, strength=1.0).log_ratio
    for other in ([hidden], [small], [label, small, hidden]):
        assert torch.allclose(LocationPrior.of(other, 2, strength=1.0).log_ratio, expected, atol=1e-6)
    one = LocationPrior.of([np.zeros(SIZE, np.uint8)], 1, strength=1.0).log_ratio
    assert torch.equal(one, torch.zeros_like(one))  # a single class is everywhere


def test_left_and_right_count_alike():
    label = np.zeros(SIZE, dtype=np.uint8)
    label[:, : SIZE[1] // 2] = 1
    prior = LocationPrior.of([label], 2, strength=1.0).log_ratio
    assert torch.allclose(prior, prior.flip(-1), atol=1e-6)


@pytest.mark.parametrize("flip", [False, True])
def test_a_crop_gets_its_part_of_the_image(flip):
    generator = torch.Generator().manual_seed(0)
    prior = LocationPrior(torch.randn(3, CELLS, CELLS, generator=generator))
    cpu = torch.device("cpu")
    (whole,) = prior([sample()], SIZE, cpu)
    assert torch.allclose(whole[:, 1::2, 2::4].mean(), prior.log_ratio.mean(), atol=0.05)
    window = Window(top=5, left=9, height=12, width=20)
    (crop,) = prior([{"place": window.place(SIZE, flip=flip)}], (12, 20), cpu)
    expected = whole[:, 5:17, 9:29]
    assert torch.allclose(crop, expected.flip(-1) if flip else expected, atol=1e-5)


def test_beyond_the_border_as_at_the_border():
    prior = LocationPrior.of([halves(0, 1)], 2, strength=1.0)
    (crop,) = prior(
        [{"place": Window(0, 0, 2 * SIZE[0], SIZE[1]).place(SIZE, flip=False)}], (SIZE[0], 8), torch.device("cpu")
    )
    assert torch.equal(crop[:, -1], crop[:, -(SIZE[0] // 2) + 1])
