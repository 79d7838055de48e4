"""The study of class weighting: what is kept of a run, and the tables and the plot that are made of it.

A result is plain values, one small JSON file a run: ``{"task", "network", "strategy", "weighting", "seed", "model",
"iterations", "scores": {column: percent}, "classes": {name: {"IoU", "recall", "precision", "pixels"}}}``. The first
weighting of a block of rows is the reference of its differences.
"""

from collections.abc import Iterable, Mapping, Sequence

from scipy.stats import ttest_rel

from ..errors import UserError
from ..visualization.effects import Effect, effect_bars
from .gains import COLUMNS, gain, spread
from .page import table
from .results import averaged_classes
from .run_folder import RunFolder

_BLOCK = ("task", "network", "strategy")
#: Columns whose differences are tested; the rest are shown as means alone.
_TESTED = ("PQ", "mIoU", "rare recall")
_RARE_PRECISION = ("semantic", "rare_precision")


def run_result(run: RunFolder, protocol: str) -> dict:
    """What the study keeps of a finished run, of the model that its configuration names.

    Raises:
        UserError: the last iteration was not evaluated.
    """
    if not run.is_finished:
        raise UserError(f"Expected an evaluation of the last iteration in {run.path}, found none; see its log.")
    evaluation = run.headline()
    held = {task: protocols.get(protocol, {}) for task, protocols in evaluation["scores"].items()}
    columns = {**COLUMNS, "rare precision": _RARE_PRECISION}
    semantic = held["semantic"]
    return {
        "model": evaluation["model"],
        "iterations": evaluation["iteration"],
        "scores": {name: held[task][key] for name, (task, key) in columns.items() if key in held.get(task, {})},
        "classes": {
            name: {
                **{key: semantic["per_class"][name][key] for key in ("IoU", "recall", "precision")},
                "pixels": semantic["per_class"][name]["tp"] + semantic["per_class"][name]["fn"],
            }
            for name in averaged_classes(semantic)[0]
        },
    }


def study_page(results: Iterable[Mapping], cells: Iterable[Mapping]) -> str:
    """Markdown: a table for each task, network and strategy, a row for each weighting.

    Args:
        results: of runs, in any order.
        cells: the study's rows, ``{"task", "network", "strategy", "weighting"}``; those without runs stay empty.

    Returns:
        Mean ± standard deviation over seeds; differences to the first weighting, paired by seed, ± standard error, with
        the p-value of the paired t-test from three seeds on.
    """
    blocks = []
    for (task, network, strategy), rows in _blocks(results, cells).items():
        blocks += [f"### {task}, {network}, {strategy.replace('_', ' ')}", "", _block_table(rows), ""]
    return "\n".join(blocks).rstrip()


def study_plot(results: Iterable[Mapping], cells: Iterable[Mapping]) -> bytes:
    """PNG: difference of mIoU and of rare recall to the first weighting, a bar for each weighting and block of rows."""
    blocks = {", ".join(key).replace("_", " "): rows for key, rows in _blocks(results, cells).items()}
    panels = {}
    for column in ("mIoU", "rare recall"):
        panels[f"difference of {column} to unweighted (points)"] = {
            title: {
                weighting: Effect(difference.mean, difference.error)
                for weighting, runs in list(rows.items())[1:]
                if (difference := _difference(runs, next(iter(rows.values())), column))
            }
            for title, rows in blocks.items()
        }
    return effect_bars(panels)


def _blocks(results: Iterable[Mapping], cells: Iterable[Mapping]) -> dict[tuple, dict[str, dict[int, Mapping]]]:
    """(task, network, strategy) -> weighting -> seed -> scores, in the order of the cells."""
    blocks: dict[tuple, dict[str, dict[int, Mapping]]] = {}
    for cell in cells:
        blocks.setdefault(tuple(cell[key] for key in _BLOCK), {}).setdefault(cell["weighting"], {})
    for result in results:
        rows = blocks.get(tuple(result[key] for key in _BLOCK), {})
        if result["weighting"] in rows:
            rows[result["weighting"]][result["seed"]] = result["scores"]
    return blocks


def _block_table(rows: Mapping[str, Mapping[int, Mapping]]) -> str:
    names = [*COLUMNS, "rare precision"]
    reference = next(iter(rows.values()))
    cells = []
    for weighting, runs in rows.items():
        means = [_mean([scores[name] for scores in runs.values() if name in scores]) for name in names]
        differences = [_difference_text(runs, reference, name) for name in _TESTED]
        cells.append([weighting, len(runs) or "", *means, *differences])
    header = ["weighting", "seeds", *names, *(f"{name}, difference" for name in _TESTED)]
    return table(cells, header)


def _mean(values: Sequence[float]) -> str:
    if not values:
        return ""
    summary = spread(values)
    deviation = "" if summary.error is None else f" ± {summary.error * len(values) ** 0.5:.1f}"
    return f"{summary.mean:.1f}{deviation}"


def _difference(runs: Mapping[int, Mapping], reference: Mapping[int, Mapping], name: str):
    """The gain over the runs of the same seed; None where there is none to pair."""
    seeds = [seed for seed in runs if seed in reference and name in runs[seed] and name in reference[seed]]
    if not seeds or runs is reference:
        return None
    return gain({seed: runs[seed][name] for seed in seeds}, {seed: reference[seed][name] for seed in seeds})


def _difference_text(runs: Mapping[int, Mapping], reference: Mapping[int, Mapping], name: str) -> str:
    difference = _difference(runs, reference, name)
    if difference is None:
        return ""
    seeds = sorted(set(runs) & set(reference))
    if len(seeds) < 3 or not difference.error:
        return str(difference)
    test = ttest_rel([runs[seed][name] for seed in seeds], [reference[seed][name] for seed in seeds])
    return f"{difference} (p {test.pvalue:.2g})"
