"""Post-processing (centres, grouping, majority vote, merge) against Detectron2's, on one street with many centres."""

import argparse
from collections.abc import Iterator

import torch

from gbw_panoptic.modeling.post_processing import panoptic_segmentation
from gbw_panoptic.taxonomy import CITYSCAPES

from .scenes import dense_prediction
from .timing import Comparison, compare

_OPTIONS = {
    "thing_ids": CITYSCAPES.thing_ids, "label_divisor": CITYSCAPES.label_divisor, "stuff_area": 2048, "void_label": -1,
}  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(repeats=5)  # Detectron2's takes seconds and gigabytes
    parser.add_argument("--size", type=int, nargs=2, default=(1024, 2048), metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--centers", type=int, default=200)


def main(arguments: argparse.Namespace) -> Iterator[Comparison]:
    from detectron2.projects.panoptic_deeplab.post_processing import get_panoptic_segmentation

    size = tuple(arguments.size)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    sem_seg, center, offset = (
        t.to(device) for t in dense_prediction(size, centers=arguments.centers, seed=arguments.seed)
    )
    options = {**_OPTIONS, "top_k": arguments.centers + 1}  # keeps all of them

    def detectron2():
        return get_panoptic_segmentation(sem_seg[None], center[None].clone(), offset, **options)[0][0]

    def ours():
        return panoptic_segmentation(sem_seg, center, offset, **options)

    share = 100 * torch.isin(sem_seg, torch.tensor(CITYSCAPES.thing_ids, device=device)).float().mean()
    yield compare(
        f"Post-processing at {size[0]}x{size[1]} on {device}", reference=("Detectron2", detectron2), ours=ours,
        same=torch.equal, arguments=arguments, goal=10, note=f"{arguments.centers} centres, {share:.0f} % thing pixels",
    )  # fmt: skip
