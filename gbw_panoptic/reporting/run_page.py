"""report.html of one run, beside its report.md; with a baseline run, what adaptation has changed."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from ..errors import UserError
from ..evaluation.scores import averaged_classes, headline_task
from . import estimates, report
from .blocks import Bar, Bars, Card, Cards, Cell, Charts, HtmlPage, Section, Table, Tabs, Text
from .charts import chart
from .html import write_page
from .page import CURVES, class_colors, plain, title
from .pictures import panels, viewer, weight_map
from .report import choose_protocol, facts
from .run_folder import RunFolder
from .sections import no_evaluation
from .tables import class_table, confusion, number, weight_table

#: The headline's numbers: label, task, metric, and where the count of its classes stands.
HEADLINE = (
    ("PQ", "panoptic", "PQ", "N"),
    ("PQ of things", "panoptic", "PQ_things", "N_things"),
    ("PQ of stuff", "panoptic", "PQ_stuff", "N_stuff"),
    ("mIoU", "semantic", "mIoU", "N"),
    ("Rare recall", "semantic", "rare_recall", "rare_classes"),
)
#: A folder of this name beside a run's is taken for its baseline.
BASELINE_FOLDER = "source_only"


def write_report(
    output_dir: str | Path,
    *,
    destination: str | Path | None = None,
    protocol: str | None = None,
    baseline: str | Path | None = None,
) -> str:
    """Writes report.md (see :func:`gbw_panoptic.reporting.report.write_report`) and report.html.

    Args:
        output_dir, destination, protocol: as there.
        baseline: OUTPUT_DIR of a run to compare with, source-only training say; by default the folder ``source_only``
            beside the run's, where there is one that was evaluated on the same data by the same protocol.

    Returns:
        the path of report.html.

    Raises:
        UserError: as there, or a baseline that was not evaluated on the same data by the same protocol.
    """
    markdown = Path(report.write_report(output_dir, destination=destination, protocol=protocol))
    run = RunFolder.read(output_dir)
    page = _RunPage(run, protocol, _baseline(run, baseline, protocol)).page()
    return write_page(page, markdown.with_suffix(".html"))


def _baseline(run: RunFolder, named: str | Path | None, protocol: str | None) -> RunFolder | None:
    """The named run, which has to fit, or the one beside this run if it does."""
    beside = run.path.resolve().parent / BASELINE_FOLDER
    evaluation = run.headline()
    if evaluation is None or (named is None and (not beside.is_dir() or beside == run.path.resolve())):
        return None
    chosen, found = choose_protocol(run, evaluation, protocol), RunFolder.read(named or beside)
    other = found.headline(evaluation["dataset"])
    if other is not None and chosen in other["protocols"] and other["images"] == evaluation["images"]:
        return found
    if named is None:
        return None
    raise UserError(
        f"expected a baseline that was evaluated on the {evaluation['images']} images of {evaluation['dataset']} by "
        f"protocol {chosen}, found none in {named}; evaluate it so, or name another"
    )


class _RunPage:
    """The parts of one run's page."""

    def __init__(self, run: RunFolder, protocol: str | None, baseline: RunFolder | None) -> None:
        self.run, self.baseline = run, baseline
        self.evaluation = run.headline()
        if self.evaluation is None:
            return
        self.protocol = choose_protocol(run, self.evaluation, protocol)
        self.task = headline_task(self.evaluation, self.protocol)
        self.before = None if baseline is None else baseline.headline(self.evaluation["dataset"])
        self.baseline_name = "" if baseline is None else baseline_label(baseline)

    def page(self) -> HtmlPage:
        sections = (
            Section("pictures", "Pictures", list(self._pictures())),
            Section("classes", "Classes", list(self._classes())),
            Section("curves", "Curves", list(self._curves())),
            Section("weights", "Class weights", list(weight_blocks(self.run.class_weights(), self.run.colors))),
            Section("confusion", "Confusion", list(self._confusion())),
            Section("estimates", "Estimates without target labels", list(self._estimates())),
            Section("setup", "What was run", list(self._facts())),
        )
        filled = [section for section in sections if section.blocks]
        return HtmlPage(self.run.path.resolve().name, self._lead(), list(self._hero()), filled)

    def _lead(self) -> str:
        if self.evaluation is None:
            return no_evaluation(self.run)
        evaluation = self.evaluation
        unfinished = "" if self.run.is_finished else " (unfinished)"
        iteration = evaluation.get("iteration")
        after = "" if iteration is None or iteration < 0 else f" after {iteration} iterations"
        compared = f" Before: {self.baseline_name}." if self.baseline else ""
        return (
            f"The {evaluation['model']}{after}{unfinished} on the {evaluation['images']} images of "
            f"{evaluation['dataset']}, protocol {self.protocol}, in percent.{compared}"
        )

    def _hero(self) -> Iterator[Cards | Text]:
        if self.evaluation is None:
            return
        yield Cards([card for card in map(self._card, HEADLINE) if card])
        averaged, absent = averaged_classes(self.evaluation["scores"][self.task][self.protocol])
        without = f" Do not occur: {', '.join(absent)}." if absent else ""
        yield Text(f"Averaged are {len(averaged)} classes: {', '.join(averaged)}.{without}{self._rare()}")

    def _card(self, entry: tuple[str, str, str, str]) -> Card | None:
        label, task, metric, count = entry
        scores = self._scores(self.evaluation, task)
        if metric not in scores:
            return None
        before = self._scores(self.before, task).get(metric) if self.before else None
        number_of = len(scores[count]) if isinstance(scores[count], (list, tuple)) else scores[count]
        return Card(label, scores[metric], before, f"N = {number_of}")

    def _scores(self, evaluation: Mapping, task: str) -> Mapping:
        return evaluation["scores"].get(task, {}).get(self.protocol, {})

    def _rare(self) -> str:
        rare = self._scores(self.evaluation, "semantic").get("rare_classes")
        return f" Rare are the source's rarest: {', '.join(rare)}." if rare else ""

    def _pictures(self) -> Iterator:
        if self.evaluation is None:
            return
        model, dataset = self.evaluation["model"], self.evaluation["dataset"]
        ours = ("Prediction", self.run, model, dataset)
        theirs = (
            (f"Before: {self.baseline_name}", self.baseline, self.before["model"], dataset) if self.baseline else None
        )
        both = viewer([theirs, ours], left=theirs[0]) if theirs else None
        found = both or viewer([ours]) or panels(self.run, model)
        yield found or Text("No pictures: TEST.NUM_PANELS is 0, or the run has not been evaluated.")

    def _classes(self) -> Iterator:
        if self.evaluation is None:
            return
        kinds = (("PQ", "panoptic", "PQ"), ("IoU", "semantic", "IoU"), ("Recall of pixels", "semantic", "recall"))
        tabs = {
            label: [self._bars(label, task, metric)]
            for label, task, metric in kinds
            if self._scores(self.evaluation, task)
        }
        yield Tabs("Metric", tabs)
        yield class_table(
            self._scores(self.evaluation, "panoptic"), self._scores(self.evaluation, "semantic"), self.run.colors
        )

    def _bars(self, label: str, task: str, metric: str) -> Bars:
        ours = self._scores(self.evaluation, task)["per_class"]
        theirs = self._scores(self.before, task).get("per_class", {}) if self.before else {}
        bars = [
            Bar(name, color, values[metric], theirs.get(name, {}).get(metric))
            for (name, values), color in zip(ours.items(), class_colors(list(ours), self.run.colors))
        ]
        return Bars(f"{label} per class (%)", bars, self.baseline_name if theirs else "")

    def _curves(self) -> Iterator[Tabs]:
        losses = sorted(self.run.losses().items(), key=lambda item: item[0] != "total_loss")
        charts = [chart(name, {name: [series]}, {name: 0}, logarithmic=True) for name, series in losses]
        scores = list(self._score_curves()) if self.evaluation is not None else []
        tabs = {"Scores during training": scores, "Losses": [Charts(charts, {})] if charts else []}
        if any(tabs.values()):
            yield Tabs("Curves", {name: blocks for name, blocks in tabs.items() if blocks})

    def _score_curves(self) -> Iterator[Charts]:
        evaluations = [e for e in self.run.evaluations if e["dataset"] == self.evaluation["dataset"]]
        ordered = sorted(evaluations, key=lambda e: e["model"] != self.evaluation["model"])
        numbers = {e["model"]: number for number, e in enumerate(ordered)}
        found = []
        for task, metric in CURVES:
            read = {
                e["model"]: self.run.score_series(e, task, self.protocol, metric)
                for e in ordered
                if self.protocol in e["scores"].get(task, {})
            }
            lines = {name: [series] for name, series in read.items() if series[0]}
            if any(len(series[0]) > 1 for series in read.values()):
                before = self._scores(self.before, task).get(metric) if self.before else None
                levels = {} if before is None else {self.baseline_name: before}
                found.append(chart(f"{title(metric)} (%)", lines, numbers, levels=levels))
        if found:
            yield Charts(found, numbers)

    def _confusion(self) -> Iterator:
        found = self.evaluation and self.evaluation.get("confusion")
        if found:
            yield Text(
                f"Of every true class's pixels, the share that the {self.evaluation['model']} takes for each class, in "
                "percent."
            )
            yield confusion("Rows are true classes, columns predicted ones", found)

    def _estimates(self) -> Iterator:
        protocol = None if self.evaluation is None else self.protocol
        yield from estimates.html(estimates.estimate_table(self.run, self.evaluation, protocol))

    def _facts(self) -> Iterator:
        values = facts(self.run)
        rows = [[Cell(key, key), Cell(plain(value) or "none", plain(value))] for key, value in values]
        if rows:
            yield Table("Configuration", ["key", "value"], rows)
        scores = [
            [
                Cell(e["dataset"], e["dataset"]),
                Cell(protocol, protocol),
                Cell(e["model"], e["model"]),
                *map(number, _row(e, protocol)),
            ]
            for e in self.run.evaluations
            for protocol in e["protocols"]
        ]
        if scores:
            columns = [label for label, *_ in HEADLINE]
            yield Table("Results by data set, protocol and model", ["data set", "protocol", "model", *columns], scores)


def baseline_label(baseline: RunFolder) -> str:
    """What a baseline is called: what it did, where that is known."""
    kinds = {"SourceOnlyTrainer": "source only"}
    return kinds.get(str(baseline.value("TRAINER.NAME")), baseline.path.resolve().name)


def weight_blocks(weights: Mapping[str, tuple], colors: Mapping[str, Sequence[int]]) -> Iterator:
    """Maps of class weights by place, each over a table of its values; ``colors``: see :func:`~.page.class_colors`."""
    tabs = {
        place: [weight_map(place, *series), weight_table(place, *series, colors)]
        for place, series in weights.items()
        if series[0]
    }
    if tabs:
        yield Text("Weights of classes over the iterations. 1 is unweighted; red counts more, blue less.")
        yield Tabs("Loss", tabs)


def _row(evaluation: Mapping, protocol: str) -> list[float | None]:
    return [evaluation["scores"].get(task, {}).get(protocol, {}).get(metric) for _, task, metric, _ in HEADLINE]
