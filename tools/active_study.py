"""The study of active learning on Streets: RIPU and CBDA's switches over budgets and seeds, against both ends.

    python tools/active_study.py --root output/active_study/datasets --output output/active_study/runs --seeds 0 1 2
    --budgets 5 10 20 --jobs 2 python tools/active_study.py --output output/active_study/again --rebuild
    docs/results/active_study.json

    python tools/active_study.py --root output/active_study/datasets --output output/clicks --clicks 300 1000 3000
    --units pixel region superpixel click image --opts MODEL.TASK panoptic ACTIVE.PANOPTIC True

With --units, runs differ in what is asked, and budgets are clicks.
For every seed, a model is trained on the source; all other runs of the seed start from it and take equally many more
iterations: on the source alone, with all target labels, or with labels bought by each method within each budget, the
first round by the common model. Finished runs are kept, a run that was stopped is repeated: stop and repeat the command
at any time. It writes results.json, study.md (the table) and study.png; --collect does so of the runs that are finished
by now, --rebuild makes the latter two of a results.json.
"""

import _environment  # noqa: F401  (first: says what is missing)

import argparse
import itertools
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import study

from gbw_panoptic import cli, files
from gbw_panoptic.active.units import UNITS
from gbw_panoptic.errors import UserError
from gbw_panoptic.reporting.run_folder import RunFolder
from studies.active.tables import RESULTS, run_result, study_plot, study_table

REFERENCE = "RIPU"
#: Method -> CBDA's switches.
METHODS = {
    "RIPU": ("ACTIVE.CLASS_BALANCE", "False", "ACTIVE.DYNAMIC_BUDGET", "False"),
    "+ class balance": ("ACTIVE.CLASS_BALANCE", "True", "ACTIVE.DYNAMIC_BUDGET", "False"),
    "+ dynamic budget": ("ACTIVE.CLASS_BALANCE", "False", "ACTIVE.DYNAMIC_BUDGET", "True"),
    "CBDA (both)": ("ACTIVE.CLASS_BALANCE", "True", "ACTIVE.DYNAMIC_BUDGET", "True"),
}
#: What is bought of a unit, behind its name: RIPU's choice, CBDA's weights of classes, any, or RIPU's all at once.
CHOICES = {
    "": (), ", class balance": ("ACTIVE.CLASS_BALANCE", "True"), ", random": ("ACTIVE.SCORE", "random"),
    ", one round": ("ACTIVE.ITERATIONS", "(0,)"),
}  # fmt: skip
SOURCE_ONLY = ("TRAINER.NAME", "SourceOnlyTrainer", "DATASETS.TARGET", "()")
#: Every pixel is a pick that bars no other one: all labels are bought before the first iteration.
ALL_LABELS = ("ACTIVE.SCORE", "random", "ACTIVE.MODE", "pixel", "ACTIVE.RADIUS", "0", "ACTIVE.BUDGET", "100%",
              "ACTIVE.ITERATIONS", "(0,)", "ACTIVE.CLASS_BALANCE", "False", "ACTIVE.DYNAMIC_BUDGET",
              "False")  # fmt: skip


@dataclass(frozen=True)
class Run:
    """A training of the study; ``budget`` in percent or clicks, None for what has none."""

    method: str
    budget: float | None
    seed: int
    options: tuple[str, ...]

    @property
    def folder(self) -> str:
        words = self.method.translate(str.maketrans("", "", "+(),")).split()
        return "_".join([*words, *([f"{self.budget:g}"] if self.budget is not None else [])]) + f"/seed{self.seed}"


def main() -> None:
    arguments = parse()
    output = Path(arguments.output).resolve()
    if arguments.rebuild:
        return write(files.read_json(arguments.rebuild, RESULTS, remedy="give a results.json of this study"), output)
    runs = list(plan(arguments, output))
    if not arguments.collect:
        train_all(runs, output, arguments)
    write(collect(runs, output, arguments), output)


def train_all(runs: list[Run], output: Path, arguments: argparse.Namespace) -> None:
    """The common models first, then ``runs``; finished ones are kept."""
    with ThreadPoolExecutor(arguments.jobs) as pool:
        starts = list(plan_starts(arguments))
        for run, status in zip(starts, pool.map(lambda run: train(run, output, arguments), starts)):
            print(f"{run.folder}: {status}", flush=True)
        for done, (run, status) in enumerate(zip(runs, pool.map(lambda run: train(run, output, arguments), runs)), 1):
            print(f"[{done}/{len(runs)}] {run.folder}: {status}", flush=True)


def plan_starts(arguments: argparse.Namespace) -> Iterator[Run]:
    """The models of the source that all others of a seed begin with."""
    for seed in arguments.seeds:
        yield Run("start", None, seed, (*SOURCE_ONLY, "SOLVER.MAX_ITER", str(arguments.start_iterations)))


def plan(arguments: argparse.Namespace, output: Path) -> Iterator[Run]:
    """All other runs, seed by seed, so that a study that was stopped has whole seeds."""
    for seed in arguments.seeds:
        start = ("MODEL.WEIGHTS", str(output / "start" / f"seed{seed}" / "model_final.pth"))
        yield Run("source only", None, seed, (*start, *SOURCE_ONLY))
        yield Run("all target labels", None, seed, (*start, *ALL_LABELS))
        for clicks, unit, choice in itertools.product(arguments.clicks, arguments.units, CHOICES):
            asked = ("ACTIVE.UNIT", unit, "ACTIVE.BUDGET", f"{clicks:g} clicks", *CHOICES[choice])
            yield Run(unit + choice, clicks, seed, (*start, *asked))
        for budget in arguments.budgets if not arguments.units else ():
            for method, switches in METHODS.items():
                yield Run(method, budget, seed, (*start, *switches, "ACTIVE.BUDGET", f"{budget:g}%"))


def train(run: Run, output: Path, arguments: argparse.Namespace) -> str:
    """One run from its beginning: it is short. What takes room is dropped, but for the starts' weights."""
    folder, is_start = output / run.folder, run.method == "start"
    has_weights = not is_start or (folder / "model_final.pth").is_file()
    if has_weights and RunFolder.read(folder).is_finished:
        return "kept"
    shutil.rmtree(folder, ignore_errors=True)
    options = ["SEED", str(run.seed), "SOLVER.CHECKPOINT_PERIOD", "1000000", *run.options, *arguments.opts]
    study.run_training(folder, arguments.config_file, options, root=arguments.root, jobs=arguments.jobs)
    for path in folder.glob("*.pth"):
        if not is_start:
            path.unlink()
    shutil.rmtree(folder / "active" / "picks", ignore_errors=True)
    return "trained"


def collect(runs: list[Run], output: Path, arguments: argparse.Namespace) -> dict:
    """The results of all finished runs as plain values."""
    found = {
        run: run_result(
            output / run.folder, method=run.method, budget=run.budget, seed=run.seed, protocol=arguments.protocol
        )
        for run in runs
    }
    finished = [run for run, result in found.items() if result]
    if not finished:
        raise UserError(f"expected finished runs in {output}, found none; run the study without --collect first.")
    iterations = RunFolder.read(output / finished[0].folder).value("SOLVER.MAX_ITER")
    return {
        "measure": "clicks" if arguments.units else "%", "setting": Path(arguments.config_file).name,
        "protocol": arguments.protocol,
        "start_iterations": arguments.start_iterations, "iterations": iterations,
        "runs": [found[run] for run in finished],
    }  # fmt: skip


def write(results: dict, output: Path) -> None:
    """results.json, study.md and study.png."""
    output.mkdir(parents=True, exist_ok=True)
    reference = REFERENCE if results.get("measure", "%") == "%" else results["runs"][-1]["method"].partition(",")[0]
    text = study_table(results, reference=reference)
    files.write_json(output / "results.json", results)
    files.atomic_write(output / "study.md", (text + "\n").encode())
    files.atomic_write(output / "study.png", study_plot(results))
    print(f"{text}\n\nProtocol {results['protocol']}; differences to {reference} of the same budget, paired by seed.")


def parse() -> argparse.Namespace:
    parser = cli.described_parser(__doc__)
    parser.add_argument("--root", help="prepared data sets")
    parser.add_argument("--output", default="output/active_study/runs")
    parser.add_argument("--config-file", default=str(study.ROOT / "configs" / "study" / "Base-ActiveStudy.yaml"))
    parser.add_argument("--seeds", nargs="+", type=cli.seed, default=[0, 1, 2])
    parser.add_argument("--budgets", nargs="+", type=float, default=[5, 10, 20], help="percent of the target's pixels")
    parser.add_argument("--units", nargs="+", choices=UNITS, default=[], help="what is asked, instead of the methods")
    parser.add_argument("--clicks", nargs="+", type=float, default=[300, 1000, 3000], help="budgets of --units")
    parser.add_argument("--start-iterations", type=int, default=600, help="of the models of the source")
    parser.add_argument("--jobs", type=cli.count, default=1, help="runs at a time, each with its share of the cores")
    parser.add_argument("--protocol", default="16")
    parser.add_argument("--collect", action="store_true", help="train nothing: table and plot of the finished runs")
    parser.add_argument("--rebuild", metavar="FILE", help="a results.json, of which table and plot are made")
    parser.add_argument("--opts", nargs=argparse.REMAINDER, default=[], help="KEY VALUE overrides of all runs, last")
    arguments = parser.parse_args()
    if not arguments.rebuild and not arguments.collect and not arguments.root:
        raise UserError("expected --root with prepared data sets, found none; see docs/streets.md for the commands.")
    return arguments


if __name__ == "__main__":
    cli.run(main)
