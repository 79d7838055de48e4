"""The one place where a model is put together from its configuration."""

from typing import Collection, Sequence

import torch
from detectron2.data import MetadataCatalog
from detectron2.modeling import build_backbone, build_sem_seg_head
from detectron2.projects.panoptic_deeplab import build_ins_embed_branch

from ..data.statistics import ClassStatistics
from ..errors import UserError
from ..losses import LOSS_TYPES, Focal, LogitAdjustment, LossShaping, Seesaw
from ..taxonomy import Taxonomy
from ..weighting import (
    STATIC_WEIGHTS,
    WEIGHTINGS,
    ClassWeighting,
    GradientBasedWeighting,
    StaticWeighting,
    static_weights,
)
from .outputs import PostProcessing


def panoptic_deeplab_parts(cfg) -> dict:
    """Arguments of :class:`DomainAdaptivePanopticDeepLab`."""
    taxonomy = MetadataCatalog.get(cfg.DATASETS.TRAIN[0]).taxonomy
    backbone = build_backbone(cfg)
    shapes = backbone.output_shape()
    panoptic = cfg.MODEL.TASK == "panoptic"
    options = cfg.MODEL.PANOPTIC_DEEPLAB
    divisibility = options.SIZE_DIVISIBILITY if options.SIZE_DIVISIBILITY > 0 else backbone.size_divisibility
    heads = ("sem_seg", "center", "offset") if panoptic else ("sem_seg",)
    return {
        "backbone": backbone,
        "sem_seg_head": build_sem_seg_head(cfg, shapes),
        "ins_embed_head": build_ins_embed_branch(cfg, shapes) if panoptic else None,
        "weightings": {head: build_class_weighting(cfg, head, taxonomy) for head in heads},
        "loss_weights": {
            "sem_seg": cfg.MODEL.SEM_SEG_HEAD.LOSS_WEIGHT,
            "center": cfg.MODEL.INS_EMBED_HEAD.CENTER_LOSS_WEIGHT,
            "offset": cfg.MODEL.INS_EMBED_HEAD.OFFSET_LOSS_WEIGHT,
        },
        "post_processing": PostProcessing(
            thing_ids=taxonomy.thing_ids,
            label_divisor=taxonomy.label_divisor,
            stuff_area=options.STUFF_AREA,
            threshold=options.CENTER_THRESHOLD,
            nms_kernel=options.NMS_KERNEL,
            top_k=options.TOP_K_INSTANCE,
        ),
        "pixel_mean": tuple(cfg.MODEL.PIXEL_MEAN),
        "pixel_std": tuple(cfg.MODEL.PIXEL_STD),
        "num_classes": taxonomy.num_classes,
        # ASPP and the decoder need whole cells of the coarsest stride they read
        "size_divisibility": max(divisibility, max(shape.stride for shape in shapes.values())),
    }


def build_class_weighting(cfg, head: str, taxonomy: Taxonomy) -> ClassWeighting:
    """The class weighting of one head: ``sem_seg``, ``center`` or ``offset``."""
    key = {"sem_seg": "SEMANTIC", "center": "CENTER", "offset": "OFFSET"}[head]
    name = getattr(cfg.WEIGHTING, key)
    common = {"num_classes": taxonomy.num_classes, "denominator": cfg.WEIGHTING.LOSS_DENOMINATOR}
    if name == "none":
        return ClassWeighting(**common)
    if name == "manual":
        return StaticWeighting(weights=torch.tensor(cfg.WEIGHTING.CLASS_WEIGHTS, dtype=torch.float32), **common)
    if name in STATIC_WEIGHTS:
        # an instance head sees things only: the mean of its weights, too, runs over them
        classes = range(taxonomy.num_classes) if head == "sem_seg" else taxonomy.thing_ids
        pixels, image_pixels = _source_counts(cfg.DATASETS.TRAIN, classes)
        options = {
            "effective_number": {"share": cfg.WEIGHTING.EFFECTIVE_NUMBER_SHARE},
            "log_inverse": {"k": cfg.WEIGHTING.LOG_INVERSE_K},
        }.get(name, {})
        return StaticWeighting(weights=static_weights(name, pixels, image_pixels, **options), **common)
    if name == "gbw":
        semantic = head == "sem_seg"
        return GradientBasedWeighting(
            lam=cfg.GBW.LAMBDA,
            # signed means of a regression's gradients cancel, and its units are not those of cross entropy
            gradient=cfg.GBW.GRADIENT if semantic else "pixel",
            normalize=cfg.GBW.NORMALIZE if semantic else True,
            momentum=cfg.GBW.MOMENTUM,
            warmup_iters=cfg.GBW.WARMUP_ITERS,
            **common,
        )
    raise UserError(f"WEIGHTING.{key}: expected one of {', '.join(WEIGHTINGS)}, found '{name}'; set it to one of them.")


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
    raise UserError(
        f"MODEL.SEM_SEG_HEAD.LOSS_TYPE: expected one of {', '.join(LOSS_TYPES)}, found '{name}'; set it to one of them."
    )


def _source_counts(names: Sequence[str], class_ids: Collection[int]) -> tuple[torch.Tensor, torch.Tensor]:
    """Pixels [C] of ``class_ids`` over the data sets ``names``, and [C] these in all images that contain the class."""
    statistics = [
        ClassStatistics.load(metadata.class_statistics, metadata.taxonomy.names).restricted_to(class_ids)
        for metadata in map(MetadataCatalog.get, names)
    ]
    pixels = sum(torch.as_tensor(s.pixels) for s in statistics)
    return pixels, sum(torch.as_tensor(s.image_pixels()) for s in statistics)
