"""The study of class weighting, run by run: what is there and what is missing, every score, and gains over the source
alone."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from gbw_panoptic.reporting.page import table
from .results import Block, Cell, Results

_SOURCE_ONLY = "source_only"


def runs_page(results: Results, planned: Mapping[Block, int]) -> str:
    """How many runs have been made, the precision of every seed and what is missing; then the scores of every run.

    Args:
        planned: block -> number of its seeds, from 0.
    """
    wanted = {(cell, seed) for block, seeds in planned.items() for cell in block.cells for seed in range(seeds)}
    made = {(cell, run["seed"]) for cell, _ in wanted for run in results.runs(cell)} & wanted
    title = f"## Runs: {len(made)} of {len(wanted)}"
    parts = [title, "", _coverage(results, planned, made), "", "## Every run", "", _scores(results, planned)]
    return "\n".join(parts)


def adaptation_page(results: Results, blocks: Sequence[Block]) -> str:
    """What every strategy adds to the source alone under the same weighting, paired by seed: mean ± standard error (p).

    Runs of a pair may differ in precision here; the last column names such seeds.
    """
    rows, cells = [], dict.fromkeys(cell for block in blocks for cell in block.cells)
    columns = results.columns(cells)
    for cell in (cell for cell in cells if cell.strategy != _SOURCE_ONLY):
        base = replace(cell, strategy=_SOURCE_ONLY)
        precisions = [{run["seed"]: run["precision"] for run in results.runs(of)} for of in (cell, base)]
        seeds = [seed for seed in precisions[0] if seed in precisions[1]]
        if seeds:
            mixed = [str(seed) for seed in seeds if precisions[0][seed] != precisions[1][seed]]
            gains = (results.difference(cell, base, "scores", name) or "" for name in columns)
            rows.append([_place(cell), cell.weighting, len(seeds), *gains, ", ".join(mixed)])
    header = ["", "weighting", "seeds", *columns, "seeds of two precisions"]
    legend = "Difference of a strategy to training on the source alone under the same weighting, paired by seed."
    return "\n".join(["## Against the source alone", "", legend, "", table(rows, header)])


def _coverage(results: Results, planned: Mapping[Block, int], made: set[tuple[Cell, int]]) -> str:
    columns, rows = range(max(planned.values())), []
    for block, seeds in planned.items():
        precisions = {run["seed"]: run["precision"] for cell in block.cells for run in results.runs(cell)}
        lacking = {cell.weighting: [seed for seed in range(seeds) if (cell, seed) not in made] for cell in block.cells}
        missing = (f"{weighting}: {', '.join(map(str, found))}" for weighting, found in lacking.items() if found)
        rows.append([block.title, *(precisions.get(seed, "") for seed in columns), "; ".join(missing)])
    return table(rows, ["", *(f"seed {seed}" for seed in columns), "seeds that are missing"])


def _scores(results: Results, blocks: Sequence[Block]) -> str:
    """A row a run: what docs say of single seeds is differences of these."""
    rows, cells = [], dict.fromkeys(cell for block in blocks for cell in block.cells)
    columns = results.columns(cells)
    for cell in cells:
        for run in results.runs(cell):
            scores = (f"{run['scores'][name]:.1f}" if name in run["scores"] else "" for name in columns)
            rows.append([_place(cell), cell.weighting, run["seed"], run["precision"], run["machine"], *scores])
    return table(rows, ["", "weighting", "seed", "precision", "machine", *columns])


def _place(cell: Cell) -> str:
    return f"{cell.task}, {cell.network}, {cell.strategy.replace('_', ' ')}"
