"""Joint histograms against their definition."""

import numpy as np
import pytest

from gbw_panoptic.evaluation.counting import distinct_values, joint_counts, joint_histogram, positions


@pytest.mark.parametrize("block", [1, 16])  # noise is sorted, blocks are cut into runs
@pytest.mark.parametrize("low, high", [(0, 9), (2**31, 2**31 + 5), (-4, 3), (2**40, 2**40 + 7)])
def test_joint_counts(block, low, high):
    rng = np.random.default_rng(0)
    first, second = np.repeat(rng.integers(low, high, (2, 12, 8)), block, axis=2)
    counted: dict[tuple[int, int], int] = {}
    for a, b, pixels in zip(*(values.tolist() for values in joint_counts(first, second))):
        counted[a, b] = counted.get((a, b), 0) + pixels
    pairs, expected = np.unique(np.stack([first.ravel(), second.ravel()]), axis=1, return_counts=True)
    assert counted == {(a, b): n for a, b, n in zip(*pairs.tolist(), expected.tolist())}


def test_joint_counts_of_nothing_and_of_one_pixel():
    empty = np.zeros((0, 4), int)
    assert [values.size for values in joint_counts(empty, empty)] == [0, 0, 0]
    assert [values.tolist() for values in joint_counts(np.array([[3]]), np.array([[5]]))] == [[3], [5], [1]]


@pytest.mark.parametrize("keys", [[3, 1, 7], [2**24, 5, 2**50], [-3, 0, 70000], []])
def test_positions(keys):
    values = np.array([[0, 1, 3, 5], [7, 8, 2**24, 70000], [2**50, -3, -4, 2**62]])
    expected = [[keys.index(v) + 1 if v in keys else 0 for v in row] for row in values.tolist()]
    assert positions(values, keys).tolist() == expected
    small = values % 9
    assert positions(small, [4, 2]).tolist() == [[{4: 1, 2: 2}.get(v, 0) for v in row] for row in small.tolist()]


def test_joint_histogram_and_distinct_values():
    table = joint_histogram(np.array([0, 1, 1]), np.array([2, 0, 0]), (2, 3), np.array([5, 2**40, 1]))
    assert table.tolist() == [[0, 0, 5], [2**40 + 1, 0, 0]] and table.dtype == np.int64
    assert distinct_values(np.array([[5, 5, -1], [2, 2, 5]])).tolist() == [-1, 2, 5]
    assert distinct_values(np.zeros((0, 3), int)).size == 0
