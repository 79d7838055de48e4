"""What the correction of the decision gives and takes: scores of a trained run over tau, from one prediction an image.

    python tools/tau_curve.py output/self_training_gbw
    python tools/tau_curve.py RUN --taus 0 0.5 1 --model student --prior frequencies

At tau 0 classes are decided as the network has learnt them, at 1 as if none had been weighted (docs/methods.md). The
table is printed; it and the results of every tau go to RUN/tau/<prior>. A tau that serves is set with TEST.TAU.
"""

import argparse
from argparse import Namespace
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import _environment  # noqa: F401  (first: says what is missing)
import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog
from torch import nn

from gbw_panoptic import cli, files
from gbw_panoptic.data.loader import build_test_loader
from gbw_panoptic.engine.build import build_models, load_for_evaluation
from gbw_panoptic.engine.settings import build_settings
from gbw_panoptic.engine.setup import prepare_config
from gbw_panoptic.errors import UserError
from gbw_panoptic.evaluation.evaluators import build_evaluator
from gbw_panoptic.reporting.page import table
from gbw_panoptic.reporting.run_folder import RunFolder
from gbw_panoptic.structures.samples import ModelOutput, Sample
from gbw_panoptic.validation import validate
from gbw_panoptic.weighting import BRANCHES, PRIORS, DynamicWeighting

#: Column -> task and metric.
COLUMNS = {
    "rare recall": ("semantic", "rare_recall"), "rare precision": ("semantic", "rare_precision"),
    "mIoU": ("semantic", "mIoU"), "PQ": ("panoptic", "PQ"),
    "PQ things": ("panoptic", "PQ_things"), "PQ stuff": ("panoptic", "PQ_stuff"),
}  # fmt: skip
_LAST = 0.1  # share of a run's records that are the end of its training


def main() -> None:
    arguments = parse()
    cfg, model, name = load(arguments, "WEIGHTING.PRIOR", arguments.prior)
    dataset, run = cfg.DATASETS.TEST[0], RunFolder.read(arguments.run)
    recall_weights(model, logged_weights(run, MetadataCatalog.get(dataset).taxonomy.names))
    taus = sorted(set(arguments.taus))
    folder = Path(arguments.output or run.path / "tau") / arguments.prior
    rows = {f"{tau:g}": folder / f"{tau:g}" for tau in taus}
    found = evaluate_rows(cfg, lambda record: model.decide(model.predict([record]), record, taus), rows, name)
    scores = report(found, cfg, "tau", f"The {name} of {run.path} on {dataset}, prior {arguments.prior}")
    files.write_json(
        folder / f"{name}.json", {"model": name, "dataset": dataset, "prior": arguments.prior, "scores": scores}
    )
    print(folder)


def load(arguments: Namespace, *own: str) -> tuple[CfgNode, nn.Module, str]:
    """Configuration, model and its name of a run, without pictures; ``own``: KEY VALUE overrides before the user's."""
    folder = Path(arguments.run)
    config, weights = folder / "config.yaml", folder / arguments.weights
    if not config.is_file():
        raise UserError(
            f"Expected the folder of a run, with its config.yaml, at {folder}, found none; give the "
            "OUTPUT_DIR of a training."
        )
    own = (*own, "TEST.NUM_PANELS", "0", "TEST.TAU", "0", "MODEL.WEIGHTS", "", "OUTPUT_DIR", str(folder))
    cfg = prepare_config(Namespace(config_file=str(config), opts=[*own, *arguments.opts]))
    validate(cfg)
    models = build_models(cfg)
    if not hasattr(models["student"], "decide"):
        raise UserError(
            f"Expected a run whose model has logits of pixels, found {cfg.MODEL.META_ARCHITECTURE}; give another."
        )
    load_for_evaluation(models, str(weights), str(folder), resume=False, settings=build_settings(cfg).values)
    name = arguments.model or cfg.TEST.MODEL
    if name not in models:
        raise UserError(
            f"--model: expected one of {', '.join(models)}, which {weights} holds, found {name}; choose among them."
        )
    return cfg, models[name].eval(), name


@torch.no_grad()
def evaluate_rows(
    cfg: CfgNode, outputs: Callable[[Sample], Iterable[ModelOutput]], rows: Mapping[str, Path], name: str
) -> dict[str, Mapping]:
    """Scores of every row, on the first test set, with a result file in its folder.

    Args:
        outputs: record of an image -> an output for each of ``rows``.
    """
    dataset = cfg.DATASETS.TEST[0]
    evaluators = {
        row: build_evaluator(cfg, dataset, str(folder), model_name=name, iteration=-1) for row, folder in rows.items()
    }
    loader = build_test_loader(cfg, dataset)
    with cli.progress(len(loader), "Deciding", unit="batch") as line:
        for records in loader:
            for record in records:
                for evaluator, output in zip(evaluators.values(), outputs(record), strict=True):
                    evaluator.process([record], [output])
            line.update()
    return {row: evaluator.evaluate() for row, evaluator in evaluators.items()}


def report(found: Mapping[str, Mapping], cfg: CfgNode, what: str, title: str) -> dict[str, dict[str, float]]:
    """Print the table of the first protocol; row -> column -> percent."""
    protocol = cfg.TEST.PROTOCOLS[0]
    scores = {
        row: {
            column: round(tasks[task][protocol][metric], 3)
            for column, (task, metric) in COLUMNS.items()
            if metric in tasks.get(task, {}).get(protocol, {})
        }
        for row, tasks in found.items()
    }
    columns = [column for column in COLUMNS if any(column in of_row for of_row in scores.values())]
    rows = [
        [row, *(f"{of_row[column]:.1f}" if column in of_row else "" for column in columns)]
        for row, of_row in scores.items()
    ]
    print(f"\n{title}, protocol {protocol}:\n\n{table(rows, [what, *columns])}\n")
    return scores


def recall_weights(model: nn.Module, logged: Mapping[int, float]) -> None:
    """Give a model of a checkpoint that is older than the mean weights those that the log of its run has.

    Args:
        logged: class -> mean weight of the source branch at the end of training.
    """
    weighting = model.weightings["sem_seg"]
    if isinstance(weighting, DynamicWeighting) and (weighting.mean_weights == 1).all():
        for class_id, weight in logged.items():
            weighting.mean_weights[BRANCHES.index("source"), class_id] = weight


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
    parser = parser_of_runs(__doc__)
    parser.add_argument("--taus", nargs="+", type=tau, default=[0.0, 0.25, 0.5, 0.75, 1.0], metavar="TAU")
    parser.add_argument("--prior", choices=PRIORS, default="weights", help="what is taken back (default %(default)s)")
    return parser.parse_args()


def parser_of_runs(text: str) -> argparse.ArgumentParser:
    """Of tools that look again at a trained run."""
    parser = argparse.ArgumentParser(
        description=text.split("\n")[0],
        epilog=text.partition("\n\n")[2],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run", help="OUTPUT_DIR of a finished training")
    parser.add_argument("--model", choices=("student", "teacher"), help="default: TEST.MODEL of the run")
    parser.add_argument(
        "--weights", default="model_final.pth", metavar="FILE", help="in the run's folder (default %(default)s)"
    )
    parser.add_argument("--output", metavar="FOLDER", help="of the results; default: a folder in the run's")
    parser.add_argument("--opts", nargs=argparse.REMAINDER, default=[], help="KEY VALUE overrides, last")
    return parser


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
