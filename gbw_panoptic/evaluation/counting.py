"""Joint histograms of two label maps.

Label maps of scenes consist of long horizontal runs of equal values, so the maps are first cut into runs on which
both are constant; look-ups and histograms then see tens of thousands of runs instead of millions of pixels. Noise is
sorted instead.

Shapes: N pixels, R runs (R <= N), K keys.
"""

from collections.abc import Mapping, Sequence

import numpy as np

# Below this number of pixels per run, sorting the pixels is faster than looking up every run.
_MIN_MEAN_RUN = 8
_TABLE_SIZE = 1 << 16
_ROUNDING = 1e-6


def require_percent(scores: Mapping[str, float], *names: str) -> dict[str, float]:
    """A copy of ``scores``, whose entries ``names`` are percentages.

    Raises:
        RuntimeError: one lies outside 0..100, which no input may cause: a fault of this program.
    """
    for name in names:
        if not -_ROUNDING <= scores[name] <= 100 + _ROUNDING:
            raise RuntimeError(
                f"expected {name} in 0..100, found {scores[name]}: this is a fault of the program, please report it"
            )
    return dict(scores)


def joint_counts(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pairs of values that lie on each other in two maps, with pixel counts; a pair may come several times.

    Args:
        first, second: integer arrays of equal size, read in C order.

    Returns:
        values of ``first`` and of ``second`` (their dtypes, [R]) and pixels (int64 [R], sum N).
    """
    first, second = first.reshape(-1), second.reshape(-1)
    changes = first[1:] != first[:-1]
    changes |= second[1:] != second[:-1]
    starts = np.flatnonzero(changes) + 1
    if len(starts) * _MIN_MEAN_RUN > first.size and _is_32_bit(first) and _is_32_bit(second):
        pairs, counts = np.unique(
            first.astype(np.uint64) << np.uint64(32) | second.astype(np.uint64), return_counts=True
        )
        return (pairs >> np.uint64(32)).astype(first.dtype), (pairs & np.uint64(2**32 - 1)).astype(second.dtype), counts
    starts = np.concatenate([np.zeros(min(first.size, 1), np.int64), starts])
    return first[starts], second[starts], np.diff(starts, append=first.size)


def distinct_values(values: np.ndarray) -> np.ndarray:
    """Like ``np.unique(values)``, faster where equal values form runs."""
    values = values.reshape(-1)
    starts = np.flatnonzero(values[1:] != values[:-1]) + 1
    return np.unique(np.concatenate([values[:1], values[starts]]))


def _is_32_bit(values: np.ndarray) -> bool:
    return bool(values.min() >= 0 and values.max() < 2**32)


def positions(values: np.ndarray, keys: Sequence[int]) -> np.ndarray:
    """1 + the index in ``keys`` of every value; 0 for a value that is not a key.

    Args:
        values: integer array of any shape.
        keys: K distinct integers.

    Returns:
        int64 array like ``values``, in 0..K.
    """
    values, keys = values.astype(np.int64), np.asarray(keys, dtype=np.int64)
    if not values.size or not keys.size:
        return np.zeros(values.shape, np.int64)
    low, high = values.min(), values.max()
    if 0 <= low and high < _TABLE_SIZE:
        table = np.zeros(high + 1, np.int64)
        usable = (keys >= 0) & (keys <= high)
        table[keys[usable]] = np.flatnonzero(usable) + 1
        return table[values]
    order = np.argsort(keys)
    nearest = order[np.minimum(np.searchsorted(keys, values, sorter=order), len(keys) - 1)]
    return np.where(keys[nearest] == values, nearest + 1, 0)


def joint_histogram(rows: np.ndarray, columns: np.ndarray, shape: tuple[int, int], weights: np.ndarray) -> np.ndarray:
    """int64 ``shape`` table of the sums of ``weights`` over equal (row, column) pairs.

    Args:
        rows, columns: int64 [R], within ``shape``.
        weights: int64 [R], e.g. run lengths; sums below 2**53 are exact.
    """
    flat = np.bincount(rows * shape[1] + columns, weights=weights, minlength=shape[0] * shape[1])
    return flat.astype(np.int64).reshape(shape)
