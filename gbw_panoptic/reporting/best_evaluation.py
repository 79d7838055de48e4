"""``oracle_best``: the best of a run's evaluations on target validation, always set apart from the last iteration."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ..evaluation.scores import headline_task
from .gains import spread
from .page import table
from .run_folder import RunFolder

#: Task -> the metric by which ``oracle_best`` is chosen, which is the headline's, too.
METRICS = {"panoptic": "PQ", "semantic": "mIoU"}


@dataclass(frozen=True)
class BestEvaluation:
    """``value`` (percent) at the best ``iteration``, and at the ``last`` one."""

    iteration: int
    value: float
    last: float


def best_evaluation(run: RunFolder, evaluation: Mapping, protocol: str) -> BestEvaluation | None:
    """The choice among the logged evaluations of a result file's model and data set; None where there is no choice."""
    task = headline_task(evaluation, protocol)
    iterations, values = run.score_series(evaluation, task, protocol, METRICS[task])
    if len(iterations) < 2:
        return None
    best = max(range(len(values)), key=values.__getitem__)
    return BestEvaluation(iterations[best], values[best], values[-1])


def best_evaluation_section(
    rows: Mapping[tuple[str, ...], Mapping[int, BestEvaluation]], header: list[str], *, metric: str
) -> Iterator[str]:
    """Markdown blocks.

    Args:
        rows: first cells of a row -> seed -> choice; rows without any are left out.
        header: of the first cells.
        metric: by which was chosen, for the headings.
    """
    yield "## oracle_best: chosen with target labels, not a result of adaptation"
    rows = {key: choices for key, choices in rows.items() if choices}
    if not rows:
        yield "One evaluation, at the last iteration (`TEST.EVAL_PERIOD 0`): there is nothing to choose from."
        return
    yield (
        f"The evaluation with the highest {metric} was picked by looking at the target's validation labels, which "
        "unsupervised adaptation does not have. It says what stopping at the best moment could have given, and takes "
        "part in no other table."
    )
    cells = []
    for key, choices in rows.items():
        chosen = list(choices.values())
        differences = spread(choice.value - choice.last for choice in chosen)
        cells.append(
            [
                *key, spread(choice.value for choice in chosen), spread(choice.last for choice in chosen), differences,
                ", ".join(str(choice.iteration) for choice in chosen),
            ]
        )  # fmt: skip
    titles = [f"{metric} of oracle_best", f"{metric} of the last iteration", "difference", "chosen iteration"]
    yield table(cells, [*header, *titles])
