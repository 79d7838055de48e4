"""The study of class weighting on Streets: strategies, tasks and networks by weighting and seed, in tiers of two
editions.

    python tools/weighting_study.py --tiers 5 6 7 --precision float32 --jobs 2     the second edition (or: make study)
    python tools/weighting_study.py --tiers 1 2 3 4 --jobs 2                       the first one
    python tools/weighting_study.py --rebuild                                      the tables alone, from the results
    that there are

Data are generated below --output. Every run leaves a small JSON in --results, which the repository keeps: a run whose
file is there is not repeated, on whatever machine, so the study can be stopped at any time and continued anywhere. The
tables and the pictures go to --results, too, those of the second edition to its folder second; a cell without runs
stays empty there. tools/studies/weighting/cells.py says what is compared.
"""

import _environment  # noqa: F401  (first: says what is missing)

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from itertools import groupby
from operator import itemgetter
from pathlib import Path

import study
import torch
from studies.weighting import cells as design
from studies.weighting import plan
from benchmarks.timing import environment

from gbw_panoptic import cli, files
from gbw_panoptic.data.statistics import ClassStatistics
from gbw_panoptic.errors import UserError
from gbw_panoptic.reporting.run_folder import RunFolder
from gbw_panoptic.taxonomy import CITYSCAPES
from studies.weighting.pictures import class_plot, effects_plot, lambda_plot, tau_plot, weights_plot
from studies.weighting.results import RESULT, Cell, Results, run_result
from studies.weighting.runs import adaptation_page, runs_page
from studies.weighting.tables import class_page, study_page, tau_tables

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "docs" / "results" / "weighting"
STATISTICS = {"panoptic": "synthia/RAND_CITYSCAPES", "semantic": "gta5"}


def main() -> None:
    arguments = parse()
    results = Path(arguments.results).resolve()
    if results == RESULTS and (arguments.opts or arguments.data):
        raise UserError(
            "Expected a --results of its own with --opts or --data, which change what is compared, found the "
            "repository's; name another folder."
        )
    if arguments.rebuild and not results.is_dir():
        raise UserError(
            f"--results: expected the folder of a study's results at {results}, found none; correct the path."
        )
    failed = [] if arguments.rebuild else train_all(results, arguments)
    write_pages(results)
    if failed:
        raise UserError(
            f"Expected every run to end well, found {len(failed)} that did not ({', '.join(failed)}); see stdout.txt "
            f"in their folders below {arguments.output}, mend the cause and run this command again: finished runs are "
            "kept."
        )


def train_all(results: Path, arguments: argparse.Namespace) -> list[str]:
    """Every run that has no result yet; the names of those that failed."""
    plan.check_settings(arguments)
    results.mkdir(parents=True, exist_ok=True)
    there = Results(read_results(results))
    plan.refuse_another_device(there, arguments)
    missing = plan.missing(there, arguments)
    runs = [run for run in missing if plan.is_comparable(*run, there, arguments)]
    if len(runs) < len(missing):
        print(
            f"{len(missing) - len(runs)} run(s) left for another machine: this one computes in "
            f"{plan.precision(arguments)}, and what they are compared with, the runs of the same seeds, has another "
            "precision, which --precision chooses where time does not count."
        )
    scales = dict.fromkeys(design.scale(cell) for cell, _ in plan.planned(arguments))
    data = {scale: make_data(Path(arguments.output).resolve(), scale, arguments) for scale in scales}
    failed = []
    with ThreadPoolExecutor(arguments.jobs) as pool, cli.progress(len(runs), "weighting study", unit="run") as bar:
        try:
            for (cell, seed), job in submit(runs, pool, data, results, arguments).items():
                try:
                    job.result()
                except UserError as error:
                    failed.append(f"{design.folder(cell)}/seed{seed}")
                    bar.write(str(error))
                bar.update()
        finally:  # after Ctrl-C or on a full disk: what has not begun is not to begin
            pool.shutdown(wait=False, cancel_futures=True)
    return failed


def submit(
    runs: list[tuple[Cell, int]], pool: Executor, data: Mapping[str, Path], results: Path, arguments: argparse.Namespace
) -> dict[tuple[Cell, int], Future]:
    """Every run as a job, in order; a first stage is a job ahead of its seed's runs and of those of the seed before.

    So cores have something to do while it trains. Jobs start in order, so a run waits for first stages that have begun
    only.
    """
    seeds = [list(group) for _, group in groupby(runs, key=itemgetter(1))]
    firsts, jobs = {}, {}
    for group, following in zip(seeds, [*seeds[1:], []]):
        for cell, seed in group + following:
            config = design.first_config(cell)
            if config is not None and (config, seed) not in firsts:
                firsts[config, seed] = pool.submit(train_first, config, seed, data[design.scale(cell)], arguments)
        for cell, seed in group:
            first = firsts.get((design.first_config(cell), seed))
            jobs[cell, seed] = pool.submit(train, cell, seed, first, data[design.scale(cell)], results, arguments)
    return jobs


def train(
    cell: Cell, seed: int, first: Future | None, data: Path, results: Path, arguments: argparse.Namespace
) -> None:
    """One run; its folder goes once its result is kept."""
    start = [] if first is None else start_from(first.result(), cell)
    run_folder = run_root(arguments) / design.folder(cell) / f"seed{seed}"
    options = [*design.options(cell), *start, *plan.of_all_runs(seed, arguments)]
    config = str(design.config_file(cell))
    study.run_training(run_folder, config, options, root=str(data), jobs=arguments.jobs)
    run = RunFolder.read(run_folder)
    statistics = ClassStatistics.load(str(data / STATISTICS[cell.task] / "class_statistics.json"), CITYSCAPES.names)
    pixels = dict(zip(statistics.class_names, statistics.pixels.tolist()))
    result = run_result(run, design.TASKS[cell.task][1], source_pixels=pixels)
    if cell.network == design.IMAGENET:
        result["tau"] = over_tau(run_folder, cell, data, arguments)
    target = result_file(results, cell, seed)
    target.parent.mkdir(parents=True, exist_ok=True)
    device = run.value("MODEL.DEVICE")
    where = {"device": device, "machine": machine(device), "precision": plan.precision(arguments)}
    files.write_json(target, {**vars(cell), "seed": seed, **where, **result})
    shutil.rmtree(run_folder)


def train_first(config: Path, seed: int, data: Path, arguments: argparse.Namespace) -> Path:
    """Folder of the run that a network and seed start from; all cells share it, and it is trained once."""
    folder = run_root(arguments) / "first" / config.stem / f"seed{seed}"
    if not RunFolder.read(folder).is_finished:
        options = [*design.first_options(config), *plan.of_all_runs(seed, arguments)]
        study.run_training(folder, str(config), options, root=str(data), jobs=arguments.jobs)
    return folder


def start_from(first: Path, cell: Cell) -> list[str]:
    """Overrides that start a cell from a finished run: its weights or, of Mask2Former, the first teacher of half the
    iterations."""
    weights = str(first / "model_final.pth")
    if cell.network != design.MASK2FORMER:
        return ["MODEL.WEIGHTS", weights]
    half = RunFolder.read(first).value("SOLVER.MAX_ITER") // 2
    values = {"BURN_IN_ITERS": str(half), "TEACHER_WEIGHTS": weights}
    return [part for key, value in values.items() for part in (f"SELF_TRAINING.SEGMENTS.{key}", value)]


def over_tau(run_folder: Path, cell: Cell, data: Path, arguments: argparse.Namespace) -> dict:
    """Scores of a finished run over the correction of its decision, and what that takes back: class weights, where
    there are any."""
    prior = "frequencies" if design.ALL_WEIGHTINGS[cell.weighting][0] == "none" else "weights"
    call("tools/tau_curve.py", str(run_folder), "--prior", prior, data=data, jobs=arguments.jobs)
    (found,) = (run_folder / "tau" / prior).glob("*.json")
    curve = files.read_json(found, remedy="run the study again")
    return {key: curve[key] for key in ("prior", "scores")}


def run_root(arguments: argparse.Namespace) -> Path:
    """Of runs that are going on, which go on in their precision."""
    return Path(arguments.output).resolve() / "runs" / plan.precision(arguments)


def result_file(results: Path, cell: Cell, seed: int) -> Path:
    return results / design.folder(cell) / f"seed{seed}.json"


def machine(device: str) -> str:
    """What decides the last bits of a step."""
    facts = environment()
    name = facts["gpu"] if device.startswith("cuda") else f"{facts['cpu']} ({torch.backends.cpu.get_cpu_capability()})"
    return f"{name}, torch {facts['torch']}"


def write_pages(folder: Path) -> None:
    """Tables and pictures of the results that there are, of every edition that has any."""
    results = Results(read_results(folder))
    for edition, (tiers, method) in design.EDITIONS.items():
        made = sum(len(results.runs(cell)) for cell in {c for block in design.planned(tiers) for c in block.cells})
        if made:
            target = folder if edition == "first" else folder / edition
            target.mkdir(exist_ok=True)
            write_edition(target, results, tiers, method)
            print(f"{made} runs: {target / 'tables.md'}")


def write_edition(folder: Path, results: Results, tiers: Sequence[int], method: str) -> None:
    """The last tier is of settings of the method, and is left out where strategies are compared."""
    comparisons = [block for tier in tiers[:-1] for block in design.TIERS[tier]]
    blocks = [*comparisons, *design.TIERS[tiers[-1]]]
    text = study_page(results, blocks, method=method)
    parts = [text, *tau_tables(results, blocks), adaptation_page(results, comparisons)]
    files.atomic_write(folder / "tables.md", ("\n\n".join(filter(None, parts)) + "\n").encode())
    files.atomic_write(folder / "runs.md", f"{runs_page(results, design.planned(tiers))}\n".encode())
    files.atomic_write(folder / "classes.md", f"{class_page(results, comparisons)}\n".encode())
    files.atomic_write(folder / "effects.png", effects_plot(results, comparisons))
    (first,) = design.TIERS[tiers[0]]
    files.atomic_write(folder / "classes.png", class_plot(results, first))
    weighted = next(cell for cell in first.cells if cell.weighting == method)
    if any(run["gbw"] for run in results.runs(weighted)):
        files.atomic_write(folder / "weights.png", weights_plot(results, weighted))
    if any(run.get("tau") for cell in first.cells for run in results.runs(cell)):
        files.atomic_write(folder / "tau.png", tau_plot(results, first))
    if any(results.runs(cell) for cell in design.LAMBDA_CELLS.values()) and 4 in tiers:
        unweighted = design.TIERS[4][0].cells[-1]
        files.atomic_write(folder / "lambda.png", lambda_plot(results, design.LAMBDA_CELLS, unweighted))


def read_results(folder: Path) -> list[dict]:
    """The results of all runs, by name."""
    remedy = "remove it and run the study again: it repeats what has no result"
    return [files.read_json(path, RESULT, remedy=remedy) for path in sorted(folder.glob("*/seed*.json"))]


def make_data(output: Path, scale: str, arguments: argparse.Namespace) -> Path:
    """Generate and prepare Streets of a scale, unless that was done."""
    place = output if scale == "study" else output / scale
    root, done = place / "datasets", place / "prepared.json"
    wanted = {**design.DATA[scale], **dict(arguments.data)}
    place.mkdir(parents=True, exist_ok=True)
    if not done.is_file():
        options = [part for name, value in wanted.items() for part in (f"--{name}", value)]
        workers = ["--workers", str(arguments.jobs)]
        call("datasets/make_streets.py", "--root", str(root), "--seed", "0", *options, *workers)
        for name in ("synthia", "gta5", "cityscapes"):
            call("datasets/prepare.py", name, "--root", str(root), *workers)
        files.write_json(done, wanted)
    if (found := files.read_json(done, remedy=f"remove {place}")) != wanted:
        raise UserError(f"--data: expected data of {wanted} in {root}, found those of {found}; name another --output.")
    return root


def call(*command: str, data: Path | None = None, jobs: int = 1) -> None:
    """One of this project's commands; with ``data``, on them and with a job's share of the cores, silently."""
    environment, stdout = dict(os.environ), None
    if data is None:
        print(f"$ python {' '.join(command)}", flush=True)
    else:
        environment |= {"DETECTRON2_DATASETS": str(data), "OMP_NUM_THREADS": str(max((os.cpu_count() or 1) // jobs, 1))}
        stdout = subprocess.DEVNULL
    status = subprocess.call([sys.executable, *command], cwd=ROOT, env=environment, stdout=stdout)
    if status:
        raise UserError(f"Expected {command[0]} to end well, found status {status}; see above, mend it and repeat.")


def parse() -> argparse.Namespace:
    parser = cli.described_parser(__doc__)
    parser.add_argument(
        "--tiers", nargs="+", type=int, choices=tuple(design.TIERS), default=list(design.EDITIONS["second"][0])
    )
    parser.add_argument(
        "--seeds", nargs="+", type=cli.seed, help="default: 0 to 4 in tiers 1 and 5, 0 to 2 in the others"
    )
    parser.add_argument(
        "--weightings",
        nargs="+",
        choices=tuple(design.ALL_WEIGHTINGS),
        metavar="NAME",
        help="default: all of the tiers",
    )
    parser.add_argument(
        "--networks", nargs="+", choices=tuple(design.NETWORKS), metavar="NAME", help="default: all of the tiers"
    )
    parser.add_argument("--output", default="output/weighting_study", help="data, and the runs that are going on")
    parser.add_argument("--results", default=str(RESULTS))
    parser.add_argument("--jobs", type=cli.count, default=1, help="runs at a time, each with its share of the cores")
    parser.add_argument(
        "--device",
        choices=("cpu", "cuda"),
        default="cuda" if torch.cuda.is_available() else "cpu",
        help="a table is of one type (default: a GPU where there is one)",
    )
    parser.add_argument(
        "--precision",
        choices=tuple(plan.PRECISIONS),
        help="runs of a seed are compared in one (default: bfloat16 where the device has instructions for it)",
    )
    parser.add_argument("--rebuild", action="store_true", help="train nothing")
    parser.add_argument(
        "--data", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"), help="of make_streets"
    )
    parser.add_argument("--opts", nargs=argparse.REMAINDER, default=[], help="KEY VALUE overrides of all runs, last")
    return parser.parse_args()


if __name__ == "__main__":
    cli.run(main)
