"""Training targets of Panoptic-DeepLab against Detectron2's generator, on one street with many instances."""

import argparse
from collections.abc import Iterator

import torch

from gbw_panoptic.data.targets import panoptic_deeplab_targets
from gbw_panoptic.taxonomy import CITYSCAPES

from .scenes import street, with_segments
from .timing import Comparison, compare


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--size", type=int, nargs=2, default=(1024, 2048), metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--instances", type=int, default=40)


def main(arguments: argparse.Namespace) -> Iterator[Comparison]:
    from detectron2.projects.panoptic_deeplab.target_generator import PanopticDeepLabTargetGenerator

    size = tuple(arguments.size)
    ids, segments = with_segments(street(size, things=arguments.instances, seed=arguments.seed))
    # values of Detectron2's Cityscapes configuration
    options = {"sigma": 10, "ignore_stuff_in_offset": True, "small_instance_area": 4096, "small_instance_weight": 3}
    generator = PanopticDeepLabTargetGenerator(CITYSCAPES.ignore_label, CITYSCAPES.thing_ids, **options)

    def ours():
        return panoptic_deeplab_targets(
            ids, segments, thing_ids=CITYSCAPES.thing_ids, ignore_label=CITYSCAPES.ignore_label, **options
        )

    def same(expected: dict, found: dict) -> bool:
        return all(torch.equal(found[k], value) for k, value in expected.items() if isinstance(value, torch.Tensor))

    yield compare(
        f"Targets at {size[0]}x{size[1]}", reference=("Detectron2", lambda: generator(ids, segments)), ours=ours,
        same=same, arguments=arguments, goal=3, note=f"{arguments.instances} instances, {len(segments)} segments",
    )  # fmt: skip
