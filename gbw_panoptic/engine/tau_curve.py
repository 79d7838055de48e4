"""Scores of a trained model over tau, the correction of its decision (methods: GBW, section 12), from one prediction an
image."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import nn

from .. import cli
from ..data.loader import build_test_loader
from ..evaluation.evaluators import build_evaluator
from ..weighting import BRANCHES, DynamicWeighting


@torch.no_grad()
def evaluate(
    cfg, model: nn.Module, taus: Sequence[float], *, dataset: str, name: str, folder: Path
) -> dict[float, Mapping]:
    """
    Args:
        model: of dense predictions, in evaluation mode.
        name: of the model, for the result files.
        folder: of a result file for each tau.

    Returns:
        tau -> task -> protocol -> metric.
    """
    evaluators = {
        tau: build_evaluator(cfg, dataset, str(folder / f"tau_{tau:g}"), model_name=name, iteration=-1) for tau in taus
    }
    loader = build_test_loader(cfg, dataset)
    with cli.progress(len(loader), "Deciding", unit="batch") as line:
        for records in loader:
            for record in records:
                for evaluator, output in zip(evaluators.values(), model.decide(model.predict([record]), record, taus)):
                    evaluator.process([record], [output])
            line.update()
    return {tau: evaluator.evaluate() for tau, evaluator in evaluators.items()}


def recall_weights(model: nn.Module, logged: Mapping[int, float]) -> None:
    """Give a model of a checkpoint that is older than the mean weights those that the log of its run has.

    Args:
        logged: class -> mean weight of the source branch at the end of training.
    """
    weighting = model.weightings["sem_seg"]
    if isinstance(weighting, DynamicWeighting) and (weighting.mean_weights == 1).all():
        for class_id, weight in logged.items():
            weighting.mean_weights[BRANCHES.index("source"), class_id] = weight
