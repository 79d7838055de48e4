"""Section of a run's reports: estimates of the score without labels and, clearly apart, what the labels say."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ..evaluation.scores import headline_task
from ..structures import metric_names
from .blocks import Table, Text
from .page import table, title
from .run_folder import RunFolder
from .sections import METRICS
from .tables import Cell, number

NOTE = (
    "Estimates look at no label of the target. The last column does: it is an oracle, which says how far the estimates "
    "can be trusted here, and takes no part in a choice."
)


@dataclass(frozen=True)
class EstimateTable:
    """
    Attributes:
        names: of estimators.
        oracle: metric that labels give.
        rows: model, iteration, an estimate for each name or None, and the oracle or None; percent.
    """

    names: list[str]
    oracle: str
    rows: list[tuple[str, int, list[float | None], float | None]]


def estimate_table(run: RunFolder, evaluation: Mapping | None, protocol: str | None) -> EstimateTable | None:
    """What metrics.json has of estimates; None where it has none.

    Args:
        evaluation: the result file of the headline, whose data set gives the oracle; None without.
    """
    found = [
        (model, line["iteration"], values)
        for model in ("student", "teacher")
        for line in run.metrics
        if (values := metric_names.estimates(line, model))
    ]
    if not found:
        return None
    names = sorted({name for *_, values in found for name in values if "/" not in name})
    task = "panoptic" if evaluation is None else headline_task(evaluation, protocol)
    rows = []
    for model, iteration, values in found:
        series = (
            ([], [])
            if evaluation is None
            else run.score_series({**evaluation, "model": model}, task, protocol, METRICS[task])
        )
        oracle = dict(zip(*series)).get(iteration)
        rows.append((model, iteration, [values.get(name) for name in names], oracle))
    return EstimateTable(names, METRICS[task], rows)


def markdown(found: EstimateTable | None) -> Iterator[str]:
    """Blocks; none without estimates."""
    if found is None:
        return
    yield "## Estimates without target labels"
    yield NOTE
    cells = [[model, str(iteration), *values, "", oracle] for model, iteration, values, oracle in found.rows]
    yield table(cells, ["model", "iteration", *map(title, found.names), "", f"oracle: {found.oracle}"])


def html(found: EstimateTable | None) -> Iterator[Text | Table]:
    """The same for the page."""
    if found is None:
        return
    yield Text(NOTE)
    rows = [
        [Cell(model, model), number(iteration), *map(number, values), number(oracle)]
        for model, iteration, values, oracle in found.rows
    ]
    columns = ["model", "iteration", *map(title, found.names), f"oracle: {found.oracle}"]
    yield Table("Estimates by model and iteration (%)", columns, rows)
