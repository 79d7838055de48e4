"""The network: what its architecture has no use for, and what Detectron2's parts cannot be built with."""

import importlib.util
from typing import Iterator

from detectron2.modeling import META_ARCH_REGISTRY

from ...modeling.eomt import DomainAdaptiveEoMT
from ...packaged_weights import PACKAGED
from ...weighting import WEIGHTED_KEYS
from ..kinds import refusal, value_of

_RESNETS = ("build_resnet_backbone", "build_resnet_deeplab_backbone")
_GROUPS = 32  # of Detectron2's GN


def learns_segments(cfg) -> bool:
    """Whether the architecture is trained on segments rather than on a label for each pixel."""
    return META_ARCH_REGISTRY.get(cfg.MODEL.META_ARCHITECTURE).learns_segments


def architecture_problems(cfg) -> Iterator[str]:
    """One sentence for each setting that contradicts MODEL.META_ARCHITECTURE."""
    name, own = cfg.MODEL.META_ARCHITECTURE, META_ARCH_REGISTRY.get(cfg.MODEL.META_ARCHITECTURE).weighted_keys
    for key in WEIGHTED_KEYS:
        if key not in (*own, "TARGET") and cfg.WEIGHTING[key] != "none":
            remedy = f"weight its losses by WEIGHTING.{' and '.join(own)}"
            yield refusal(cfg, f"WEIGHTING.{key}", f"none with {name}, which has no such loss", remedy)
    yield from _segment_problems(cfg) if learns_segments(cfg) else _pixel_problems(cfg)
    if issubclass(META_ARCH_REGISTRY.get(name), DomainAdaptiveEoMT):
        yield from _encoder_only_problems(cfg)


def _encoder_only_problems(cfg) -> Iterator[str]:
    """Of an architecture that runs the blocks of its backbone itself."""
    name = cfg.MODEL.META_ARCHITECTURE
    if cfg.MODEL.BACKBONE.NAME != "build_vit_backbone":
        yield refusal(cfg, "MODEL.BACKBONE.NAME", f"build_vit_backbone with {name}", "take it, or another architecture")
    for key in ("SELF_TRAINING.FEATURE_DISTANCE.ENABLED", "MODEL.COMPILE"):
        if value_of(cfg, key):
            yield refusal(cfg, key, f"False with {name}, whose backbone gives no feature maps", "set it to False")


def _pixel_problems(cfg) -> Iterator[str]:
    if cfg.SELF_TRAINING.SEGMENTS.BURN_IN_ITERS:
        yield refusal(
            cfg, "SELF_TRAINING.SEGMENTS.BURN_IN_ITERS",
            f"0 with {cfg.MODEL.META_ARCHITECTURE}, whose self-training is of pixels",
            "set it to 0, or take a MODEL.META_ARCHITECTURE that learns segments",
        )  # fmt: skip
    if cfg.SELF_TRAINING.SEGMENTS.SOURCE_MASK_FACTOR != 1:
        yield refusal(
            cfg, "SELF_TRAINING.SEGMENTS.SOURCE_MASK_FACTOR",
            f"1 with {cfg.MODEL.META_ARCHITECTURE}, which has no losses of masks", "set it to 1",
        )  # fmt: skip
    yield from head_problems(cfg, "SEM_SEG_HEAD")
    if cfg.MODEL.TASK == "panoptic":
        yield from head_problems(cfg, "INS_EMBED_HEAD")


def _segment_problems(cfg) -> Iterator[str]:
    name = cfg.MODEL.META_ARCHITECTURE
    for key in ("TEST.TAU", "SELF_TRAINING.TAU", "SELF_TRAINING.LOCATION_PRIOR"):
        if value_of(cfg, key):
            yield refusal(cfg, key, f"0 with {name}, which decides on segments, not on logits of pixels", "set it to 0")
    if cfg.MODEL.SEM_SEG_HEAD.LOSS_TYPE != "cross_entropy":
        yield refusal(
            cfg, "MODEL.SEM_SEG_HEAD.LOSS_TYPE", f"cross_entropy with {name}, which has no loss of pixels to be shaped",
            "set it to cross_entropy",
        )  # fmt: skip
    for key in (
        "MODEL.AUXILIARY_HEAD.ENABLED", "ADVERSARIAL.ALIGN_INSTANCES", "SELF_TRAINING.INSTANCE_LOSSES",
        "SELF_TRAINING.INSTANCE_MIX.ENABLED",
    ):  # fmt: skip
        if value_of(cfg, key):
            yield refusal(cfg, key, f"False with {name}, which has no such heads", "set it to False")
    options = cfg.MODEL.MASK2FORMER
    if options.HIDDEN_DIM % options.NUM_HEADS:
        yield refusal(cfg, "MODEL.MASK2FORMER.HIDDEN_DIM", f"a multiple of NUM_HEADS {options.NUM_HEADS}", "change it")


def weights_problems(cfg) -> Iterator[str]:
    """One sentence for each setting that weights of a package (``package://...``) were not trained with."""
    weights = PACKAGED.get(cfg.MODEL.WEIGHTS)
    if weights is None:
        return
    for key, expected in (
        ("MODEL.BACKBONE.NAME", "build_timm_backbone"),
        ("MODEL.TIMM.NAME", weights.timm_name),
        ("INPUT.FORMAT", weights.image_format),
        ("MODEL.PIXEL_MEAN", list(weights.pixel_mean)),
        ("MODEL.PIXEL_STD", list(weights.pixel_std)),
    ):
        found = value_of(cfg, key)
        if (list(found) if isinstance(expected, list) else found) != expected:
            yield (
                f"{key}: expected {expected}, with which {cfg.MODEL.WEIGHTS} was trained, found {found}; set it in the "
                "configuration."
            )


def resnet_problems(cfg) -> Iterator[str]:
    """One sentence for each setting of MODEL.RESNETS that the chosen ResNet does not take."""
    if cfg.MODEL.BACKBONE.NAME not in _RESNETS:
        return
    options, deeplab = cfg.MODEL.RESNETS, cfg.MODEL.BACKBONE.NAME == _RESNETS[1]
    shallow, deformable = options.DEPTH in (18, 34), any(options.DEFORM_ON_PER_STAGE)
    compiled = importlib.util.find_spec("detectron2._C") is not None
    depth = f"with DEPTH {options.DEPTH}"
    for key, ok, expected in (
        ("DEPTH", not (deeplab and shallow), f"50, 101 or 152 with {_RESNETS[1]}"),
        ("RES2_OUT_CHANNELS", not shallow or options.RES2_OUT_CHANNELS == 64, f"64 {depth}"),
        ("NUM_GROUPS", not shallow or options.NUM_GROUPS == 1, f"1 {depth}"),
        ("RES5_DILATION", not shallow or options.RES5_DILATION == 1, f"1 {depth}"),
        ("RES5_DILATION", deeplab or options.RES5_DILATION < 4, f"1 or 2 with {_RESNETS[0]}"),
        (
            "RES5_DILATION",
            not deeplab or options.RES4_DILATION == 1 or options.RES5_DILATION == 4,
            "4 with RES4_DILATION 2",
        ),
        ("DEFORM_ON_PER_STAGE", not (deformable and shallow), f"False in all stages {depth}"),
        ("DEFORM_ON_PER_STAGE", not deformable or compiled, "False where Detectron2 has no compiled operations"),
    ):
        if not ok:
            yield refusal(cfg, f"MODEL.RESNETS.{key}", expected, "change it")
    if options.NORM == "GN":
        width = options.NUM_GROUPS * options.WIDTH_PER_GROUP
        yield from _groups("MODEL.RESNETS.STEM_OUT_CHANNELS", options.STEM_OUT_CHANNELS)
        yield from _groups("MODEL.RESNETS.RES2_OUT_CHANNELS", options.RES2_OUT_CHANNELS)
        yield from _groups("MODEL.RESNETS.WIDTH_PER_GROUP", 64 if shallow else width)


def head_problems(cfg, node: str) -> Iterator[str]:
    """One sentence for each setting of the head MODEL.<node> that it does not take."""
    options, key = cfg.MODEL[node], f"MODEL.{node}"
    widths = {"ASPP_CHANNELS": [options.ASPP_CHANNELS]}
    if options.NAME.startswith("PerClass"):  # Detectron2's decoder
        expected = len(options.IN_FEATURES) - 1
        if len(options.PROJECT_CHANNELS) != expected:
            several = f"{expected} numbers, one for each of the {expected + 1} IN_FEATURES but the coarsest"
            yield refusal(cfg, f"{key}.PROJECT_CHANNELS", several, "correct one of them")
        if len(options.ASPP_DILATIONS) != 3:
            yield refusal(cfg, f"{key}.ASPP_DILATIONS", f"3 with {options.NAME}", "correct them")
        widths |= {name: [options[name]] for name in ("CONVS_DIM", "HEAD_CHANNELS")}
        widths["PROJECT_CHANNELS"] = options.PROJECT_CHANNELS
    if options.NORM == "GN":
        for name, channels in widths.items():
            for width in channels:
                yield from _groups(f"{key}.{name}", width)


def _groups(key: str, channels: int) -> Iterator[str]:
    if channels % _GROUPS:
        yield (
            f"{key}: expected a multiple of {_GROUPS} with NORM GN, found {channels}; change it, or take another NORM."
        )
