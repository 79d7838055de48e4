"""report.md of a run: headline, tables by protocol, classes, curves, class weights, pictures; from OUTPUT_DIR alone."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from ..errors import UserError
from ..evaluation.scores import averaged_classes, headline_task
from ..visualization import plots
from ..visualization.curves import curves
from . import estimates
from .page import CURVES, Page, class_colors, class_table, plain, table, title
from .run_folder import RunFolder
from .sections import METRICS, best_evaluation, best_evaluation_section, bought_labels_section, no_evaluation

#: Task -> columns of its table.
_METRICS = {
    "panoptic": ("PQ", "SQ", "RQ", "N", "PQ_things", "N_things", "PQ_stuff", "N_stuff"),
    "instance": ("AP", "AP50", "N"),
    "semantic": (
        "mIoU", "mean_recall", "mean_precision", "fwIoU", "rare_recall", "rare_precision", "rare_IoU", "N",
    ),
}  # fmt: skip


#: Keys that say what was run.
FACTS = (
    "TRAINER.NAME", "MODEL.TASK", "DATASETS.TRAIN", "DATASETS.TARGET", "DATASETS.TEST", "MODEL.SEM_SEG_HEAD.LOSS_TYPE",
    "WEIGHTING.SEMANTIC", "WEIGHTING.CENTER", "WEIGHTING.OFFSET", "GBW.LAMBDA", "SOLVER.MAX_ITER",
    "SOLVER.IMS_PER_BATCH", "SOLVER.AMP.ENABLED", "SOLVER.AMP.PRECISION", "MODEL.CHANNELS_LAST", "SEED",
)  # fmt: skip


def facts(run: RunFolder) -> list[tuple[str, object]]:
    """What was run: keys with their values, and target images with labels where there were any."""
    rows = [(key, run.value(key)) for key in FACTS if run.value(key) is not None]
    share, files = (run.value(f"DATASETS.TARGET_LABELLED.{name}") for name in ("SHARE", "FILES"))
    if share or files:
        name, seed = (run.value(f"DATASETS.TARGET_LABELLED.{key}") for key in ("NAME", "SEED"))
        amount = f"{len(files)} images" if files else f"{100 * share:g} % of the images, drawn with seed {seed}"
        rows.append(("target images with labels", f"{amount}: {name}"))
    return rows


def write_report(output_dir: str | Path, *, destination: str | Path | None = None, protocol: str | None = None) -> str:
    """Writes ``report.md`` and its plots (``report/*.png``) from what a run has left so far.

    Args:
        output_dir: a run's OUTPUT_DIR; read are metrics.json, config.yaml and inference/ (results and panels). What
            is missing is named in the report.
        destination: folder of the report; ``output_dir`` by default.
        protocol: of the headline; the first one of TEST.PROTOCOLS by default.

    Returns:
        the path of report.md.

    Raises:
        UserError: there is no such folder, or no such protocol in it.
    """
    folder = Path(output_dir)
    if not folder.is_dir():
        raise UserError(f"expected a run's output folder, found nothing at {folder}: pass the OUTPUT_DIR of a run")
    run = RunFolder.read(folder)
    report = _Report(run, Page(Path(destination or folder) / "report.md"), run.headline(), protocol)
    sections: Sequence[Callable[[], Iterator[str]]] = (
        report.headline,
        report.tables,
        report.classes,
        report.confusion,
        report.curves,
        report.weights,
        report.bought,
        report.estimates,
        report.best_evaluation,
        report.panels,
    )
    return report.page.write(block for section in sections for block in section())


def choose_protocol(run: RunFolder, evaluation: Mapping, protocol: str | None) -> str:
    """The asked protocol, or the first one that the run was evaluated by.

    Raises:
        UserError: it was not evaluated by the asked one.
    """
    protocol = protocol or evaluation["protocols"][0]
    if protocol not in evaluation["protocols"]:
        raise UserError(
            f"expected a protocol that {run.path} was evaluated by, {', '.join(evaluation['protocols'])}, found "
            f"'{protocol}': choose one of them, or evaluate again with TEST.PROTOCOLS"
        )
    return protocol


class _Report:
    """The sections of one run's page, each an iterator over Markdown blocks."""

    def __init__(self, run: RunFolder, page: Page, evaluation: Mapping | None, protocol: str | None) -> None:
        self.run, self.page, self.evaluation = run, page, evaluation
        if evaluation is None:
            return
        self.protocol = choose_protocol(run, evaluation, protocol)
        self.task = headline_task(evaluation, self.protocol)
        self.scores = evaluation["scores"][self.task][self.protocol]

    def headline(self) -> Iterator[str]:
        yield f"# {self.run.path.resolve().name}"
        if self.evaluation is None:
            yield no_evaluation(self.run)
        else:
            segments = ("PQ", "PQ_things", "PQ_stuff", "SQ", "RQ")
            metrics = segments if self.task == "panoptic" else ("mIoU", "mean_recall")
            numbers = ", ".join(f"{title(m)} {self.scores[m]:.1f}" for m in metrics)
            averaged, absent = averaged_classes(self.scores)
            yield (
                f"**{numbers}** on `{self.evaluation['dataset']}` ({self.evaluation['images']} images), protocol "
                f"`{self.protocol}`, {self.evaluation['model']}, {self._iteration()}; N = {self.scores['N']} classes "
                f"averaged: {', '.join(averaged)}" + (f" (do not occur: {', '.join(absent)})." if absent else ".")
            )
        yield self._facts()

    def _iteration(self) -> str:
        iteration = self.evaluation.get("iteration")
        if iteration is None or iteration < 0:
            return "iteration not recorded"
        return f"iteration {iteration}" + ("" if self.run.is_finished else " (unfinished)")

    def _facts(self) -> str:
        """A table of what was run."""
        if not self.run.config:
            return "config.yaml is missing or damaged: what was run cannot be listed."
        values = [(f"`{key}`" if key in FACTS else key, plain(value)) for key, value in facts(self.run)]
        last = self.run.last_iteration
        return table([*values, ("last logged iteration", "none" if last is None else str(last))], ("key", "value"))

    def tables(self) -> Iterator[str]:
        yield "## Results by protocol"
        evaluations = self.run.evaluations
        if not evaluations:
            yield "No result files in `inference/`."
        for task, metrics in _METRICS.items():
            order = list(dict.fromkeys(protocol for e in evaluations for protocol in e["protocols"]))
            rows = [
                (evaluation["dataset"], protocol, evaluation["model"], scores)
                for evaluation in evaluations
                for protocol, scores in evaluation["scores"].get(task, {}).items()
            ]
            rows.sort(key=lambda row: (row[0], order.index(row[1])))
            columns = [m for m in metrics if any(m in row[3] for row in rows)]
            if rows:
                cells = [[*row[:3], *(row[3].get(m) for m in columns)] for row in rows]
                yield f"### {task.capitalize()} (percent)"
                yield table(cells, ["data set", "protocol", "model", *map(title, columns)])
        rare = {row: None for e in evaluations for row in _rare_classes(e)}
        yield from ("Rare classes (fewest labelled source pixels): " + "; ".join(rare) + ".",) if rare else ()

    def classes(self) -> Iterator[str]:
        yield "## Classes"
        if self.evaluation is None:
            yield "No result files."
            return
        metric = "PQ" if self.task == "panoptic" else "IoU"
        names = list(self.scores["per_class"])
        values = [self.scores["per_class"][name][metric] for name in names]
        label = f"{metric} (%), protocol {self.protocol}, {self.evaluation['model']}"
        bars = plots.class_bars(names, values, class_colors(names, self.run.colors), label=label)
        yield self.page.picture("classes.png", bars, f"{metric} per class")
        semantic = self.evaluation["scores"]["semantic"][self.protocol]
        yield class_table(self.scores if self.task == "panoptic" else None, semantic)

    def confusion(self) -> Iterator[str]:
        yield "## Confusion of classes"
        found = self.evaluation and self.evaluation.get("confusion")
        if not found:
            yield "No result files." if self.evaluation is None else f"The result file holds {NO_CONFUSION}"
            return
        picture = plots.confusion_matrix(found["classes"], np.array(found["pixels"]))
        yield f"Of every true class's pixels, the share that the {self.evaluation['model']} takes for each class."
        yield self.page.picture("confusion.png", picture, "confusion matrix")

    def curves(self) -> Iterator[str]:
        yield "## Losses"
        losses = self.run.losses()
        if not losses:
            yield "No losses in metrics.json."
            return
        positive = all(value > 0 for _, values in losses.values() for value in values)
        panel = {"": {name: [series] for name, series in losses.items()}}
        picture = curves(panel, label="loss", logarithmic=positive)
        yield self.page.picture("losses.png", picture, "losses over iterations")
        if self.evaluation is None:
            return
        panels = {
            title(metric): {
                e["model"]: [self.run.score_series(e, task, self.protocol, metric)]
                for e in self.run.evaluations
                if e["dataset"] == self.evaluation["dataset"] and self.protocol in e["scores"].get(task, {})
            }
            for task, metric in CURVES
        }
        panels = {name: lines for name, lines in panels.items() if any(len(line[0][0]) > 1 for line in lines.values())}
        if panels:
            yield f"Scores during training, protocol {self.protocol}:"
            yield self.page.picture("scores.png", curves(panels, label="%"), "scores over iterations")

    def weights(self) -> Iterator[str]:
        yield "## Class weights"
        weights = self.run.class_weights()
        if not weights:
            yield "No class weights in metrics.json (those that stay the same are not logged)."
        for place, (iterations, names, values) in weights.items():
            plot = plots.class_heat_maps([[plots.HeatMap(place, "weight", iterations, names, values)]])
            yield f"### {place}"
            yield self.page.picture(f"weights_{place.replace('/', '_')}.png", plot, f"class weights of {place}")

    def bought(self) -> Iterator[str]:
        yield from bought_labels_section(self.run, self.page)

    def estimates(self) -> Iterator[str]:
        protocol = None if self.evaluation is None else self.protocol
        yield from estimates.markdown(estimates.estimate_table(self.run, self.evaluation, protocol))

    def best_evaluation(self) -> Iterator[str]:
        if self.evaluation is None:
            return
        rows = {}
        for evaluation in self.run.evaluations:
            if evaluation["dataset"] == self.evaluation["dataset"] and self.protocol in evaluation["protocols"]:
                choice = best_evaluation(self.run, evaluation, self.protocol)
                rows[(evaluation["model"],)] = {0: choice} if choice else {}
        yield from best_evaluation_section(rows, ["model"], metric=METRICS[self.task])

    def panels(self) -> Iterator[str]:
        yield "## Pictures"
        if not self.run.panels:
            yield "No panels in `inference/panels/`."
        for model, pictures in self.run.panels.items():
            yield f"### {model}"
            for picture in pictures:
                yield self.page.link(picture, picture.stem)


NO_CONFUSION = "no confusion matrix (an older version wrote it); `train_net.py --eval-only` adds one."


def _rare_classes(evaluation: Mapping) -> Iterator[str]:
    """What ``rare`` means in each protocol of a result file."""
    for protocol, scores in evaluation["scores"].get("semantic", {}).items():
        if "rare_classes" in scores:
            yield f"protocol {protocol}, k = {len(scores['rare_classes'])}: {', '.join(scores['rare_classes'])}"
