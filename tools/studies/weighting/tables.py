"""The study of class weighting as Markdown: every table is made of the results alone."""

from collections.abc import Mapping, Sequence
from statistics import fmean

from gbw_panoptic.reporting.gains import mean_and_deviation
from gbw_panoptic.reporting.page import table
from .results import KEPT_HEADS, STUDY_COLUMNS, Block, Cell, Difference, Results, adjusted

_SUMMARY = ("PQ", "PQ things", "PQ stuff", "mIoU", "mean recall", "rare recall", "rare precision")
_TAU = ("rare recall", "rare precision", "mIoU", "PQ", "PQ things", "PQ stuff")
_NUM_RARE = 5  # as TEST.RARE_CLASSES
_CLASS_METRICS = ("IoU", "recall", "precision")


def study_page(results: Results, blocks: Sequence[Block], *, method: str) -> str:
    """The summary of one weighting over all blocks, then the scores and their differences for each block, a row for
    each cell.

    Mean ± standard deviation over seeds; differences to a block's first cell, paired by seed, ± standard error, with
    the p-value of the paired t-test from three seeds on, adjusted in the summary only. A block whose runs come from
    several machines says so.

    Args:
        method: name of the weighting that is summarised.
    """
    parts = [f"## {method} against unweighted", "", _summary(results, blocks, method), ""]
    for block in blocks:
        parts += [f"## {block.title}", "", *_machines(results, block), *_block_tables(results, block)]
        if any(run["pseudo_labels"] for cell in block.cells for run in results.runs(cell)):
            parts += [
                "The last teacher on the target images that it labels:",
                "",
                _pseudo_label_table(results, block),
                "",
            ]
    return "\n".join(parts).rstrip()


def class_page(results: Results, blocks: Sequence[Block]) -> str:
    """For every class, the rarest last: share, scores without weights and differences by each weighting that was run;
    then GBW's weights."""
    parts = []
    for block in blocks:
        for cell in block.cells[1:]:
            if results.runs(cell) and results.runs(block.reference):
                title = f"{block.title}: {cell.weighting}"
                parts += [f"## {title}", "", _class_table(results, cell, block.reference), ""]
                for place in _weighted_places(results, cell):
                    parts += [f"Weights of {place}:", "", _weight_table(results, cell, place), ""]
    return "\n".join(parts).rstrip()


def tau_tables(results: Results, blocks: Sequence[Block]) -> list[str]:
    """Scores over the correction of the decision: a table for each block that has any, mean ± standard deviation over
    seeds."""
    parts = []
    for block in blocks:
        rows = [row for cell in block.cells for row in _tau_rows(results, cell)]
        if rows:
            title = f"## Over tau: {block.title}"
            parts.append("\n\n".join((title, table(rows, ["weighting", "prior", "tau", "seeds", *_TAU]))))
    return parts


def _tau_rows(results: Results, cell: Cell) -> list[list]:
    curves = [run["tau"] for run in results.runs(cell) if run.get("tau")]
    rows = []
    for tau in dict.fromkeys(tau for curve in curves for tau in curve["scores"]):
        scores = [curve["scores"][tau] for curve in curves if tau in curve["scores"]]
        means = [mean_and_deviation(found[column] for found in scores if column in found) for column in _TAU]
        rows.append([cell.weighting, curves[0]["prior"], tau, len(scores), *means])
    return rows


def class_shares(results: Results, cell: Cell) -> dict[str, float]:
    """Class name -> share of the source's labelled pixels (0..1), the most frequent first."""
    runs = results.runs(cell)
    pixels = {name: values["source_pixels"] for name, values in runs[0]["classes"].items()} if runs else {}
    total = max(sum(pixels.values()), 1)
    return {name: pixels[name] / total for name in sorted(pixels, key=lambda name: -pixels[name])}


def _summary(results: Results, blocks: Sequence[Block], method: str) -> str:
    """One row a block; p of all its differences are adjusted together, column by column."""
    compared = {block: cell for block in blocks if (cell := _cell_of(block, method)) not in (None, block.reference)}
    columns = {}
    for name in _SUMMARY:
        found = {
            block: difference
            for block, cell in compared.items()
            if (difference := results.difference(cell, block.reference, "scores", name))
        }
        columns[name] = dict(zip(found, map(_with_adjusted, found.values(), adjusted(list(found.values())))))
    columns = {name: found for name, found in columns.items() if found or not name.startswith("PQ ")}
    rows = [
        [block.title, len(results.runs(cell)) or "", *(found.get(block, "") for found in columns.values())]
        for block, cell in compared.items()
    ]
    return table(rows, ["", "seeds", *columns])


def _with_adjusted(difference: Difference, q: float | None) -> str:
    return str(difference.gain) + ("" if q is None else f" (p {difference.p:.2g}, adjusted {q:.2g})")


def _cell_of(block: Block, method: str) -> Cell | None:
    return next((cell for cell in block.cells if cell.weighting == method), None)


def _machines(results: Results, block: Block) -> list[str]:
    machines = {f"{run['machine']}, {run['precision']}" for cell in block.cells for run in results.runs(cell)}
    if len(machines) < 2:
        return [*machines, ""] if machines else []
    return [
        "**Of several machines or precisions; the runs of a seed share the precision**: "
        f"{'; '.join(sorted(machines))}.",
        "",
    ]


def _block_tables(results: Results, block: Block) -> list[str]:
    """Scores of every cell, and their differences to the first where there are any."""
    columns = results.columns(block.cells) or STUDY_COLUMNS
    means, differences = [], []
    for cell in block.cells:
        scores = [mean_and_deviation(results.values(cell, "scores", name).values()) for name in columns]
        means.append([cell.weighting, len(results.runs(cell)) or "", *scores])
        gains = [results.difference(cell, block.reference, "scores", name) for name in columns]
        if any(gains):
            differences.append([cell.weighting, *("" if gain is None else gain for gain in gains)])
    parts = [table(means, ["weighting", "seeds", *columns]), ""]
    if differences:
        header = ["weighting", *(f"{name}, difference" for name in columns)]
        parts += [f"Differences to {block.reference.weighting}, paired by seed:", "", table(differences, header), ""]
    return parts


def _pseudo_label_table(results: Results, block: Block) -> str:
    """How right pseudo labels are: means over all classes and over the rarest ones of the source; their quality
    weight."""
    rows = []
    for cell in block.cells:
        runs = [run for run in results.runs(cell) if run["pseudo_labels"]]
        cells = []
        for classes in (None, _NUM_RARE):
            for metric in ("recall", "precision"):
                cells.append(mean_and_deviation(_pseudo_label_mean(run, metric, classes) for run in runs))
        qualities = (100 * run["quality"][-1] for run in runs if run["quality"])
        rows.append([cell.weighting, *cells, mean_and_deviation(qualities)])
    header = ["weighting", "recall", "precision", "rare recall", "rare precision", "quality at the end"]
    return table(rows, header)


def _pseudo_label_mean(run: Mapping, metric: str, num_rarest: int | None) -> float:
    names = sorted(run["classes"], key=lambda name: run["classes"][name]["source_pixels"])
    # a source without a class cannot teach it
    labelled = [name for name in names if run["classes"][name]["source_pixels"] and name in run["pseudo_labels"]]
    return fmean(run["pseudo_labels"][name][metric] for name in labelled[:num_rarest])


def _class_table(results: Results, cell: Cell, reference: Cell) -> str:
    rows = []
    for name, share in class_shares(results, reference).items():
        paths = [("classes", name, metric) for metric in _CLASS_METRICS]
        means = [mean_and_deviation(results.values(reference, *path).values()) for path in paths]
        differences = [results.difference(cell, reference, *path) or "" for path in paths]
        rows.append([name, f"{100 * share:.2f} %", *means, *differences])
    return table(rows, ["class", "source share", *_CLASS_METRICS, *(f"{x}, difference" for x in _CLASS_METRICS)])


def _weighted_places(results: Results, cell: Cell) -> list[str]:
    """Branches and heads whose weights were kept, of all runs."""
    return list(dict.fromkeys(place for run in results.runs(cell) for place in run["gbw"]))


def _weight_table(results: Results, cell: Cell, place: str) -> str:
    """Gradient and weight early and late in the run; share of what is weighted, and of its weight, over the run: means
    over runs."""
    kept = [run["gbw"][place] for run in results.runs(cell) if place in run["gbw"]]
    rows = []
    for name in (name for name in class_shares(results, cell) if any(name in run["weight"] for run in kept)):
        values = {kind: _series(kept, kind, name) for kind in ("gradient", "weight", "share")}
        shares = [_mean_share(run, name) for run in kept if name in run["weight"]]
        ends = [_number(values[kind][end]) for kind in ("gradient", "weight") for end in (0, -1)]
        rows.append([name, *ends, *(f"{100 * fmean(column):.2f} %" for column in zip(*shares))])
    weighted = KEPT_HEADS.get(place.split("/")[1], "pixels")
    header = [
        "class",
        "gradient, first tenth",
        "last",
        "weight, first tenth",
        "last",
        f"share of {weighted}",
        "weighted share",
    ]
    return table(rows, header)


def _series(kept: Sequence[Mapping], kind: str, name: str) -> list[float | None]:
    """Mean over runs for each tenth, of those that have a value there."""
    columns = zip(*(run[kind][name] for run in kept if name in run[kind]))
    found = ([value for value in column if value is not None] for column in columns)
    return [fmean(values) if values else None for values in found]


def _mean_share(run: Mapping, name: str) -> tuple[float, float]:
    """Share of the pixels and of the summed weights, mean over the tenths of a run."""
    shares = []
    for tenth in range(len(run["iterations"])):
        part = {c: run["share"][c][tenth] or 0 for c in run["share"]}
        weighed = {c: part[c] * (run["weight"][c][tenth] or 0) for c in part}
        shares.append((part[name] / (sum(part.values()) or 1), weighed[name] / (sum(weighed.values()) or 1)))
    return tuple(fmean(column) for column in zip(*shares))


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"
