"""Contradictions between the meta-architecture and other settings; a part of :mod:`gbw_panoptic.validation`."""

from typing import Iterator

from detectron2.modeling import BACKBONE_REGISTRY

from .host_validation import head_problems, resnet_problems
from .published.packaged import PACKAGED

PANOPTIC_DEEPLAB, MASK2FORMER = "DomainAdaptivePanopticDeepLab", "DomainAdaptiveMask2Former"
ARCHITECTURES = (PANOPTIC_DEEPLAB, MASK2FORMER)
SEM_SEG_HEADS = ("PerClassSemSegHead", "DAFormerSemSegHead")
INS_EMBED_HEADS = ("PerClassInsEmbedHead", "DAFormerInsEmbedHead")


def architecture_problems(cfg) -> Iterator[str]:
    """One sentence for each setting that contradicts MODEL.META_ARCHITECTURE."""
    name = cfg.MODEL.META_ARCHITECTURE
    known = [known for known, _ in BACKBONE_REGISTRY if "fpn" not in known]
    if cfg.MODEL.BACKBONE.NAME not in known:
        expected = ", ".join(known)
        yield f"MODEL.BACKBONE.NAME: expected one of {expected}, found '{cfg.MODEL.BACKBONE.NAME}'; set it to one of them."
    yield from resnet_problems(cfg)
    if name not in ARCHITECTURES:
        yield f"MODEL.META_ARCHITECTURE: expected one of {', '.join(ARCHITECTURES)}, found '{name}'; set it to one of them."
    elif name == MASK2FORMER:
        for check in (_without_dense_heads, _switches, _sizes):
            yield from check(cfg)
    else:
        for node, known in (("SEM_SEG_HEAD", SEM_SEG_HEADS), ("INS_EMBED_HEAD", INS_EMBED_HEADS)):
            if cfg.MODEL[node].NAME not in known:
                yield f"MODEL.{node}.NAME: expected {' or '.join(known)}, found '{cfg.MODEL[node].NAME}'; set it to one of them."
            if node == "SEM_SEG_HEAD" or cfg.MODEL.TASK == "panoptic":
                yield from head_problems(cfg, node)
        for key in ("CLASSIFICATION", "MASK"):
            if cfg.WEIGHTING[key] != "none":
                yield (
                    f"WEIGHTING.{key}: expected none with {name}, which predicts no masks, found '{cfg.WEIGHTING[key]}'; weight "
                    "its heads by WEIGHTING.SEMANTIC, CENTER and OFFSET."
                )
        if cfg.SELF_TRAINING.SEGMENTS.BURN_IN_ITERS:
            yield (
                f"SELF_TRAINING.SEGMENTS.BURN_IN_ITERS: expected 0 with {name}, whose self-training is of pixels, found "
                f"{cfg.SELF_TRAINING.SEGMENTS.BURN_IN_ITERS}; set it to 0, or MODEL.META_ARCHITECTURE {MASK2FORMER}."
            )


def weights_problems(cfg) -> Iterator[str]:
    """One sentence for each setting that weights of a package (``package://...``) were not trained with."""
    weights = PACKAGED.get(cfg.MODEL.WEIGHTS)
    if weights is None:
        return
    for key, found, expected in (
        ("MODEL.BACKBONE.NAME", cfg.MODEL.BACKBONE.NAME, "build_timm_backbone"),
        ("MODEL.TIMM.NAME", cfg.MODEL.TIMM.NAME, weights.timm_name),
        ("INPUT.FORMAT", cfg.INPUT.FORMAT, weights.image_format),
        ("MODEL.PIXEL_MEAN", list(cfg.MODEL.PIXEL_MEAN), list(weights.pixel_mean)),
        ("MODEL.PIXEL_STD", list(cfg.MODEL.PIXEL_STD), list(weights.pixel_std)),
    ):
        if found != expected:
            yield f"{key}: expected {expected}, with which {cfg.MODEL.WEIGHTS} was trained, found {found}; set it in the configuration."


def _without_dense_heads(cfg) -> Iterator[str]:
    for key in ("SEMANTIC", "CENTER", "OFFSET"):
        if cfg.WEIGHTING[key] != "none":
            yield (
                f"WEIGHTING.{key}: expected none with {MASK2FORMER}, which has no such head, found '{cfg.WEIGHTING[key]}'; "
                "weight its losses by WEIGHTING.CLASSIFICATION and MASK."
            )
    for key, tau in (("TEST.TAU", cfg.TEST.TAU), ("SELF_TRAINING.TAU", cfg.SELF_TRAINING.TAU)):
        if tau:
            yield f"{key}: expected 0 with {MASK2FORMER}, which decides on segments, not on logits of pixels, found {tau}; set it to 0."
    if cfg.MODEL.SEM_SEG_HEAD.LOSS_TYPE != "cross_entropy":
        yield (
            f"MODEL.SEM_SEG_HEAD.LOSS_TYPE: expected cross_entropy with {MASK2FORMER}, which has no loss of pixels to be "
            f"shaped, found '{cfg.MODEL.SEM_SEG_HEAD.LOSS_TYPE}'; set it to cross_entropy."
        )
    if cfg.WEIGHTING.TARGET == "gbw" and cfg.GBW.GRADIENT == "last_layer" and cfg.TRAINER.NAME == "EntropyMinimizationTrainer":
        yield (
            f"GBW.GRADIENT: expected logits or pixel with WEIGHTING.TARGET gbw and {MASK2FORMER}, whose semantic output is no "
            "convolution's, found 'last_layer'; choose one of them."
        )
    if cfg.TRAINER.NAME == "SelfTrainingTrainer" and cfg.SELF_TRAINING.SELECTION != "quality":
        yield (
            f"SELF_TRAINING.SELECTION: expected quality, the default, with {MASK2FORMER}, whose pseudo labels are segments, "
            f"found '{cfg.SELF_TRAINING.SELECTION}'; set it to quality (SELF_TRAINING.SEGMENTS says what is learnt from)."
        )
    if cfg.TRAINER.NAME == "ActiveTrainer":
        yield (
            f"TRAINER.NAME: expected one that trains on whole segments with {MASK2FORMER}, found ActiveTrainer, whose bought "
            f"pixels and squares are none; set MODEL.META_ARCHITECTURE {PANOPTIC_DEEPLAB}, or choose another trainer."
        )


def _switches(cfg) -> Iterator[str]:
    for key, on in (
        ("MODEL.AUXILIARY_HEAD.ENABLED", cfg.MODEL.AUXILIARY_HEAD.ENABLED),
        ("ADVERSARIAL.ALIGN_INSTANCES", cfg.ADVERSARIAL.ALIGN_INSTANCES),
        ("SELF_TRAINING.INSTANCE_LOSSES", cfg.SELF_TRAINING.INSTANCE_LOSSES),
    ):
        if on:
            yield f"{key}: expected False with {MASK2FORMER}, which has no such heads, found True; set it to False."


def _sizes(cfg) -> Iterator[str]:
    options = cfg.MODEL.MASK2FORMER
    if options.HIDDEN_DIM % options.NUM_HEADS:
        yield (
            f"MODEL.MASK2FORMER.HIDDEN_DIM: expected a multiple of NUM_HEADS {options.NUM_HEADS}, found {options.HIDDEN_DIM}; "
            "change it."
        )
