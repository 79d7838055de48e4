"""How well estimates without labels rank models, over runs that were also evaluated with labels.

A point is one evaluation of a run's headline model. A cell is a configuration; its runs differ in the seed. A strategy
is a trainer. Configurations are compared at equal seeds. The row ``chosen elsewhere`` takes in each cell the estimator
that ranks best in all others: what a user gets who trusts other people's runs.

Shape legend: B draws of runs.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.stats import rankdata

from gbw_panoptic import files
from gbw_panoptic.errors import UserError
from gbw_panoptic.evaluation.scores import headline_task
from gbw_panoptic.forms import Each
from gbw_panoptic.reporting.page import table
from gbw_panoptic.reporting.run_folder import RunFolder
from gbw_panoptic.structures import metric_names
from gbw_panoptic.trust.choosing import interval
from gbw_panoptic.trust.estimators import ESTIMATORS

LAST, SOURCE, ELSEWHERE = "last iteration", "source validation", "chosen elsewhere"
_DRAWS = 200
_FEWEST = 3  # points of a correlation
#: Form of an evaluation in a result file of the study of class weighting; estimates so that more is better.
EVALUATION = {"iteration": int, "estimates": Each(float), "scores": Each(float)}
#: The same of a sign of collapse.
ALARM = {"model": str, "iteration": int, "sign": str}
_RESULT = {
    "strategy": str, "network": str, "weighting": str, "seed": int, "evaluations": [EVALUATION], "alarms?": [ALARM],
}  # fmt: skip


@dataclass(frozen=True)
class Point:
    """One evaluation of a run's headline model.

    Attributes:
        estimates: estimator -> percent, each so that more is better.
        scores: ``PQ`` (where there is one) and ``mIoU``, percent, by labels.
    """

    strategy: str
    cell: str
    run: str
    seed: int
    iteration: int
    estimates: Mapping[str, float]
    scores: Mapping[str, float]


def points_of(run: RunFolder, cell: str, protocol: str | None = None) -> list[Point]:
    """Evaluations of a run that have both estimates and scores, by iteration.

    Raises:
        UserError: it has none.
    """
    evaluation, found = run.headline(), []
    model = run.value("TEST.MODEL") or "student"
    if evaluation is not None:
        protocol = protocol or evaluation["protocols"][0]
        tasks = {"PQ": "panoptic", "mIoU": "semantic"}
        if headline_task(evaluation, protocol) == "semantic":
            del tasks["PQ"]
        of_model = {**evaluation, "model": model}
        series = {m: dict(zip(*run.score_series(of_model, task, protocol, m))) for m, task in tasks.items()}
        for line in run.metrics:
            values = {n: v for n, v in metric_names.estimates(line, model).items() if "/" not in n}
            scores = {
                m: by_iteration[line["iteration"]]
                for m, by_iteration in series.items()
                if line["iteration"] in by_iteration
            }
            if values and len(scores) == len(tasks):
                oriented = {n: ESTIMATORS[n].sign * v if n in ESTIMATORS else v for n, v in values.items()}
                found.append(
                    Point(
                        str(run.value("TRAINER.NAME")),
                        cell,
                        str(run.path),
                        run.value("SEED"),
                        line["iteration"],
                        oriented,
                        scores,
                    )
                )
    if not found:
        raise UserError(
            f"RUN: expected evaluations with labels and with TEST.UNSUPERVISED in {run.path}, found none; leave it "
            "out, or evaluate it so"
        )
    return found


def points_of_result(path: Path) -> tuple[list[Point], list[tuple[int, str]] | None]:
    """Evaluations in a result file of the study of class weighting, by iteration, and its alarms (None: not kept).

    Raises:
        UserError: it is no such file, or its run made no estimates.
    """
    result = files.read_json(path, _RESULT, remedy="name results of tier 5, 6 or 7 of tools/weighting_study.py")
    cell = f"{result['network']}, {result['strategy']}, {result['weighting']}"
    points = [
        Point(result["strategy"], cell, str(path), result["seed"], one["iteration"], one["estimates"], one["scores"])
        for one in result["evaluations"]
    ]
    alarms = result.get("alarms")
    return points, None if alarms is None else [(alarm["iteration"], alarm["sign"]) for alarm in alarms]


def spearman(points: Sequence[Point], name: str, metric: str) -> float:
    """Of an estimator and a score, over all points; NaN for fewer than three, or equal ones."""
    pairs = [(p.estimates[name], p.scores[metric]) for p in points if name in p.estimates and metric in p.scores]
    if len(pairs) < _FEWEST:
        return math.nan
    ranks = rankdata(pairs, axis=0)
    if (ranks == ranks[0]).all(axis=0).any():
        return math.nan
    return float(np.corrcoef(ranks.T)[0, 1])


def regret(points: Sequence[Point], name: str, metric: str) -> float:
    """What the choice loses against the best of ``points``; ``name`` may be :data:`LAST`, too."""
    usable = [p for p in points if metric in p.scores and (name == LAST or name in p.estimates)]
    if not usable:
        return math.nan
    chosen = max(usable, key=lambda p: p.iteration if name == LAST else p.estimates[name])
    return max(p.scores[metric] for p in usable) - chosen.scores[metric]


@dataclass(frozen=True)
class Row:
    """Mean and interval (low, high) of each column; NaN where there is too little."""

    name: str
    values: Mapping[str, tuple[float, float, float]]


def rows(points: Sequence[Point]) -> list[Row]:
    """A row for each estimator, then those of what they are compared with."""
    names = sorted({name for p in points for name in p.estimates if name in ESTIMATORS})
    metrics = [m for m in ("PQ", "mIoU") if all(m in p.scores for p in points)]
    found = [Row(name, _columns(points, metrics, lambda cell, name=name: name)) for name in names]
    best = {cell: _best([p for p in points if p.cell != cell], names, metrics[0]) for cell in {p.cell for p in points}}
    if len(best) > 1:
        found.append(Row(ELSEWHERE, _columns(points, metrics, best.__getitem__)))
    if any(f"source_{metrics[0]}" in p.estimates for p in points):
        found.append(Row(SOURCE, _columns(points, metrics, lambda cell: f"source_{metrics[0]}")))
    return [*found, Row(LAST, _columns(points, metrics, lambda cell: LAST))]


def _best(points: Sequence[Point], names: Iterable[str], metric: str) -> str:
    """The estimator of the highest mean correlation within a strategy."""
    return max(names, key=lambda name: _nan_to(-2, _mean(_within(points, lambda cell: name, metric))))


def _columns(points: Sequence[Point], metrics: Sequence[str], name_of: Callable[[str], str]) -> dict:
    """Columns of a row, each with an interval over draws of whole runs.

    Args:
        name_of: cell -> the estimator that is used in it.
    """
    runs = sorted({p.run for p in points})
    drawn = np.random.default_rng(0).choice(len(runs), (_DRAWS, len(runs)))
    of_run = {run: [p for p in points if p.run == run] for run in runs}
    measures: dict[str, Callable[[Sequence[Point]], float]] = {}
    for metric in metrics:
        measures[f"rank correlation with {metric}"] = lambda some, m=metric: _mean(_within(some, name_of, m))
    main = metrics[0]
    measures[f"{main} lost by the checkpoint"] = lambda some: _mean(_checkpoint_regrets(some, name_of, main))
    measures[f"{main} lost by the configuration"] = lambda some: _mean(_configuration_regrets(some, name_of, main))
    columns = {}
    for title, measure in measures.items():
        values = np.array([measure([p for i in row for p in of_run[runs[i]]]) for row in drawn])
        finite = values[np.isfinite(values)]
        low, high = interval(finite) if len(finite) else (math.nan, math.nan)
        columns[title] = (measure(points), low, high)
    return columns


def _within(points: Sequence[Point], name_of: Callable[[str], str], metric: str) -> list[float]:
    """Correlations within each strategy: of its cells' estimators, averaged over the cells."""
    found = []
    for strategy in sorted({p.strategy for p in points}):
        inside = [p for p in points if p.strategy == strategy]
        uses = [name_of(cell) for cell in sorted({p.cell for p in inside})]
        values = {name: spearman(inside, name, metric) for name in set(uses)}
        found.append(_mean([values[name] for name in uses]))
    return found


def _checkpoint_regrets(points: Sequence[Point], name_of: Callable[[str], str], metric: str) -> list[float]:
    """Of each run with several evaluations."""
    by_run: dict[str, list[Point]] = {}
    for point in points:
        by_run.setdefault(point.run, []).append(point)
    return [
        regret(some, name_of(some[0].cell), metric) for some in by_run.values() if len({p.iteration for p in some}) > 1
    ]


def _configuration_regrets(points: Sequence[Point], name_of: Callable[[str], str], metric: str) -> list[float]:
    """Of each strategy and seed with several runs: of the run whose last evaluation promises most. Without an estimate,
    any of them: their mean."""
    found = []
    for group in sorted({(p.strategy, p.seed) for p in points}):
        last: dict[str, Point] = {}
        for point in (p for p in points if (p.strategy, p.seed) == group):
            if point.run not in last or point.iteration >= last[point.run].iteration:
                last[point.run] = point
        ends = list(last.values())
        if len(ends) < 2:
            continue
        for cell in sorted({p.cell for p in ends}):
            name, scores = name_of(cell), [p.scores[metric] for p in ends]
            found.append(max(scores) - _mean(scores) if name == LAST else regret(ends, name, metric))
    return found


def evidence_table(found: Sequence[Row]) -> str:
    """Markdown."""
    titles = list(found[0].values)
    cells = [[row.name, *(_cell(*row.values[title], "rank" in title) for title in titles)] for row in found]
    return table(cells, ["chosen by", *titles])


def _cell(value: float, low: float, high: float, correlation: bool) -> str:
    if not math.isfinite(value):
        return "-"
    digits = 2 if correlation else 1
    return f"{value:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def _mean(values: Sequence[float]) -> float:
    finite = [value for value in values if math.isfinite(value)]
    return float(np.mean(finite)) if finite else math.nan


def _nan_to(default: float, value: float) -> float:
    return value if math.isfinite(value) else default
