"""Mean-teacher self-training from a configuration."""

import logging

from detectron2.data import MetadataCatalog
from torch import nn

from ..adaptation import MeanTeacher, SelfTraining
from ..adaptation.augmentation import StrongAugmentation
from ..adaptation.feature_distance import FeatureDistance
from ..adaptation.masking import BlockMasking
from ..adaptation.pseudo_labels import PseudoLabeller, Selection
from ..adaptation.self_training import LossWeights


def build_self_training(cfg, model: nn.Module) -> SelfTraining:
    options = cfg.SELF_TRAINING
    ignore_label = MetadataCatalog.get(cfg.DATASETS.TRAIN[0]).ignore_label
    return SelfTraining(
        teacher=MeanTeacher(model, decay=options.EMA_DECAY),
        labeller=PseudoLabeller(
            selection=Selection(
                rule=options.SELECTION,
                threshold=options.CONFIDENCE_THRESHOLD,
                quality=options.QUALITY,
                percentile=options.CLASS_PERCENTILE.PERCENTILE,
                max_threshold=options.CLASS_PERCENTILE.MAX_THRESHOLD,
            ),
            instance_losses=options.INSTANCE_LOSSES,
            instance_quality=options.INSTANCE_QUALITY,
            ignore_label=ignore_label,
        ),
        augmentation=StrongAugmentation(
            jitter_strength=options.COLOR_JITTER_STRENGTH,
            jitter_probability=options.COLOR_JITTER_PROBABILITY,
            blur_probability=options.BLUR_PROBABILITY,
            channel_order=cfg.INPUT.FORMAT,
        ),
        class_mix=options.CLASS_MIX,
        masking=_build_masking(cfg),
        feature_distance=_build_feature_distance(cfg, model),
        loss_weights=LossWeights(mixed=options.TARGET_LOSS_WEIGHT, masked=options.MASKED.WEIGHT),
        center_sigma=cfg.INPUT.GAUSSIAN_SIGMA,
        ignore_label=ignore_label,
        seed=cfg.SEED,
    )


def _build_masking(cfg) -> BlockMasking | None:
    options = cfg.SELF_TRAINING.MASKED
    if not options.ENABLED:
        return None
    return BlockMasking(options.RATIO, options.BLOCK_SIZE, fill=tuple(cfg.MODEL.PIXEL_MEAN))


def _build_feature_distance(cfg, model: nn.Module) -> FeatureDistance | None:
    options = cfg.SELF_TRAINING.FEATURE_DISTANCE
    if not options.ENABLED:
        return None
    if not cfg.MODEL.WEIGHTS:
        logging.getLogger("gbw_panoptic").warning(
            "SELF_TRAINING.FEATURE_DISTANCE keeps features near those of random weights: MODEL.WEIGHTS is empty."
        )
    taxonomy = MetadataCatalog.get(cfg.DATASETS.TRAIN[0]).taxonomy
    return FeatureDistance(
        model.backbone,
        weight=options.WEIGHT,
        class_ids=taxonomy.ids(*options.CLASSES),
        min_share=options.MIN_SHARE,
        ignore_label=taxonomy.ignore_label,
    )
