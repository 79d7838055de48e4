"""What the correction of the decision gives and takes: scores of a trained run over tau, from one prediction an image.

    python tools/tau_curve.py output/self_training_gbw
    python tools/tau_curve.py RUN --taus 0 0.5 1 --model student --prior frequencies

At tau 0 classes are decided as the network has learnt them, at 1 as if none had been weighted (docs/methods.md). The
table is printed; it and the results of every tau go to RUN/tau/<prior>. A tau that serves is set with TEST.TAU; nothing
is trained.
"""

import _environment  # noqa: F401  (first: says what is missing)

import argparse
from argparse import Namespace
from pathlib import Path

import numpy as np
from detectron2.data import MetadataCatalog

from gbw_panoptic import cli, files
from gbw_panoptic.engine.build import build_models, load_for_evaluation
from gbw_panoptic.engine.settings import build_settings
from gbw_panoptic.engine.setup import prepare_config
from gbw_panoptic.engine.tau_curve import evaluate, recall_weights
from gbw_panoptic.errors import UserError
from gbw_panoptic.reporting.run_folder import RunFolder
from gbw_panoptic.reporting.page import table
from gbw_panoptic.validation import validate
from gbw_panoptic.weighting import PRIORS

#: Column -> task and metric.
COLUMNS = {
    "rare recall": ("semantic", "rare_recall"), "rare precision": ("semantic", "rare_precision"), "mIoU": ("semantic", "mIoU"),
    "PQ": ("panoptic", "PQ"), "PQ things": ("panoptic", "PQ_things"), "PQ stuff": ("panoptic", "PQ_stuff"),
}  # fmt: skip
_LAST = 0.1  # share of a run's records that are the end of its training


def main() -> None:
    arguments = parse()
    run = RunFolder.read(arguments.run)
    cfg = load(run.path, arguments)
    weights = run.path / arguments.weights
    models = build_models(cfg)
    if not hasattr(models["student"], "decide"):
        raise UserError(f"Expected a run whose model has logits of pixels, which tau corrects, found {cfg.MODEL.META_ARCHITECTURE}; give another.")
    load_for_evaluation(models, str(weights), str(run.path), resume=False, settings=build_settings(cfg).values)
    name = arguments.model or cfg.TEST.MODEL
    if name not in models:
        raise UserError(
            f"--model: expected one of {', '.join(models)}, which {weights} holds, found {name}; choose among them."
        )
    model, dataset = models[name].eval(), cfg.DATASETS.TEST[0]
    recall_weights(model, logged_weights(run, MetadataCatalog.get(dataset).taxonomy.names))
    folder = Path(arguments.output or run.path / "tau") / arguments.prior
    found = evaluate(cfg, model, sorted(set(arguments.taus)), dataset=dataset, name=name, folder=folder)
    protocol = cfg.TEST.PROTOCOLS[0]
    scores = {
        f"{tau:g}": {
            column: round(tasks[task][protocol][metric], 3)
            for column, (task, metric) in COLUMNS.items()
            if metric in tasks.get(task, {}).get(protocol, {})
        }
        for tau, tasks in found.items()
    }
    files.write_json(
        folder / f"{name}.json",
        {"model": name, "dataset": dataset, "protocol": protocol, "prior": arguments.prior, "scores": scores},
    )
    columns = [column for column in COLUMNS if any(column in of_tau for of_tau in scores.values())]
    rows = [
        [tau, *(f"{of_tau[column]:.1f}" if column in of_tau else "" for column in columns)]
        for tau, of_tau in scores.items()
    ]
    print(f"\nThe {name} of {run.path} on {dataset}, protocol {protocol}, prior {arguments.prior}:\n\n{table(rows, ['tau', *columns])}\n\n{folder}")


def load(run: Path, arguments: Namespace):
    """The configuration of a run, with the chosen prior and without pictures."""
    config = run / "config.yaml"
    if not config.is_file():
        raise UserError(f"Expected the folder of a run, with its config.yaml, at {run}, found none; give the OUTPUT_DIR of a training.")
    own = [
        "WEIGHTING.PRIOR",
        arguments.prior,
        "TEST.NUM_PANELS",
        "0",
        "TEST.TAU",
        "0",
        "MODEL.WEIGHTS",
        "",
        "OUTPUT_DIR",
        str(run),
    ]
    cfg = prepare_config(Namespace(config_file=str(config), opts=[*own, *arguments.opts]))
    validate(cfg)
    return cfg


def logged_weights(run: RunFolder, names: tuple[str, ...]) -> dict[int, float]:
    """Class -> mean of the source's semantic weights over the end of a run, by its log."""
    series = run.class_weights().get("source/sem_seg")
    if series is None:
        return {}
    iterations, logged, values = series
    last = values[-max(int(_LAST * len(iterations)), 1) :]
    means = {name: np.nanmean(column) for name, column in zip(logged, last.T) if np.isfinite(column).any()}
    return {names.index(name): float(mean) for name, mean in means.items() if name in names}


def parse() -> Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n")[0], epilog=__doc__.partition("\n\n")[2],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("run", help="OUTPUT_DIR of a finished training")
    parser.add_argument("--taus", nargs="+", type=tau, default=[0.0, 0.25, 0.5, 0.75, 1.0], metavar="TAU")
    parser.add_argument("--model", choices=("student", "teacher"), help="default: TEST.MODEL of the run")
    parser.add_argument("--prior", choices=PRIORS, default="weights", help="what is taken back (default %(default)s)")
    parser.add_argument(
        "--weights", default="model_final.pth", metavar="FILE", help="in the run's folder (default %(default)s)"
    )
    parser.add_argument("--output", metavar="FOLDER", help="default: RUN/tau")
    parser.add_argument("--opts", nargs=argparse.REMAINDER, default=[], help="KEY VALUE overrides, last")
    return parser.parse_args()


def tau(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"expected a number in 0..1, found {text}")
    return value


if __name__ == "__main__":
    cli.run(main)
