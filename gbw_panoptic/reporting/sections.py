"""Sections that the reports of one run and of several share: ``oracle_best``, the best of a run's evaluations on target
validation, always set apart from the last iteration; and what labels were bought."""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from .. import files
from ..errors import UserError
from ..evaluation.scores import headline_task
from ..structures import metric_names
from .gains import spread
from .page import Page, table
from .run_folder import RunFolder

#: Task -> the metric by which ``oracle_best`` is chosen, which is the headline's, too.
METRICS = {"panoptic": "PQ", "semantic": "mIoU"}


def no_evaluation(run: RunFolder) -> str:
    """What stands in the place of scores where no labelled image has been evaluated."""
    if any(metric_names.is_estimate(name) for line in run.metrics for name in line):
        return "No evaluation with labels yet; estimates without them stand below."
    return "No evaluation yet." if run.metrics else "No evaluation and no metrics.json yet."


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


#: Form of what a round of acquisition has left in the manifest.
_ROUND = {
    "round": int, "pixels": int, "allowed": int, "cost": int, "void": int, "imbalance": float,
    "classes": files.Each(int),
}  # fmt: skip


def read_rounds(folder: Path, form: dict = _ROUND) -> list[dict]:
    """Rounds of acquisition in a folder of bought labels; none without a manifest.

    Args:
        form: of each round, as far as the caller reads it.

    Raises:
        UserError: the manifest is damaged.
    """
    path = folder / "manifest.json"
    if not path.is_file():
        return []
    remedy = "restore it, or take another folder for the labels"
    return files.read_json(path, {"rounds": [form]}, remedy=remedy)["rounds"]


def bought_labels_section(run: RunFolder, page: Page) -> Iterator[str]:
    """Markdown blocks: accounts by round, the classes, overlays of the last round; none where nothing was bought."""
    folder = Path(run.value("ACTIVE.LABELS") or run.path / "active")
    try:
        rounds = read_rounds(folder)
    except UserError as error:  # a report is made of what is whole
        logging.getLogger("gbw_panoptic").warning("A file of a run counts as missing: %s", error)
        return
    if not rounds:
        return
    yield "## Bought labels"
    rows, spent = [], 0
    for entry in rounds:
        spent += entry["cost"]
        bought = sum(pixels > 0 for pixels in entry["classes"].values())
        pixels = (entry["pixels"], spent, entry["allowed"], entry["void"])
        rows.append([str(entry["round"]), *map(str, pixels), str(bought), f"{entry['imbalance']:.3f}"])
    header = ["round", "pixels", "spent so far", "allowed", "void", "classes in it", "imbalance of all so far"]
    yield table(rows, header)
    for picture in (folder / "classes.png", *sorted((folder / "overlays" / str(len(rounds))).glob("*.png"))[:4]):
        if picture.is_file():
            yield page.link(picture, picture.stem)
