"""The sweep against the loop of argmax that defines it."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gbw_panoptic.active import select_regions


def naive(score, count, bar_radius, barred=None):
    score = score.numpy().astype(np.float64)
    if barred is not None:
        score[barred.numpy()] = -np.inf
    picks = []
    while len(picks) < count:
        row, column = np.unravel_index(np.argmax(score), score.shape)
        if score[row, column] == -np.inf:
            break
        picks.append((row, column))
        top, left = max(row - bar_radius, 0), max(column - bar_radius, 0)
        score[top : row + bar_radius + 1, left : column + bar_radius + 1] = -np.inf
    return torch.tensor(np.array(picks).reshape(-1, 2))


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_same_picks_as_the_argmax_loop(data):
    height, width = data.draw(st.integers(1, 14)), data.draw(st.integers(1, 14))
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 10**6)))
    levels = data.draw(st.sampled_from([1, 3, 1000]))  # few levels: many ties
    score = torch.randint(-levels, levels, (height, width), generator=generator).float()
    if data.draw(st.booleans()):
        score[torch.rand(height, width, generator=generator) < 0.3] = -torch.inf
    barred = torch.rand(height, width, generator=generator) < 0.3 if data.draw(st.booleans()) else None
    count, bar_radius = data.draw(st.integers(0, 30)), data.draw(st.integers(0, 4))
    before = score.clone()
    picks = select_regions(score, count, bar_radius, barred)
    assert torch.equal(picks, naive(score, count, bar_radius, barred))
    assert torch.equal(score, before)


@pytest.mark.parametrize("bar_radius, count", [(2, 40), (32, 3)])
def test_same_picks_on_a_smooth_map(bar_radius, count):
    """Smooth maps use most candidates up: neighbours of a pick are the next best."""
    rows, columns = torch.meshgrid(torch.linspace(0, 9, 96), torch.linspace(0, 14, 160), indexing="ij")
    score = (rows.sin() * columns.cos()).float()
    assert torch.equal(select_regions(score, count, bar_radius), naive(score, count, bar_radius))


def test_a_sample_that_misleads_changes_nothing():
    """Every fifth pixel, which the threshold is read off at this size, is far better than all others."""
    score = torch.rand(512, 512, generator=torch.Generator().manual_seed(3))
    score.view(-1)[:2000:5] += 10
    score.view(-1)[1] = 5
    assert torch.equal(select_regions(score, 300, 3), naive(score, 300, 3))


def test_ties_go_to_the_lowest_row_major_index():
    assert select_regions(torch.zeros(3, 7), 3, 1).tolist() == [[0, 0], [0, 2], [0, 4]]


def test_more_than_there_is_and_nothing_at_all():
    assert len(select_regions(torch.rand(5, 5), 100, 2)) <= 9
    assert select_regions(torch.full((4, 4), -torch.inf), 3, 1).shape == (0, 2)
    assert select_regions(torch.rand(4, 4), 3, 1, torch.ones(4, 4, dtype=torch.bool)).shape == (0, 2)
    assert select_regions(torch.rand(4, 4), 0, 1).shape == (0, 2)
    assert select_regions(torch.rand(0, 4), 2, 1).shape == (0, 2)


def test_other_types_and_gradients():
    score = torch.arange(20, dtype=torch.int64).reshape(4, 5)
    assert select_regions(score, 1, 1).tolist() == [[3, 4]]
    assert select_regions(score.bfloat16(), 2, 0).tolist() == select_regions(score, 2, 0).tolist()
    assert select_regions(score.float().requires_grad_(), 1, 1).tolist() == [[3, 4]]


def test_nan_and_shapes_are_refused():
    with pytest.raises(ValueError, match="NaN"):
        select_regions(torch.tensor([[1.0, float("nan")]]), 1, 0)
    with pytest.raises(ValueError, match="expected"):
        select_regions(torch.rand(3, 3), 1, 0, torch.zeros(2, 2, dtype=torch.bool))
