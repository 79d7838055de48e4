"""Costs, picks within a budget, and the global budget against one greedy loop over all images."""

import numpy as np
import pytest
import torch

from gbw_panoptic.active.budget import DynamicBudget, RegionShape, select_within_budget
from gbw_panoptic.active.selection import select_regions

SHAPE = RegionShape(1, 2)


def test_bought_and_barred_are_squares_clipped_at_the_border():
    picks = torch.tensor([[0, 0], [5, 6]])
    bought = SHAPE.bought(picks, (8, 9))
    expected, barred = torch.zeros(8, 9, dtype=torch.bool), torch.zeros(8, 9, dtype=torch.bool)
    expected[0:2, 0:2], expected[4:7, 5:8] = True, True
    barred[0:3, 0:3], barred[3:8, 4:9] = True, True
    assert torch.equal(bought, expected) and torch.equal(SHAPE.barred(bought), barred)
    costs = SHAPE.costs(torch.ones(8, 9, dtype=torch.bool))
    assert costs[0, 0] == 4 and costs[0, 4] == 6 and costs[5, 6] == 9


@pytest.mark.parametrize("budget", [0, 3, 4, 50, 93, 100, 10**6])
def test_budget_is_never_exceeded_and_the_next_pick_would_not_fit(budget):
    score = torch.rand(20, 30, generator=torch.Generator().manual_seed(budget))
    costs = SHAPE.costs(torch.ones(20, 30, dtype=torch.bool))
    nothing = torch.zeros(20, 30, dtype=torch.bool)
    picks = select_within_budget(score, costs, budget, SHAPE, nothing)
    greedy = select_regions(score, 600, 2)
    spent = int(SHAPE.bought(picks, (20, 30)).sum())
    assert torch.equal(picks, greedy[: len(picks)])
    assert spent == int(costs[picks[:, 0], picks[:, 1]].sum()) <= budget
    if len(picks) < len(greedy):
        row, column = greedy[len(picks)].tolist()
        assert spent + int(costs[row, column]) > budget


def global_loop(maps, budget):
    """Argmax over all images, then bar, until the next pick cannot be paid."""
    maps, picks, spent = [m.clone() for m in maps], [], 0
    while True:
        image = int(np.argmax([float(m.max()) for m in maps]))
        index = int(maps[image].flatten().argmax())
        row, column = divmod(index, maps[image].shape[1])
        if maps[image][row, column] == -torch.inf:
            return picks
        spent += int(SHAPE.costs(torch.ones(maps[image].shape, dtype=torch.bool))[row, column])
        if spent > budget:
            return picks
        picks.append((image, index))
        maps[image][max(row - 2, 0) : row + 3, max(column - 2, 0) : column + 3] = -torch.inf


def offered(images, maps, budget):
    dynamic = DynamicBudget(budget)
    for image in images:
        score = maps[image]
        paid = torch.ones(score.shape, dtype=torch.bool)
        dynamic.add(image, score, SHAPE.costs(paid), SHAPE, ~paid)
    return dynamic


@pytest.mark.parametrize("levels", [2, 10**6])
@pytest.mark.parametrize("budget", [40, 150, 10**5])
def test_global_budget_is_exact_in_any_order_and_on_two_ranks(budget, levels):
    generator = torch.Generator().manual_seed(levels + budget)
    sizes = [(12, 14), (9, 20), (16, 10), (12, 12), (7, 8)]
    maps = [torch.randint(0, levels, size, generator=generator).float() for size in sizes]
    expected = global_loop(maps, budget)
    first = offered(range(5), maps, budget)
    assert [(int(i), int(j)) for i, j in zip(first.winners()["image"], first.winners()["index"])] == expected
    backwards = offered([4, 3, 2, 1, 0], maps, budget)
    ranks = [offered([0, 2, 4], maps, budget), offered([1, 3], maps, budget)]
    ranks[0].merge([ranks[1].candidates()])
    assert np.array_equal(first.winners(), backwards.winners())
    assert np.array_equal(first.winners(), ranks[0].winners())


def test_memory_is_bounded_by_the_budget():
    dynamic = DynamicBudget(90)
    paid = torch.ones(30, 30, dtype=torch.bool)
    for image in range(20):
        dynamic.add(image, torch.rand(30, 30), SHAPE.costs(paid), SHAPE, ~paid)
        held = sum(map(len, dynamic._pending)) + len(dynamic._kept)
        assert held <= 2 * 90 / 4  # the smallest region has four pixels
    assert dynamic.threshold > 0 and dynamic.winners()["cost"].sum() <= 90
    assert dynamic.winners().itemsize == 16
