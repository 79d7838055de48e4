"""Maps of segments as runs of equal values in their rows: tens of thousands, where pixels are millions.

Shapes: H x W pixels, R runs, K values.
"""

import numpy as np

_TABLE = 1 << 20  # values below this are looked up, others are sorted


def runs(ids: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The runs of a map of integers [H, W], in reading order.

    Returns:
        values: the K ids that occur, ascending.
        index: [R] the place of each run's value among them.
        starts, lengths: [R] pixels; a pixel is row * W + column.
    """
    begins = np.ones(ids.shape, bool)
    np.not_equal(ids[:, 1:], ids[:, :-1], out=begins[:, 1:])
    starts = np.flatnonzero(begins)
    of_runs = ids.reshape(-1)[starts]
    return *_distinct(of_runs), starts, np.diff(starts, append=ids.size)


def compact_ids(ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Like ``np.unique(ids, return_inverse=True)``, but only one pixel of each run of equal ones is looked at.

    Returns:
        values: the K ids that occur, ascending.
        index: unsigned [H, W] (uint8 if K is below 256), 0..K-1.
    """
    values, index, _, lengths = runs(ids)
    return values, np.repeat(index.astype(np.min_scalar_type(len(values))), lengths).reshape(ids.shape)


def _distinct(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if not len(values) or values.min() < 0 or values.max() >= _TABLE:
        return np.unique(values, return_inverse=True)
    occurs = np.zeros(int(values.max()) + 1, bool)
    occurs[values] = True
    distinct = np.flatnonzero(occurs)
    table = np.zeros(len(occurs), np.intp)
    table[distinct] = np.arange(len(distinct))
    return distinct.astype(values.dtype), table[values]
