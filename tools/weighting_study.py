"""The study of class weighting on Streets: strategies, tasks and networks by weighting and seed, in tiers.

    python tools/weighting_study.py --tiers 1 --jobs 2          (or: make study)
    python tools/weighting_study.py --rebuild                   the tables alone, from the results that there are

Data are generated below --output. Every run leaves a small JSON in --results, which the repository keeps: a run whose
file is there is not repeated, on whatever machine, so the study can be stopped at any time and continued anywhere. The
tables and the plot go to --results, too; a cell without runs stays empty there.
"""

import argparse
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import study

from gbw_panoptic import cli, files
from gbw_panoptic.errors import UserError
from gbw_panoptic.evaluation.run_folder import RunFolder
from gbw_panoptic.evaluation.weighting_study import run_result, study_page, study_plot

ROOT = Path(__file__).resolve().parents[1]
#: The first is the reference of all differences.
WEIGHTINGS = {
    "unweighted": (),
    "inverse frequency": ("inverse_frequency",),
    "effective number": ("effective_number",),
    "GBW, logits": ("gbw", "GBW.GRADIENT", "logits"),
    "GBW, last_layer": ("gbw", "GBW.GRADIENT", "last_layer"),
    "GBW, pixel": ("gbw", "GBW.GRADIENT", "pixel"),
}
FEW = ("unweighted", "inverse frequency", "effective number", "GBW, logits")
HEADS = {"panoptic": ("SEMANTIC", "CENTER", "OFFSET"), "semantic": ("SEMANTIC",)}
TASKS = {
    "panoptic": (),
    "semantic": ("MODEL.TASK", "semantic", "DATASETS.TRAIN", "('gta5_sem_train',)", "TEST.PROTOCOLS", "('19',)"),
}
NETWORKS = {
    "convolutional": (),
    "transformer": (
        "MODEL.BACKBONE.NAME", "build_mit_backbone", "MODEL.MIT.VARIANT", "b0",
        "MODEL.SEM_SEG_HEAD.COMMON_STRIDE", "4", "MODEL.INS_EMBED_HEAD.COMMON_STRIDE", "4", "SOLVER.BASE_LR", "0.001",
    ),
}  # fmt: skip
PROTOCOLS = {"panoptic": "16", "semantic": "19"}
DATA = {"size": "96x192", "gap": "0.35", "source": "400", "target-train": "400", "target-val": "100"}


@dataclass(frozen=True)
class Cell:
    """A row of the tables: what is trained, and how its classes are weighted."""

    task: str
    network: str
    strategy: str
    weighting: str

    @property
    def options(self) -> tuple[str, ...]:
        """KEY VALUE overrides of the strategy's configuration."""
        kind, *rest = WEIGHTINGS[self.weighting] or ("none",)
        weights = [part for head in HEADS[self.task] for part in (f"WEIGHTING.{head}", kind)]
        return (*TASKS[self.task], *NETWORKS[self.network], *weights, *rest)

    @property
    def folder(self) -> str:
        return f"{self.task}_{self.network}_{self.strategy}_" + self.weighting.replace(",", "").replace(" ", "_")


def cells(tier: int) -> Iterator[Cell]:
    """1: self-training, panoptic; 2: the other strategies, and all for the semantic task; 3: transformers."""
    strategies = ("source_only", "adversarial", "entropy", "self_training")
    if tier == 1:
        yield from (Cell("panoptic", "convolutional", "self_training", weighting) for weighting in WEIGHTINGS)
    elif tier == 2:
        for task in TASKS:
            for strategy in strategies[: 3 if task == "panoptic" else 4]:
                yield from (Cell(task, "convolutional", strategy, weighting) for weighting in FEW)
    else:
        for weighting in ("unweighted", "GBW, logits"):
            yield Cell("panoptic", "transformer", "self_training", weighting)


def seeds(tier: int, arguments: argparse.Namespace) -> list[int]:
    return arguments.seeds or list(range(5 if tier == 1 else 3))


def main() -> None:
    arguments = parse()
    results = Path(arguments.results)
    if not arguments.rebuild:
        data = make_data(Path(arguments.output).resolve(), arguments)
        runs = [(cell, seed) for tier in arguments.tiers for seed in seeds(tier, arguments) for cell in cells(tier)]
        with ThreadPoolExecutor(arguments.jobs) as pool:
            statuses = pool.map(lambda run: train(*run, data, results, arguments), runs)
            for done, ((cell, seed), status) in enumerate(zip(runs, statuses), start=1):
                print(f"[{done}/{len(runs)}] {cell.folder} seed {seed}: {status}", flush=True)
    found = read_results(results)
    rows = [vars(cell) for tier in (1, 2, 3) for cell in cells(tier)]
    results.mkdir(parents=True, exist_ok=True)
    files.atomic_write(results / "tables.md", (study_page(found, rows) + "\n").encode())
    files.atomic_write(results / "effects.png", study_plot(found, rows))
    print(f"{len(found)} runs: {results / 'tables.md'}")


def read_results(folder: Path) -> list[dict]:
    """The results of all runs, by name."""
    return [files.read_json(path) for path in sorted(folder.glob("*/seed*.json"))]


def make_data(output: Path, arguments: argparse.Namespace) -> Path:
    """Generate and prepare Streets, unless that was done."""
    root, done = output / "datasets", output / "prepared"
    output.mkdir(parents=True, exist_ok=True)
    if not done.is_file():
        sizes = [part for name, value in {**DATA, **dict(arguments.data)}.items() for part in (f"--{name}", value)]
        workers = ["--workers", str(arguments.jobs)]
        call("datasets/make_streets.py", "--root", str(root), "--seed", "0", *sizes, *workers)
        for name in ("synthia", "gta5", "cityscapes"):
            call("datasets/prepare.py", name, "--root", str(root), *workers)
        files.atomic_write(done, b"")
    return root


def call(*command: str) -> None:
    print(f"$ python {' '.join(command)}", flush=True)
    status = subprocess.call([sys.executable, *command], cwd=ROOT)
    if status:
        raise UserError(f"Expected {command[0]} to end well, found status {status}; see above, mend it and repeat.")


def train(cell: Cell, seed: int, data: Path, results: Path, arguments: argparse.Namespace) -> str:
    """One run; its folder goes once its result is kept."""
    target = results / cell.folder / f"seed{seed}.json"
    if target.is_file():
        return "kept"
    folder = Path(arguments.output).resolve() / "runs" / cell.folder / f"seed{seed}"
    options = [*cell.options, "SEED", str(seed), *arguments.opts]
    config = str(ROOT / "configs" / "study" / f"{cell.strategy}.yaml")
    study.run_training(folder, config, options, root=str(data), jobs=arguments.jobs)
    result = run_result(RunFolder.read(folder), PROTOCOLS[cell.task])
    target.parent.mkdir(parents=True, exist_ok=True)
    files.write_json(target, {**vars(cell), "seed": seed, **result})
    shutil.rmtree(folder)
    return "trained"


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n")[0], epilog=__doc__.partition("\n\n")[2],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--tiers", nargs="+", type=int, choices=(1, 2, 3), default=[1, 2, 3])
    parser.add_argument("--seeds", nargs="+", type=int, help="0 to 4 in tier 1, 0 to 2 in the others")
    parser.add_argument("--output", default="output/weighting_study", help="data, and the runs that are going on")
    parser.add_argument("--results", default=str(ROOT / "docs" / "results" / "weighting"))
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time, each with its share of the cores")
    parser.add_argument("--rebuild", action="store_true", help="train nothing")
    parser.add_argument("--data", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"), help="of make_streets")
    parser.add_argument("--opts", nargs=argparse.REMAINDER, default=[], help="KEY VALUE overrides of all runs, last")
    return parser.parse_args()


if __name__ == "__main__":
    cli.run(main)
