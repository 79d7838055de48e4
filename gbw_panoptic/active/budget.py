"""What a pick buys and costs, and picks within a budget: of one image (RIPU), or of all images together (CBDA).

Shape legend: H x W pixels, K picks as (row, column), best first.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from .scores import box_sum
from .selection import select_regions

#: One pick: 16 bytes, so that a budget over a whole data set fits in memory.
_PICK = np.dtype([("score", "<f4"), ("image", "<i4"), ("index", "<i4"), ("cost", "<i4")])


@dataclass(frozen=True)
class RegionShape:
    """Squares around a pick: of ``radius`` what is labelled, of ``bar_radius`` >= ``radius`` where no other pick may
    lie."""

    radius: int
    bar_radius: int
    dominant = False

    @property
    def header(self) -> dict[str, int]:
        """For the manifest of a store."""
        return {"radius": self.radius, "bar_radius": self.bar_radius}

    def scored(self, score: Tensor, *, average: bool = True) -> Tensor:
        """``score`` [H, W], which is that of a pick at each pixel already."""
        return score

    def bought(self, picks: Tensor, size: tuple[int, int]) -> Tensor:
        """bool [H, W]: what ``picks`` [K, 2] buy, clipped at the border."""
        centers = torch.zeros(size, dtype=torch.bool)
        centers[picks[:, 0], picks[:, 1]] = True
        return box_sum(centers, self.radius) > 0

    def barred(self, bought: Tensor) -> Tensor:
        """bool [H, W]: where no pick may lie, from what was bought before; no list of earlier picks is needed."""
        return box_sum(bought, self.bar_radius - self.radius) > 0

    def costs(self, paid: Tensor) -> Tensor:
        """int32 [H, W]: what a pick at each pixel costs, the pixels of its region where ``paid`` [H, W] is True."""
        return box_sum(paid, self.radius)


class Barring(Protocol):
    """What the selection must know of a unit: a :class:`RegionShape`, or a part of a partition."""

    bar_radius: int


def select_within_budget(score: Tensor, costs: Tensor, budget: int, shape: Barring, barred: Tensor) -> Tensor:
    """Greedy picks of one image up to the first that ``budget`` cannot pay.

    Args:
        score: [H, W] float.
        costs: [H, W] integers from :meth:`RegionShape.costs`, or in what else the budget is measured.
        budget: in pixels, or in that.
        barred: [H, W] bool.

    Returns:
        [K, 2] int64; their costs sum to ``budget`` at most.
    """
    area = max(int(costs.max()), 1)
    count = max(budget, 0) // area + 1
    while True:
        picks = select_regions(score, count, shape.bar_radius, barred)
        spent = costs[picks[:, 0], picks[:, 1]].cumsum(0)
        affordable = int((spent <= budget).sum())
        if affordable < len(picks) or len(picks) < count:
            return picks[:affordable]
        count += (budget - int(spent[-1])) // area + 1  # regions at the border were cheaper


class DynamicBudget:
    """One budget over all images: the best picks of all of them, exactly, whatever the order in which images come
    (CBDA).

    Barring acts inside an image, so the greedy picks of all images together are their own greedy sequences, merged by
    score; equal scores go by image, then by row-major index. Memory is O(budget): what cannot be among the winners
    goes.
    The first pick that the budget cannot pay is kept, too: the round ends there, even if a cheaper one comes after it.
    """

    def __init__(self, budget: int) -> None:
        """
        Args:
            budget: in pixels.
        """
        self.budget = budget
        #: No pick of a lower score can be among the winners.
        self.threshold = -np.inf
        self._kept = np.empty(0, _PICK)
        self._pending: list[np.ndarray] = []
        self._pending_cost = 0

    def add(self, image: int, score: Tensor, costs: Tensor, shape: Barring, barred: Tensor) -> None:
        """Offer the picks of an image, which comes once; arguments as in :func:`select_within_budget`."""
        score = score.float().cpu()
        candidates = score.masked_fill(score < self.threshold, -torch.inf)
        first_too_many = int(costs.max())
        picks = select_within_budget(candidates, costs, self.budget + first_too_many, shape, barred)
        rows = np.empty(len(picks), _PICK)
        rows["score"], rows["image"] = score[picks[:, 0], picks[:, 1]].numpy(), image
        rows["index"] = (picks[:, 0] * score.shape[1] + picks[:, 1]).numpy()
        rows["cost"] = costs[picks[:, 0], picks[:, 1]].numpy()
        self._pending.append(rows)
        self._pending_cost += int(rows["cost"].sum())
        if self._pending_cost > self.budget:
            self._prune()

    def merge(self, candidates: list[np.ndarray]) -> None:
        """Offer the :meth:`candidates` of other ranks, too."""
        self._pending += candidates
        self._prune()

    def candidates(self) -> np.ndarray:
        """The winners so far, best first, and the pick after them: ``score``, ``image``, ``index`` (row-major),
        ``cost``."""
        self._prune()
        return self._kept

    def winners(self) -> np.ndarray:
        """The best picks that the budget pays, as :meth:`candidates`."""
        rows = self.candidates()
        return rows[rows["cost"].cumsum(dtype=np.int64) <= self.budget]

    def _prune(self) -> None:
        rows = np.concatenate([self._kept, *self._pending])
        rows = rows[np.lexsort((rows["index"], rows["image"], -rows["score"]))]
        affordable = int((rows["cost"].cumsum(dtype=np.int64) <= self.budget).sum())
        if affordable < len(rows):
            self.threshold = float(rows["score"][affordable])
        self._kept, self._pending, self._pending_cost = rows[: affordable + 1].copy(), [], 0


def imbalance(counts: np.ndarray) -> float:
    """1 - entropy / ln C of the classes' shares of ``counts`` [C]: 0 = all equally often, 1 = one class alone
    (ours)."""
    total = counts.sum()
    if not total or len(counts) == 1:
        return 0.0
    shares = counts[counts > 0] / total
    return float(1 + (shares * np.log(shares)).sum() / np.log(len(counts)))
