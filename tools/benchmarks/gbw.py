"""Gradient-based class weighting: the weights against an interior-point solver, and what they add to a training
step."""

import argparse
import statistics
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from detectron2.modeling import build_model

from gbw_panoptic import modeling  # noqa: F401  (registers the meta-architectures)
from gbw_panoptic.data import panoptic_deeplab_targets, register_all
from gbw_panoptic.engine.setup import adapt_to_machine, load_config
from gbw_panoptic.structures.predictions import DensePrediction
from gbw_panoptic.taxonomy import CITYSCAPES
from gbw_panoptic.weighting import gbw_weights
from gbw_panoptic.weighting.build import build_class_weighting

from .scenes import street, with_segments
from .timing import Comparison, alternate

CONFIG = Path(__file__).resolve().parents[2] / "configs/synthia_to_cityscapes/panoptic_deeplab_R50_source_only.yaml"
_CALLS = 100  # one call is too short for the clock
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

    def repeated(way):
        return [way() for _ in range(_CALLS)]

    seconds = alternate(
        {"solver": partial(repeated, solver), "ours": partial(repeated, ours)},
        repeats=arguments.repeats, label="weights", clock=arguments.clock,
    )  # fmt: skip
    return Comparison(
        f"{_CALLS} times the weights of {count} classes on {device}", "cvxopt", "closed form",
        seconds["solver"], seconds["ours"], goal=10, note=f"largest difference {difference:.1e}",
    )  # fmt: skip


def _steps(arguments: argparse.Namespace, device: torch.device) -> Iterator[Comparison]:
    """All three heads weighted, against the same model with weights of 1: whole steps, then the losses alone.

    The difference of two long steps is small beside the noise of a shared machine; that of the losses alone is not.
    """
    model, cfg = _model(device)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4)
    batch = batch_of(tuple(arguments.size), arguments.batch, arguments.seed)
    prediction = _leaves(model(batch, dense=True)[1])

    def step(weightings: torch.nn.ModuleDict):
        model.weightings = weightings
        optimizer.zero_grad()
        sum(model(batch, branch="source").values()).backward()
        optimizer.step()

    def losses(weightings: torch.nn.ModuleDict):
        model.weightings = weightings
        sum(model.losses(prediction, batch, "source").values()).backward()

    plain = _weightings(cfg, "none", "logits", device)
    what = f"of Panoptic-DeepLab R50 at {'x'.join(map(str, arguments.size))}, batch {arguments.batch}, on {device}"
    names = ("unweighted", "GBW on all three heads")
    for gradient, goal in _GOALS.items():
        weighted = _weightings(cfg, "gbw", gradient, device)
        timed = {
            run.__name__: alternate(
                {"plain": partial(run, plain), "gbw": partial(run, weighted)},
                repeats=arguments.repeats, label=f"{run.__name__}, {gradient}", clock=arguments.clock,
            )
            for run in (step, losses)
        }  # fmt: skip
        whole, alone = timed["step"], timed["losses"]
        comparison = Comparison(f"Step {what}: gradient {gradient}", *names, whole["plain"], whole["gbw"], goal=goal)
        yield replace(comparison, note=f"GBW adds {100 * (1 / comparison.ratio - 1):.1f} %")
        added = statistics.median(alone["gbw"]) - statistics.median(alone["plain"])
        share = 100 * added / statistics.median(whole["plain"])
        yield Comparison(
            f"Losses alone {what}: gradient {gradient}", *names, alone["plain"], alone["gbw"],
            note=f"GBW adds {1000 * added:.0f} ms, {share:.1f} % of an unweighted step",
        )  # fmt: skip


def _leaves(prediction: DensePrediction) -> DensePrediction:
    """The same values as leaves of the graph, so that a backward pass ends there."""
    maps = {name: getattr(prediction, name).detach().requires_grad_() for name in ("sem_seg", "center", "offset")}
    return replace(prediction, hidden=prediction.hidden.detach(), **maps)


def _model(device: torch.device):
    register_all()
    cfg = load_config(str(CONFIG), ["MODEL.DEVICE", str(device)])
    adapt_to_machine(cfg)
    return build_model(cfg).train(), cfg


def _weightings(cfg, name: str, gradient: str, device: torch.device) -> torch.nn.ModuleDict:
    cfg = cfg.clone()
    cfg.merge_from_list(["GBW.GRADIENT", gradient])
    for head in ("SEMANTIC", "CENTER", "OFFSET"):
        cfg.merge_from_list([f"WEIGHTING.{head}", name])
    heads = ("sem_seg", "center", "offset")
    return torch.nn.ModuleDict({head: build_class_weighting(cfg, head) for head in heads}).to(device)


def batch_of(size: tuple[int, int], number: int, seed: int) -> list[dict]:
    """Source samples: streets with 20 instances, images of noise."""
    samples = []
    for index in range(number):
        ids, segments = with_segments(street(size, things=20, seed=seed + index))
        targets = panoptic_deeplab_targets(
            ids, segments, thing_ids=CITYSCAPES.thing_ids, ignore_label=CITYSCAPES.ignore_label, sigma=8
        )
        samples.append({"image": torch.randint(0, 256, (3, *size), dtype=torch.uint8), **targets})
    return samples
