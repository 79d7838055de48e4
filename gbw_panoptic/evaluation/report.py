"""report.md of a run: headline, tables by protocol, classes, curves, class weights, pictures; from OUTPUT_DIR alone."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

from tabulate import tabulate

from .. import files
from ..errors import UserError
from ..taxonomy import CITYSCAPES
from ..visualization import plots
from .results import averaged_classes, class_table
from .run_folder import RunFolder

_FOLDER = "report"
_PANOPTIC_METRICS = ("PQ", "SQ", "RQ", "PQ_things", "PQ_stuff", "N")
_SEMANTIC_METRICS = ("mIoU", "mean_recall", "mean_precision", "fwIoU", "rare_recall", "rare_precision", "rare_IoU", "N")


def write_report(output_dir: str | Path) -> str:
    """Writes ``report.md`` and its plots (``report/*.png``) from what a run has left so far.

    Args:
        output_dir: a run's OUTPUT_DIR; read are metrics.json, config.yaml and inference/ (results and panels). What
            is missing is named in the report.

    Returns:
        the path of report.md.

    Raises:
        UserError: there is no such folder.
    """
    folder = Path(output_dir)
    if not folder.is_dir():
        raise UserError(f"expected a run's output folder, found nothing at {folder}: pass the OUTPUT_DIR of a run")
    run = RunFolder.read(folder)
    sections: Sequence[Callable[[RunFolder], Iterator[str]]] = (
        _headline,
        _tables,
        _classes,
        _losses,
        _weights,
        _panels,
    )
    blocks = [block for section in sections for block in section(run)]
    path = folder / "report.md"
    files.atomic_write(path, ("\n\n".join(blocks) + "\n").encode())
    return str(path)


def _headline(run: RunFolder) -> Iterator[str]:
    yield f"# {run.path.resolve().name}"
    evaluation = _headline_evaluation(run)
    if evaluation is None:
        yield "No evaluation yet." if run.metrics else "No evaluation and no metrics.json yet."
    else:
        task, protocol, scores = _headline_scores(evaluation)
        metrics = ("PQ", "SQ", "RQ") if task == "panoptic" else ("mIoU", "mean_recall")
        averaged, absent = averaged_classes(scores)
        yield (
            "**"
            + ", ".join(f"{_title(m)} {scores[m]:.1f}" for m in metrics)
            + (
                f"** on `{evaluation['dataset']}` ({evaluation['images']} images), protocol `{protocol}`, "
                f"{evaluation['model']}, {_iteration(evaluation)}; N = {scores['N']} classes averaged: "
                f"{', '.join(averaged)}" + (f" (do not occur: {', '.join(absent)})." if absent else ".")
            )
        )
    yield _facts(run)


def _facts(run: RunFolder) -> str:
    """A table of what was run."""
    keys = (
        "TRAINER.NAME", "MODEL.TASK", "DATASETS.TRAIN", "DATASETS.TARGET", "DATASETS.TEST", "WEIGHTING.SEMANTIC",
        "WEIGHTING.CENTER", "WEIGHTING.OFFSET", "GBW.LAMBDA", "SOLVER.MAX_ITER", "SOLVER.IMS_PER_BATCH", "SEED",
    )  # fmt: skip
    if not run.config:
        return "config.yaml is missing or damaged: what was run cannot be listed."
    values = [(f"`{key}`", _plain(_look_up(run.config, key))) for key in keys if _look_up(run.config, key) is not None]
    iteration = "none" if run.last_iteration is None else run.last_iteration
    return tabulate([*values, ("last logged iteration", iteration)], ("key", "value"), "pipe", disable_numparse=True)


def _tables(run: RunFolder) -> Iterator[str]:
    yield "## Results by protocol"
    if not run.evaluations:
        yield "No result files in `inference/`."
    for task, metrics in (("panoptic", _PANOPTIC_METRICS), ("semantic", _SEMANTIC_METRICS)):
        order = list(dict.fromkeys(protocol for e in run.evaluations for protocol in e["protocols"]))
        rows = [
            (evaluation["dataset"], protocol, evaluation["model"], scores)
            for evaluation in run.evaluations
            for protocol, scores in evaluation["scores"].get(task, {}).items()
        ]
        rows.sort(key=lambda row: (row[0], order.index(row[1])))
        columns = [m for m in metrics if any(m in row[3] for row in rows)]
        if rows:
            cells = [[*row[:3], *(row[3].get(m) for m in columns)] for row in rows]
            header = ["data set", "protocol", "model", *map(_title, columns)]
            formats = ["", "", "", *("d" if m == "N" else ".1f" for m in columns)]
            yield f"### {task.capitalize()} (percent)"
            yield tabulate(cells, header, "pipe", floatfmt=formats, missingval="-", disable_numparse=[1])
    rare = {row: None for e in run.evaluations for row in _rare_classes(e)}
    yield from ("Rare classes (fewest labelled source pixels): " + "; ".join(rare) + ".",) if rare else ()


def _rare_classes(evaluation: Mapping) -> Iterator[str]:
    for protocol, scores in evaluation["scores"].get("semantic", {}).items():
        if "rare_classes" in scores:
            yield f"protocol {protocol}, k = {len(scores['rare_classes'])}: {', '.join(scores['rare_classes'])}"


def _classes(run: RunFolder) -> Iterator[str]:
    yield "## Classes"
    evaluation = _headline_evaluation(run)
    if evaluation is None:
        yield "No result files."
        return
    task, protocol, scores = _headline_scores(evaluation)
    metric = "PQ" if task == "panoptic" else "IoU"
    names = list(scores["per_class"])
    colors = [
        CITYSCAPES.colors[CITYSCAPES.names.index(name)] if name in CITYSCAPES.names else (90, 90, 90) for name in names
    ]
    values = [scores["per_class"][name][metric] for name in names]
    label = f"{metric} (%), protocol {protocol}, {evaluation['model']}"
    yield _picture(run, "classes.png", plots.class_bars(names, values, colors, label=label), f"{metric} per class")
    yield class_table(scores if task == "panoptic" else None, evaluation["scores"]["semantic"][protocol])


def _losses(run: RunFolder) -> Iterator[str]:
    yield "## Losses"
    losses = run.losses()
    if not losses:
        yield "No losses in metrics.json."
        return
    positive = all(value > 0 for _, values in losses.values() for value in values)
    yield _picture(
        run, "losses.png", plots.curves(losses, label="loss", logarithmic=positive), "losses over iterations"
    )
    curves = {name: run.series(name) for name in _score_names(run)}
    if any(len(iterations) > 1 for iterations, _ in curves.values()):
        yield _picture(run, "scores.png", plots.curves(curves, label="%"), "scores over iterations")


def _weights(run: RunFolder) -> Iterator[str]:
    yield "## Class weights"
    weights = run.class_weights()
    if not weights:
        yield "No class weights in metrics.json (`WEIGHTING.*` is `none`, or no iteration was logged)."
    for place, (iterations, names, values) in weights.items():
        plot = plots.class_heat_maps([[plots.HeatMap(place, "weight", iterations, names, values)]])
        yield f"### {place}"
        yield _picture(run, f"weights_{place.replace('/', '_')}.png", plot, f"class weights of {place}")


def _panels(run: RunFolder) -> Iterator[str]:
    yield "## Pictures"
    if not run.panels:
        yield "No panels in `inference/panels/`."
    for model, pictures in run.panels.items():
        yield f"### {model}"
        for picture in pictures:
            yield f"![{picture.stem}]({_link(run, picture)})"


def _headline_evaluation(run: RunFolder) -> Mapping | None:
    """The result file of the configured model on the first test set (of any model where that one is missing)."""
    chosen = _look_up(run.config, "TEST.MODEL") or "student"
    first = (_look_up(run.config, "DATASETS.TEST") or [None])[0]
    order = sorted(run.evaluations, key=lambda e: (e["model"] != chosen, e["dataset"] != first))
    return order[0] if order else None


def _headline_scores(evaluation: Mapping) -> tuple[str, str, Mapping]:
    """Task, protocol and scores of the first protocol listed, which is the headline."""
    protocol = evaluation["protocols"][0]
    task = "panoptic" if protocol in evaluation["scores"].get("panoptic", {}) else "semantic"
    return task, protocol, evaluation["scores"][task][protocol]


def _score_names(run: RunFolder) -> list[str]:
    names = dict.fromkeys(name for line in run.metrics for name in line)
    return [name for name in names if name.startswith(("student/", "teacher/")) and name.endswith(("/PQ", "/mIoU"))]


def _iteration(evaluation: Mapping) -> str:
    iteration = evaluation.get("iteration")
    return "iteration not recorded" if iteration is None or iteration < 0 else f"iteration {iteration}"


def _picture(run: RunFolder, name: str, data: bytes, text: str) -> str:
    path = run.path / _FOLDER / name
    path.parent.mkdir(exist_ok=True)
    files.atomic_write(path, data)
    return f"![{text}]({_link(run, path)})"


def _link(run: RunFolder, path: Path) -> str:
    return quote(path.relative_to(run.path).as_posix())


def _look_up(config: Mapping, key: str) -> object:
    value: object = config
    for part in key.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _plain(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def _title(metric: str) -> str:
    return metric.replace("_", " ")
