"""Which of several models promises most, and how sure that is: one estimator, images drawn again.

Shape legend: M candidates, N images, B draws.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import UserError
from .estimation import Estimation
from .estimators import ESTIMATORS

#: Of the intervals.
COVERAGE = 0.9
_DRAWS = 500


@dataclass(frozen=True)
class Choice:
    """A candidate's rank.

    Attributes:
        index: of the candidate among those that were ranked.
        value: the estimate, percent.
        low, high: its interval.
        first: share of the draws in which it is the best.
        behind: low and high of what it is worse than the first by, drawn on the same images; (0, 0) of the first.
    """

    index: int
    value: float
    low: float
    high: float
    first: float
    behind: tuple[float, float]


def rank(candidates: Sequence[Estimation], name: str, *, draws: int = _DRAWS, seed: int = 0) -> list[Choice]:
    """Candidates from the best to the worst by an estimator.

    Every draw takes N images with replacement, the same for all candidates: what is hard in some images is hard for
    all.

    Raises:
        UserError: no candidate, one without the estimate, or candidates that have seen different images.
    """
    _check(candidates, name)
    sign = ESTIMATORS[name].sign
    number = len(candidates[0].images)
    weights = np.random.default_rng(seed).multinomial(number, np.full(number, 1 / number), size=draws).astype(float)
    values = np.array([candidate.value(name) for candidate in candidates])
    drawn = np.array([[candidate.value(name, row) for row in weights] for candidate in candidates])  # [M, B]
    order = np.argsort(-sign * values, kind="stable")
    wins = np.bincount((sign * drawn).argmax(axis=0), minlength=len(candidates)) / draws
    gaps = sign * (drawn[order[0]] - drawn)
    return [Choice(int(i), float(values[i]), *interval(drawn[i]), float(wins[i]), interval(gaps[i])) for i in order]


def interval(values: np.ndarray) -> tuple[float, float]:
    """The middle :data:`COVERAGE` of drawn values."""
    low, high = np.quantile(values, ((1 - COVERAGE) / 2, (1 + COVERAGE) / 2))
    return float(low), float(high)


def _check(candidates: Sequence[Estimation], name: str) -> None:
    if not candidates:
        raise UserError("expected estimates to choose by, found none; train or evaluate with TEST.UNSUPERVISED")
    common = [known for known in ESTIMATORS if all(known in candidate.counts for candidate in candidates)]
    if name not in common:
        raise UserError(
            f"--by: expected an estimator that every candidate has, {', '.join(common) or 'of which there is none'}, "
            f"found {name!r}; take one of them"
        )
    if any(list(candidate.images) != list(candidates[0].images) for candidate in candidates):
        raise UserError(
            "expected candidates that were looked at on the same images, found different ones; evaluate all of them "
            "with the same TEST.UNSUPERVISED and TEST.UNSUPERVISED_IMAGES"
        )
