"""Run configurations over seeds on Streets and compare them; finished runs are kept, so it can be stopped at any time.

    python tools/study.py --root output/study/datasets --output output/study --seeds 0 1 2 --jobs 2 [--opts KEY VALUE ...]

The first configuration is the reference of the gains. Every run is `tools/train_net.py` with a seed and a folder of its own;
the result is the last iteration: of the teacher where there is one (--model student: of the student), else of the only model.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from gbw_panoptic import cli, files
from gbw_panoptic.errors import UserError

ROOT = Path(__file__).resolve().parents[1]
CONFIGS = ("source_only", "self_training", "self_training_gbw", "target_oracle")
#: Column -> task, metric.
COLUMNS = {
    "PQ": ("panoptic", "PQ"), "SQ": ("panoptic", "SQ"), "RQ": ("panoptic", "RQ"), "mIoU": ("semantic", "mIoU"),
    "mean recall": ("semantic", "mean_recall"), "rare recall": ("semantic", "rare_recall"),
}  # fmt: skip


def main() -> None:
    arguments = parse()
    output = Path(arguments.output).resolve()
    runs = [(config, seed) for seed in arguments.seeds for config in arguments.configs]
    with ThreadPoolExecutor(arguments.jobs) as pool:
        done = 0
        for (config, seed), status in zip(runs, pool.map(lambda run: train(*run, output, arguments), runs)):
            done += 1
            print(f"[{done}/{len(runs)}] {config} seed {seed}: {status}", flush=True)
    results = {
        config: [headline(output / config / f"seed{seed}", arguments) for seed in arguments.seeds]
        for config in arguments.configs
    }
    files.write_json(output / "study.json", {"seeds": arguments.seeds, "protocol": arguments.protocol, "runs": results})
    text = table(results)
    (output / "study.md").write_text(text)
    print(text)


def train(config: str, seed: int, output: Path, arguments: argparse.Namespace) -> str:
    """One run in a process of its own; its output goes to ``stdout.txt`` in the run's folder."""
    folder = output / config / f"seed{seed}"
    if result_file(folder, arguments.model, config).is_file():
        return "kept"
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, str(ROOT / "tools" / "train_net.py"), "--config-file", arguments.folder + f"/{config}.yaml"]
    if (folder / "last_checkpoint").is_file():
        command.append("--resume")
    command += ["OUTPUT_DIR", str(folder), "SEED", str(seed), *arguments.opts]
    threads = str(max((os.cpu_count() or 1) // arguments.jobs, 1))
    environment = {**os.environ, "DETECTRON2_DATASETS": os.path.abspath(arguments.root), "OMP_NUM_THREADS": threads}
    with open(folder / "stdout.txt", "a") as log:
        status = subprocess.call(command, cwd=ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT)
    if status:
        raise UserError(
            f"Expected the run {config} seed {seed} to end well, found exit status {status}; see {log.name}, mend the cause "
            "and run this command again: finished runs are kept."
        )
    return "trained"


def result_file(folder: Path, model: str, config: str) -> Path:
    """Supervised runs have no teacher: their student is their result."""
    adapts = config not in ("source_only", "target_oracle")
    return folder / "inference" / f"{model if adapts else 'student'}.json"


def headline(folder: Path, arguments: argparse.Namespace) -> dict[str, float]:
    with open(result_file(folder, arguments.model, folder.parent.name)) as file:
        scores = json.load(file)["scores"]
    return {name: scores[task][arguments.protocol][metric] for name, (task, metric) in COLUMNS.items()}


def table(results: dict[str, list[dict[str, float]]]) -> str:
    """Markdown: mean and standard error over seeds, and the paired gain in PQ over the first configuration."""
    reference = next(iter(results.values()))
    lines = [
        f"| configuration | {' | '.join(COLUMNS)} | PQ gain over {next(iter(results))} |",
        "|---|" + "---|" * (len(COLUMNS) + 1),
    ]
    for config, runs in results.items():
        cells = [spread([run[column] for run in runs]) for column in COLUMNS]
        gain = spread([run["PQ"] - base["PQ"] for run, base in zip(runs, reference)]) if runs is not reference else ""
        lines.append(f"| {config} | {' | '.join(cells)} | {gain} |")
    return "\n".join(lines) + "\n"


def spread(values: list[float]) -> str:
    """``mean ± standard error``."""
    mean = statistics.fmean(values)
    if len(values) < 2:
        return f"{mean:.1f}"
    return f"{mean:.1f} ± {statistics.stdev(values) / len(values) ** 0.5:.1f}"


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--root", required=True, help="prepared data sets")
    parser.add_argument("--output", default="output/study")
    parser.add_argument("--folder", default="configs/streets", help="folder of the configurations")
    parser.add_argument("--configs", nargs="+", default=list(CONFIGS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time, each with its share of the cores")
    parser.add_argument("--protocol", default="16")
    parser.add_argument("--model", default="teacher", help="student or teacher of the adapting runs")
    parser.add_argument("--opts", nargs=argparse.REMAINDER, default=[], help="KEY VALUE overrides, last")
    return parser.parse_args()


if __name__ == "__main__":
    cli.run(main)
