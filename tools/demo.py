"""From nothing to an adapted panoptic model: generate Streets, prepare, train with GBW, evaluate, report.

    python tools/demo.py [--output output/demo]

Every step is a command that a user would type; it is printed before it runs. Steps whose results exist are not repeated.
"""

import _environment  # noqa: F401  (first: says what is missing)

import argparse
import os
import subprocess
import sys
import time

from gbw_panoptic import cli
from gbw_panoptic.errors import UserError

ROOT = os.path.normpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
SIZE, SOURCE, TARGET_TRAIN, TARGET_VAL = "128x256", 400, 400, 100
CONFIG = "configs/streets/self_training_gbw.yaml"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--output", default="output/demo", help="folder of the data and the run")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    data, run = os.path.join(arguments.output, "datasets"), os.path.join(arguments.output, "run")
    workers = str(os.cpu_count() or 1)
    resume = ["--resume"] if os.path.isfile(os.path.join(run, "last_checkpoint")) else []
    steps = {
        "Generate Streets": [
            "datasets/make_streets.py", "--root", data, "--size", SIZE, "--source", str(SOURCE),
            "--target-train", str(TARGET_TRAIN), "--target-val", str(TARGET_VAL),
            "--seed", "0", "--formats", "synthia,cityscapes", "--workers", workers,
        ],
        "Prepare the source": ["datasets/prepare.py", "synthia", "--root", data, "--workers", workers],
        "Prepare the target": ["datasets/prepare.py", "cityscapes", "--root", data, "--workers", workers],
        "Train, evaluate, report": [
            "tools/train_net.py", "--config-file", CONFIG, *resume, "OUTPUT_DIR", run, "SEED", str(arguments.seed),
        ],
    }  # fmt: skip
    start = time.perf_counter()
    for number, (title, command) in enumerate(steps.items(), start=1):
        elapsed = time.perf_counter() - start
        print(f"\n== {number}/{len(steps)} {title} ({elapsed:.0f} s so far)\n$ python {' '.join(command)}", flush=True)
        status = subprocess.call([sys.executable, *command], cwd=ROOT, env={**os.environ, "DETECTRON2_DATASETS": data})
        if status:
            raise UserError(
                f"Expected step {number} ({title}) to end well, found exit status {status}; see its last lines above, mend "
                "the cause and run this command again: finished steps are not repeated."
            )
    print(f"\nDone in {time.perf_counter() - start:.0f} s. Report: {os.path.join(arguments.output, 'run', 'report.md')}")


if __name__ == "__main__":
    cli.run(main)
