"""The optimizer's update of a model against torch's default, which has a kernel for every operation."""

import argparse
import copy
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from detectron2.modeling import build_model
from torch import Tensor, nn

import gbw_panoptic.modeling  # noqa: F401  (registers the architectures)
from gbw_panoptic.engine.setup import prepare_config
from gbw_panoptic.engine.solver import build_optimizer

from .timing import Comparison, compare

_CONFIGS = Path(__file__).resolve().parents[2] / "configs"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--configs", nargs="+", metavar="NAME", help="below configs/",
        default=["synthia_to_cityscapes/mask2former_R50_source_only", "study/self_training_mit_b0"],
    )  # fmt: skip


def main(arguments: argparse.Namespace) -> Iterator[Comparison]:
    for name in arguments.configs:
        options = {"config_file": str(_CONFIGS / f"{name}.yaml"), "opts": ["MODEL.DEVICE", "cpu"]}
        cfg = prepare_config(argparse.Namespace(**options))
        model = build_model(cfg)
        plain = copy.deepcopy(model)
        torch.manual_seed(arguments.seed)
        for parameter, copied in zip(model.parameters(), plain.parameters()):
            parameter.grad = copied.grad = torch.randn_like(parameter)
        millions = sum(parameter.numel() for parameter in model.parameters()) / 1e6
        yield compare(
            f"Update of {cfg.SOLVER.OPTIMIZER}, {Path(name).name}, {millions:.1f} M parameters",
            reference=("torch's default", _update(cfg, plain, fused=None)), ours=_update(cfg, model, fused=True),
            same=_close, arguments=arguments,
        )  # fmt: skip


def _update(cfg, model: nn.Module, *, fused: bool | None) -> Callable[[], list[Tensor]]:
    optimizer = build_optimizer(cfg, model)
    for group in optimizer.param_groups:
        group["fused"] = fused

    def update() -> list[Tensor]:
        optimizer.step()
        return [parameter.detach() for parameter in model.parameters()]

    return update


def _close(theirs: list[Tensor], ours: list[Tensor]) -> bool:
    return all(torch.allclose(a, b, rtol=1e-5, atol=1e-7) for a, b in zip(theirs, ours, strict=True))
