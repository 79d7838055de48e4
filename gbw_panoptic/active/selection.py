"""Which regions are bought: the greedy maximum, exactly, without a pass over the map for every pick.

A pick bars a square of (2b+1)^2 pixels, itself included. So K picks lie among the K (2b+1)^2 best pixels, whatever the
map. About so many, all that reach a threshold, are sorted and swept once, best first, over a map of what is barred. The
threshold is read off a sample of the map; where it was too high, which the number of picks shows, it is lowered.

Shape legend: H x W pixels, K picks, M candidates; b the bar radius.
"""

import numpy as np
import torch
from torch import Tensor

_SAMPLE = 1 << 16  # pixels, at least, that the threshold is read off


def select_regions(score: Tensor, count: int, bar_radius: int, barred: Tensor | None = None) -> Tensor:
    """Greedy picks: the largest score first, each barring the square of ``bar_radius`` around it, clipped at the
    border.

    The same picks as a loop of ``argmax`` over the whole map; of equal scores the lowest row-major index wins.
    O(H W + M log M) with M about ``count`` (2 ``bar_radius`` + 1)^2, more where many scores equal the M-th.

    Args:
        score: [H, W]; -inf is never picked.
        count: of picks, at most.
        barred: [H, W] bool; True is never picked.

    Returns:
        [K, 2] int64 on the CPU: (row, column), best first; K < ``count`` where nothing is left.

    Raises:
        ValueError: a score is NaN, or the shapes disagree.
    """
    if score.dim() != 2 or (barred is not None and barred.shape != score.shape):
        raise ValueError(f"expected [H, W], found score {tuple(score.shape)}, barred {getattr(barred, 'shape', None)}")
    if count < 1 or not score.numel():
        return torch.empty(0, 2, dtype=torch.int64)
    score = score.detach()
    if not score.is_floating_point():
        score = score.double()
    if score.dtype in (torch.float16, torch.bfloat16):
        score = score.float()  # NumPy knows no bfloat16
    if score.max().isnan():
        raise ValueError("expected scores without NaN")
    if barred is not None:
        score = score.masked_fill(barred.to(score.device), -torch.inf)
    flat, wanted = score.flatten(), count * (2 * bar_radius + 1) ** 2
    while True:
        threshold = _threshold(flat, wanted)
        picks = _sweep(_candidates(flat, threshold), tuple(score.shape), count, bar_radius)
        if len(picks) == count or threshold == -torch.inf:
            return torch.from_numpy(np.stack(np.divmod(picks, score.shape[1]), axis=1))
        wanted *= 4


def _threshold(score: Tensor, wanted: int) -> float:
    """What about ``wanted`` scores reach; -inf where that is all of them."""
    stride = max(score.numel() // _SAMPLE, 1) | 1  # odd: on maps of even width a column is not all that it meets
    sample = score[::stride].cpu().numpy()
    rank = -(-wanted // stride)
    return float(np.partition(sample, -rank)[-rank]) if rank < len(sample) else -np.inf


def _candidates(score: Tensor, threshold: float) -> np.ndarray:
    """Indices of the scores that reach ``threshold``, best first and of equal ones the lowest first, but none of
    -inf."""
    reached = score > threshold if threshold == -torch.inf else score >= threshold
    indices = torch.nonzero(reached).squeeze(1)
    return indices[score[indices].argsort(descending=True, stable=True)].cpu().numpy()


def _sweep(candidates: np.ndarray, size: tuple[int, int], count: int, bar_radius: int) -> np.ndarray:
    """The first ``count`` candidates that no earlier one bars, [K] int64."""
    height, width = size
    barred = bytearray(height * width)  # faster to read one by one than an array
    full = bytes([1]) * (2 * bar_radius + 1)
    picks: list[int] = []
    for index in candidates.tolist():
        if barred[index]:
            continue
        picks.append(index)
        if len(picks) == count:
            break
        row, column = divmod(index, width)
        left, right = max(column - bar_radius, 0), min(column + bar_radius + 1, width)
        for top in range(max(row - bar_radius, 0), min(row + bar_radius + 1, height)):
            start = top * width
            barred[start + left : start + right] = full[: right - left]
    return np.array(picks, dtype=np.int64)
