"""From nothing to an adapted panoptic model: generate Streets, train on the source, adapt to the target with GBW,
report.

    python tools/demo.py [--output output/demo] [--seed 0]
    python tools/demo.py --data-only                        the data alone, for tools/study.py (make demo-seeds)

Every step is a command that a user would type; it is printed before it runs. Steps whose results exist are not
repeated.
"""

import _environment  # noqa: F401  (first: says what is missing)

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from gbw_panoptic import cli
from gbw_panoptic.errors import UserError
from gbw_panoptic.reporting.gains import run_scores
from gbw_panoptic.reporting.page import table
from gbw_panoptic.reporting.run_folder import RunFolder

ROOT = Path(__file__).resolve().parents[1]
DATA = (
    "--size", "128x256", "--gap", "0.4", "--reach", "25", "--source", "400", "--target-train", "400", "--target-val",
    "100",
    "--seed", "0",
)  # fmt: skip
#: Stage -> its folder in the output and its configuration.
STAGES = {
    "before": ("source_only", "configs/demo/source_only.yaml"),
    "after": ("adapted", "configs/demo/self_training_gbw.yaml"),
}
PROTOCOL = "16"  # the classes that the source labels
#: Name in the last table -> score.
SCORES = {
    "panoptic quality (PQ)": "PQ", "PQ of things": "PQ things", "PQ of stuff": "PQ stuff",
    "mean IoU": "mIoU", "recall of rare classes": "rare recall",
}  # fmt: skip


def main() -> None:
    arguments = parse()
    output = Path(arguments.output)
    steps = [*data_steps(output), *(() if arguments.data_only else training_steps(output, arguments.seed))]
    start = time.perf_counter()
    for number, (title, command) in enumerate(steps, start=1):
        elapsed = time.perf_counter() - start
        print(f"\n== {number}/{len(steps)} {title} ({elapsed:.0f} s so far)\n$ python {' '.join(command)}", flush=True)
        run(command, f"step {number} ({title})", output, quiet=command[0].startswith("datasets/"))
    print(f"\nDone in {time.perf_counter() - start:.0f} s.")
    if not arguments.data_only:
        print(f"{summary(output)}\nReport: {output / STAGES['after'][0] / 'report.html'}")


def data_steps(output: Path) -> Iterator[tuple[str, list[str]]]:
    """Title and command of each step that makes the data."""
    data, workers = str(output / "datasets"), str(os.cpu_count() or 1)
    generate = [
        "datasets/make_streets.py",
        "--root",
        data,
        *DATA,
        "--formats",
        "synthia,cityscapes",
        "--workers",
        workers,
    ]
    yield "Generate Streets", generate
    for name, role in (("synthia", "source"), ("cityscapes", "target")):
        yield f"Prepare the {role}", ["datasets/prepare.py", name, "--root", data, "--workers", workers]


def training_steps(output: Path, seed: int) -> Iterator[tuple[str, list[str]]]:
    """Title and command of each stage of the training, and of the report; stages that were begun are resumed."""
    before, after = (output / folder for folder, _ in STAGES.values())
    begun = {folder: ["--resume"] if was_begun(folder) else [] for folder in (before, after)}
    for title, stage, options in (
        ("Train on the source alone", "before", []),
        ("Adapt to the target", "after", ["MODEL.WEIGHTS", str(before / "model_final.pth")]),
    ):
        folder, config = output / STAGES[stage][0], STAGES[stage][1]
        command = ["tools/train_net.py", "--config-file", config, *begun[folder], "OUTPUT_DIR", str(folder)]
        yield title, [*command, "SEED", str(seed), *options]
    yield "Report", ["tools/report.py", str(after), "--before", str(before)]


def was_begun(run: Path) -> bool:
    """Whether a training has left something to go on from: a checkpoint, or lines of one that was stopped before its
    first."""
    return any((run / name).is_file() for name in ("last_checkpoint", "metrics.json"))


def run(command: list[str], step: str, output: Path, *, quiet: bool = False) -> None:
    """Run one command; with ``quiet``, its tables go to ``data.txt`` in the output, and its progress to the console.

    Raises:
        UserError: the command ended badly; it has said why.
    """
    environment = {**os.environ, "DETECTRON2_DATASETS": str(output.resolve() / "datasets")}
    output.mkdir(parents=True, exist_ok=True)
    with open(output / "data.txt", "a") as tables:
        stdout = tables if quiet else None
        status = subprocess.call([sys.executable, *command], cwd=ROOT, env=environment, stdout=stdout)
    if status:
        raise UserError(
            f"Expected {step} to end well, found exit status {status}; see its last lines above, mend the cause and "
            "run this command again: finished steps are not repeated."
        )


def summary(output: Path) -> str:
    """The scores of both stages on the target, side by side."""
    before, after = (run_scores(RunFolder.read(output / folder).headline(), PROTOCOL) for folder, _ in STAGES.values())
    rows = [[name, before[key], after[key]] for name, key in SCORES.items() if key in before and key in after]
    return table(rows, ["on the target's validation images", "source only", "adapted"])


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--output", default="output/demo", help="folder of the data and the runs")
    parser.add_argument("--seed", type=cli.seed, default=0)
    parser.add_argument("--data-only", action="store_true", help="generate and prepare the data, train nothing")
    return parser.parse_args()


if __name__ == "__main__":
    cli.run(main)
