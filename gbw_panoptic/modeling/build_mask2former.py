"""The parts of a Mask2Former from its configuration."""

from detectron2.data import MetadataCatalog
from detectron2.modeling import build_backbone

from ..weighting.build import build_class_weighting
from .masks.criterion import WEIGHTED, SegmentCriterion
from .masks.head import STRIDES, MaskHead
from .masks.matching import CostWeights
from .masks.merging import SegmentPostProcessing


def mask2former_parts(cfg) -> dict:
    """Arguments of :class:`DomainAdaptiveMask2Former`."""
    taxonomy = MetadataCatalog.get(cfg.DATASETS.TRAIN[0]).taxonomy
    backbone = build_backbone(cfg)
    options, panoptic = cfg.MODEL.MASK2FORMER, cfg.MODEL.TASK == "panoptic"
    return {
        "backbone": backbone,
        "mask_head": MaskHead(
            backbone.output_shape(),
            num_classes=taxonomy.num_classes,
            num_queries=options.NUM_QUERIES,
            hidden_dim=options.HIDDEN_DIM,
            num_heads=options.NUM_HEADS,
            encoder_layers=options.ENCODER_LAYERS,
            encoder_feedforward_dim=options.ENCODER_FEEDFORWARD_DIM,
            decoder_layers=options.DECODER_LAYERS,
            decoder_feedforward_dim=options.DECODER_FEEDFORWARD_DIM,
        ),
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
        "ignore_label": taxonomy.ignore_label,
        "pixel_mean": tuple(cfg.MODEL.PIXEL_MEAN),
        "pixel_std": tuple(cfg.MODEL.PIXEL_STD),
        "size_divisibility": max(backbone.size_divisibility, max(STRIDES)),
    }
