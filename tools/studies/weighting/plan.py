"""Which runs the study of class weighting makes, and what has to be equal among those that it compares: device and
precision."""

import argparse

import torch
from . import cells as design

from gbw_panoptic.engine.setup import prepare_config
from gbw_panoptic.errors import UserError
from gbw_panoptic.machine import computes_bfloat16
from gbw_panoptic.validation import validate
from .results import Cell, Results

#: Precision -> its overrides.
PRECISIONS = {
    "bfloat16": ("SOLVER.AMP.ENABLED", "True", "SOLVER.AMP.PRECISION", "bfloat16"),
    "float32": ("SOLVER.AMP.ENABLED", "False"),
}


def planned(arguments: argparse.Namespace) -> list[tuple[Cell, int]]:
    """Cells and seeds, tier by tier and there seed by seed."""
    runs = {}  # a set in order: two tiers may share a cell
    for tier in arguments.tiers:
        for seed in arguments.seeds or range(design.SEEDS[tier]):
            for cell in (cell for block in design.TIERS[tier] for cell in block.cells):
                if _is_wanted(cell.weighting, arguments.weightings) and _is_wanted(cell.network, arguments.networks):
                    runs[cell, seed] = True
    return list(runs)


def _is_wanted(name: str, wanted: list[str] | None) -> bool:
    return wanted is None or name in wanted


def missing(results: Results, arguments: argparse.Namespace) -> list[tuple[Cell, int]]:
    """Planned runs without a result."""
    return [(cell, seed) for cell, seed in planned(arguments) if all(run["seed"] != seed for run in results.runs(cell))]


def is_comparable(cell: Cell, seed: int, results: Results, arguments: argparse.Namespace) -> bool:
    """Whether no result of the same task, network, strategy and seed has another precision.

    Differences are between such runs alone, paired by seed: one between precisions would count as an effect.
    """
    rivals = [Cell(cell.task, cell.network, cell.strategy, weighting) for weighting in design.ALL_WEIGHTINGS]
    found = {run["precision"] for rival in rivals for run in results.runs(rival) if run["seed"] == seed}
    return found <= {precision(arguments)}


def precision(arguments: argparse.Namespace) -> str:
    """The one that was asked for, else the faster one of the device."""
    return arguments.precision or ("bfloat16" if computes_bfloat16(arguments.device) else "float32")


def of_all_runs(seed: int, arguments: argparse.Namespace) -> list[str]:
    """KEY VALUE overrides that no cell decides."""
    return ["MODEL.DEVICE", arguments.device, "SEED", str(seed), *PRECISIONS[precision(arguments)], *arguments.opts]


def check_settings(arguments: argparse.Namespace) -> None:
    """What no run could take ends the study before it begins, not every run."""
    if arguments.device == "cuda" and not torch.cuda.is_available():
        # a run would go on with the CPU, and its result into a table of GPUs
        raise UserError(
            "--device cuda: expected a GPU that torch can use, found none; see tools/doctor.py, or pass cpu."
        )
    if set(arguments.opts[::2]) & {key for overrides in PRECISIONS.values() for key in overrides[::2]}:
        raise UserError("--opts: expected no key of SOLVER.AMP, found one; pass --precision, which every result names.")
    if not (runs := planned(arguments)):
        raise UserError(
            "Expected a cell of all that --tiers, --networks and --weightings name, found none; see docs/study.md."
        )
    for cell in dict.fromkeys(cell for cell, _ in runs):
        opts = [*design.options(cell), *of_all_runs(0, arguments)]
        validate(prepare_config(argparse.Namespace(config_file=str(design.config_file(cell)), opts=opts)))


def refuse_another_device(results: Results, arguments: argparse.Namespace) -> None:
    """What is compared has to come from one type of device."""
    for block in (block for tier in arguments.tiers for block in design.TIERS[tier]):
        found = {run["device"] for cell in block.cells for run in results.runs(cell)} - {arguments.device}
        if found:
            raise UserError(
                f"--device: expected {', '.join(sorted(found))}, where the results of '{block.title}' come from, found "
                f"{arguments.device}: differences between devices would count as effects; pass --device, or another "
                "--results."
            )
