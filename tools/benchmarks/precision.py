"""A training step in float32 against one in bfloat16 with channels last, of several networks: what `auto` decides
by."""

import argparse
from collections.abc import Callable, Iterator

import torch
from detectron2.modeling import build_model

from gbw_panoptic.data import register_all
from gbw_panoptic.engine.execution import build_execution
from gbw_panoptic.engine.setup import adapt_to_machine, load_config

from . import gbw
from .step import CONFIGS
from .timing import Comparison, alternate

_CONFIGS = (
    "synthia_to_cityscapes/panoptic_deeplab_R50_source_only", "synthia_to_cityscapes/mask2former_swin_t_source_only",
    "study/source_only", "demo/source_only",
)  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(repeats=3)
    parser.add_argument("--configs", nargs="+", default=list(_CONFIGS), metavar="NAME", help="below configs/")
    parser.add_argument("--size", type=int, nargs=2, default=(128, 256), metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--batch", type=int, default=2)


def main(arguments: argparse.Namespace) -> Iterator[Comparison]:
    register_all()
    for name in arguments.configs:
        ways = {"float32": _step(name, False, arguments), "bfloat16, channels last": _step(name, True, arguments)}
        seconds = alternate(ways, repeats=arguments.repeats, label=name[-20:], clock=arguments.clock)
        yield Comparison(f"Step of {name} at {'x'.join(map(str, arguments.size))}", *ways, *seconds.values())


def _step(name: str, mixed: bool, arguments: argparse.Namespace) -> Callable[[], None]:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    switches = ("SOLVER.AMP.ENABLED", str(mixed), "MODEL.CHANNELS_LAST", str(mixed))
    cfg = load_config(str(CONFIGS / f"{name}.yaml"), ["MODEL.DEVICE", device, "MODEL.WEIGHTS", "", *switches])
    adapt_to_machine(cfg)
    torch.manual_seed(arguments.seed)
    model = build_execution(cfg, build_model(cfg).train())
    batch = gbw.batch_of(tuple(arguments.size), arguments.batch, arguments.seed)

    def step() -> None:
        model.zero_grad()
        with torch.autocast(device, torch.bfloat16, enabled=mixed):
            sum(model(batch, branch="source").values()).backward()

    return step
