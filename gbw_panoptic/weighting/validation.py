"""Contradictions in the settings of class weighting; a part of :mod:`gbw_panoptic.validation`."""

from typing import Iterator

from . import WEIGHTED_KEYS
from .base import BRANCHES

#: Trainer -> branches that have labels; the source's alone with the others.
_TRAINED = {"SelfTrainingTrainer": ("source", "mixed", "masked"), "ActiveTrainer": BRANCHES}

#: Keys of GBW that the released reading has no use for -> their defaults.
_RELEASED = {
    "GRADIENT": "logits", "NORMALIZE": False, "ERRORS": "misses", "GUARD": 0, "COOLDOWN_ITERS": 0, "MOMENTUM": 0, "WARMUP_ITERS": 0,
}  # fmt: skip
#: Keys of GBW that see a semantic head's channels alone -> what turns them off.
_OF_CHANNELS = {"ERRORS": "misses", "GUARD": 0}


def weighting_problems(cfg) -> Iterator[str]:
    """One sentence for each setting of WEIGHTING that says nothing, or something else than it seems to."""
    for check in (_branches, _manual_weights, _released, _scale_free, _of_channels):
        yield from check(cfg)


def _branches(cfg) -> Iterator[str]:
    branches = tuple(cfg.WEIGHTING.BRANCHES)
    weighted = [f"WEIGHTING.{key}" for key in WEIGHTED_KEYS if key != "TARGET" and cfg.WEIGHTING[key] != "none"]
    trained = _TRAINED.get(cfg.TRAINER.NAME, ("source",))
    if weighted and not set(branches) & set(trained):
        yield (
            f"WEIGHTING.BRANCHES: expected some of {', '.join(trained)} with {cfg.TRAINER.NAME} and {weighted[0]} "
            f"{cfg.WEIGHTING[weighted[0][10:]]}, found {', '.join(branches) or 'none'}; name those that are to be weighted, or "
            "set the weighting to none."
        )


def _released(cfg) -> Iterator[str]:
    """The released reading of GBW: of which losses, and with which of the other keys."""
    if cfg.GBW.READING != "released":
        return
    for key in WEIGHTED_KEYS:
        if key != "SEMANTIC" and cfg.WEIGHTING[key] == "gbw":
            yield (
                f"WEIGHTING.{key}: expected another than gbw with GBW.READING released, which is of the cross entropy of semantic "
                "heads only, found 'gbw'; set it to none, or GBW.READING to ours."
            )
    if cfg.WEIGHTING.SEMANTIC != "gbw":
        yield (
            f"GBW.READING: expected ours with WEIGHTING.SEMANTIC {cfg.WEIGHTING.SEMANTIC}, found 'released'; set "
            "WEIGHTING.SEMANTIC gbw, or GBW.READING ours."
        )
    for key, only in _RELEASED.items():
        if cfg.GBW[key] != only:
            yield (
                f"GBW.{key}: expected {only} with GBW.READING released, which has no such choice, found {cfg.GBW[key]}; set it "
                "to that, or GBW.READING to ours."
            )


def _scale_free(cfg) -> Iterator[str]:
    if cfg.GBW.READING == "scale_free" and cfg.GBW.NORMALIZE:
        yield "GBW.NORMALIZE: expected False with GBW.READING scale_free, which has a unit of its own, found True; set it to False."


def _of_channels(cfg) -> Iterator[str]:
    for key, off in _OF_CHANNELS.items():
        if cfg.GBW.READING == "released" or cfg.GBW[key] == off:
            continue
        for place, needed in (("WEIGHTING.SEMANTIC", "gbw"), ("GBW.GRADIENT", "logits")):
            section, name = place.split(".")
            if cfg[section][name] != needed:
                yield (
                    f"GBW.{key}: expected {off} with {place} {cfg[section][name]}, since it is of the logits of semantic heads, found "
                    f"{cfg.GBW[key]}; set it to that, or {place} {needed}."
                )


def _manual_weights(cfg) -> Iterator[str]:
    weights, classes = tuple(cfg.WEIGHTING.CLASS_WEIGHTS), cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES
    if "manual" not in [cfg.WEIGHTING[head] for head in WEIGHTED_KEYS]:
        if weights:
            yield (
                f"WEIGHTING.CLASS_WEIGHTS: expected () where no head's weighting is manual, found {len(weights)} "
                "numbers; set WEIGHTING.SEMANTIC (Mask2Former: CLASSIFICATION) manual, or drop the list."
            )
    elif len(weights) != classes:
        yield (
            f"WEIGHTING.CLASS_WEIGHTS: expected {classes} numbers for weighting manual, one for each class, found "
            f"{len(weights)}; give one for each."
        )
    elif not any(weights):
        yield f"WEIGHTING.CLASS_WEIGHTS: expected one of them above 0, found {weights}; correct them."
