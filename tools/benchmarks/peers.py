"""A training step against Detectron2's Panoptic-DeepLab and transformers' Mask2Former, on a GPU where there is one."""

import argparse
from collections.abc import Callable, Iterator

import torch
from detectron2.modeling import build_model

from gbw_panoptic.data import register_all
from gbw_panoptic.engine.setup import adapt_to_machine, load_config
from gbw_panoptic.structures.segments import SegmentTargets

from . import gbw, masks
from .timing import Comparison, alternate

#: Equal losses on both sides.
_DEEPLAB = ("MODEL.SEM_SEG_HEAD.LOSS_TYPE", "hard_pixel_mining", "MODEL.SEM_SEG_HEAD.LOSS_TOP_K", "0.2")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(repeats=5)
    parser.add_argument("--size", type=int, nargs=2, default=(512, 1024), metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--things", type=int, default=12, help="instances in an image (default %(default)s)")
    parser.add_argument("--queries", type=int, default=100, help="of both sides (default %(default)s)")
    parser.add_argument("--points", type=int, default=12544, help="MODEL.MASK2FORMER.NUM_POINTS (default %(default)s)")


def main(arguments: argparse.Namespace) -> Iterator[Comparison]:
    register_all()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    where = f"{arguments.size[0]}x{arguments.size[1]}, batch {arguments.batch}, on {device}"
    yield _compare(f"Step of Panoptic-DeepLab R50 at {where}", "Detectron2", _deeplab(arguments, device), arguments)
    name = f"Step of Mask2Former Swin-T at {where}, {arguments.queries} queries"
    yield _compare(name, "transformers", _mask2former(arguments, device), arguments)


def _compare(name: str, peer: str, steps: tuple[Callable, Callable], arguments: argparse.Namespace) -> Comparison:
    ways = dict(zip((peer, "ours"), steps))
    seconds = alternate(ways, repeats=arguments.repeats, label=name[:24], clock=arguments.clock)
    note = ", ".join(f"{way} {_memory(step)}" for way, step in ways.items())
    return Comparison(name, peer, "ours", seconds[peer], seconds["ours"], note=note)


def _memory(step: Callable[[], None]) -> str:
    if not torch.cuda.is_available():
        return f"keeps {masks.kept_megabytes(step):.0f} MB for the backward pass"
    torch.cuda.reset_peak_memory_stats()
    step()
    return f"peak {torch.cuda.max_memory_allocated() / 1e6:.0f} MB, with both models"


def _deeplab(arguments: argparse.Namespace, device: torch.device) -> tuple[Callable, Callable]:
    crop = ["INPUT.CROP.SIZE", str(tuple(arguments.size))]  # over which Detectron2's heads pool
    cfg = load_config(str(gbw.CONFIG), ["MODEL.DEVICE", str(device), *crop, *_DEEPLAB])
    adapt_to_machine(cfg)
    ours = build_model(cfg).train()
    cfg.MODEL.META_ARCHITECTURE = "PanopticDeepLab"
    cfg.MODEL.SEM_SEG_HEAD.NAME = "PanopticDeepLabSemSegHead"
    cfg.MODEL.INS_EMBED_HEAD.NAME = "PanopticDeepLabInsEmbedHead"
    theirs = build_model(cfg).train()
    batch = gbw.batch_of(tuple(arguments.size), arguments.batch, arguments.seed)
    return (
        masks.step_of(theirs, lambda: sum(theirs(batch).values())),
        masks.step_of(ours, lambda: sum(ours(batch, branch="source").values())),
    )


def _mask2former(arguments: argparse.Namespace, device: torch.device) -> tuple[Callable, Callable]:
    samples = [masks.sample_of(arguments, arguments.seed + index) for index in range(arguments.batch)]
    labels = masks.labels_of([SegmentTargets.of_labels(x["segment_ids"], x["segment_classes"]) for x in samples])
    labels = {name: [x.to(device) for x in values] for name, values in labels.items()}
    theirs, ours = masks.theirs_of(arguments).to(device), masks.ours_of(arguments, "MODEL.DEVICE", str(device))
    images = torch.stack([x["image"] for x in samples]).float().to(device) / 255
    return (
        masks.step_of(theirs, lambda: theirs(images, **labels).loss),
        masks.step_of(ours, lambda: sum(ours(samples).values())),
    )
