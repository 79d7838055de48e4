"""report.md over several runs: tables by protocol with gains over a baseline, classes, confusion, curves, weights."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from ..evaluation.scores import averaged_classes, headline_task, split_counts
from ..visualization import plots
from .comparison_pictures import ClassValues, class_bars, loss_curves, score_curves, side_by_side
from .gains import Scores, mean_with_gain, run_scores, score_table
from .page import Page, plain, table
from .report import NO_CONFUSION
from .run_folder import RunFolder
from .run_groups import Comparison, RunGroup, differing_keys, progress
from .sections import METRICS, best_evaluation, best_evaluation_section

_HEADER = ("configuration", "model")


def write_gathered(comparison: Comparison, destination: str | Path) -> str:
    """Writes ``report.md`` and its plots (``report/*.png``) over the last iterations of several runs.

    Runs that differ in nothing but the seed are one configuration: mean and standard error over seeds, gains paired by
    seed. Unfinished runs are named and left out.

    Args:
        destination: folder of the report.

    Returns:
        the path of report.md.
    """
    report = ComparisonReport(comparison, Page(Path(destination) / "report.md"))
    sections: Sequence[Callable[[], Iterator[str]]] = (
        report.headline,
        report.runs,
        report.configurations,
        report.protocols,
        report.predictions,
        report.classes,
        report.confusion,
        report.curves,
        report.weights,
        report.best_evaluation,
    )
    return report.page.write(block for section in sections for block in section())


class ComparisonReport:
    """The sections of the page, each an iterator over Markdown blocks."""

    def __init__(self, comparison: Comparison, page: Page) -> None:
        self.comparison, self.page = comparison, page
        self.groups, self.protocol = comparison.groups, comparison.protocol
        self.reference = self.headline_of(comparison.baseline.first)
        tasks = {headline_task(self.headline_of(run), self.protocol) for run in self.runs_of_all()}
        self.task = "panoptic" if tasks == {"panoptic"} else "semantic"  # what all of them have
        self.baseline = (comparison.baseline.name, self.reference["model"])

    def headline_of(self, run: RunFolder) -> Mapping:
        """The result file of the run's headline model."""
        return run.headline(self.comparison.dataset)

    def runs_of_all(self) -> Iterator[RunFolder]:
        return (run for group in self.groups for run in group.runs.values())

    def scores_of(self, group: RunGroup, model: str, protocol: str) -> Scores:
        """Seed -> column -> value."""
        found = {seed: run.evaluation(model, self.comparison.dataset) for seed, run in group.runs.items()}
        return {seed: run_scores(e, protocol) for seed, e in found.items() if e and protocol in e["protocols"]}

    def headline(self) -> Iterator[str]:
        others = ", ".join(group.name for group in self.groups[1:])
        yield f"# {others} against {self.baseline[0]}" if others else f"# {self.baseline[0]}"
        gains = f"; gains over the {' '.join(self.baseline)} are means of differences between runs of the same seed"
        yield (
            f"Last iterations on `{self.comparison.dataset}` ({self.reference['images']} images), protocol "
            f"`{self.protocol}`, in percent. Mean ± standard error over seeds"
            + (gains if others else "")
            + f". {self.averaged()}"
        )
        rows = {}
        for group in self.groups:
            model = self.headline_of(group.first)["model"]
            rows[group.name, model] = self.scores_of(group, model, self.protocol)
        columns = ("PQ", "mIoU", "mean recall") if self.task == "panoptic" else ("mIoU", "mean recall")
        yield score_table(rows, _HEADER, baseline=self.baseline, gains=columns if others else ())

    def averaged(self) -> str:
        """The classes that were averaged. One without truth counts where it was predicted, hence not in every run."""
        scores = [self.headline_of(run)["scores"][self.task][self.protocol] for run in self.runs_of_all()]
        runs = Counter(name for values in scores for name in averaged_classes(values)[0])
        names = list(scores[0]["per_class"])
        averaged = [name for name in names if runs[name] == len(scores)]
        partly = [name for name in names if 0 < runs[name] < len(scores)]
        absent = [name for name in names if not runs[name]]
        counts = split_counts(self.reference, self.protocol).replace("(", "").replace(")", "")
        return (
            f"N = {len(averaged)} classes averaged: {', '.join(averaged)}"
            + (f"; in some runs also {', '.join(partly)}" if partly else "")
            + (f"; do not occur: {', '.join(absent)}." if absent else ".")
            + (f" The averages of the baseline run over{counts}." if counts else "")
        )

    def runs(self) -> Iterator[str]:
        yield "## Runs"
        metric, rows = METRICS[self.task], []
        for group in self.groups:
            for seed, run in sorted(group.runs.items()):
                evaluation = self.headline_of(run)
                iteration = evaluation.get("iteration")
                known = "not recorded" if iteration is None or iteration < 0 else str(iteration)
                score = float(evaluation["scores"][self.task][self.protocol][metric])
                folder = f"`{self.comparison.labels[run.path]}`"
                rows.append([group.name, str(seed), evaluation["model"], known, score, folder])
        yield table(rows, ["configuration", "seed", "model", "iteration", metric, "folder"])
        if self.comparison.unfinished:
            labels = self.comparison.labels
            states = [f"`{labels[run.path]}` ({progress(run)})" for run in self.comparison.unfinished]
            yield f"Unfinished and left out: {'; '.join(states)}."

    def configurations(self) -> Iterator[str]:
        differences = differing_keys(self.groups)
        if differences:
            yield "## What differs"
            rows = [
                [f"`{key}`", *("-" if value is None else plain(value) or "none" for value in values)]
                for key, values in differences.items()
            ]
            yield table(rows, ["key", *(group.name for group in self.groups)])

    def protocols(self) -> Iterator[str]:
        yield "## Results by protocol"
        protocols = [
            protocol
            for protocol in self.reference["protocols"]
            if all(protocol in self.headline_of(run)["protocols"] for run in self.runs_of_all())
        ]
        for protocol in protocols:
            yield f"### {protocol}{split_counts(self.reference, protocol)}"
            found = {
                (group.name, model): self.scores_of(group, model, protocol)
                for group in self.groups
                for model in ("student", "teacher")
            }
            rows = {key: scores for key, scores in found.items() if scores}
            metric = METRICS[headline_task(self.reference, protocol)]
            gains = (metric,) if len(self.groups) > 1 else ()
            yield score_table(rows, _HEADER, baseline=self.baseline, gains=gains)
        yield from self._rare_classes()

    def _rare_classes(self) -> Iterator[str]:
        groups: dict[tuple[str, ...], list[str]] = {}
        for group in self.groups:
            names = self.headline_of(group.first)["scores"]["semantic"][self.protocol].get("rare_classes", ())
            groups.setdefault(tuple(names), []).append(group.name)
        known = {", ".join(members): ", ".join(names) for names, members in groups.items() if names}
        meaning = f"Rare classes (fewest labelled source pixels; protocol {self.protocol})"
        if len(known) == 1:
            yield f"{meaning}: {', '.join(known.values())}."
        elif known:
            lists = "; ".join(f"of {members}: {names}" for members, names in known.items())
            yield f"{meaning} differ, and rare recall compares only between equal ones: {lists}."

    def class_values(self, group: RunGroup, task: str, metric: str) -> ClassValues:
        """Class -> seed -> percent, of the headline model."""
        values: dict[str, dict[int, float]] = {}
        for seed, run in group.runs.items():
            for name, scores in self.headline_of(run)["scores"][task][self.protocol]["per_class"].items():
                values.setdefault(name, {})[seed] = scores[metric]
        return values

    def classes(self) -> Iterator[str]:
        yield "## Classes"
        metrics = [("panoptic", "PQ")] if self.task == "panoptic" else []
        for task, metric in [*metrics, ("semantic", "IoU"), ("semantic", "recall")]:
            by_group = {group.name: self.class_values(group, task, metric) for group in self.groups}
            reference = by_group[self.baseline[0]]
            yield f"### {metric}"
            others = self.groups[1:] or self.groups
            for index, group in enumerate(others):
                label = f"{metric} (%), {group.name}, protocol {self.protocol}"
                picture = class_bars(by_group[group.name], reference, label=label, baseline_name=self.baseline[0])
                yield self.page.picture(f"classes_{metric}_{index}.png", picture, f"{metric} per class of {group.name}")
            nowhere = [name for name in reference if not any(any(v[name].values()) for v in by_group.values())]
            rows = [
                [name, *(mean_with_gain(values[name], reference[name]) for values in by_group.values())]
                for name in reference
                if name not in nowhere
            ]
            yield table(rows, ["class", *by_group])
            yield from (f"0 in every run: {', '.join(nowhere)}.",) if nowhere else ()

    def predictions(self) -> Iterator[str]:
        """Pictures of the same images by the first run of every configuration."""
        sources = [(group.name, group.first, self.headline_of(group.first)["model"]) for group in self.groups]
        pictures = side_by_side(sources, self.comparison.dataset)
        if pictures:
            yield "## Predictions side by side"
            yield "Of the first seed of each configuration."
        for name, picture in pictures.items():
            yield self.page.picture(f"predictions_{name}.png", picture, f"image, truth and predictions of {name}")

    def confusion(self) -> Iterator[str]:
        yield "## Confusion of classes"
        yield "Of every true class's pixels, the share that the headline model takes for each class, over all seeds."
        lacking = []
        for index, group in enumerate(self.groups):
            found = [self.headline_of(run).get("confusion") for run in group.runs.values()]
            if not all(found):
                lacking.append(group.name)
                continue
            yield f"### {group.name}"
            pixels = np.sum([matrix["pixels"] for matrix in found], axis=0)
            picture = plots.confusion_matrix(found[0]["classes"], pixels)
            yield self.page.picture(f"confusion_{index}.png", picture, f"confusion matrix of {group.name}")
        yield from (f"A result file of {', '.join(lacking)} holds {NO_CONFUSION}",) if lacking else ()

    def curves(self) -> Iterator[str]:
        yield "## Curves"
        yield "Thick: mean over seeds; thin: every seed."
        losses = loss_curves(self.groups)
        if losses:
            yield self.page.picture("losses.png", losses, "losses over iterations")
        scores = score_curves(self.groups, self.headline_of, self.protocol)
        if scores:
            yield f"Scores of the headline models during training, protocol {self.protocol}:"
            yield self.page.picture("scores.png", scores, "scores over iterations")
        else:
            yield "No curves of scores: the runs were evaluated once, at the last iteration (`TEST.EVAL_PERIOD 0`)."

    def weights(self) -> Iterator[str]:
        yield "## Class weights"
        found = [(group, index, group.class_weights()) for index, group in enumerate(self.groups)]
        if not any(weights for _, _, weights in found):
            yield "None of the runs has logged class weights."
        for group, index, weights in found:
            if weights:
                yield f"### {group.name}" + (", mean over seeds" if len(group.runs) > 1 else "")
            for place, (iterations, names, values) in weights.items():
                picture = plots.class_heat_maps(
                    [[plots.HeatMap(f"{group.name}, {place}", "weight", iterations, names, values)]]
                )
                name = f"weights_{index}_{place.replace('/', '_')}.png"
                yield self.page.picture(name, picture, f"class weights of {place} in {group.name}")

    def best_evaluation(self) -> Iterator[str]:
        rows: dict[tuple[str, ...], dict] = {}
        for group in self.groups:
            for seed, run in sorted(group.runs.items()):
                for evaluation in run.evaluations:
                    if evaluation["dataset"] == self.comparison.dataset and self.protocol in evaluation["protocols"]:
                        choice = best_evaluation(run, evaluation, self.protocol)
                        rows.setdefault((group.name, evaluation["model"]), {}).update({seed: choice} if choice else {})
        yield from best_evaluation_section(rows, list(_HEADER), metric=METRICS[self.task])
