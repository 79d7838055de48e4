"""What a trainer needs, by its facts, and switches that it has no term for."""

import os
from typing import Iterator

from detectron2.data import MetadataCatalog

from ..kinds import refusal, value_of
from ..trainers import has_teacher, trainer_of

_SWITCHES = (
    "MASKED.ENABLED", "FEATURE_DISTANCE.ENABLED", "INSTANCE_LOSSES", "SHARED_PASS", "ADAPTIVE_THRESHOLDS.ENABLED",
    "INSTANCE_MIX.ENABLED",
)  # fmt: skip


def trainer_problems(cfg) -> Iterator[str]:
    """Of the trainer's own row."""
    yield from trainer_of(cfg).problems(cfg)


def target_problems(cfg) -> Iterator[str]:
    """One sentence for a target that is missing, or that nothing looks at."""
    adapts, styled = trainer_of(cfg).needs_target, cfg.INPUT.FOURIER.ENABLED
    if adapts and not cfg.DATASETS.TARGET:
        yield (
            f"DATASETS.TARGET: expected the unlabelled target of {cfg.TRAINER.NAME}, found none; name one, e.g. "
            "cityscapes_uda_images_train."
        )
    if not adapts and cfg.DATASETS.TARGET and not styled:
        yield refusal(
            cfg, "DATASETS.TARGET", f"none with {cfg.TRAINER.NAME}, which never looks at it",
            "set it to (), choose another TRAINER.NAME or set INPUT.FOURIER.ENABLED True",
        )  # fmt: skip
    if styled and not cfg.DATASETS.TARGET:
        yield (
            "DATASETS.TARGET: expected unlabelled images, whose style INPUT.FOURIER.ENABLED takes, found none; name a "
            "data set, e.g. cityscapes_uda_images_train, or set INPUT.FOURIER.ENABLED False."
        )


def unlabelled_loss_problems(cfg) -> Iterator[str]:
    """One sentence for each weighting of a loss that is not there, or that cannot be weighted so."""
    if cfg.WEIGHTING.TARGET != "none" and not trainer_of(cfg).unlabelled_loss:
        yield refusal(
            cfg, "WEIGHTING.TARGET", f"none with {cfg.TRAINER.NAME}, which has no loss without labels",
            "set it to none (pseudo labels follow WEIGHTING.SEMANTIC)",
        )  # fmt: skip
    if cfg.WEIGHTING.TARGET == "gbw" and cfg.GBW.GRADIENT == "autograd":
        yield refusal(
            cfg, "GBW.GRADIENT",
            "logits, last_layer or pixel with WEIGHTING.TARGET gbw, since autograd checks the source's loss only",
            "choose one of them",
        )  # fmt: skip


def teacher_problems(cfg) -> Iterator[str]:
    """One sentence for each setting of a mean teacher, or of its terms, that the trainer or the task has no use for."""
    taught, name = has_teacher(cfg), cfg.TRAINER.NAME
    if not taught and cfg.TEST.MODEL == "teacher":
        yield refusal(cfg, "TEST.MODEL", f"student with {name}, which has no teacher", "set it to student")
    for key in ("SELF_TRAINING.TAU", "SELF_TRAINING.LOCATION_PRIOR"):
        if not taught and value_of(cfg, key):
            yield refusal(cfg, key, f"0 with {name}, which has no such term", "set it to 0")
    if not taught and cfg.INPUT.TARGET.PHOTOMETRIC_STRENGTH:
        yield refusal(
            cfg, "INPUT.TARGET.PHOTOMETRIC_STRENGTH", f"0 with {name}, which has no student's view of the target",
            "set it to 0",
        )  # fmt: skip
    for switch in _SWITCHES:
        key, why = f"SELF_TRAINING.{switch}", "" if taught else f"{name}, which has no such term"
        if switch in ("INSTANCE_LOSSES", "INSTANCE_MIX.ENABLED") and cfg.MODEL.TASK == "semantic":
            why = why or "MODEL.TASK semantic, which has no instances"
        if why and value_of(cfg, key):
            yield refusal(cfg, key, f"False with {why}", "set it to False")
    yield from _feature_distance(cfg)
    yield from _burn_in(cfg)


def _feature_distance(cfg) -> Iterator[str]:
    options, names = cfg.SELF_TRAINING.FEATURE_DISTANCE, MetadataCatalog.get(cfg.DATASETS.TRAIN[0]).taxonomy.names
    for name in options.CLASSES if options.ENABLED else ():
        if name not in names:
            yield (
                f"SELF_TRAINING.FEATURE_DISTANCE.CLASSES: expected names among {', '.join(names)}, found '{name}'; "
                "correct it."
            )


def _burn_in(cfg) -> Iterator[str]:
    """Of the self-training of segments."""
    key, options = "SELF_TRAINING.SEGMENTS.BURN_IN_ITERS", cfg.SELF_TRAINING.SEGMENTS
    iterations, weights = options.BURN_IN_ITERS, options.TEACHER_WEIGHTS
    if iterations and not has_teacher(cfg):
        yield refusal(cfg, key, f"0 with {cfg.TRAINER.NAME}, which has no teacher", "set it to 0")
    if iterations > cfg.SOLVER.MAX_ITER:
        yield refusal(
            cfg,
            key,
            f"at most SOLVER.MAX_ITER {cfg.SOLVER.MAX_ITER}",
            "set it to SOLVER.MAX_ITER for a teacher that stays fixed",
        )
    if weights and not iterations:
        yield refusal(
            cfg, "SELF_TRAINING.SEGMENTS.TEACHER_WEIGHTS",
            "'' without a burn-in, where the teacher starts as the student",
            "set it to '', or BURN_IN_ITERS above 0",
        )  # fmt: skip
    if iterations and not os.path.isfile(weights):
        yield (
            "SELF_TRAINING.SEGMENTS.TEACHER_WEIGHTS: expected a local .pth file of a model trained on the source, the "
            f"teacher of the first {iterations} iterations, found {f'nothing at {weights}' if weights else 'none'}; "
            "train one (source_only), or set BURN_IN_ITERS 0."
        )
