"""What Detectron2's ResNets and heads cannot be built with, in words instead of their assertions; of :mod:`.validation`."""

import importlib.util
from typing import Iterator

_RESNETS = ("build_resnet_backbone", "build_resnet_deeplab_backbone")
_GROUPS = 32  # of Detectron2's GN


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
        ("RES5_DILATION", not deeplab or options.RES4_DILATION == 1 or options.RES5_DILATION == 4, "4 with RES4_DILATION 2"),
        ("DEFORM_ON_PER_STAGE", not (deformable and shallow), f"False in all stages {depth}"),
        ("DEFORM_ON_PER_STAGE", not deformable or compiled, "False where Detectron2 has no compiled operations"),
    ):
        if not ok:
            yield f"MODEL.RESNETS.{key}: expected {expected}, found {options[key]}; change it."
    if options.NORM == "GN":
        width = options.NUM_GROUPS * options.WIDTH_PER_GROUP
        yield from _groups("MODEL.RESNETS.STEM_OUT_CHANNELS", options.STEM_OUT_CHANNELS)
        yield from _groups("MODEL.RESNETS.RES2_OUT_CHANNELS", options.RES2_OUT_CHANNELS)
        yield from _groups("MODEL.RESNETS.WIDTH_PER_GROUP", 64 if shallow else width)


def head_problems(cfg, node: str) -> Iterator[str]:
    """One sentence for each setting of the head MODEL.<node> that it does not take."""
    options, key = cfg.MODEL[node], f"MODEL.{node}"
    if options.NAME.startswith("PerClass"):  # Detectron2's decoder
        expected = len(options.IN_FEATURES) - 1
        if len(options.PROJECT_CHANNELS) != expected:
            yield (
                f"{key}.PROJECT_CHANNELS: expected {expected} numbers, one for each of the {expected + 1} IN_FEATURES but the "
                f"coarsest, found {list(options.PROJECT_CHANNELS)}; correct one of them."
            )
        if len(options.ASPP_DILATIONS) != 3:
            yield f"{key}.ASPP_DILATIONS: expected 3 with {options.NAME}, found {list(options.ASPP_DILATIONS)}; correct them."
        widths = {name: [options[name]] for name in ("CONVS_DIM", "HEAD_CHANNELS", "ASPP_CHANNELS")}
        widths["PROJECT_CHANNELS"] = options.PROJECT_CHANNELS
    else:
        widths = {"ASPP_CHANNELS": [options.ASPP_CHANNELS]}
    if options.NORM == "GN":
        for name, channels in widths.items():
            for width in channels:
                yield from _groups(f"{key}.{name}", width)


def _groups(key: str, channels: int) -> Iterator[str]:
    if channels % _GROUPS:
        yield f"{key}: expected a multiple of {_GROUPS} with NORM GN, found {channels}; change it, or take another NORM."
