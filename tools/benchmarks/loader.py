"""Training samples per second of the source loader against Detectron2's mapper and loader, in one process."""

import argparse
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from statistics import median

from detectron2.data import DatasetCatalog, build_detection_train_loader
from detectron2.data.samplers import TrainingSampler
from detectron2.projects.panoptic_deeplab import PanopticDeeplabDatasetMapper

from gbw_panoptic.data import register_all
from gbw_panoptic.data.loader import build_train_loader
from gbw_panoptic.data.preparation import prepare
from gbw_panoptic.engine.setup import load_config
from gbw_panoptic.streets import generate

from .timing import Comparison, compare

_CONFIG = Path(__file__).resolve().parents[2] / "configs/synthia_to_cityscapes/panoptic_deeplab_R50_source_only.yaml"
#: What Detectron2's mapper cannot do is off for the comparison of equal work.
_PLAIN = ("INPUT.CROP.SINGLE_CATEGORY_MAX_AREA", 1.0, "DATALOADER.RARE_CLASS_SAMPLING.ENABLED", False)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--root", help="prepared data sets; default: Streets of --size, generated for the occasion")
    parser.add_argument("--size", type=int, nargs=2, default=(760, 1280), metavar=("HEIGHT", "WIDTH"), help="SYNTHIA's")
    parser.add_argument("--crop", type=int, nargs=2, default=(512, 512), metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--images", type=int, default=8, help="samples per run, and files generated")


def main(arguments: argparse.Namespace) -> Iterator[Comparison]:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(arguments.root or folder)
        if arguments.root is None:
            generate(
                root, size=tuple(arguments.size), source=arguments.images, target_train=0, target_val=0,
                seed=arguments.seed, formats=("synthia",),
            )  # fmt: skip
            prepare("synthia", root, workers=1)
        register_all(str(root))
        try:
            yield from _compare(arguments)
        finally:
            register_all()


def _compare(arguments: argparse.Namespace) -> Iterator[Comparison]:
    size = f"a {arguments.crop[0]}x{arguments.crop[1]} crop of {arguments.size[0]}x{arguments.size[1]}"
    with tempfile.TemporaryDirectory() as cache:
        cases = (
            (f"Source sample, {size}", _PLAIN), ("the same with rare-class sampling", ()),
            ("the same with DATALOADER.RAW_CACHE, filled", (*_PLAIN, "DATALOADER.RAW_CACHE", cache)),
        )  # fmt: skip
        yield from _cases(arguments, cases)


def _cases(arguments: argparse.Namespace, cases: tuple[tuple[str, tuple], ...]) -> Iterator[Comparison]:
    for name, options in cases:
        comparison = compare(
            name, reference=("Detectron2", _samples(_detectron2_loader, arguments)),
            ours=_samples(build_train_loader, arguments, *options), arguments=arguments, units=arguments.images,
        )  # fmt: skip
        theirs, ours = (1 / median(s) for s in (comparison.reference_seconds, comparison.ours_seconds))
        note = f"{theirs:.1f} and {ours:.1f} samples/s: image and all targets, files decoded anew, no workers"
        yield replace(comparison, note=note)


def _samples(build: Callable, arguments: argparse.Namespace, *options) -> Callable[[], list]:
    """What draws ``--images`` samples from the loader that ``build`` makes of the configuration, going on every
    time."""
    common = (
        "INPUT.CROP.SIZE", tuple(arguments.crop), "INPUT.MIN_SIZE_TRAIN", (arguments.size[0],),
        "INPUT.MAX_SIZE_TRAIN", arguments.size[1], "DATALOADER.NUM_WORKERS", 0, "SOLVER.IMS_PER_BATCH", 1,
        "SEED", arguments.seed,
    )  # fmt: skip
    batches = iter(build(load_config(str(_CONFIG), list(map(str, (*common, *options))))))
    return lambda: list(islice(batches, arguments.images))


def _detectron2_loader(cfg):
    records = DatasetCatalog.get(cfg.DATASETS.TRAIN[0])
    return build_detection_train_loader(
        records, mapper=PanopticDeeplabDatasetMapper(cfg), sampler=TrainingSampler(len(records), seed=cfg.SEED),
        total_batch_size=1, aspect_ratio_grouping=False, num_workers=0,
    )  # fmt: skip
