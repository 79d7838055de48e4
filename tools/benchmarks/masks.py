"""Mask2Former: losses with matching, and a whole training step, against transformers' own of the same size."""

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from gbw_panoptic.data import register_all
from gbw_panoptic.engine.setup import adapt_to_machine, load_config
from gbw_panoptic.modeling.masks.head import MaskHeadOutput
from gbw_panoptic.structures.segments import SegmentTargets
from gbw_panoptic.taxonomy import CITYSCAPES

from .scenes import street
from .timing import Comparison, alternate

_CONFIG = Path(__file__).resolve().parents[2] / "configs/synthia_to_cityscapes/mask2former_swin_t_source_only.yaml"
_GBW = ("WEIGHTING.CLASSIFICATION", "gbw", "WEIGHTING.MASK", "gbw")
_FACTORS = {"cross_entropy": 2.0, "mask": 5.0, "dice": 5.0}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--size", type=int, nargs=2, default=(256, 512), metavar=("HEIGHT", "WIDTH"))
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--things", type=int, default=12, help="instances in an image (default %(default)s)")
    parser.add_argument("--queries", type=int, default=100, help="of both sides (default %(default)s)")
    parser.add_argument("--points", type=int, default=12544, help="MODEL.MASK2FORMER.NUM_POINTS (default %(default)s)")


def main(arguments: argparse.Namespace) -> Iterator[Comparison]:
    register_all()
    samples = [sample_of(arguments, arguments.seed + index) for index in range(arguments.batch)]
    targets = [SegmentTargets.of_labels(x["segment_ids"], x["segment_classes"]) for x in samples]
    theirs, ours, weighted = theirs_of(arguments), ours_of(arguments), ours_of(arguments, *_GBW)
    where = f"Swin-T at {arguments.size[0]}x{arguments.size[1]}, batch {arguments.batch}, {arguments.queries} queries"
    output = _output(ours, samples)
    sides = {
        "transformers": lambda: _their_losses(theirs, output, targets),
        "ours": lambda: _our_losses(ours, output, targets, arguments.size),
        "gbw": lambda: _our_losses(weighted, output, targets, arguments.size),
    }
    yield from _compare(f"Mask2Former's losses and their gradients, {where}", sides, arguments)
    images, steps = torch.stack([x["image"] for x in samples]).float(), {}
    steps["transformers"] = step_of(theirs, lambda: theirs(images / 255, **labels_of(targets)).loss)
    steps["ours"] = step_of(ours, lambda: sum(ours(samples).values()))
    steps["gbw"] = step_of(weighted, lambda: sum(weighted(samples).values()))
    yield from _compare(f"Step of Mask2Former (forward, losses, backward, AdamW), {where}", steps, arguments)


def _compare(name: str, sides: dict[str, Callable], arguments: argparse.Namespace) -> Iterator[Comparison]:
    seconds = alternate(sides, repeats=arguments.repeats, label=name[:20], clock=arguments.clock)
    kept = {side: f"{side} {kept_megabytes(run):.0f} MB" for side, run in sides.items()}
    note = "kept for the backward pass: {}, {}".format
    yield Comparison(name, "transformers", "ours", seconds["transformers"], seconds["ours"],
                     note=note(kept["transformers"], kept["ours"]))  # fmt: skip
    yield Comparison(f"{name}, GBW on all", "unweighted", "GBW", seconds["ours"], seconds["gbw"],
                     note=note(kept["ours"], kept["gbw"]))  # fmt: skip


def kept_megabytes(run: Callable) -> float:
    """Distinct memory that autograd keeps for the backward pass, parameters included."""
    storages: dict[int, int] = {}

    def keep(x: Tensor) -> Tensor:
        storages[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
        return x

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
        run()
    return sum(storages.values()) / 1e6


def sample_of(arguments: argparse.Namespace, seed: int) -> dict[str, Tensor]:
    """Noise with the labels of a generated street."""
    panoptic = torch.from_numpy(street(tuple(arguments.size), things=arguments.things, seed=seed)).long()
    values, ids = panoptic.clamp(min=-1).unique(return_inverse=True)
    void = int(values[0] < 0)
    generator = torch.Generator().manual_seed(seed)
    image = torch.randint(0, 256, (3, *arguments.size), dtype=torch.uint8, generator=generator)
    return {"image": image, "segment_ids": ids + 1 - void, "segment_classes": values[void:] // 1000}


def ours_of(arguments: argparse.Namespace, *options: str) -> nn.Module:
    from detectron2.modeling import build_model

    size = (
        "MODEL.MASK2FORMER.NUM_POINTS", str(arguments.points), "MODEL.MASK2FORMER.NUM_QUERIES", str(arguments.queries),
    )  # fmt: skip
    cfg = load_config(str(_CONFIG), ["MODEL.DEVICE", "cpu", *size, *options])
    adapt_to_machine(cfg)
    torch.manual_seed(arguments.seed)
    return build_model(cfg).train()


def theirs_of(arguments: argparse.Namespace) -> nn.Module:
    from transformers import Mask2FormerConfig, Mask2FormerForUniversalSegmentation, SwinConfig

    swin = SwinConfig(drop_path_rate=0.3, out_features=["stage1", "stage2", "stage3", "stage4"])
    config = Mask2FormerConfig(
        backbone_config=swin,
        num_labels=CITYSCAPES.num_classes,
        num_queries=arguments.queries,
        train_num_points=arguments.points,
    )
    torch.manual_seed(arguments.seed)
    return Mask2FormerForUniversalSegmentation(config).train()


def _output(model: nn.Module, samples: list[dict]) -> MaskHeadOutput:
    """Predictions cut off from the network."""
    with torch.no_grad():
        output = model.mask_head(model.backbone(model.images(samples).tensor))
    sets = ([x.clone().requires_grad_() for x in y] for y in (output.class_logits, output.mask_logits))
    return MaskHeadOutput(*map(tuple, sets), output.hidden)


def labels_of(targets: list[SegmentTargets]) -> dict[str, list[Tensor]]:
    return {"mask_labels": [x.masks.float() for x in targets], "class_labels": [x.classes for x in targets]}


def _their_losses(model: nn.Module, output: MaskHeadOutput, targets: list[SegmentTargets]) -> None:
    auxiliary = [
        {"class_queries_logits": c, "masks_queries_logits": m}
        for c, m in zip(output.class_logits[:-1], output.mask_logits[:-1])
    ]
    losses = model.criterion(
        output.mask_logits[-1], output.class_logits[-1], **labels_of(targets), auxiliary_predictions=auxiliary
    )
    sum(_FACTORS[name.removeprefix("loss_").rstrip("_0123456789")] * value for name, value in losses.items()).backward()


def _our_losses(model: nn.Module, output: MaskHeadOutput, targets: list[SegmentTargets], size: tuple[int, int]) -> None:
    sum(model.losses(output, [{"segments": x} for x in targets], "source", padded_size=tuple(size)).values()).backward()


def step_of(model: nn.Module, loss: Callable[[], Tensor]) -> Callable[[], None]:
    optimizer = torch.optim.AdamW(model.parameters(), 1e-4)

    def step() -> None:
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()

    return step
