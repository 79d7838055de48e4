"""Evaluation, tools/predict.py and post-processing of an image, all but the network, against the time they may take."""

import argparse
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import torch
from detectron2.modeling import build_model
from torch import nn

from gbw_panoptic import files
from gbw_panoptic.data import register_all
from gbw_panoptic.engine.setup import adapt_to_machine, load_config
from gbw_panoptic.evaluation.evaluators import DomainAdaptationEvaluator
from gbw_panoptic.inference.inputs import Input
from gbw_panoptic.inference.job import PredictionJob
from gbw_panoptic.inference.predictor import Predictor
from gbw_panoptic.inference.result_folder import ResultFolder
from gbw_panoptic.structures.predictions import DensePrediction
from gbw_panoptic.taxonomy import CITYSCAPES

from .pq import write_truth
from .scenes import dense_prediction, street
from .step import CONFIGS
from .timing import Comparison, alternate

_CONFIG = CONFIGS / "synthia_to_cityscapes/panoptic_deeplab_R50_source_only.yaml"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(repeats=5)
    parser.add_argument("--size", type=int, nargs=2, default=(1024, 2048), metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--things", type=int, default=40, help="instances in the image (default %(default)s)")
    parser.add_argument("--centers", type=int, default=500, help="of post-processing alone (default %(default)s)")


def main(arguments: argparse.Namespace) -> Iterator[Comparison]:
    register_all()
    size = tuple(arguments.size)
    model = _without_network(said(size, arguments.things, arguments.seed))
    where = f"at {size[0]}x{size[1]}, {arguments.things} instances"
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        record = _record(size, arguments, Path(folder))
        yield _within(0.15, f"Evaluation {where}", _evaluation(model, record), arguments)
        yield _within(0.3, f"tools/predict.py {where}", _prediction(model, record, Path(folder)), arguments)
        output, dense = model([record])[0], model.predict([record])
        scored = output["panoptic_seg"][0], output["sem_seg"], dense.center[0]
        yield _within(0.14, f"Instance scores {where}", lambda: model.post_processing.scores(*scored), arguments)
        crowd = dense_prediction(size, centers=arguments.centers, seed=arguments.seed)
        process = replace(model.post_processing, top_k=arguments.centers + 1)
        name = f"Post-processing at {size[0]}x{size[1]}, {arguments.centers} centres"
        yield _within(0.5, name, lambda: process(*crowd), arguments)


def _within(limit: float, name: str, run: Callable[[], object], arguments: argparse.Namespace) -> Comparison:
    seconds = alternate({"ours": run}, repeats=arguments.repeats, label=name, clock=arguments.clock)["ours"]
    return Comparison(name, "limit", "ours", (limit,) * len(seconds), seconds, goal=1, note="all but the network")


def said(size: tuple[int, int], things: int, seed: int) -> DensePrediction:
    """What a network may say of a street, with noise."""
    labels, center, offset = dense_prediction(size, centers=things, seed=seed)
    logits = torch.randn(1, CITYSCAPES.num_classes, *size, generator=torch.Generator().manual_seed(seed))
    logits.scatter_add_(1, labels[None, None], torch.full((1, 1, *size), 8.0))
    return DensePrediction(logits, center[None, None], offset[None])


def _without_network(dense: DensePrediction) -> nn.Module:
    cfg = load_config(str(_CONFIG), ["MODEL.DEVICE", "cpu", "MODEL.WEIGHTS", ""])
    adapt_to_machine(cfg)
    model = build_model(cfg).eval()
    model.predict = lambda records: dense
    return model


def _record(size: tuple[int, int], arguments: argparse.Namespace, folder: Path) -> dict:
    """Of an image in ``folder``: its street's colours, blurred, with noise."""
    truth = street(size, things=arguments.things, seed=arguments.seed)
    (record,) = write_truth([truth], folder)
    colors = np.array([*CITYSCAPES.colors, (0, 0, 0)], np.uint8)[truth // CITYSCAPES.label_divisor]  # -1: the last
    noise = np.random.default_rng(arguments.seed).integers(0, 8, colors.shape, np.uint8)
    path = folder / "image.png"
    files.write_png(path, cv2.add(cv2.GaussianBlur(colors, (0, 0), 3), noise))
    return {**record, "file_name": str(path), "height": size[0], "width": size[1]}


def _evaluation(model: nn.Module, record: dict) -> Callable[[], None]:
    evaluator = DomainAdaptationEvaluator([record], CITYSCAPES, protocols=list(CITYSCAPES.protocols.values()))
    return lambda: evaluator.process([record], model([record]))


def _prediction(model: nn.Module, record: dict, root: Path) -> Callable[[], None]:
    predictor = Predictor(model, taxonomy=CITYSCAPES, image_format="RGB", short_edge=0, max_size=0)
    journal = SimpleNamespace(frames=lambda *args: None, finish=lambda *args: None)  # every run writes everything
    job = PredictionJob(predictor, ResultFolder(root, CITYSCAPES, panoptic=True), journal, truths={})
    item = Input(Path(record["file_name"]), name="image")
    return lambda: job.image(item)
