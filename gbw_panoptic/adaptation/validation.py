"""Contradictions in the settings of adaptation; a part of :mod:`gbw_panoptic.validation`."""

import os
from typing import Iterator

from detectron2.data import MetadataCatalog

from .discriminator import MIN_SIZE


def adaptation_problems(cfg) -> Iterator[str]:
    """One sentence for each setting that contradicts the trainer, the task or the data sets."""
    for check in (_trainer, _unlabelled_target, _self_training_switches, _burn_in):
        yield from check(cfg)


def has_teacher(cfg) -> bool:
    """Whether the trainer has a mean teacher."""
    return cfg.TRAINER.NAME == "SelfTrainingTrainer" or (
        cfg.TRAINER.NAME == "ActiveTrainer" and cfg.ACTIVE.SELF_TRAINING
    )


def _trainer(cfg) -> Iterator[str]:
    adapts = cfg.TRAINER.NAME != "SourceOnlyTrainer"
    if adapts and not cfg.DATASETS.TARGET:
        yield (
            f"DATASETS.TARGET: expected the unlabelled target of {cfg.TRAINER.NAME}, found none; name one, e.g. "
            "cityscapes_uda_images_train."
        )
    styled = cfg.INPUT.FOURIER.ENABLED
    if not adapts and cfg.DATASETS.TARGET and not styled:
        yield (
            f"DATASETS.TARGET: expected none with SourceOnlyTrainer, which never looks at it, found "
            f"{tuple(cfg.DATASETS.TARGET)}; set it to (), choose another TRAINER.NAME or set INPUT.FOURIER.ENABLED True."
        )
    if styled and not cfg.DATASETS.TARGET:
        yield (
            "DATASETS.TARGET: expected unlabelled images, whose style INPUT.FOURIER.ENABLED takes, found none; name a data "
            "set, e.g. cityscapes_uda_images_train, or set INPUT.FOURIER.ENABLED False."
        )
    if not has_teacher(cfg) and cfg.TEST.MODEL == "teacher":
        yield f"TEST.MODEL: expected student with {cfg.TRAINER.NAME}, which has no teacher, found 'teacher'; set it to student."


def _unlabelled_target(cfg) -> Iterator[str]:
    """Alignment and entropy minimisation."""
    name = cfg.TRAINER.NAME
    if cfg.WEIGHTING.TARGET != "none" and name not in ("AdversarialTrainer", "EntropyMinimizationTrainer"):
        yield (
            f"WEIGHTING.TARGET: expected none with {name}, which has no loss without labels, found "
            f"'{cfg.WEIGHTING.TARGET}'; set it to none (pseudo labels follow WEIGHTING.SEMANTIC)."
        )
    if cfg.WEIGHTING.TARGET == "gbw" and cfg.GBW.GRADIENT == "autograd":
        yield (
            "GBW.GRADIENT: expected logits, last_layer or pixel with WEIGHTING.TARGET gbw, found 'autograd', which checks "
            "the source's loss only; choose one of them."
        )
    if name != "AdversarialTrainer":
        return
    if min(cfg.INPUT.CROP.SIZE) < MIN_SIZE:
        yield (
            f"INPUT.CROP.SIZE: expected at least {MIN_SIZE} pixels a side, which the discriminator's five strides need, found "
            f"{tuple(cfg.INPUT.CROP.SIZE)}; take larger crops."
        )
    if cfg.ADVERSARIAL.ALIGN_INSTANCES and cfg.MODEL.TASK != "panoptic":
        yield (
            f"ADVERSARIAL.ALIGN_INSTANCES: expected False with MODEL.TASK {cfg.MODEL.TASK}, which has no instance heads, found "
            "True; set it to False or MODEL.TASK to panoptic."
        )


def _self_training_switches(cfg) -> Iterator[str]:
    options = cfg.SELF_TRAINING
    names = MetadataCatalog.get(cfg.DATASETS.TRAIN[0]).taxonomy.names
    for name in options.FEATURE_DISTANCE.CLASSES if options.FEATURE_DISTANCE.ENABLED else ():
        if name not in names:
            yield (
                f"SELF_TRAINING.FEATURE_DISTANCE.CLASSES: expected names among {', '.join(names)}, found '{name}'; "
                "correct it."
            )
    switches = {
        "MASKED.ENABLED": options.MASKED.ENABLED,
        "FEATURE_DISTANCE.ENABLED": options.FEATURE_DISTANCE.ENABLED,
        "INSTANCE_LOSSES": options.INSTANCE_LOSSES,
    }
    unused = "" if has_teacher(cfg) else f"{cfg.TRAINER.NAME}, which has no such term"
    if cfg.TRAINER.NAME == "ActiveTrainer" and options.FEATURE_DISTANCE.ENABLED:
        yield (
            "SELF_TRAINING.FEATURE_DISTANCE.ENABLED: expected False with ActiveTrainer, whose source losses have no such term, "
            "found True; set it to False."
        )
    if options.TAU and unused:
        yield f"SELF_TRAINING.TAU: expected 0 with {unused}, found {options.TAU}; set it to 0."
    for key, on in switches.items():
        semantic = "MODEL.TASK semantic, which has no instances"
        why = unused or (semantic if key == "INSTANCE_LOSSES" and cfg.MODEL.TASK == "semantic" else "")
        if on and why:
            yield f"SELF_TRAINING.{key}: expected False with {why}, found True; set it to False."


def _burn_in(cfg) -> Iterator[str]:
    """Of the self-training of segments."""
    options = cfg.SELF_TRAINING.SEGMENTS
    iterations, weights = options.BURN_IN_ITERS, options.TEACHER_WEIGHTS
    if iterations and cfg.TRAINER.NAME != "SelfTrainingTrainer":
        yield (
            f"SELF_TRAINING.SEGMENTS.BURN_IN_ITERS: expected 0 with {cfg.TRAINER.NAME}, which has no teacher, found "
            f"{iterations}; set it to 0."
        )
    if iterations > cfg.SOLVER.MAX_ITER:
        yield (
            f"SELF_TRAINING.SEGMENTS.BURN_IN_ITERS: expected at most SOLVER.MAX_ITER {cfg.SOLVER.MAX_ITER}, found "
            f"{iterations}; set it to SOLVER.MAX_ITER for a teacher that stays fixed."
        )
    if weights and not iterations:
        yield (
            "SELF_TRAINING.SEGMENTS.TEACHER_WEIGHTS: expected '' without a burn-in, where the teacher starts as the "
            f"student, found {weights!r}; set it to '', or BURN_IN_ITERS above 0."
        )
    if iterations and not os.path.isfile(weights):
        yield (
            "SELF_TRAINING.SEGMENTS.TEACHER_WEIGHTS: expected a local .pth file of a model trained on the source, the "
            f"teacher of the first {iterations} iterations, found {f'nothing at {weights}' if weights else 'none'}; train "
            "one (source_only), or set BURN_IN_ITERS 0."
        )
