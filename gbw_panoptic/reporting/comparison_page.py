"""report.html over several runs, beside its report.md: the best configuration against the baseline, and all of them."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from .blocks import Bar, Bars, Card, Cards, Cell, Charts, HtmlPage, Section, Table, Tabs, Text
from .charts import Series, chart
from .comparison_report import ComparisonReport, write_gathered
from .gains import COLUMNS, Gain, column, gain, spread
from .html import write_page
from .page import CURVES, Page, class_colors, plain, title
from .pictures import viewer
from .run_folder import RunFolder
from .run_groups import RunGroup, differing_keys, gather, progress
from .run_page import weight_blocks
from .sections import METRICS
from .tables import confusion, number

#: Column of the scores -> its label in the headline.
_HEADLINE = {
    "PQ": "PQ",
    "PQ things": "PQ of things",
    "PQ stuff": "PQ of stuff",
    "mIoU": "mIoU",
    "rare recall": "Rare recall",
}
_KINDS = (("PQ", "panoptic", "PQ"), ("IoU", "semantic", "IoU"), ("Recall of pixels", "semantic", "recall"))


def write_comparison(
    paths: Sequence[str | Path],
    destination: str | Path,
    *,
    baseline: Sequence[str | Path] = (),
    protocol: str | None = None,
) -> str:
    """Writes report.md (see :func:`gbw_panoptic.reporting.comparison_report.write_gathered`) and report.html.

    Args:
        paths, baseline, protocol: see :func:`gbw_panoptic.reporting.run_groups.gather`.
        destination: folder of the report.

    Returns:
        the path of report.html.
    """
    comparison = gather(paths, baseline=baseline, protocol=protocol)
    markdown = Path(write_gathered(comparison, destination))
    page = _ComparisonPage(ComparisonReport(comparison, Page(markdown))).page()
    return write_page(page, markdown.with_suffix(".html"))


class _ComparisonPage:
    """The parts of the page; what was measured is :class:`ComparisonReport`'s."""

    def __init__(self, report: ComparisonReport) -> None:
        self.report, self.comparison = report, report.comparison
        self.groups, self.protocol = report.groups, report.protocol
        self._colors = {n: c for group in self.groups for run in group.runs.values() for n, c in run.colors.items()}
        self.numbers = {group.name: i for i, group in enumerate(self.groups)}
        self.scores = {group.name: report.scores_of(group, self._model(group), self.protocol) for group in self.groups}

    def _model(self, group: RunGroup) -> str:
        return self.report.headline_of(group.first)["model"]

    def page(self) -> HtmlPage:
        others = ", ".join(group.name for group in self.groups[1:])
        name = f"{others} against {self.groups[0].name}" if others else self.groups[0].name
        sections = (
            Section("pictures", "Pictures", list(self._pictures())),
            Section("scores", "Scores", list(self._tables())),
            Section("classes", "Classes", list(self._classes())),
            Section("curves", "Curves", list(self._curves())),
            Section("weights", "Class weights", list(self._weights())),
            Section("confusion", "Confusion", list(self._confusion())),
            Section("setup", "What was run", list(self._setup())),
        )
        lead = (
            f"Last iterations on the {self.report.reference['images']} images of {self.comparison.dataset}, protocol "
            f"{self.protocol}, in percent. {self.report.averaged()}"
        )
        return HtmlPage(name, lead, list(self._hero()), [section for section in sections if section.blocks])

    def _hero(self) -> Iterator[Cards | Text]:
        metric, baseline = METRICS[self.report.task], self.groups[0].name
        means = {name: spread(column(scores, metric).values()).mean for name, scores in self.scores.items()}
        best = max(list(means)[1:] or list(means), key=means.__getitem__)
        cards = []
        for name, label in _HEADLINE.items():
            ours, theirs = column(self.scores[best], name), column(self.scores[baseline], name)
            if ours:
                found = spread(ours.values())
                error = "" if found.error is None else f" ± {found.error:.1f}"
                before = spread(theirs.values()).mean if theirs and best != baseline else None
                cards.append(Card(label, found.mean, before, f"{found.count} seed{'s' * (found.count > 1)}", error))
        if best != baseline:
            yield Text(f"{best}, the largest {metric}; before: {baseline}.")
        yield Cards(cards)

    def _pictures(self) -> Iterator:
        dataset = self.comparison.dataset
        sources = [(group.name, group.first, self._model(group), dataset) for group in self.groups]
        found = viewer(sources, left=sources[0][0] if len(sources) > 1 else None)
        if found:
            yield Text("The first seed of every configuration.")
            yield found

    def _tables(self) -> Iterator[Table]:
        columns = [name for name in COLUMNS if any(column(scores, name) for scores in self.scores.values())]
        rows = []
        for group in self.groups:
            scores = self.scores[group.name]
            cells = [self._mean(column(scores, name)) for name in columns]
            rows.append(
                [
                    Cell(group.name, group.name),
                    Cell(self._model(group), self._model(group)),
                    number(len(scores)),
                    *cells,
                ]
            )
        yield Table("Mean ± standard error over seeds", ["configuration", "model", "seeds", *columns], rows)
        if len(self.groups) > 1:
            gains = [[Cell(g.name, g.name), *(self._gain(g.name, name) for name in columns)] for g in self.groups[1:]]
            caption = f"Gains over {self.groups[0].name}, paired by seed"
            yield Table(caption, ["configuration", *columns], gains)

    def _mean(self, values: dict[int, float]) -> Cell:
        return Cell(str(spread(values.values())), spread(values.values()).mean) if values else Cell("-")

    def _gain(self, name: str, of: str) -> Cell:
        ours, theirs = column(self.scores[name], of), column(self.scores[self.groups[0].name], of)
        return _gain_cell(gain(ours, theirs)) if ours and theirs else Cell("-")

    def _classes(self) -> Iterator:
        kinds = [kind for kind in _KINDS if self.report.task == "panoptic" or kind[1] == "semantic"]
        shown = self.groups[1:] or self.groups
        yield Tabs("Configuration", {group.name: [self._bars(group, *kinds[0])] for group in shown})
        yield Tabs("Metric", {label: [self._class_table(label, task, metric)] for label, task, metric in kinds})

    def _bars(self, group: RunGroup, label: str, task: str, metric: str) -> Bars:
        ours = self.report.class_values(group, task, metric)
        theirs = self.report.class_values(self.groups[0], task, metric) if group is not self.groups[0] else {}
        bars = []
        for name, color in zip(ours, class_colors(list(ours), self._colors)):
            found = spread(ours[name].values())
            before = spread(theirs[name].values()).mean if name in theirs else None
            bars.append(Bar(name, color, found.mean, before, found.error))
        return Bars(f"{label} per class (%) of {group.name}", bars, self.groups[0].name if theirs else "")

    def _class_table(self, label: str, task: str, metric: str) -> Table:
        values = {group.name: self.report.class_values(group, task, metric) for group in self.groups}
        names = list(values[self.groups[0].name])
        baseline, *others = values
        rows = []
        for name, color in zip(names, class_colors(names, self._colors)):
            cells = [self._mean(values[group][name]) for group in values]
            cells += [_gain_cell(gain(values[group][name], values[baseline][name])) for group in others]
            rows.append([Cell(name, name, color), *cells])
        return Table(f"{label} per class", ["class", *values, *(f"gain of {name}" for name in others)], rows)

    def _curves(self) -> Iterator[Tabs]:
        names = dict.fromkeys(name for group in self.groups for run in group.runs.values() for name in run.losses())
        scores = [self._chart(f"{title(metric)} (%)", task, metric) for task, metric in CURVES]
        losses = [self._loss_chart(name) for name in sorted(names, key=lambda name: name != "total_loss")]
        tabs = {"Scores during training": list(filter(None, scores)), "Losses": losses}
        if any(tabs.values()):
            yield Text("Mean over seeds; every seed faintly behind it.")
            yield Tabs("Curves", {name: [Charts(charts, self.numbers)] for name, charts in tabs.items() if charts})

    def _chart(self, name: str, task: str, metric: str) -> dict | None:
        def read(run: RunFolder) -> Series:
            return run.score_series(self.report.headline_of(run), task, self.protocol, metric)

        lines = self._lines(read)
        several = any(len(series[0]) > 1 for found in lines.values() for series in found)
        return chart(name, lines, self.numbers) if several else None

    def _loss_chart(self, name: str) -> dict:
        return chart(name, self._lines(lambda run: run.series(name)), self.numbers, logarithmic=True)

    def _lines(self, read) -> dict[str, list[Series]]:
        """Group -> a series per seed, where there is one."""
        lines = {group.name: [s for s in map(read, group.runs.values()) if s[0]] for group in self.groups}
        return {name: series for name, series in lines.items() if series}

    def _weights(self) -> Iterator[Tabs]:
        tabs = {group.name: list(weight_blocks(group.class_weights(), self._colors)) for group in self.groups}
        if any(tabs.values()):
            yield Tabs("Configuration", {name: blocks for name, blocks in tabs.items() if blocks})

    def _confusion(self) -> Iterator:
        tabs = {}
        for group in self.groups:
            found = [self.report.headline_of(run).get("confusion") for run in group.runs.values()]
            if all(found):
                pixels = np.sum([matrix["pixels"] for matrix in found], axis=0)
                tabs[group.name] = [confusion(group.name, {"classes": found[0]["classes"], "pixels": pixels})]
        if tabs:
            yield Text(
                "Of every true class's pixels (rows), the share that is taken for each class (columns), in percent."
            )
            yield Tabs("Configuration", tabs)

    def _setup(self) -> Iterator[Table]:
        differences = differing_keys(self.groups)
        if differences:
            rows = [[Cell(key, key), *(_value(value) for value in values)] for key, values in differences.items()]
            yield Table("What differs", ["key", *(group.name for group in self.groups)], rows)
        rows = []
        for group in self.groups:
            for seed, run in sorted(group.runs.items()):
                evaluation, folder = self.report.headline_of(run), self.comparison.labels[run.path]
                score = evaluation["scores"][self.report.task][self.protocol][METRICS[self.report.task]]
                iteration = evaluation.get("iteration")
                known = number(iteration) if iteration is not None and iteration >= 0 else Cell("-")
                rows.append(
                    [Cell(folder, folder), Cell(group.name, group.name), number(seed), known, number(float(score))]
                )
        rows += [
            [Cell(self.comparison.labels[run.path]), Cell(f"left out: {progress(run)}")] + [Cell("-")] * 3
            for run in self.comparison.unfinished
        ]
        yield Table("Runs", ["folder", "configuration", "seed", "iteration", METRICS[self.report.task]], rows)


def _gain_cell(found: Gain) -> Cell:
    rounded = round(found.mean, 1)
    return Cell(str(found).replace("-", "\N{MINUS SIGN}"), found.mean, sign=(rounded > 0) - (rounded < 0))


def _value(value: object) -> Cell:
    text = "-" if value is None else plain(value) or "none"
    return Cell(text, text)
