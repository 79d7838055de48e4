"""The one place where a model is put together from its configuration."""

import torch
from detectron2.data import MetadataCatalog
from detectron2.modeling import build_backbone, build_sem_seg_head
from detectron2.projects.panoptic_deeplab import build_ins_embed_branch

from ..data.statistics import ClassStatistics
from ..errors import UserError
from ..taxonomy import Taxonomy
from ..weighting import WEIGHTINGS, ClassWeighting, GradientBasedWeighting, StaticWeighting, inverse_frequency_weights
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
    if name == "inverse_frequency":
        pixels = _source_pixels(cfg)
        if head != "sem_seg":  # the mean of the weights runs over the classes that the head sees
            things = torch.zeros_like(pixels)
            things[list(taxonomy.thing_ids)] = pixels[list(taxonomy.thing_ids)]
            pixels = things
        return StaticWeighting(weights=inverse_frequency_weights(pixels), **common)
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


def _source_pixels(cfg) -> torch.Tensor:
    """[C] pixels of each class over all source data sets; from source labels only."""
    paths = [MetadataCatalog.get(name).class_statistics for name in cfg.DATASETS.TRAIN]
    return torch.stack([torch.as_tensor(ClassStatistics.load(path).pixels) for path in paths]).sum(0)
