"""How much self-training of segments depends on where its thresholds start: those that follow the teacher against
constant ones, from seven values each (docs/mask2former.md).

    python datasets/make_streets.py --root output/tau/data --size 96x192 --gap 0.5 --reach 25
    python datasets/prepare.py synthia --root output/tau/data
    python datasets/prepare.py cityscapes --root output/tau/data
    python tools/threshold_study.py --root output/tau/data --output output/tau --results output/tau/results

All runs start from one model of the source alone, which is trained first, or which --start names. Every run leaves a
small JSON in --results, which the repository keeps: a run whose file is there is not repeated. So the study can be
stopped at any time, and continued where its start is. The table is of the runs that there are.
"""

import _environment  # noqa: F401  (first: says what is missing)

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

import study
from benchmarks.timing import environment

from gbw_panoptic import cli, files
from gbw_panoptic.errors import UserError
from gbw_panoptic.reporting.gains import mean_and_deviation, run_scores
from gbw_panoptic.reporting.page import table
from gbw_panoptic.reporting.run_folder import RunFolder

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "docs" / "results" / "thresholds"
STARTS = (0.0, 0.99, 0.9, 0.5, 0.7, 0.8, 0.6)  # the extremes first, so that few runs say most
RULES = {
    "adaptive": lambda tau: ("SELF_TRAINING.ADAPTIVE_THRESHOLDS.START", tau),
    "constant": lambda tau: (
        "SELF_TRAINING.ADAPTIVE_THRESHOLDS.ENABLED", "False",
        "SELF_TRAINING.SEGMENTS.MASK_CONFIDENCE_THINGS", tau, "SELF_TRAINING.SEGMENTS.MASK_CONFIDENCE_STUFF", tau,
    ),
}  # fmt: skip
ROWS = ("source", *RULES)
REMEDY = "remove it and run the study again: it repeats what has no result"
FIXED = ("SEED", 0, "TEST.MODEL", "student", "TEST.NUM_PANELS", 0)
#: Form of a result file; the scores are the student's, in percent, protocol 16. The source's names its weights.
RESULT = {
    "rule": str, "start": float, "iterations?": int, "seed": int, "cpu": str, "sha256?": str, "scores": {"PQ": float},
}  # fmt: skip
FLOOR = 0.5  # a PQ below this share of the source's alone is a collapse


def main() -> None:
    arguments = parse()
    results = Path(arguments.results).resolve()
    if arguments.root:
        train_all(results, arguments)
    write_table(results)


def train_all(results: Path, arguments: argparse.Namespace) -> None:
    """The model of the source alone, its score, and every run that has no result yet."""
    output = Path(arguments.output).resolve()
    start = Path(arguments.start or output / "start" / "model_final.pth").resolve()
    if arguments.start and not start.is_file():
        raise UserError(f"--start: expected weights of a source-only model, found no file {start}; correct the path.")
    kept, found = results / "source_0.0.json", files.sha256(start) if start.is_file() else ""
    if kept.is_file() and files.read_json(kept, RESULT, remedy=REMEDY).get("sha256") != found:
        raise UserError(
            f"Expected every run to start from the model of {kept}, found {'another' if found else 'none'} in {start}; "
            "name that one with --start, or another folder with --results."
        )
    if not found:
        train(output / "start", "source_only", (), arguments)
    keep(results, output, "source", 0.0, ("MODEL.WEIGHTS", start), arguments, {"sha256": files.sha256(start)})
    for tau in STARTS:
        for rule, options in RULES.items():
            keep(results, output, rule, tau, ("MODEL.WEIGHTS", start, *options(tau)), arguments)


def keep(
    results: Path, output: Path, rule: str, tau: float, options: Sequence, arguments: argparse.Namespace,
    more: Mapping[str, str] | None = None,
) -> None:  # fmt: skip
    """Train (with ``more``: evaluate the source's model) and write the result with ``more``, unless it is there."""
    path, folder = results / f"{rule}_{tau}.json", output / f"{rule}_{tau}"
    if path.is_file():
        return
    name, flags = ("source_only", ("--eval-only",)) if more else ("self_training", ())
    train(folder, name, options, arguments, flags)
    run = RunFolder.read(folder)
    scores = run_scores(run.headline(), "16")
    facts = {"seed": run.value("SEED"), "cpu": environment()["cpu"]} | (more or {"iterations": run.last_iteration})
    path.parent.mkdir(parents=True, exist_ok=True)
    files.write_json(path, {"rule": rule, "start": tau, **facts, "scores": scores})
    print(f"{rule} {tau}: PQ {scores['PQ']:.1f}", flush=True)


def train(folder: Path, name: str, options: Sequence, arguments: argparse.Namespace, flags: Sequence[str] = ()) -> None:
    config = str(ROOT / "configs" / "study" / f"{name}_mask2former_lite0.yaml")
    overrides = [str(word) for word in (*FIXED, *options, *arguments.opts)]
    study.run_training(folder, config, overrides, root=arguments.root, jobs=arguments.jobs, flags=flags)


def write_table(results: Path) -> None:
    """table.md of all results, which is printed, too."""
    found = [files.read_json(path, RESULT, remedy=REMEDY) for path in sorted(results.glob("*.json"))]
    scores = {rule: {run["start"]: run["scores"]["PQ"] for run in found if run["rule"] == rule} for rule in ROWS}
    header = ["rule", *map(str, sorted(STARTS)), "runs", "PQ", "collapses"]
    text = table([row(rule, scores) for rule in ROWS], header)
    files.atomic_write(results / "table.md", f"{text}\n".encode())
    print(text)


def row(rule: str, scores: Mapping[str, Mapping[float, float]]) -> list[str]:
    """The PQ from each start, mean and standard deviation over them, and how many are below :data:`FLOOR`."""
    own, source = scores[rule], scores["source"].get(0.0, 0.0)
    if rule == "source":
        return [rule, *[""] * len(STARTS), str(len(own)), mean_and_deviation(own.values()), ""]
    cells = [f"{own[tau]:.1f}" if tau in own else "" for tau in sorted(STARTS)]
    collapsed = sum(value < FLOOR * source for value in own.values())
    return [rule, *cells, str(len(own)), mean_and_deviation(own.values()), str(collapsed)]


def parse() -> argparse.Namespace:
    parser = cli.described_parser(__doc__)
    parser.add_argument("--root", help="prepared data sets; without them only the table is made, of what there is")
    parser.add_argument("--output", default="output/tau", help="folders of the runs")
    parser.add_argument("--results", default=str(RESULTS))
    parser.add_argument("--start", metavar="FILE", help="weights of a source-only model, where there are some")
    parser.add_argument("--jobs", type=cli.count, default=1, help="a run takes this part of the cores: 2 = half")
    parser.add_argument("--opts", nargs=argparse.REMAINDER, default=[], help="KEY VALUE overrides of all runs, last")
    return parser.parse_args()


if __name__ == "__main__":
    cli.run(main)
