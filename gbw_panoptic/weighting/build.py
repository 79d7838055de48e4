"""Class weightings and shaped losses from a configuration."""

from typing import Collection, Sequence

import torch
from detectron2.data import MetadataCatalog

from ..data.statistics import ClassStatistics
from ..losses import LOSS_REGISTRY, Focal, LogitAdjustment, LogitAlignment, LossShaping, Seesaw, log_frequencies
from . import (
    STATIC_WEIGHTS,
    WEIGHTING_REGISTRY,
    ClassWeighting,
    GradientBasedWeighting,
    ReleasedGradientWeighting,
    StaticWeighting,
    static_weights,
)


def build_class_weighting(cfg, head: str) -> ClassWeighting:
    """The class weighting of one head (``sem_seg``, ``auxiliary``, ``center``, ``offset``) or, of Mask2Former, of one
    loss (``classification``, ``mask``, ``dice``)."""
    if head in ("sem_seg", "auxiliary"):  # the last layer of the latter is no 1x1 convolution
        gradient = cfg.GBW.GRADIENT if head == "sem_seg" else "logits"
        seen = {"errors": cfg.GBW.ERRORS, "guard": cfg.GBW.GUARD}
        return _build(cfg, "SEMANTIC", gradient=gradient, normalize=cfg.GBW.NORMALIZE, **seen)
    if head == "classification":
        return _build(cfg, "CLASSIFICATION", gradient=cfg.GBW.GRADIENT, normalize=cfg.GBW.NORMALIZE)
    if head in ("mask", "dice"):  # a mask's gradients have either sign, too, and other units
        return _build(cfg, "MASK", gradient="pixel", normalize=True)
    # signed means of a regression's gradients cancel, and its units are not those of cross entropy
    return _build(cfg, {"center": "CENTER", "offset": "OFFSET"}[head], gradient="pixel", normalize=True, things=True)


def build_target_weighting(cfg, *, gradient: str) -> ClassWeighting:
    """The class weighting of a loss on unlabelled target images, by predicted class; its units are not cross
    entropy's."""
    return _build(cfg, "TARGET", gradient=gradient, normalize=True)


def _build(cfg, key: str, *, gradient: str, normalize: bool, things: bool = False, **seen) -> ClassWeighting:
    """The class weighting that WEIGHTING.<key> names; ``things``: of a head that sees things only; ``seen``: what GBW
    sees of errors."""
    taxonomy = MetadataCatalog.get(cfg.DATASETS.TRAIN[0]).taxonomy
    name = cfg.WEIGHTING[key]
    common = {"num_classes": taxonomy.num_classes, "denominator": cfg.WEIGHTING.LOSS_DENOMINATOR}
    if key != "TARGET":  # which is of losses without labels
        common["branches"] = tuple(cfg.WEIGHTING.BRANCHES)
    if name == "none":
        return ClassWeighting(**common)
    if name == "manual":
        return StaticWeighting(weights=torch.tensor(cfg.WEIGHTING.CLASS_WEIGHTS, dtype=torch.float32), **common)
    if name in STATIC_WEIGHTS:
        # the mean of the weights runs over the classes that the head sees
        classes = taxonomy.thing_ids if things else range(taxonomy.num_classes)
        pixels, image_pixels = _source_counts(cfg.DATASETS.TRAIN, classes)
        options = {
            "effective_number": {"share": cfg.WEIGHTING.EFFECTIVE_NUMBER_SHARE},
            "log_inverse": {"k": cfg.WEIGHTING.LOG_INVERSE_K},
        }.get(name, {})
        return StaticWeighting(weights=static_weights(name, pixels, image_pixels, **options), **common)
    if name == "gbw" and key == "SEMANTIC" and cfg.GBW.READING == "released":  # validation refuses it for other losses
        return ReleasedGradientWeighting(lam=cfg.GBW.LAMBDA, **common)
    if name == "gbw":
        scale_free, micro = cfg.GBW.READING == "scale_free", cfg.SOLVER.ACCUMULATION_STEPS
        return GradientBasedWeighting(
            lam=cfg.GBW.LAMBDA,
            gradient=gradient,
            normalize=normalize and not scale_free,
            momentum=cfg.GBW.MOMENTUM,
            warmup_iters=cfg.GBW.WARMUP_ITERS * micro,
            scale_free=scale_free,
            cooldown=(cfg.GBW.COOLDOWN_ITERS * micro, cfg.SOLVER.MAX_ITER * micro),
            **seen,
            **common,
        )
    return WEIGHTING_REGISTRY.get(name)(**common)


def build_log_prior(cfg) -> torch.Tensor | None:
    """[C] log of the class frequencies of the sources, where WEIGHTING.PRIOR names them."""
    if cfg.WEIGHTING.PRIOR == "weights":
        return None
    pixels, _ = _source_counts(cfg.DATASETS.TRAIN, range(cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES))
    return log_frequencies(pixels).float()


def build_loss_shaping(cfg) -> LossShaping:
    """How the semantic head's pixel loss is shaped; hard pixel mining is the head's own matter."""
    options = cfg.MODEL.SEM_SEG_HEAD
    name = options.LOSS_TYPE
    if name in ("cross_entropy", "hard_pixel_mining"):
        return LossShaping()
    if name == "focal":
        return Focal(gamma=options.FOCAL_GAMMA)
    if name == "logit_adjustment":
        pixels, _ = _source_counts(cfg.DATASETS.TRAIN, range(options.NUM_CLASSES))
        return LogitAdjustment(pixels=pixels, tau=options.LOGIT_ADJUSTMENT_TAU)
    if name == "seesaw":
        return Seesaw(num_classes=options.NUM_CLASSES, p=options.SEESAW_P, q=options.SEESAW_Q)
    if name == "blda":
        return LogitAlignment(num_classes=options.NUM_CLASSES, strength=options.BLDA_STRENGTH)
    return LOSS_REGISTRY.get(name)()


def _source_counts(names: Sequence[str], class_ids: Collection[int]) -> tuple[torch.Tensor, torch.Tensor]:
    """Pixels [C] of ``class_ids`` over the data sets ``names``, and [C] these in all images that contain the class."""
    statistics = [
        ClassStatistics.load(metadata.class_statistics, metadata.taxonomy.names).restricted_to(class_ids)
        for metadata in map(MetadataCatalog.get, names)
    ]
    pixels = sum(torch.as_tensor(s.pixels) for s in statistics)
    return pixels, sum(torch.as_tensor(s.image_pixels()) for s in statistics)
