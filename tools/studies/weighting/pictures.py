"""The study of class weighting in pictures, made of the results alone."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from gbw_panoptic.reporting.gains import spread
from gbw_panoptic.reporting.run_folder import class_order
from gbw_panoptic.visualization.plots import HeatMap, class_heat_maps
from .effects import Effect, class_effects, effect_bars, setting_curves, trade_offs
from .results import Block, Cell, Difference, Results
from .tables import class_shares


def effects_plot(results: Results, blocks: Sequence[Block]) -> bytes:
    """Differences of PQ, mIoU and rare recall to the first cell of every block, a bar for each weighting."""
    panels = {}
    for column in ("PQ", "mIoU", "rare recall"):
        panels[f"{column}, difference in points"] = {
            block.title: _effects(
                {cell.weighting: results.difference(cell, block.reference, "scores", column) for cell in block.cells}
            )
            for block in blocks
        }
    return effect_bars(panels)


def class_plot(results: Results, block: Block) -> bytes:
    """Differences of recall and precision of every class to the block's first cell, the rarest class last."""
    shares = class_shares(results, block.reference)
    panels = {}
    for metric in ("recall", "precision"):
        panels[f"{metric}, difference to {block.reference.weighting} in points"] = {
            cell.weighting: _effects(
                {name: results.difference(cell, block.reference, "classes", name, metric) for name in shares}
            )
            for cell in block.cells[1:]
            if results.runs(cell)
        }
    return class_effects(panels, shares)


def weights_plot(results: Results, cell: Cell) -> bytes:
    """Class weights and gradients over the iterations, mean over the seeds of a cell that was run, a row for each
    branch."""
    runs = results.runs(cell)
    rows = []
    for place in dict.fromkeys(place for run in runs for place in run["gbw"]):
        of_place = [run["gbw"][place] for run in runs if place in run["gbw"]]
        # a class that one run never had in a step has no series there
        names = sorted({name for run in of_place for name in run["weight"]}, key=class_order)
        iterations = of_place[0]["iterations"]
        rows.append(
            [
                HeatMap(place, kind, iterations, names, _mean_over_runs(of_place, kind, names))
                for kind in ("weight", "gradient")
            ]
        )
    return class_heat_maps(rows)


def lambda_plot(results: Results, cells: Mapping[float, Cell], reference: Cell) -> bytes:
    """mIoU, recall and precision of rare classes over lambda; ``reference`` is the unweighted cell.

    Means over the seeds that all cells with runs have: a cell with more seeds than its neighbours would stand out by
    them.
    """
    lines, levels = {}, {}
    for column in ("mIoU", "rare recall", "rare precision"):
        values = on_common_seeds(results, (*cells.values(), reference), column)
        lines[column] = {lam: _mean(values[cell]) for lam, cell in cells.items() if cell in values}
        if reference in values:
            levels[column] = _mean(values[reference]).mean
    return setting_curves(lines, levels, label="lambda")


def tau_plot(results: Results, block: Block) -> bytes:
    """Recall against precision of rare classes over the correction of the decision, a line for each weighting; means
    over seeds."""
    lines = {}
    for cell in block.cells:
        curves = [run["tau"]["scores"] for run in results.runs(cell) if run.get("tau")]
        taus = sorted(set.intersection(*map(set, curves)), key=float) if curves else []
        lines[cell.weighting] = {
            float(tau): tuple(
                float(np.mean([curve[tau][column] for curve in curves])) for column in ("rare recall", "rare precision")
            )
            for tau in taus
        }
    return trade_offs(
        {name: points for name, points in lines.items() if points}, labels=("rare recall", "rare precision")
    )


def on_common_seeds(results: Results, cells: Iterable[Cell], score: str) -> dict[Cell, list[float]]:
    """Values of the seeds that every cell with runs has; empty where they share none."""
    found = {cell: values for cell in cells if (values := results.values(cell, "scores", score))}
    seeds = sorted(set.intersection(*map(set, found.values()))) if found else []
    return {cell: [values[seed] for seed in seeds] for cell, values in found.items()} if seeds else {}


def _effects(differences: Mapping[str, Difference | None]) -> dict[str, Effect]:
    return {name: Effect(d.gain.mean, d.gain.error) for name, d in differences.items() if d is not None}


def _mean(values: Sequence[float]) -> Effect:
    summary = spread(values)
    return Effect(summary.mean, summary.error)


def _mean_over_runs(of_place: Sequence[Mapping], kind: str, names: Sequence[str]) -> np.ndarray:
    """[T, C]; NaN where no run has a value."""
    absent = [None] * len(of_place[0]["iterations"])
    stacked = np.array([[run[kind].get(name, absent) for name in names] for run in of_place], dtype=float)
    finite = np.isfinite(stacked)
    total, count = np.where(finite, stacked, 0).sum(0), finite.sum(0)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan).T
