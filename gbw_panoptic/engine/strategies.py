"""Adaptation strategies from a configuration."""

import logging

import torch
from detectron2.data import MetadataCatalog
from torch import nn

from ..adaptation import (
    AdversarialAlignment,
    EntropyMinimization,
    MeanTeacher,
    SegmentSelfTraining,
    SelfTraining,
    SourceOnly,
)
from ..adaptation.active_training import ActiveLossWeights, ActiveTraining
from ..adaptation.adversarial import discriminator
from ..adaptation.mean_teacher.augmentation import BlockMasking, StrongAugmentation
from ..adaptation.mean_teacher.feature_distance import FeatureDistance
from ..adaptation.mean_teacher.location_prior import LocationPrior
from ..adaptation.mean_teacher.pseudo_labels import PseudoLabeller, Selection
from ..adaptation.mean_teacher.segment_labels import MaskScaling, SegmentLabeller
from ..adaptation.mean_teacher.thresholds import ClassThresholds
from ..adaptation.mean_teacher.training import LossWeights, MeanTeacherTraining
from ..data.chosen_records import build_training_records
from ..errors import UserError
from ..evaluation.maps import read_ground_truth
from ..trust.seen import spaced
from ..weighting import ClassWeighting
from ..weighting.build import build_target_weighting
from .checkpoint import load_weights
from .reading import read_checkpoint
from .settings import build_settings

#: The study's numbers: docs/mask2former.md.
_CONSTANT = (
    "SELF_TRAINING.SEGMENTS.BURN_IN_ITERS 0 with constant thresholds: the first pseudo labels of a Mask2Former come "
    "from MODEL.WEIGHTS. Unless these are a model that was trained on the source, expect less than from the source "
    "alone (in the study PQ 8.7 against 23.0); set SELF_TRAINING.ADAPTIVE_THRESHOLDS.ENABLED True, or train "
    "source_only first and name its model in MODEL.WEIGHTS, or in SELF_TRAINING.SEGMENTS.TEACHER_WEIGHTS with "
    "BURN_IN_ITERS."
)
#: Of each source, evenly spaced: their labels say where a class is.
_PRIOR_IMAGES = 500
#: Losses of ground truth that SELF_TRAINING.SEGMENTS.SOURCE_MASK_FACTOR multiplies: all of L_mask of MC-PanDA++.
_LOCALISATION = ("loss_mask", "loss_dice")


def build_self_training(cfg, model: nn.Module) -> MeanTeacherTraining:
    """Self-training of what the model predicts: segments or dense maps."""
    thresholds = _build_thresholds(cfg, model)
    parts = {"thresholds": thresholds, **_parts(cfg, model)}
    if model.learns_segments:
        if thresholds is None and not cfg.SELF_TRAINING.SEGMENTS.BURN_IN_ITERS:
            logging.getLogger("gbw_panoptic").warning(_CONSTANT)
        scaling = _build_mask_scaling(cfg, thresholds)
        return SegmentSelfTraining(scaling=scaling, labeller=SegmentLabeller(scaling), **parts)
    options = {"center_sigma": cfg.INPUT.GAUSSIAN_SIGMA, "instance_mix": cfg.SELF_TRAINING.INSTANCE_MIX.ENABLED}
    return SelfTraining(**options, labeller=_build_labeller(cfg, thresholds), **parts)


def _build_thresholds(cfg, model: nn.Module) -> ClassThresholds | None:
    """Those that follow the teacher, if any do; of a class or, of pasted segments, of a union."""
    options, taxonomy = cfg.SELF_TRAINING.ADAPTIVE_THRESHOLDS, MetadataCatalog.get(cfg.DATASETS.TRAIN[0]).taxonomy
    if not options.ENABLED:
        return None
    number = taxonomy.num_labels if model.learns_segments else taxonomy.num_classes
    thresholds = ClassThresholds(number, start=options.START, decay=options.DECAY, names=taxonomy.names)
    return thresholds.to(next(model.parameters()).device)


def _parts(cfg, model: nn.Module) -> dict:
    """Arguments of :class:`MeanTeacherTraining` but for the labeller."""
    options = cfg.SELF_TRAINING
    return {
        "teacher": _build_teacher(cfg, model),
        "augmentation": StrongAugmentation(
            jitter_strength=options.COLOR_JITTER_STRENGTH,
            jitter_probability=options.COLOR_JITTER_PROBABILITY,
            blur_probability=options.BLUR_PROBABILITY,
            channel_order=cfg.INPUT.FORMAT,
            jitter_hue=options.COLOR_JITTER_HUE,
            grey_probability=options.GRAYSCALE_PROBABILITY,
            blur_sigma=tuple(options.BLUR_SIGMA),
        ),
        "class_mix": options.CLASS_MIX,
        "masking": _build_masking(cfg),
        "feature_distance": _build_feature_distance(cfg, model),
        "loss_weights": _build_loss_weights(cfg),
        "ignore_label": MetadataCatalog.get(cfg.DATASETS.TRAIN[0]).ignore_label,
        "seed": cfg.SEED,
        "shared_pass": _build_shared_pass(cfg, model),
    }


def _build_loss_weights(cfg) -> LossWeights:
    options = cfg.SELF_TRAINING
    factor = options.SEGMENTS.SOURCE_MASK_FACTOR
    source = dict.fromkeys(_LOCALISATION, factor) if factor != 1 else {}
    return LossWeights(
        mixed=options.TARGET_LOSS_WEIGHT,
        masked=options.MASKED.WEIGHT,
        source=source,
        instance_mix=options.INSTANCE_MIX.WEIGHT,
    )


def _build_shared_pass(cfg, model: nn.Module) -> bool:
    """SELF_TRAINING.SHARED_PASS, if no layer of ``model`` would see that the images come together."""
    looking = [name for name, module in model.named_modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    if cfg.SELF_TRAINING.SHARED_PASS and looking:
        raise UserError(
            "SELF_TRAINING.SHARED_PASS: expected a network whose results do not depend on the batch, found batch norm "
            f"in {looking[0]}; set NORM FrozenBN or GN for the backbone and the heads, or SHARED_PASS False."
        )
    return cfg.SELF_TRAINING.SHARED_PASS


def _build_teacher(cfg, model: nn.Module) -> MeanTeacher:
    options = cfg.SELF_TRAINING.SEGMENTS
    teacher = MeanTeacher(model, decay=cfg.SELF_TRAINING.EMA_DECAY, burn_in_iters=options.BURN_IN_ITERS)
    if options.BURN_IN_ITERS:
        key = "SELF_TRAINING.SEGMENTS.TEACHER_WEIGHTS"
        path = options.TEACHER_WEIGHTS
        load_weights(teacher.model, read_checkpoint(path), path, key=key, settings=build_settings(cfg).values)
    return teacher


def _build_labeller(cfg, thresholds: ClassThresholds | None) -> PseudoLabeller:
    options = cfg.SELF_TRAINING
    return PseudoLabeller(
        selection=Selection(
            rule=options.SELECTION,
            threshold=options.CONFIDENCE_THRESHOLD,
            quality=options.QUALITY,
            percentile=options.CLASS_PERCENTILE.PERCENTILE,
            max_threshold=options.CLASS_PERCENTILE.MAX_THRESHOLD,
            adaptive=thresholds,
        ),
        instance_losses=options.INSTANCE_LOSSES,
        instance_quality=options.INSTANCE_QUALITY,
        tau=options.TAU,
        location=_build_location_prior(cfg),
        paste_score=options.INSTANCE_MIX.MIN_SCORE if options.INSTANCE_MIX.ENABLED else None,
        ignore_label=MetadataCatalog.get(cfg.DATASETS.TRAIN[0]).ignore_label,
    )


def _build_location_prior(cfg) -> LocationPrior | None:
    """From the labels of up to :data:`_PRIOR_IMAGES` training images of each source."""
    strength = cfg.SELF_TRAINING.LOCATION_PRIOR
    if not strength:
        return None
    taxonomy = MetadataCatalog.get(cfg.DATASETS.TRAIN[0]).taxonomy
    records = [
        records[index]
        for records in build_training_records(cfg, cfg.DATASETS.TRAIN, source=True)
        for index in spaced(len(records), _PRIOR_IMAGES).tolist()
    ]
    labels = (read_ground_truth(record, taxonomy).labels for record in records)
    return LocationPrior.of(labels, cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES, strength=strength)


def _build_mask_scaling(cfg, thresholds: ClassThresholds | None) -> MaskScaling:
    options, taxonomy = cfg.SELF_TRAINING.SEGMENTS, MetadataCatalog.get(cfg.DATASETS.TRAIN[0]).taxonomy
    return MaskScaling(
        thing_ids=taxonomy.thing_labels if cfg.MODEL.TASK == "panoptic" else (),  # else a class is one segment
        num_classes=taxonomy.num_labels,
        things=options.MASK_CONFIDENCE_THINGS,
        stuff=options.MASK_CONFIDENCE_STUFF,
        min_area=options.MIN_AREA,
        adaptive=thresholds,
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


def build_source_only(cfg, model: nn.Module) -> SourceOnly:
    """No adaptation: nothing is to be configured."""
    return SourceOnly()


def build_adversarial_alignment(cfg, model: nn.Module) -> AdversarialAlignment:
    """One discriminator on the semantic output and, with MODEL.AUXILIARY_HEAD, one on the auxiliary output."""
    options = cfg.ADVERSARIAL
    num_classes = MetadataCatalog.get(cfg.DATASETS.TRAIN[0]).taxonomy.num_classes
    channels = {"sem_seg": num_classes + (2 if options.ALIGN_INSTANCES else 0)}
    if cfg.MODEL.AUXILIARY_HEAD.ENABLED:
        channels["auxiliary"] = num_classes
    torch.manual_seed(cfg.SEED)  # the same initial weights on every rank
    device = next(model.parameters()).device
    discriminators = nn.ModuleDict({level: discriminator(n) for level, n in channels.items()}).to(device)
    rate, power, last = options.LEARNING_RATE, options.POLY_LR_POWER, cfg.SOLVER.MAX_ITER
    return AdversarialAlignment(
        discriminators=discriminators,
        optimizer=torch.optim.Adam(discriminators.parameters(), rate, betas=tuple(options.BETAS), fused=True),
        learning_rate=lambda iteration: rate * (1 - iteration / last) ** power,
        loss_weights=_loss_weights(cfg, options),
        align=options.ALIGN,
        gan=options.GAN,
        align_instances=options.ALIGN_INSTANCES,
        class_weighting=build_target_weighting(cfg, gradient="logits").to(device),
    )


def build_entropy_minimization(cfg, model: nn.Module) -> EntropyMinimization:
    """Entropy or maximum squares of the semantic output and, with MODEL.AUXILIARY_HEAD, of the auxiliary output."""
    options = cfg.ENTROPY
    device = next(model.parameters()).device
    weights = _loss_weights(cfg, options)
    gradients = {"sem_seg": cfg.GBW.GRADIENT, "auxiliary": "logits"}
    weightings: dict[str, ClassWeighting] = {
        level: build_target_weighting(cfg, gradient=gradients[level]).to(device) for level in weights
    }
    return EntropyMinimization(
        loss=options.LOSS,
        image_wise_ratio=options.IMAGE_WISE_RATIO if options.IMAGE_WISE else None,
        loss_weights=weights,
        class_weightings=weightings,
    )


def build_active_training(cfg, model: nn.Module) -> ActiveTraining:
    """The losses of RIPU on source and bought target labels and, with ACTIVE.SELF_TRAINING, self-training on the
    rest."""
    options = cfg.ACTIVE
    return ActiveTraining(
        loss_weights=ActiveLossWeights(
            target=options.TARGET_LOSS_WEIGHT,
            negative=options.NEGATIVE_LOSS_WEIGHT,
            consistency=options.CONSISTENCY_LOSS_WEIGHT,
        ),
        negative_threshold=options.NEGATIVE_THRESHOLD,
        ignore_label=MetadataCatalog.get(cfg.DATASETS.TRAIN[0]).ignore_label,
        self_training=build_self_training(cfg, model) if options.SELF_TRAINING else None,
    )


def _loss_weights(cfg, options) -> dict[str, float]:
    weights = {"sem_seg": options.LOSS_WEIGHT}
    if cfg.MODEL.AUXILIARY_HEAD.ENABLED:
        weights["auxiliary"] = options.AUXILIARY_LOSS_WEIGHT
    return weights
