"""Adaptation strategies from a configuration; self-training has a file of its own, self_training.py."""

import torch
from detectron2.data import MetadataCatalog
from torch import nn

from ..adaptation import AdversarialAlignment, EntropyMinimization, SourceOnly
from ..adaptation.active_training import ActiveLossWeights, ActiveTraining
from ..adaptation.discriminator import discriminator
from ..weighting import ClassWeighting
from ..weighting.build import build_target_weighting
from .self_training import build_self_training


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
