"""Published benchmarks and what a user's own runs of the same settings gave, side by side.

A result is plain values, one JSON file a run: ``{"row", "method" ("unweighted" or "GBW"), "seed", "model",
"iterations", "machine", "scores": {column: percent}}``.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from gbw_panoptic.errors import UserError
from gbw_panoptic.reporting.gains import COLUMNS, gain, mean_and_deviation
from gbw_panoptic.reporting.page import table
from gbw_panoptic.reporting.run_folder import RunFolder

METHODS = ("unweighted", "GBW")


@dataclass(frozen=True)
class Published:
    """Figures as published.

    Attributes:
        scores: column of :data:`~.gains.COLUMNS` -> percent.
        source: where they stand, and whose setting they are.
    """

    scores: Mapping[str, float]
    source: str


@dataclass(frozen=True)
class Benchmark:
    """One published setting.

    Attributes:
        title: for people.
        protocol: of the scores.
        columns: that are shown; the first decides.
        published: figures to compare with, the nearest setting first.
        differences: how our setting departs from the published one.
    """

    name: str
    title: str
    protocol: str
    columns: tuple[str, ...]
    published: tuple[Published, ...]
    differences: str


def run_result(run: RunFolder, benchmark: Benchmark) -> dict:
    """What is kept of a finished run.

    Raises:
        UserError: the last iteration was not evaluated.
    """
    if not run.is_finished:
        raise UserError(f"Expected an evaluation of the last iteration in {run.path}, found none; see its log.")
    evaluation = run.headline()
    scores = {}
    for name in benchmark.columns:
        task, key = COLUMNS[name]
        scores[name] = round(evaluation["scores"][task][benchmark.protocol][key], 3)
    return {"model": evaluation["model"], "iterations": evaluation["iteration"], "scores": scores}


def reproduction_overview(benchmarks: Sequence[Benchmark], results: Iterable[Mapping]) -> str:
    """Markdown: one table of all benchmarks, a row for every published figure; our cells are empty without runs.

    The headline is the first column of a benchmark. Ours stands in its first row: mean ± standard deviation over seeds.
    """
    found, rows = _by_row(results), []
    for benchmark in benchmarks:
        first = benchmark.columns[0]
        for place, published in enumerate(benchmark.published):
            scores = [published.scores.get(name, "") for name in (first, "SQ", "RQ")]
            runs = [found.get((benchmark.name, method), {}).values() if not place else () for method in METHODS]
            ours = [mean_and_deviation(run["scores"][first] for run in own) for own in runs]
            rows.append([f"`{benchmark.name}`", first, benchmark.protocol, published.source, *scores, *ours])
    header = ["benchmark", "score", "protocol", "published by", "published", "SQ", "RQ"]
    return table(rows, [*header, *(f"ours, {method}" for method in METHODS)])


def reproduction_page(benchmarks: Sequence[Benchmark], results: Iterable[Mapping]) -> str:
    """Markdown: for every benchmark the published rows, then ours; rows without runs are empty.

    Mean ± standard deviation over seeds; the gain of GBW is paired by seed, ± standard error.
    """
    found, parts = _by_row(results), []
    for benchmark in benchmarks:
        runs = {method: found.get((benchmark.name, method), {}) for method in METHODS}
        rows = [
            [f"published: {x.source}", "", *(x.scores.get(name, "") for name in benchmark.columns), ""]
            for x in benchmark.published
        ]
        rows += [_own_row(benchmark, method, runs) for method in METHODS]
        header = ["", "seeds", *benchmark.columns, f"gain in {benchmark.columns[0]}"]
        parts += [
            f"## {benchmark.title}", "",
            f"`{benchmark.name}`, protocol {benchmark.protocol}. {benchmark.differences}", "", table(rows, header), "",
        ]  # fmt: skip
    return "\n".join(parts).rstrip()


def _by_row(results: Iterable[Mapping]) -> dict[tuple[str, str], dict[int, Mapping]]:
    """(Benchmark's name, method) -> seed -> result."""
    found: dict[tuple[str, str], dict[int, Mapping]] = {}
    for result in results:
        found.setdefault((result["row"], result["method"]), {})[result["seed"]] = result
    return found


def _own_row(benchmark: Benchmark, method: str, runs: Mapping[str, Mapping[int, Mapping]]) -> list:
    own, base = runs[method], runs[METHODS[0]]
    columns = {name: {seed: run["scores"][name] for seed, run in own.items()} for name in benchmark.columns}
    cells = [mean_and_deviation(values.values()) for values in columns.values()]
    first = benchmark.columns[0]
    shared = [seed for seed in own if seed in base]
    difference = ""
    if method != METHODS[0] and shared:
        difference = str(gain({s: columns[first][s] for s in shared}, {s: base[s]["scores"][first] for s in shared}))
    return [f"ours, {method}", len(own) or "", *cells, difference]
