"""The study of class weighting on Streets: strategies, tasks and networks by weighting and seed, in tiers.

    python tools/weighting_study.py --tiers 1 --jobs 2          (or: make study)
    python tools/weighting_study.py --rebuild                   the tables alone, from the results that there are

Data are generated below --output. Every run leaves a small JSON in --results, which the repository keeps: a run whose
file is there is not repeated, on whatever machine, so the study can be stopped at any time and continued anywhere. The
tables and the pictures go to --results, too; a cell without runs stays empty there. tools/studies/weighting/cells.py says what is
compared.
"""

import _environment  # noqa: F401  (first: says what is missing)

import argparse
import shutil
import subprocess
import sys
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
from studies.weighting.pictures import class_plot, effects_plot, lambda_plot, weights_plot
from studies.weighting.results import RESULT, Cell, Results, run_result
from studies.weighting.runs import adaptation_page, runs_page
from studies.weighting.tables import class_page, study_page

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "docs" / "results" / "weighting"
STATISTICS = {"panoptic": "synthia/RAND_CITYSCAPES", "semantic": "gta5"}


def main() -> None:
    arguments = parse()
    results = Path(arguments.results).resolve()
    if results == RESULTS and (arguments.opts or arguments.data):
        raise UserError(
            "Expected a --results of its own with --opts or --data, which change what is compared, found the repository's; "
            "name another folder."
        )
    if arguments.rebuild and not results.is_dir():
        raise UserError(f"--results: expected the folder of a study's results at {results}, found none; correct the path.")
    failed = [] if arguments.rebuild else train_all(results, arguments)
    write_pages(results)
    if failed:
        raise UserError(
            f"Expected every run to end well, found {len(failed)} that did not ({', '.join(failed)}); see stdout.txt in their "
            f"folders below {arguments.output}, mend the cause and run this command again: finished runs are kept."
        )


def train_all(results: Path, arguments: argparse.Namespace) -> list[str]:
    """Every run that has no result yet; the names of those that failed."""
    plan.check_settings(arguments)
    results.mkdir(parents=True, exist_ok=True)
    there = Results(read_results(results))
    plan.refuse_another_device(there, arguments)
    data = make_data(Path(arguments.output).resolve(), arguments)
    missing = plan.missing(there, arguments)
    runs = [run for run in missing if plan.is_comparable(*run, there, arguments)]
    if len(runs) < len(missing):
        print(
            f"{len(missing) - len(runs)} run(s) left for another machine: this one computes in {plan.precision(arguments)}, and what "
            "they are compared with, the runs of the same seeds, has another precision, which --precision chooses where time does not count."
        )
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
    runs: list[tuple[Cell, int]], pool: Executor, data: Path, results: Path, arguments: argparse.Namespace
) -> dict[tuple[Cell, int], Future]:
    """Every run as a job, in order; a first teacher is a job ahead of its seed's runs and of those of the seed before.

    So cores have something to do while it trains. Jobs start in order, so a run waits for teachers that have begun only.
    """
    seeds = [list(group) for _, group in groupby(runs, key=itemgetter(1))]
    teachers, jobs = {}, {}
    for group, following in zip(seeds, [*seeds[1:], []]):
        for cell, seed in group + following:
            config = design.teacher_config(cell)
            if config is not None and (config, seed) not in teachers:
                teachers[config, seed] = pool.submit(train_teacher, config, seed, data, arguments)
        for cell, seed in group:
            teacher = teachers.get((design.teacher_config(cell), seed))
            jobs[cell, seed] = pool.submit(train, cell, seed, teacher, data, results, arguments)
    return jobs


def train(
    cell: Cell, seed: int, teacher: Future | None, data: Path, results: Path, arguments: argparse.Namespace
) -> None:
    """One run; its folder goes once its result is kept."""
    first_teacher = [] if teacher is None else burn_in(teacher.result())
    run_folder = run_root(arguments) / design.folder(cell) / f"seed{seed}"
    options = [*design.options(cell), *first_teacher, *plan.of_all_runs(seed, arguments)]
    config = str(design.config_file(cell))
    study.run_training(run_folder, config, options, root=str(data), jobs=arguments.jobs)
    run = RunFolder.read(run_folder)
    statistics = ClassStatistics.load(str(data / STATISTICS[cell.task] / "class_statistics.json"), CITYSCAPES.names)
    pixels = dict(zip(statistics.class_names, statistics.pixels.tolist()))
    result = run_result(run, design.TASKS[cell.task][1], source_pixels=pixels)
    target = result_file(results, cell, seed)
    target.parent.mkdir(parents=True, exist_ok=True)
    device = run.value("MODEL.DEVICE")
    where = {"device": device, "machine": machine(device), "precision": plan.precision(arguments)}
    files.write_json(target, {**vars(cell), "seed": seed, **where, **result})
    shutil.rmtree(run_folder)


def train_teacher(config: Path, seed: int, data: Path, arguments: argparse.Namespace) -> Path:
    """Folder of the run that gives a network and seed the first teacher; all cells share it, and it is trained once."""
    folder = run_root(arguments) / "teachers" / config.stem / f"seed{seed}"
    if not RunFolder.read(folder).is_finished:
        study.run_training(folder, str(config), plan.of_all_runs(seed, arguments), root=str(data), jobs=arguments.jobs)
    return folder


def burn_in(teacher: Path) -> list[str]:
    """Overrides that make a finished run the first teacher, for half of the iterations."""
    half = RunFolder.read(teacher).value("SOLVER.MAX_ITER") // 2
    values = {"BURN_IN_ITERS": str(half), "TEACHER_WEIGHTS": str(teacher / "model_final.pth")}
    return [part for key, value in values.items() for part in (f"SELF_TRAINING.SEGMENTS.{key}", value)]


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
    """Tables and pictures of the results that there are."""
    results = Results(read_results(folder))
    comparisons = [block for tier in (1, 2, 3) for block in design.TIERS[tier]]
    text = study_page(results, [*comparisons, *design.TIERS[4]], method=design.GBW)
    files.atomic_write(folder / "tables.md", f"{text}\n\n{adaptation_page(results, comparisons)}\n".encode())
    files.atomic_write(folder / "runs.md", f"{runs_page(results, design.PLANNED)}\n".encode())
    files.atomic_write(folder / "classes.md", f"{class_page(results, comparisons)}\n".encode())
    files.atomic_write(folder / "effects.png", effects_plot(results, comparisons))
    (first,) = design.TIERS[1]
    files.atomic_write(folder / "classes.png", class_plot(results, first))
    weighted = next(cell for cell in first.cells if cell.weighting == design.GBW)
    if any(run["gbw"] for run in results.runs(weighted)):
        files.atomic_write(folder / "weights.png", weights_plot(results, weighted))
    unweighted = design.TIERS[4][0].cells[-1]
    files.atomic_write(folder / "lambda.png", lambda_plot(results, design.LAMBDA_CELLS, unweighted))
    print(f"{sum(1 for _ in folder.glob('*/seed*.json'))} runs: {folder / 'tables.md'}")


def read_results(folder: Path) -> list[dict]:
    """The results of all runs, by name."""
    remedy = "remove it and run the study again: it repeats what has no result"
    return [files.read_json(path, RESULT, remedy=remedy) for path in sorted(folder.glob("*/seed*.json"))]


def make_data(output: Path, arguments: argparse.Namespace) -> Path:
    """Generate and prepare Streets, unless that was done."""
    root, done = output / "datasets", output / "prepared.json"
    wanted = {**design.DATA, **dict(arguments.data)}
    output.mkdir(parents=True, exist_ok=True)
    if not done.is_file():
        options = [part for name, value in wanted.items() for part in (f"--{name}", value)]
        workers = ["--workers", str(arguments.jobs)]
        call("datasets/make_streets.py", "--root", str(root), "--seed", "0", *options, *workers)
        for name in ("synthia", "gta5", "cityscapes"):
            call("datasets/prepare.py", name, "--root", str(root), *workers)
        files.write_json(done, wanted)
    if (found := files.read_json(done, remedy=f"remove {output}")) != wanted:
        raise UserError(f"--data: expected data of {wanted} in {root}, found those of {found}; name another --output.")
    return root


def call(*command: str) -> None:
    print(f"$ python {' '.join(command)}", flush=True)
    status = subprocess.call([sys.executable, *command], cwd=ROOT)
    if status:
        raise UserError(f"Expected {command[0]} to end well, found status {status}; see above, mend it and repeat.")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n")[0], epilog=__doc__.partition("\n\n")[2],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--tiers", nargs="+", type=int, choices=tuple(design.TIERS), default=list(design.TIERS))
    parser.add_argument("--seeds", nargs="+", type=cli.seed, help="default: 0 to 4 in tier 1, 0 to 2 in the others")
    parser.add_argument(
        "--weightings", nargs="+", choices=tuple(design.ALL_WEIGHTINGS), metavar="NAME", help="default: all of the tiers"
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
