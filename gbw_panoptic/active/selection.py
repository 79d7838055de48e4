"""Which regions are bought: the greedy maximum, exactly, without a pass over the map for every pick.

A pick bars a square of (2b+1)^2 pixels, itself included. So K picks lie among the K (2b+1)^2 best pixels, whatever the map:
these are found by one partial sort, and swept once, best first, over a map of what is barred.

Shape legend: H x W pixels, K picks, M candidates; b the bar radius.
"""

import numpy as np
import torch
from torch import Tensor


def select_regions(score: Tensor, count: int, bar_radius: int, barred: Tensor | None = None) -> Tensor:
    """Greedy picks: the largest score first, each barring the square of ``bar_radius`` around it, clipped at the border.

    The same picks as a loop of ``argmax`` over the whole map; of equal scores the lowest row-major index wins. O(H W + M log M)
    with M = ``count`` (2 ``bar_radius`` + 1)^2, more only where many scores equal the M-th.

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
    if score.isnan().any():
        raise ValueError("expected scores without NaN")
    if barred is not None:
        score = score.masked_fill(barred.to(score.device), -torch.inf)
    candidates = _candidates(score.flatten(), count * (2 * bar_radius + 1) ** 2)
    picks = _sweep(candidates, tuple(score.shape), count, bar_radius)
    return torch.from_numpy(np.stack(np.divmod(picks, score.shape[1]), axis=1))


def _candidates(score: Tensor, count: int) -> np.ndarray:
    """Indices of the ``count`` largest scores and of all that equal the least of them, best first, but none of -inf."""
    if count >= len(score):
        threshold = -torch.inf
    elif score.is_cuda:
        threshold = score.topk(count, sorted=False).values.min()
    else:
        if score.dtype in (torch.float16, torch.bfloat16):
            score = score.float()
        threshold = float(np.partition(score.numpy(), -count)[-count])
    indices = torch.nonzero((score >= threshold) & (score > -torch.inf)).squeeze(1)
    values = score[indices].cpu()
    return indices.cpu()[values.argsort(descending=True, stable=True)].numpy()


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
