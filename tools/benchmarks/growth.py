"""How time and memory grow with classes, instances, queries and pixels: parts and whole steps at a small and at larger
numbers."""

import argparse
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import torch
from detectron2.modeling import build_model
from torch import Tensor, nn

from gbw_panoptic.data import register_all
from gbw_panoptic.data.targets import panoptic_deeplab_targets
from gbw_panoptic.engine.setup import load_config
from gbw_panoptic.losses import cross_entropy_per_class
from gbw_panoptic.modeling.masks.criterion import SegmentCriterion
from gbw_panoptic.modeling.masks.head import MaskHeadOutput
from gbw_panoptic.modeling.masks.matching import CostWeights
from gbw_panoptic.modeling.post_processing import panoptic_segmentation
from gbw_panoptic.structures.segments import SegmentTargets
from gbw_panoptic.taxonomy import CITYSCAPES
from gbw_panoptic.weighting import ClassWeighting, GradientBasedWeighting

from .gbw import batch_of
from .masks import kept_megabytes, ours_of, sample_of
from .scenes import dense_prediction, street, with_segments
from .step import CONFIGS
from .timing import Comparison, alternate

_THINGS = {"thing_ids": CITYSCAPES.thing_ids}
_STEP = 4  # pixels of the image in one of a predicted mask


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(repeats=3)
    parser.add_argument("--classes", type=int, nargs="+", default=(19, 133, 1000))
    parser.add_argument("--instances", type=int, nargs="+", default=(10, 100, 500))
    parser.add_argument("--queries", type=int, nargs="+", default=(100, 200, 500))
    size = {"type": int, "nargs": 2, "metavar": ("HEIGHT", "WIDTH")}
    parser.add_argument("--size", **size, default=(1024, 2048), help="of instances")
    parser.add_argument("--loss-size", **size, default=(128, 256), help="of classes and queries")
    parser.add_argument("--points", type=int, default=12544, help="MODEL.MASK2FORMER.NUM_POINTS (default %(default)s)")


def main(arguments: argparse.Namespace) -> Iterator[Comparison]:
    size, loss_size = tuple(arguments.size), tuple(arguments.loss_size)
    half = tuple(length // 2 for length in size)
    register_all()
    parts = (
        ("Step of Panoptic-DeepLab R18, batch 1,", "classes", arguments.classes, partial(_deeplab_step, loss_size)),
        ("Semantic loss and its gradient", "classes", arguments.classes, partial(_loss, loss_size, None)),
        ("Semantic loss with GBW's class gradients", "classes", arguments.classes, partial(_loss, loss_size, "logits")),
        ("Training targets of Panoptic-DeepLab", "instances", arguments.instances, partial(_targets, size)),
        ("Post-processing of Panoptic-DeepLab", "centres", arguments.instances, partial(_post_processing, size)),
        ("Mask2Former's losses, 2 sets", "queries", arguments.queries, partial(_queries, arguments)),
        ("Mask2Former's losses, 2 sets, 500 queries", "segments", arguments.instances, partial(_segments, arguments)),
        ("Step of Mask2Former Swin-T, batch 1,", "queries", arguments.queries, partial(_mask2former_step, arguments)),
    )
    for name, unit, numbers, build in parts:
        where = _by(loss_size if unit in ("classes", "queries", "segments") else size)
        yield from _grow(f"{name} at {where}", unit, numbers, build, arguments)
    count = arguments.instances[0]
    ways = {half: _post_processing(half, count, arguments.seed), size: _post_processing(size, count, arguments.seed)}
    seconds = alternate({_by(s): way for s, way in ways.items()}, repeats=arguments.repeats, clock=arguments.clock)
    yield Comparison(f"Post-processing, {count} centres", _by(half), _by(size), seconds[_by(half)], seconds[_by(size)],
                     note="4.0 times as many pixels")  # fmt: skip
    larger = tuple(2 * length for length in loss_size)
    ways = {_by(s): _deeplab_step(s, CITYSCAPES.num_classes, arguments.seed) for s in (loss_size, larger)}
    seconds = alternate(ways, repeats=arguments.repeats, clock=arguments.clock)
    yield Comparison("Step of Panoptic-DeepLab R18, batch 1", *ways, *seconds.values(),
                     note="4.0 times as many pixels" + _memory(*ways.values()))  # fmt: skip


def _by(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"


def _grow(
    name: str, unit: str, numbers: Sequence[int], build: Callable[[int, int], Callable], arguments: argparse.Namespace
) -> Iterator[Comparison]:
    """The least number against each larger one."""
    ways = {f"{number} {unit}": build(number, arguments.seed) for number in sorted(set(numbers))}
    seconds = alternate(ways, repeats=arguments.repeats, clock=arguments.clock, label=name)
    (first, base), *larger = seconds.items()
    for way, runs in larger:
        times = int(way.split()[0]) / int(first.split()[0])
        memory = _memory(ways[first], ways[way]) if name.startswith(("Step", "Semantic", "Mask2Former")) else ""
        yield Comparison(name, first, way, base, runs, note=f"{times:.1f} times as many {unit}{memory}")


def _memory(*ways: Callable) -> str:
    return "; keeps {:.0f} and {:.0f} MB".format(*map(kept_megabytes, ways))


def _deeplab_step(size: tuple[int, int], classes: int, seed: int) -> Callable[[], None]:
    """Forward, losses, backward of a network that predicts so many classes; GBW weights the semantic head."""
    model = build_model(
        load_config(str(CONFIGS / "streets/source_only.yaml"), ["MODEL.DEVICE", "cpu", "MODEL.WEIGHTS", ""])
    ).train()
    head, model.num_classes = model.sem_seg_head, classes
    head.predictor = nn.Conv2d(head.predictor.in_channels, classes, 1)
    weightings = {name: ClassWeighting(num_classes=classes) for name in model.weightings}
    weightings["sem_seg"] = GradientBasedWeighting(num_classes=classes, lam=0.1, gradient="logits")
    model.weightings = nn.ModuleDict(weightings)
    (sample,) = batch_of(size, 1, seed)
    sample["sem_seg"] = torch.randint(0, classes, size, generator=torch.Generator().manual_seed(seed))
    return partial(_backward, model, [sample])


def _mask2former_step(arguments: argparse.Namespace, queries: int, seed: int) -> Callable[[], None]:
    options = argparse.Namespace(
        size=arguments.loss_size, things=12, queries=queries, points=arguments.points, seed=seed
    )
    return partial(_backward, ours_of(options), [sample_of(options, seed)])


def _backward(model: nn.Module, samples: list[dict]) -> None:
    model.zero_grad()
    sum(model(samples).values()).backward()


def _loss(size: tuple[int, int], gradient: str | None, classes: int, seed: int) -> Callable[[], None]:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(1, classes, *size, generator=generator).requires_grad_()
    labels = torch.randint(0, classes, (1, *size), generator=generator)
    return lambda: cross_entropy_per_class(logits, labels, gradient=gradient).total.sum().backward()


def _targets(size: tuple[int, int], instances: int, seed: int) -> Callable[[], dict]:
    ids, segments = with_segments(street(size, things=instances, seed=seed))
    return lambda: panoptic_deeplab_targets(ids, segments, **_THINGS, ignore_label=CITYSCAPES.ignore_label, sigma=8)


def _post_processing(size: tuple[int, int], centers: int, seed: int) -> Callable[[], Tensor]:
    prediction = dense_prediction(size, centers=centers, seed=seed)
    options = {"label_divisor": CITYSCAPES.label_divisor, "stuff_area": 2048, "void_label": -1, "top_k": centers + 1}
    return lambda: panoptic_segmentation(*prediction, **_THINGS, **options)


def _queries(arguments: argparse.Namespace, queries: int, seed: int) -> Callable[[], None]:
    sample = sample_of(argparse.Namespace(size=arguments.loss_size, things=12), seed)
    return _mask_losses(
        arguments, queries, SegmentTargets.of_labels(sample["segment_ids"], sample["segment_classes"]), seed
    )


def _segments(arguments: argparse.Namespace, segments: int, seed: int) -> Callable[[], None]:
    """Of squares of 8 pixels."""
    generator, (height, width) = torch.Generator().manual_seed(seed), arguments.loss_size
    ids = torch.randint(0, segments, (height // 8, width // 8), generator=generator)
    masks = ids.repeat_interleave(8, 0).repeat_interleave(8, 1) == torch.arange(segments).view(-1, 1, 1)
    classes, valid = torch.arange(segments) % CITYSCAPES.num_classes, torch.ones(masks.shape[1:], dtype=torch.bool)
    return _mask_losses(
        arguments, 500, SegmentTargets(masks, classes, valid, torch.ones(segments), valid.float()), seed
    )


def _mask_losses(arguments: argparse.Namespace, queries: int, targets: SegmentTargets, seed: int) -> Callable[[], None]:
    size = tuple(arguments.loss_size)
    criterion = SegmentCriterion(
        num_classes=CITYSCAPES.num_classes, no_object_weight=0.1, num_points=arguments.points, oversample=3.0,
        importance=0.75, min_confidence=0.0, loss_weights=CostWeights(classification=2.0, mask=5.0, dice=5.0),
    )  # fmt: skip
    generator = torch.Generator().manual_seed(seed)
    shapes = ((1, queries, CITYSCAPES.num_classes + 1), (1, queries, *(length // _STEP for length in size)))
    logits, masks = (
        tuple(torch.randn(shape, generator=generator).requires_grad_() for _ in range(2)) for shape in shapes
    )
    output = MaskHeadOutput(logits, masks, torch.zeros(1, queries, 1))
    return partial(_step, criterion, output, [targets], size)


def _step(
    criterion: SegmentCriterion, output: MaskHeadOutput, targets: list[SegmentTargets], size: tuple[int, int]
) -> None:
    none = dict.fromkeys(("classification", "mask", "dice"))
    losses = criterion(output, targets, padded_size=size, gradients=none, class_parameters=())
    sum(loss.total.sum() for loss in losses.values()).backward()
