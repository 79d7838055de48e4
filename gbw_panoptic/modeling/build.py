"""The parts of a Panoptic-DeepLab, of a Mask2Former and of an EoMT from their configurations."""

from detectron2.data import MetadataCatalog
from detectron2.modeling import Backbone, build_backbone, build_sem_seg_head
from detectron2.projects.panoptic_deeplab import build_ins_embed_branch

from ..errors import UserError
from ..taxonomy import Taxonomy
from ..weighting.build import build_class_weighting, build_log_prior
from .heads.auxiliary import AuxiliaryHead
from .masks.criterion import WEIGHTED, SegmentCriterion
from .masks.encoder_only import EncoderOnlyHead
from .masks.head import STRIDES, MaskHead
from .masks.matching import CostWeights
from .masks.merging import SegmentPostProcessing
from .post_processing import PostProcessing


def panoptic_deeplab_parts(cfg) -> dict:
    """Arguments of :class:`DomainAdaptivePanopticDeepLab`."""
    taxonomy = MetadataCatalog.get(cfg.DATASETS.TRAIN[0]).taxonomy
    backbone = build_backbone(cfg)
    shapes = backbone.output_shape()
    panoptic = cfg.MODEL.TASK == "panoptic"
    _check_features(_features_read(cfg), backbone)
    options = cfg.MODEL.PANOPTIC_DEEPLAB
    divisibility = options.SIZE_DIVISIBILITY if options.SIZE_DIVISIBILITY > 0 else backbone.size_divisibility
    auxiliary_head = _build_auxiliary_head(cfg, shapes, taxonomy)
    heads = ("sem_seg", *(("center", "offset") if panoptic else ()), *(("auxiliary",) if auxiliary_head else ()))
    return {
        "backbone": backbone,
        "sem_seg_head": build_sem_seg_head(cfg, shapes),
        "ins_embed_head": build_ins_embed_branch(cfg, shapes) if panoptic else None,
        "auxiliary_head": auxiliary_head,
        "weightings": {head: build_class_weighting(cfg, head) for head in heads},
        "loss_weights": {
            "sem_seg": cfg.MODEL.SEM_SEG_HEAD.LOSS_WEIGHT,
            "center": cfg.MODEL.INS_EMBED_HEAD.CENTER_LOSS_WEIGHT,
            "offset": cfg.MODEL.INS_EMBED_HEAD.OFFSET_LOSS_WEIGHT,
            "auxiliary": cfg.MODEL.AUXILIARY_HEAD.LOSS_WEIGHT,
        },
        "post_processing": PostProcessing(
            thing_ids=taxonomy.thing_ids,
            label_divisor=taxonomy.label_divisor,
            stuff_area=options.STUFF_AREA,
            threshold=options.CENTER_THRESHOLD,
            nms_kernel=options.NMS_KERNEL,
            top_k=options.TOP_K_INSTANCE,
            score_instances=cfg.TEST.INSTANCE_AP,
            instance_area=options.INSTANCE_AREA,
        ),
        "pixel_mean": tuple(cfg.MODEL.PIXEL_MEAN),
        "pixel_std": tuple(cfg.MODEL.PIXEL_STD),
        "num_classes": taxonomy.num_classes,
        "unions": tuple(union.class_ids for union in taxonomy.unions),
        "tau": cfg.TEST.TAU,
        "log_prior": build_log_prior(cfg),
        # ASPP and the decoder need whole cells of the coarsest stride they read
        "size_divisibility": max(divisibility, max(shape.stride for shape in shapes.values())),
    }


def _features_read(cfg) -> dict[str, tuple[str, ...]]:
    """Key of the configuration -> names of the feature maps that its head reads."""
    nodes = ("SEM_SEG_HEAD", *(("INS_EMBED_HEAD",) if cfg.MODEL.TASK == "panoptic" else ()))
    read = {f"MODEL.{node}.IN_FEATURES": tuple(cfg.MODEL[node].IN_FEATURES) for node in nodes}
    if cfg.MODEL.AUXILIARY_HEAD.ENABLED:
        read["MODEL.AUXILIARY_HEAD.IN_FEATURE"] = (cfg.MODEL.AUXILIARY_HEAD.IN_FEATURE,)
    return read


def _check_features(read: dict[str, tuple[str, ...]], backbone: Backbone) -> None:
    """
    Raises:
        UserError: a head reads a map that the backbone does not give, or none reads one that has a norm of its own,
            whose parameters would get no gradient.
    """
    shapes = backbone.output_shape()
    for key, names in read.items():
        missing = [name for name in names if name not in shapes]
        if missing:
            raise UserError(
                f"{key}: expected some of {', '.join(shapes)}, which the backbone gives, found '{missing[0]}'; choose "
                "among them or add it to the backbone's OUT_FEATURES."
            )
    unread = [name for name in shapes if name not in sum(read.values(), ())]
    if unread and getattr(backbone, "feature_norms", ()):
        raise UserError(
            f"OUT_FEATURES of the backbone: expected feature maps that a head reads, found {', '.join(unread)}, which "
            "none does (each has a layer norm that would get no gradient); leave them out."
        )


def _build_auxiliary_head(cfg, shapes, taxonomy: Taxonomy) -> AuxiliaryHead | None:
    options = cfg.MODEL.AUXILIARY_HEAD
    if not options.ENABLED:
        return None
    shape = shapes[options.IN_FEATURE]
    return AuxiliaryHead(
        in_feature=options.IN_FEATURE,
        in_channels=shape.channels,
        stride=shape.stride,
        num_classes=taxonomy.num_classes,
        dilations=tuple(options.DILATIONS),
    )


def mask2former_parts(cfg) -> dict:
    """Arguments of :class:`DomainAdaptiveMask2Former`."""
    backbone, options = build_backbone(cfg), cfg.MODEL.MASK2FORMER
    return {
        "backbone": backbone,
        "mask_head": MaskHead(
            backbone.output_shape(),
            num_classes=MetadataCatalog.get(cfg.DATASETS.TRAIN[0]).taxonomy.num_classes,
            num_queries=options.NUM_QUERIES,
            hidden_dim=options.HIDDEN_DIM,
            num_heads=options.NUM_HEADS,
            encoder_layers=options.ENCODER_LAYERS,
            encoder_feedforward_dim=options.ENCODER_FEEDFORWARD_DIM,
            decoder_layers=options.DECODER_LAYERS,
            decoder_feedforward_dim=options.DECODER_FEEDFORWARD_DIM,
        ),
        "size_divisibility": max(backbone.size_divisibility, max(STRIDES)),
        **_parts_behind_masks(cfg),
    }


def eomt_parts(cfg) -> dict:
    """Arguments of :class:`DomainAdaptiveEoMT`."""
    vit = build_backbone(cfg)
    vit.pyramid.clear()  # no loss would reach it
    return {
        "backbone": vit,
        "mask_head": EncoderOnlyHead(
            vit,
            num_classes=MetadataCatalog.get(cfg.DATASETS.TRAIN[0]).taxonomy.num_classes,
            num_queries=cfg.MODEL.MASK2FORMER.NUM_QUERIES,
            num_blocks=cfg.MODEL.EOMT.NUM_BLOCKS,
        ),
        "size_divisibility": vit.patch_size,
        **_parts_behind_masks(cfg),
    }


def _parts_behind_masks(cfg) -> dict:
    """What every architecture of queries has, whatever makes their classes and masks."""
    taxonomy = MetadataCatalog.get(cfg.DATASETS.TRAIN[0]).taxonomy
    options, panoptic = cfg.MODEL.MASK2FORMER, cfg.MODEL.TASK == "panoptic"
    return {
        "criterion": SegmentCriterion(
            num_classes=taxonomy.num_classes,
            no_object_weight=options.NO_OBJECT_WEIGHT,
            num_points=options.NUM_POINTS,
            oversample=options.OVERSAMPLE_RATIO,
            importance=options.IMPORTANCE_RATIO,
            min_confidence=cfg.SELF_TRAINING.SEGMENTS.POINT_CONFIDENCE,
            loss_weights=CostWeights(
                classification=options.CLASS_WEIGHT, mask=options.MASK_WEIGHT, dice=options.DICE_WEIGHT
            ),
            unions=tuple(union.class_ids for union in taxonomy.unions),
        ),
        "weightings": {loss: build_class_weighting(cfg, loss) for loss in WEIGHTED},
        "post_processing": SegmentPostProcessing(
            thing_ids=taxonomy.thing_ids if panoptic else (),  # else a class is one segment
            label_divisor=taxonomy.label_divisor,
            object_threshold=options.OBJECT_THRESHOLD,
            overlap_threshold=options.OVERLAP_THRESHOLD,
            score_instances=cfg.TEST.INSTANCE_AP,
        ),
        "panoptic": panoptic,
        "pixel_mean": tuple(cfg.MODEL.PIXEL_MEAN),
        "pixel_std": tuple(cfg.MODEL.PIXEL_STD),
    }
