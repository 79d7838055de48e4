"""Published benchmarks (DAFormer, EDAPS, MC-PanDA) on the real data sets, with and without GBW, over seeds.

    python tools/reproduce.py --list
    python tools/reproduce.py --check edaps_synthia_to_cityscapes --weights weights/
    python tools/reproduce.py edaps_synthia_to_cityscapes --weights weights/ --num-gpus 1 --seeds 0 1 2
    python tools/reproduce.py --table

Data sets are prepared as datasets/README.md says, below DETECTRON2_DATASETS; --weights is a folder with ImageNet's
weights under their published names. Every run leaves a JSON in OUTPUT/results and is not repeated; one that was stopped
goes on from its last checkpoint. --table writes the published figures beside what there is.
"""

import _environment  # noqa: F401  (first: says what is missing)

import argparse
import os
from pathlib import Path

import study
from studies.reproduction.rows import ROWS, Row
from weighting_study import machine

from gbw_panoptic import cli, files
from gbw_panoptic.data.register import check_datasets
from gbw_panoptic.engine.setup import prepare_config
from gbw_panoptic.errors import UserError
from gbw_panoptic.reporting.run_folder import RunFolder
from gbw_panoptic.validation import validate
from studies.reproduction.tables import METHODS, reproduction_overview, reproduction_page, run_result

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    arguments = parse()
    output = Path(arguments.output).resolve()
    if arguments.list:
        return list_rows()
    if not arguments.table:
        rows = chosen(arguments.rows)
        problems = [problem for row in rows if (problem := missing(row, arguments))]
        if problems:
            raise UserError("; ".join(problems))
        if arguments.check:
            return print("Everything that these benchmarks need is there.")
        for row in rows:
            for seed in arguments.seeds:
                for method in arguments.methods:
                    print(
                        f"{row.benchmark.name}, {method}, seed {seed}: {run(row, method, seed, output, arguments)}",
                        flush=True,
                    )
    write_table(output)


def chosen(names: list[str]) -> list[Row]:
    for name in names or ["none"]:
        if name not in ROWS:
            raise UserError(
                f"Expected some of the benchmarks {', '.join(ROWS)}, found {name}; name them, or give --list or "
                "--table."
            )
    return [ROWS[name] for name in names]


def list_rows() -> None:
    """Names, needs and published figures."""
    for name, row in ROWS.items():
        published = "; ".join(
            f"{', '.join(f'{column} {value}' for column, value in x.scores.items())} ({x.source})"
            for x in row.benchmark.published
        )
        print(f"{name}\n  {row.benchmark.title}; weights {row.weights}\n  published: {published}")


def missing(row: Row, arguments: argparse.Namespace) -> str | None:
    """What a benchmark lacks, as one sentence."""
    name = row.benchmark.name
    try:
        weights_file(row, arguments)
        for method in arguments.methods:
            opts = [*row.options, *arguments.opts]
            cfg = prepare_config(argparse.Namespace(config_file=str(ROOT / "configs" / row.configs[method]), opts=opts))
            cfg.SELF_TRAINING.SEGMENTS.BURN_IN_ITERS = 0  # its teacher is still to be trained
            validate(cfg)
            check_datasets((*cfg.DATASETS.TRAIN, *cfg.DATASETS.TARGET, *cfg.DATASETS.TEST))
    except UserError as error:
        return f"{name}: {error}"
    return None


def weights_file(row: Row, arguments: argparse.Namespace) -> Path:
    path = Path(arguments.weights).resolve() / row.weights
    if not path.is_file():
        raise UserError(
            f"--weights: expected {row.weights} in {path.parent}, found nothing; docs/backbones.md says what is read"
        )
    return path


def run(row: Row, method: str, seed: int, output: Path, arguments: argparse.Namespace) -> str:
    """One training and its result, after the first stage that it shares with the other method."""
    name = row.benchmark.name
    target = output / "results" / name / f"{method}_seed{seed}.json"
    if target.is_file():
        return "kept"
    options = list(row.options)
    if row.stage_one is not None:
        first = output / "runs" / name / f"stage_one_seed{seed}"
        if not RunFolder.read(first).is_finished:
            train(first, row.stage_one.config, row.stage_one.options, row, seed, without_teacher(arguments))
        options += ["SELF_TRAINING.SEGMENTS.TEACHER_WEIGHTS", str(first / "model_final.pth")]
    folder = output / "runs" / name / f"{method}_seed{seed}"
    train(folder, row.configs[method], options, row, seed, arguments)
    finished = RunFolder.read(folder)
    target.parent.mkdir(parents=True, exist_ok=True)
    kept = {"row": name, "method": method, "seed": seed, "machine": machine(finished.value("MODEL.DEVICE"))}
    files.write_json(target, {**kept, **run_result(finished, row.benchmark)})
    return "trained"


def without_teacher(arguments: argparse.Namespace) -> argparse.Namespace:
    """The arguments for a first stage, which has no teacher: overrides of SELF_TRAINING are not for it."""
    pairs = zip(arguments.opts[::2], arguments.opts[1::2])
    opts = [part for pair in pairs if not pair[0].startswith("SELF_TRAINING.") for part in pair]
    return argparse.Namespace(**{**vars(arguments), "opts": opts})


def train(folder: Path, config: str, options, row: Row, seed: int, arguments: argparse.Namespace) -> None:
    weights = ("MODEL.WEIGHTS", str(weights_file(row, arguments)))
    study.run_training(
        folder, str(ROOT / "configs" / config), [*weights, *options, "SEED", str(seed), *arguments.opts],
        root=os.environ.get("DETECTRON2_DATASETS", "datasets"), jobs=1, flags=("--num-gpus", str(arguments.num_gpus)),
    )  # fmt: skip


def write_table(output: Path) -> None:
    results = [read_result(path) for path in sorted(output.glob("results/*/*_seed*.json"))]
    benchmarks = [row.benchmark for row in ROWS.values()]
    page = f"{reproduction_overview(benchmarks, results)}\n\n{reproduction_page(benchmarks, results)}"
    (output / "results").mkdir(parents=True, exist_ok=True)
    files.atomic_write(output / "results" / "tables.md", f"{page}\n".encode())
    print(f"{len(results)} runs: {output / 'results' / 'tables.md'}")


def read_result(path: Path) -> dict:
    """What :func:`run` has kept of a run; UserError where it is damaged, or another file."""
    remedy = "remove it: the run is then repeated, from its last checkpoint"
    result = files.read_json(path, {"row": str, "method": str, "seed": int, "scores": files.Each(float)}, remedy=remedy)
    row = ROWS.get(result["row"])
    lacking = [name for name in row.benchmark.columns if name not in result["scores"]] if row else []
    if lacking:
        raise UserError(f"Expected scores of {row.benchmark.name} in {path}, found no {', '.join(lacking)}; {remedy}.")
    return result


def parse() -> argparse.Namespace:
    parser = cli.described_parser(__doc__)
    parser.add_argument("rows", nargs="*", metavar="BENCHMARK", help="see --list")
    parser.add_argument(
        "--list", action="store_true", help="the benchmarks, what was published for them, what they need"
    )
    parser.add_argument("--check", action="store_true", help="only say what is missing")
    parser.add_argument("--table", action="store_true", help="only write the table")
    parser.add_argument("--weights", default="weights", help="folder of ImageNet's weights (default %(default)s)")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--seeds", nargs="+", type=cli.seed, default=[0, 1, 2])
    parser.add_argument("--num-gpus", type=int, default=1)
    parser.add_argument("--output", default="output/reproduction", help="runs and results (default %(default)s)")
    parser.add_argument(
        "--opts", nargs=argparse.REMAINDER, default=[],
        help="KEY VALUE overrides of all runs, last; SELF_TRAINING.* not of first stages",
    )  # fmt: skip
    return parser.parse_args()


if __name__ == "__main__":
    cli.run(main)
