"""What each trainer cannot be asked for; a row of the table of trainers names its own of these."""

from typing import Iterator

from detectron2.data import MetadataCatalog

from ...adaptation.adversarial import MIN_SIZE
from ..kinds import refusal
from .network import learns_segments


def self_training_problems(cfg) -> Iterator[str]:
    """Of mean-teacher self-training."""
    if cfg.SELF_TRAINING.SHARED_PASS and cfg.SELF_TRAINING.FEATURE_DISTANCE.ENABLED:
        yield refusal(
            cfg, "SELF_TRAINING.SHARED_PASS",
            "False with SELF_TRAINING.FEATURE_DISTANCE, which is the source images' alone",
            "set one of them to False",
        )  # fmt: skip
    if learns_segments(cfg) and cfg.SELF_TRAINING.SELECTION != "quality":
        yield refusal(
            cfg, "SELF_TRAINING.SELECTION",
            f"quality, the default, with {cfg.MODEL.META_ARCHITECTURE}, whose pseudo labels are segments",
            "set it to quality (SELF_TRAINING.SEGMENTS says what is learnt from)",
        )  # fmt: skip
    if cfg.SELF_TRAINING.ADAPTIVE_THRESHOLDS.ENABLED and cfg.SELF_TRAINING.SELECTION == "class_percentile":
        yield refusal(
            cfg,
            "SELF_TRAINING.SELECTION",
            "quality or threshold with SELF_TRAINING.ADAPTIVE_THRESHOLDS",
            "set it to one of them",
        )


def adversarial_problems(cfg) -> Iterator[str]:
    """Of alignment."""
    if min(cfg.INPUT.CROP.SIZE) < MIN_SIZE:
        yield refusal(
            cfg, "INPUT.CROP.SIZE", f"at least {MIN_SIZE} pixels a side, which the discriminator's five strides need",
            "take larger crops",
        )  # fmt: skip
    if cfg.ADVERSARIAL.ALIGN_INSTANCES and cfg.MODEL.TASK != "panoptic":
        yield refusal(
            cfg, "ADVERSARIAL.ALIGN_INSTANCES", f"False with MODEL.TASK {cfg.MODEL.TASK}, which has no instance heads",
            "set it to False or MODEL.TASK to panoptic",
        )  # fmt: skip


def entropy_problems(cfg) -> Iterator[str]:
    """Of entropy minimisation."""
    if cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES == 1:
        yield refusal(
            cfg, "TRAINER.NAME",
            "a trainer without entropies with the one class of DATASETS.TAXONOMY, of which a model is always sure",
            "choose another one, or add a class",
        )  # fmt: skip
    if cfg.WEIGHTING.TARGET == "gbw" and cfg.GBW.GRADIENT == "last_layer" and learns_segments(cfg):
        yield refusal(
            cfg, "GBW.GRADIENT",
            f"logits or pixel with WEIGHTING.TARGET gbw and {cfg.MODEL.META_ARCHITECTURE}, whose semantic output is no "
            "convolution's",
            "choose one of them",
        )  # fmt: skip


def active_problems(cfg) -> Iterator[str]:
    """Of active learning."""
    if learns_segments(cfg):
        yield (
            f"TRAINER.NAME: expected one that trains on whole segments with {cfg.MODEL.META_ARCHITECTURE}, found "
            f"{cfg.TRAINER.NAME}, whose bought pixels and squares are none; set MODEL.META_ARCHITECTURE "
            "DomainAdaptivePanopticDeepLab, or choose another trainer."
        )
    iterations = tuple(cfg.ACTIVE.ITERATIONS)
    yield from acquisition_problems(cfg, humans=not iterations)
    if iterations and iterations[-1] >= cfg.SOLVER.MAX_ITER:
        yield (
            f"ACTIVE.ITERATIONS: expected acquisition before SOLVER.MAX_ITER {cfg.SOLVER.MAX_ITER}, so that its labels "
            f"are learnt from, found {iterations[-1]}; acquire earlier or train longer."
        )
    if (iterations[:1] == (0,) or cfg.ACTIVE.SOURCE_FREE) and not cfg.MODEL.WEIGHTS:
        key = "SOURCE_FREE True" if cfg.ACTIVE.SOURCE_FREE else f"ITERATIONS {iterations}"
        yield (
            f"MODEL.WEIGHTS: expected a model of the source with ACTIVE.{key}, found none; train one first, e.g. with "
            "configs/streets/source_only.yaml, and name its checkpoint."
        )
    if cfg.ACTIVE.SOURCE_FREE and cfg.INPUT.FOURIER.ENABLED:
        yield refusal(
            cfg, "INPUT.FOURIER.ENABLED", "False with ACTIVE.SOURCE_FREE, which reads no source", "set it to False"
        )
    if cfg.ACTIVE.SOURCE_FREE and cfg.ACTIVE.SELF_TRAINING:
        yield refusal(
            cfg, "ACTIVE.SELF_TRAINING", "False with ACTIVE.SOURCE_FREE, since it mixes source with target images",
            "set one of them to False",
        )  # fmt: skip
    if cfg.SELF_TRAINING.SHARED_PASS:
        yield refusal(
            cfg, "SELF_TRAINING.SHARED_PASS",
            f"False with {cfg.TRAINER.NAME}, whose source images have a pass of their own",
            "set it to False",
        )  # fmt: skip
    if cfg.SELF_TRAINING.FEATURE_DISTANCE.ENABLED:
        yield refusal(
            cfg, "SELF_TRAINING.FEATURE_DISTANCE.ENABLED",
            f"False with {cfg.TRAINER.NAME}, whose source losses have no such term", "set it to False",
        )  # fmt: skip


def acquisition_problems(cfg, *, humans: bool = False) -> Iterator[str]:
    """What tools/acquire.py needs, too.

    Args:
        humans: whether they label, so that ACTIVE.ANNOTATOR may be "".
    """
    options, name = cfg.ACTIVE, cfg.ACTIVE.ANNOTATOR
    if cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES == 1 and options.SCORE != "random":
        yield refusal(
            cfg, "ACTIVE.SCORE", "random with the one class of DATASETS.TAXONOMY, of which a model is always sure",
            "set it to that, or add a class",
        )  # fmt: skip
    if options.PANOPTIC and cfg.MODEL.TASK != "panoptic":
        yield refusal(
            cfg, "ACTIVE.PANOPTIC", f"False with MODEL.TASK {cfg.MODEL.TASK}, which has no instance heads",
            "set it to False or MODEL.TASK to panoptic",
        )  # fmt: skip
    if options.PANOPTIC and name in MetadataCatalog.list() and not hasattr(MetadataCatalog.get(name), "panoptic_json"):
        yield (
            f"ACTIVE.PANOPTIC: expected an ACTIVE.ANNOTATOR with instance labels, found '{name}', which has semantic "
            "labels only; set it to False or name another."
        )
    if humans and not name:
        if not cfg.DATASETS.TARGET:
            yield refusal(
                cfg, "DATASETS.TARGET", "a data set of images to be labelled, without ACTIVE.ANNOTATOR", "name one"
            )
    elif name not in MetadataCatalog.list() or not MetadataCatalog.get(name).get("labelled_classes"):
        yield refusal(
            cfg,
            "ACTIVE.ANNOTATOR",
            "a labelled data set of the target's images",
            "name one, e.g. cityscapes_uda_panoptic_train, or have humans label them with acquire.py --for",
        )
