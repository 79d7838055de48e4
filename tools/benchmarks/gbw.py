"""Gradient-based class weighting: the weights against an interior-point solver, and what they add to a training step."""

import argparse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from detectron2.modeling import build_model

from gbw_panoptic import modeling  # noqa: F401  (registers the meta-architectures)
from gbw_panoptic.data import panoptic_deeplab_targets, register_all
from gbw_panoptic.engine.setup import adapt_to_machine, load_config
from gbw_panoptic.modeling.build_weighting import build_class_weighting
from gbw_panoptic.taxonomy import CITYSCAPES
from gbw_panoptic.weighting import gbw_weights

from .scenes import street, with_segments
from .timing import Comparison, alternate

_CONFIG = Path(__file__).resolve().parents[2] / "configs/synthia_to_cityscapes/panoptic_deeplab_R50_source_only.yaml"
#: GRADIENT -> least ratio of the unweighted step's time to the weighted one's: 3 % and 10 % more at most.
_GOALS = {"logits": 1 / 1.03, "last_layer": 1 / 1.1, "pixel": None}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--size", type=int, nargs=2, default=(256, 512), metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--classes", type=int, default=19, help="of the weights alone (default %(default)s)")


def main(arguments: argparse.Namespace) -> Iterator[Comparison]:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    yield _weights(arguments, device)
    yield from _steps(arguments, device)


def _weights(arguments: argparse.Namespace, device: torch.device) -> Comparison:
    from cvxopt import matrix, solvers

    solvers.options["show_progress"] = False
    norms = torch.rand(arguments.classes, device=device, generator=torch.Generator(device).manual_seed(arguments.seed))
    present = torch.ones(arguments.classes, dtype=torch.bool, device=device)
    count, lam = arguments.classes, 0.5

    def solver():  # what a step has to do for it: to the host and back
        g = norms.double().cpu().numpy()
        found = solvers.qp(
            matrix(2 * lam * np.eye(count)), matrix(-(g**2)), matrix(-np.eye(count)), matrix(np.zeros(count)),
            matrix(np.ones((1, count))), matrix(float(count)),
        )  # fmt: skip
        return torch.tensor(np.array(found["x"]).ravel(), device=device)

    def ours():
        return gbw_weights(norms, lam, present)

    difference = (solver() - ours()).abs().max().item()
    seconds = alternate({"solver": solver, "ours": ours}, repeats=20 * arguments.repeats, label="weights")
    return Comparison(
        f"Weights of {count} classes on {device}", "cvxopt", "closed form", seconds["solver"], seconds["ours"], goal=10,
        note=f"largest difference {difference:.1e}",
    )  # fmt: skip


def _steps(arguments: argparse.Namespace, device: torch.device) -> Iterator[Comparison]:
    """All three heads weighted, against the same model with weights of 1."""
    model, cfg = _model(device)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4)
    batch = _batch(tuple(arguments.size), arguments.batch, arguments.seed)

    def step(weightings: torch.nn.ModuleDict):
        model.weightings = weightings
        optimizer.zero_grad()
        sum(model(batch, branch="source").values()).backward()
        optimizer.step()

    plain = _weightings(cfg, "none", "logits", device)
    size = "x".join(map(str, arguments.size))
    for gradient, goal in _GOALS.items():
        weighted = _weightings(cfg, "gbw", gradient, device)
        seconds = alternate(
            {"plain": lambda: step(plain), "gbw": lambda: step(weighted)}, repeats=arguments.repeats, label=gradient
        )
        comparison = Comparison(
            f"Step of Panoptic-DeepLab R50 at {size}, batch {arguments.batch}, on {device}: gradient {gradient}",
            "unweighted", "GBW on all three heads", seconds["plain"], seconds["gbw"], goal=goal,
        )  # fmt: skip
        yield replace(comparison, note=f"GBW adds {100 * (1 / comparison.ratio - 1):.1f} %")


def _model(device: torch.device):
    register_all()
    cfg = load_config(str(_CONFIG), ["MODEL.DEVICE", str(device)])
    adapt_to_machine(cfg)
    return build_model(cfg).train(), cfg


def _weightings(cfg, name: str, gradient: str, device: torch.device) -> torch.nn.ModuleDict:
    cfg = cfg.clone()
    cfg.merge_from_list(["GBW.GRADIENT", gradient])
    for head in ("SEMANTIC", "CENTER", "OFFSET"):
        cfg.merge_from_list([f"WEIGHTING.{head}", name])
    heads = ("sem_seg", "center", "offset")
    return torch.nn.ModuleDict({head: build_class_weighting(cfg, head) for head in heads}).to(device)


def _batch(size: tuple[int, int], number: int, seed: int) -> list[dict]:
    """Source samples: streets with 20 instances, images of noise."""
    samples = []
    for index in range(number):
        ids, segments = with_segments(street(size, things=20, seed=seed + index))
        targets = panoptic_deeplab_targets(
            ids, segments, thing_ids=CITYSCAPES.thing_ids, ignore_label=CITYSCAPES.ignore_label, sigma=8
        )
        samples.append({"image": torch.randint(0, 256, (3, *size), dtype=torch.uint8), **targets})
    return samples
