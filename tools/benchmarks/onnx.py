"""A prediction by the exported ONNX file in onnxruntime, against the same by PyTorch: image in, panoptic map out."""

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from detectron2.modeling import build_model

from gbw_panoptic import PanopticModel, files, load
from gbw_panoptic.data import register_all
from gbw_panoptic.engine.description import build_model_description
from gbw_panoptic.engine.settings import build_settings
from gbw_panoptic.engine.setup import load_config
from gbw_panoptic.export.onnx_file import runner, write_onnx

from .step import CONFIGS
from .timing import Comparison, compare

_GOAL = 1.5  # on two cores


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", help="run or file (default: the demo's network with random weights)")
    parser.add_argument("--image", help="default: noise of --size")
    parser.add_argument("--size", type=int, nargs=2, default=(128, 256), metavar=("HEIGHT", "WIDTH"))


def main(arguments: argparse.Namespace) -> Iterator[Comparison]:
    with tempfile.TemporaryDirectory() as folder:
        model = load(arguments.model or _random_model(Path(folder)), device="cpu", scores=False, resize=0)
        run = runner(write_onnx(model, Path(folder)), arguments.threads)
        image = _image(arguments)
        yield compare(
            f"Prediction at {image.shape[0]}x{image.shape[1]}, {model.config.MODEL.META_ARCHITECTURE}",
            reference=("PyTorch", lambda: _maps(model, image)),
            ours=lambda: run(image),
            arguments=arguments,
            same=lambda reference, ours: all((one != two).mean() < 0.001 for one, two in zip(reference, ours)),
            goal=_GOAL if arguments.threads == 2 else None,
            note="onnxruntime; equal in 99.9 % of the pixels at least",
        )


def _maps(model: PanopticModel, image: np.ndarray) -> list[np.ndarray]:
    prediction = model.predictor(image)
    return [prediction.labels, *([] if prediction.panoptic is None else [prediction.panoptic])]


def _image(arguments: argparse.Namespace) -> np.ndarray:
    if arguments.image:
        return files.read_image(arguments.image)
    return np.random.default_rng(arguments.seed).integers(0, 256, (*arguments.size, 3), np.uint8)


def _random_model(folder: Path) -> Path:
    register_all()
    cfg = load_config(
        str(CONFIGS / "demo/self_training_gbw.yaml"), ["MODEL.DEVICE", "cpu", "WEIGHTING.SEMANTIC", "none"]
    )
    contents = {"model": build_model(cfg).state_dict(), "settings": build_settings(cfg).values}
    path = folder / "random.pth"
    torch.save({**contents, "description": build_model_description(cfg).state_dict()}, path)
    return path
