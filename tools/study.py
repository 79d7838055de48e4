"""Run configurations over seeds and compare them; finished runs are kept, so it can be stopped at any time.

    python tools/study.py --root output/study/datasets --output output/study --seeds 0 1 2 --jobs 2 [--opts KEY VALUE]

With --first CONFIG, that configuration is trained before, and all of --configs start from its weights of the same seed:
two stages, the source and then adaptation. Those of --alone do not; their rows come first. The first row is the
reference of the gains. Every run is `tools/train_net.py` with a seed and a folder of its own; the result is the last
iteration: of the teacher where there is one (--model student: of the student), else of the only model. Each data set
of DATASETS.TEST has a table. `tools/report.py output/study/*/seed*` makes a report of the same runs.
"""

import _environment  # noqa: F401  (first: says what is missing)

import argparse
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from difflib import get_close_matches
from pathlib import Path

from gbw_panoptic import cli, files
from gbw_panoptic.errors import UserError
from gbw_panoptic.reporting.gains import Scores, run_scores, score_table
from gbw_panoptic.reporting.run_folder import RunFolder

ROOT = Path(__file__).resolve().parents[1]
CONFIGS = ("source_only", "self_training", "self_training_gbw", "target_oracle")
FIRST = "first"  # folder of the first stage


def main() -> None:
    arguments = parse()
    output = Path(arguments.output).resolve()
    if arguments.first:
        train_all([(arguments.first, seed, ()) for seed in arguments.seeds], output / FIRST, arguments)
    alone = [(config, seed, ()) for seed in arguments.seeds for config in arguments.alone if config != arguments.first]
    starts = {seed: first_weights(output, arguments.first, seed) for seed in arguments.seeds}
    adapting = [(config, seed, starts[seed]) for seed in arguments.seeds for config in arguments.configs]
    train_all(alone + adapting, output, arguments)
    places = {config: output / (FIRST if config == arguments.first else "") / config for config in arguments.alone}
    places |= {config: output / config for config in arguments.configs}
    write_tables(output, places, arguments)


def write_tables(output: Path, places: Mapping[str, Path], arguments: argparse.Namespace) -> None:
    """study.json and study.md, which is printed, too.

    Args:
        places: configuration -> folder of its seeds.
    """
    found = {(config, seed): results(places[config] / f"seed{seed}", arguments.model)
             for config in places for seed in arguments.seeds}  # fmt: skip
    tables = {
        data_set: {
            config: {seed: run_scores(found[config, seed][data_set], arguments.protocol) for seed in arguments.seeds}
            for config in places
        }
        for data_set in next(iter(found.values()))
        if all(data_set in evaluations for evaluations in found.values())
    }
    runs = {name: {config: list(scores.values()) for config, scores in rows.items()} for name, rows in tables.items()}
    about = {"seeds": arguments.seeds, "protocol": arguments.protocol}
    files.write_json(output / "study.json", {**about, "runs": next(iter(runs.values())), "data_sets": runs})
    text = "\n\n".join(
        f"{name}:\n\n{_table(rows)}" if len(tables) > 1 else _table(rows) for name, rows in tables.items()
    )
    reference = next(iter(places))
    text += (
        f"\n\nProtocol {arguments.protocol}; mean ± standard error over seeds; gains over {reference} paired by seed.\n"
    )
    files.atomic_write(output / "study.md", text.encode())
    print(text)


def _table(rows: Mapping[str, Scores]) -> str:
    return score_table(
        {(config,): scores for config, scores in rows.items()},
        ["configuration"],
        baseline=(next(iter(rows)),),
        gains=["PQ", "mIoU", "rare recall"],
    )


Run = tuple[str, int, Sequence[str]]  # configuration, seed, KEY VALUE overrides


def train_all(runs: Sequence[Run], output: Path, arguments: argparse.Namespace) -> None:
    """Some runs at a time, with a line for each."""
    with ThreadPoolExecutor(arguments.jobs) as pool:
        statuses = pool.map(lambda run: train(*run[:2], output, arguments, run[2]), runs)
        for done, ((config, seed, _), status) in enumerate(zip(runs, statuses), start=1):
            print(f"[{done}/{len(runs)}] {config} seed {seed}: {status}", flush=True)


def first_weights(output: Path, first: str, seed: int) -> list[str]:
    """The override that starts a run from the first stage of its seed; none where there is no first stage."""
    return ["MODEL.WEIGHTS", str(output / FIRST / first / f"seed{seed}" / "model_final.pth")] if first else []


def train(config: str, seed: int, output: Path, arguments: argparse.Namespace, overrides: Sequence[str] = ()) -> str:
    """One run; finished ones are kept."""
    folder = output / config / f"seed{seed}"
    if headline(folder, arguments.model):
        return "kept"
    options = ["SEED", str(seed), *overrides, *arguments.opts]
    run_training(folder, f"{arguments.folder}/{config}.yaml", options, root=arguments.root, jobs=arguments.jobs)
    if not headline(folder, arguments.model):
        raise UserError(
            f"Expected the run in {folder} to leave an evaluation of its last iteration, found none; see DATASETS.TEST "
            "and TEST.* of its configuration."
        )
    return "trained"


def run_training(
    folder: Path, config_file: str, options: Sequence[str], *, root: str, jobs: int, flags: Sequence[str] = ()
) -> None:
    """``tools/train_net.py`` in a process of its own, resumed where it can be; its output goes to ``stdout.txt`` in
    ``folder``.

    Args:
        options: KEY VALUE overrides.
        root: of the data sets.
        jobs: runs at a time, each with its share of the cores.
        flags: of the tool.
    """
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, str(ROOT / "tools" / "train_net.py"), "--config-file", config_file, *flags]
    if any((folder / name).is_file() for name in ("last_checkpoint", "metrics.json")):
        command.append("--resume")
    command += ["OUTPUT_DIR", str(folder), *options]
    threads = str(max((os.cpu_count() or 1) // jobs, 1))
    environment = {**os.environ, "DETECTRON2_DATASETS": os.path.abspath(root), "OMP_NUM_THREADS": threads}
    with open(folder / "stdout.txt", "a") as log:
        status = subprocess.call(command, cwd=ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT)
    if status:
        raise UserError(
            f"Expected the run in {folder} to end well, found exit status {status}; see {log.name}, mend the cause and "
            "run this command again: finished runs are kept."
        )


def headline(folder: Path, model: str) -> Mapping | None:
    """Result file of a finished run; supervised runs have no teacher: their student is their result."""
    return next(iter(results(folder, model).values()), None)


def results(folder: Path, model: str) -> dict[str, Mapping]:
    """Data set -> result file of a finished run, the first one of DATASETS.TEST first; nothing of another run."""
    run = RunFolder.read(folder)
    if not run.is_finished:
        return {}
    names = dict.fromkeys((run.headline()["dataset"], *(evaluation["dataset"] for evaluation in run.evaluations)))
    found = {name: run.evaluation(model, name) or run.evaluation("student", name) for name in names}
    return {name: evaluation for name, evaluation in found.items() if evaluation}


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--root", required=True, help="prepared data sets")
    parser.add_argument("--output", default="output/study")
    parser.add_argument("--folder", default="configs/streets", help="folder of the configurations")
    parser.add_argument("--configs", nargs="+", default=list(CONFIGS))
    parser.add_argument(
        "--first", default="", metavar="CONFIG", help="the others start from this configuration's weights"
    )
    parser.add_argument(
        "--alone", nargs="+", default=[], metavar="CONFIG", help="rows above, which start from their own MODEL.WEIGHTS"
    )
    parser.add_argument("--seeds", nargs="+", type=cli.seed, default=[0, 1, 2])
    parser.add_argument("--jobs", type=cli.count, default=1, help="runs at a time, each with its share of the cores")
    parser.add_argument("--protocol", default="16")
    parser.add_argument("--model", default="teacher", help="student or teacher of the adapting runs")
    parser.add_argument("--opts", nargs=argparse.REMAINDER, default=[], help="KEY VALUE overrides, last")
    arguments = parser.parse_args()
    if both := set(arguments.alone) & set(arguments.configs):
        parser.error(f"expected other configurations for --alone than for --configs, found {min(both)} in both")
    known = sorted(path.stem for path in (ROOT / arguments.folder).glob("*.yaml"))
    for config in filter(None, (arguments.first, *arguments.alone, *arguments.configs)):
        if config not in known:
            close = get_close_matches(config, known, n=1) or known
            parser.error(f"expected a configuration of {arguments.folder}, such as {', '.join(close)}, found {config}")
    return arguments


if __name__ == "__main__":
    cli.run(main)
