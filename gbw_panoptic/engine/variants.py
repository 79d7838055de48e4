"""Scores of a trained model under several decisions on the same prediction: over tau, with parts of the truth."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

import torch
from detectron2.evaluation import DatasetEvaluator
from torch import Tensor, nn

from .. import cli
from ..structures.instances import instance_targets
from ..structures.predictions import DensePrediction, GroundTruth
from ..structures.samples import ModelOutput, Sample
from ..weighting import BRANCHES, DynamicWeighting

#: Logit of a true class, where all others have 0.
_SURE = 50.0


@torch.no_grad()
def evaluate(
    outputs: Callable[[Sample], Iterable[ModelOutput]], evaluators: Mapping[str, DatasetEvaluator], loader: Collection
) -> dict[str, Mapping]:
    """
    Args:
        outputs: record of an image -> an output for each of ``evaluators``.
        loader: of batches of records.

    Returns:
        name of an evaluator -> task -> protocol -> metric.
    """
    with cli.progress(len(loader), "Deciding", unit="batch") as line:
        for records in loader:
            for record in records:
                for evaluator, output in zip(evaluators.values(), outputs(record), strict=True):
                    evaluator.process([record], [output])
            line.update()
    return {name: evaluator.evaluate() for name, evaluator in evaluators.items()}


def with_truth(
    dense: DensePrediction, truth: GroundTruth, parts: Iterable[str], *, thing_ids: Sequence[int], sigma: int
) -> DensePrediction:
    """A prediction [1, ...] for an image, at the size of its truth, with true ``parts`` (classes, centres, offsets)."""
    device, replaced = dense.sem_seg.device, {}
    if "classes" in parts:
        replaced["sem_seg"] = _true_logits(dense.sem_seg, torch.from_numpy(truth.labels).long().to(device))
    if "centres" in parts or "offsets" in parts:
        targets = _true_instances(truth, thing_ids, sigma, device)
        if "centres" in parts:
            replaced["center"] = targets["center"][None, None]
        if "offsets" in parts:
            replaced["offset"] = targets["offset"][None]
    return DensePrediction(**{"sem_seg": dense.sem_seg, "center": dense.center, "offset": dense.offset, **replaced})


def _true_logits(logits: Tensor, labels: Tensor) -> Tensor:
    """Sure of the label of every pixel that has one; as predicted elsewhere."""
    known = labels < logits.shape[1]
    true = torch.zeros_like(logits).scatter_(1, torch.where(known, labels, 0)[None, None], _SURE)
    return torch.where(known, true, logits)


def _true_instances(
    truth: GroundTruth, thing_ids: Sequence[int], sigma: int, device: torch.device
) -> dict[str, Tensor]:
    things = [s["id"] for s in truth.segments if s["category_id"] in thing_ids and not s.get("iscrowd")]
    ids, segments = torch.zeros(truth.ids.shape, dtype=torch.int64), torch.from_numpy(truth.ids).long()
    for number, segment in enumerate(things, start=1):
        ids[segments == segment] = number
    return instance_targets(ids.to(device), len(things), sigma=sigma)


def recall_weights(model: nn.Module, logged: Mapping[int, float]) -> None:
    """Give a model of a checkpoint that is older than the mean weights those that the log of its run has.

    Args:
        logged: class -> mean weight of the source branch at the end of training.
    """
    weighting = model.weightings["sem_seg"]
    if isinstance(weighting, DynamicWeighting) and (weighting.mean_weights == 1).all():
        for class_id, weight in logged.items():
            weighting.mean_weights[BRANCHES.index("source"), class_id] = weight
