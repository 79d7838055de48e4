"""Means over seeds with their standard errors, and gains over a baseline that pair runs of the same seed."""

import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from .page import table

#: Column -> task, metric of a result file; in percent.
COLUMNS = {
    "PQ": ("panoptic", "PQ"), "PQ things": ("panoptic", "PQ_things"), "PQ stuff": ("panoptic", "PQ_stuff"),
    "SQ": ("panoptic", "SQ"), "RQ": ("panoptic", "RQ"), "mIoU": ("semantic", "mIoU"),
    "mean recall": ("semantic", "mean_recall"), "rare recall": ("semantic", "rare_recall"),
    "mean precision": ("semantic", "mean_precision"),
}  # fmt: skip

#: Seed -> column -> value: what the runs of one configuration have scored.
Scores = Mapping[int, Mapping[str, float]]


@dataclass(frozen=True)
class Spread:
    """Mean over ``count`` runs and its standard error (sample deviation / sqrt(count)); None for a single run."""

    mean: float
    error: float | None
    count: int

    @property
    def deviation(self) -> float | None:
        """Sample standard deviation; None for a single run."""
        return None if self.error is None else self.error * math.sqrt(self.count)

    def __str__(self) -> str:
        return f"{self.mean:.1f}" + self._error()

    def _error(self) -> str:
        return "" if self.error is None else f" ± {self.error:.1f}"


@dataclass(frozen=True)
class Gain(Spread):
    """Mean difference to a baseline; ``paired``: over runs of the same seed, of which there are ``count``."""

    paired: bool

    def __str__(self) -> str:
        return f"{round(self.mean, 1) + 0.0:+.1f}" + self._error() + ("" if self.paired else " (unpaired)")


def spread(values: Iterable[float]) -> Spread:
    """Mean and standard error of at least one value."""
    values = list(values)
    error = statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else None
    return Spread(statistics.fmean(values), error, len(values))


def mean_and_deviation(values: Iterable[float], decimals: int = 1) -> str:
    """``mean ± standard deviation`` over runs; the mean alone of a single one, nothing of none."""
    values = list(values)
    if not values:
        return ""
    summary = spread(values)
    deviation = "" if summary.deviation is None else f" ± {summary.deviation:.{decimals}f}"
    return f"{summary.mean:.{decimals}f}{deviation}"


def gain(values: Mapping[int, float], baseline: Mapping[int, float]) -> Gain:
    """Difference of two configurations' values by seed.

    Runs of the same seed share initial weights and the order of images, so that much of the spread over seeds cancels
    in their differences. Seeds that only one side has are left out; where no seed is shared, the means are subtracted
    and the errors add up in quadrature.
    """
    seeds = [seed for seed in values if seed in baseline]
    if seeds:
        paired = spread(values[seed] - baseline[seed] for seed in seeds)
        return Gain(paired.mean, paired.error, paired.count, True)
    ours, theirs = spread(values.values()), spread(baseline.values())
    known = ours.error is not None and theirs.error is not None
    return Gain(ours.mean - theirs.mean, math.hypot(ours.error, theirs.error) if known else None, ours.count, False)


def mean_with_gain(values: Mapping[int, float], baseline: Mapping[int, float]) -> str:
    """``mean (gain)`` by seed; the baseline itself has its error instead."""
    mean = spread(values.values())
    return str(mean) if values is baseline else f"{mean.mean:.1f} ({gain(values, baseline)})"


def run_scores(evaluation: Mapping, protocol: str) -> dict[str, float]:
    """The :data:`COLUMNS` that a result file holds for a protocol."""
    held = {task: protocols.get(protocol, {}) for task, protocols in evaluation["scores"].items()}
    return {name: held[task][key] for name, (task, key) in COLUMNS.items() if key in held.get(task, {})}


def column(scores: Scores, name: str) -> dict[int, float]:
    """Seed -> value of one column, where a run has it."""
    return {seed: values[name] for seed, values in scores.items() if name in values}


def score_table(
    rows: Mapping[tuple[str, ...], Scores], header: Sequence[str], *, baseline: tuple[str, ...], gains: Sequence[str]
) -> str:
    """Mean ± standard error of every column, and the gains of some of them over the baseline's row.

    Args:
        rows: first cells of a row -> scores of its runs.
        header: of the first cells.
        gains: columns whose gain is added on the right, where there is such a column.
    """
    names = [name for name in COLUMNS if any(column(scores, name) for scores in rows.values())]
    gains = [name for name in gains if name in names]
    reference = rows[baseline]

    def cells(key: tuple[str, ...], scores: Scores) -> list:
        means = [_or_none(spread, column(scores, name).values()) for name in names]
        differences = [
            "" if key == baseline else _or_none(gain, column(scores, name), column(reference, name)) for name in gains
        ]
        return [*key, len(scores), *means, *differences]

    titles = [*header, "seeds", *names, *(f"{name} gain" for name in gains)]
    return table([cells(key, scores) for key, scores in rows.items()], titles)


def _or_none(function: Callable, *values: Iterable) -> object:
    return function(*values) if all(values) else None
