"""Collapses that are planted in a model's weights: the next evaluation speaks of each, and of no sound model."""

import logging
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog
from detectron2.utils.events import EventStorage
from torch import nn

from gbw_panoptic import files
from gbw_panoptic.engine import unsupervised
from gbw_panoptic.engine.evaluation import evaluate
from gbw_panoptic.engine.hooks import CollapseWatch
from gbw_panoptic.evaluation.maps import read_ground_truth
from gbw_panoptic.structures import metric_names
from gbw_panoptic.taxonomy import CITYSCAPES


class ColourModel(nn.Module):
    """Nearest mean colour of the source's classes, behind a batch norm: as sound as a model of one pixel can be."""

    def __init__(self, means: torch.Tensor, priors: torch.Tensor) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(3, affine=False)
        self.predictor = nn.Conv2d(3, len(means), 1)
        with torch.no_grad():
            self.predictor.weight.copy_(2 * means[:, :, None, None])
            self.predictor.bias.copy_(0.05 * priors.clamp(min=1e-6).log() - means.square().sum(1))
            self.predictor.weight.mul_(8), self.predictor.bias.mul_(8)

    def predict(self, records):
        return self.predictor(self.norm((records[0]["image"].float()[None] - 128) / 64))[0]

    def output(self, prediction, record):
        return {"sem_seg": prediction}


@pytest.fixture
def colour_model(streets) -> ColourModel:
    colours, labels = [], []
    for record in DatasetCatalog.get("synthia_panoptic_train")[:4]:
        colours.append((files.read_image(record["file_name"]).reshape(-1, 3).astype(np.float32) - 128) / 64)
        labels.append(read_ground_truth(record, CITYSCAPES).labels.ravel())
    colours, labels = np.concatenate(colours), np.concatenate(labels)
    counts = np.bincount(labels, minlength=256)[:19]
    means = [colours[labels == c].mean(0) if counts[c] else np.full(3, 40.0) for c in range(19)]
    return ColourModel(torch.tensor(np.stack(means)), torch.tensor(counts / counts.sum())).eval()


def constant(model: ColourModel) -> None:
    model.predictor.weight.data.zero_(), model.predictor.bias.data.zero_()


def one_class(model: ColourModel) -> None:
    model.predictor.bias.data[CITYSCAPES.ids("building")[0]] += 200


def exploding_statistics(model: ColourModel) -> None:
    model.norm.running_mean.fill_(50), model.norm.running_var.fill_(1e-4)


def not_finite(model: ColourModel) -> None:
    model.norm.running_var.fill_(-1)


def sound(model: ColourModel) -> None:
    model.predictor.weight.data.mul_(1.05)


@pytest.mark.parametrize("fault", [constant, one_class, exploding_statistics, not_finite, sound])
def test_the_next_evaluation_speaks_of_it(make_cfg, colour_model, monkeypatch, caplog, fault):
    cfg = make_cfg(
        "quick/source_only.yaml", "MODEL.TASK", "semantic", "DATASETS.TEST", "()", "TEST.UNSUPERVISED_IMAGES", 4,
        "TEST.UNSUPERVISED", "('cityscapes_uda_images_train',)",
    )  # fmt: skip
    shares = unsupervised.source_shares(cfg.DATASETS.TRAIN, CITYSCAPES.names)
    watch = CollapseWatch(dict(zip(CITYSCAPES.names, shares.tolist())), "")
    with EventStorage(0) as storage, caplog.at_level(logging.WARNING, "gbw_panoptic"):
        watch.trainer = SimpleNamespace(storage=storage, start_iter=0)
        for iteration in (9, 19, 29):
            if iteration == 29:
                assert "collapsing" not in caplog.text
                fault(colour_model)
            storage.iter = iteration
            found = evaluate(cfg, {"student": colour_model}, iteration=iteration)["unsupervised"]["student"]
            storage.put_scalars(
                **{metric_names.estimate("student", n): v for n, v in found.items()}, smoothing_hint=False
            )
            watch.after_step()
    lines = [record.getMessage() for record in caplog.records if "collapsing" in record.getMessage()]
    assert len(lines) == (fault is not sound) and not any("\n" in line for line in lines)
