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

_NOTE = "Estimates look at no label of the target."
_ORACLE_NOTE = (
    " The last column does: it is an oracle, which says how far the estimates can be trusted here, and takes no part "
    "in a choice."
)


@dataclass(frozen=True)
class EstimateTable:
    """
    Attributes:
        names: of estimators.
        oracle: metric that labels give; None where there are none.
        rows: model, iteration, an estimate for each name or None, and the oracle or None; percent.
    """

    names: list[str]
    oracle: str | None
    rows: list[tuple[str, int, list[float | None], float | None]]

    @property
    def note(self) -> str:
        """What stands above the table."""
        return _NOTE + (_ORACLE_NOTE if self.oracle else "")

    @property
    def columns(self) -> list[str]:
        """Model and iteration, then the estimators."""
        return ["model", "iteration", *map(title, self.names)]


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
    oracle = None if evaluation is None else METRICS[headline_task(evaluation, protocol)]
    rows = []
    for model, iteration, values in found:
        scores = {} if evaluation is None else _oracle_scores(run, {**evaluation, "model": model}, protocol)
        rows.append((model, iteration, [values.get(name) for name in names], scores.get(iteration)))
    return EstimateTable(names, oracle, rows)


def _oracle_scores(run: RunFolder, evaluation: Mapping, protocol: str | None) -> dict[int, float]:
    """Iteration -> headline score by the labels."""
    task = headline_task(evaluation, protocol)
    return dict(zip(*run.score_series(evaluation, task, protocol, METRICS[task])))


def markdown(found: EstimateTable | None) -> Iterator[str]:
    """Blocks; none without estimates."""
    if found is None:
        return
    yield "## Estimates without target labels"
    yield found.note
    labelled = ["", f"oracle: {found.oracle}"] if found.oracle else []
    cells = [
        [model, str(iteration), *values, *(["", oracle] if labelled else [])]
        for model, iteration, values, oracle in found.rows
    ]
    yield table(cells, [*found.columns, *labelled])


def html(found: EstimateTable | None) -> Iterator[Text | Table]:
    """The same for the page."""
    if found is None:
        return
    yield Text(found.note)
    labelled = [f"oracle: {found.oracle}"] if found.oracle else []
    rows = [
        [Cell(model, model), number(iteration), *map(number, values), *([number(oracle)] if labelled else [])]
        for model, iteration, values, oracle in found.rows
    ]
    yield Table("Estimates by model and iteration (%)", [*found.columns, *labelled], rows)
