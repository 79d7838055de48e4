"""Class weighting that says nothing, or something else than it seems to."""

from typing import Iterator

from ...weighting import WEIGHTED_KEYS
from ..kinds import refusal, value_of
from ..trainers import branches_of

#: Keys of GBW that the released reading has no use for -> their defaults.
_RELEASED = {
    "GBW.GRADIENT": "logits", "GBW.NORMALIZE": False, "GBW.ERRORS": "misses", "GBW.GUARD": 0, "GBW.COOLDOWN_ITERS": 0,
    "GBW.MOMENTUM": 0, "GBW.WARMUP_ITERS": 0,
}  # fmt: skip
#: Keys of GBW that see a semantic head's channels alone -> what turns them off.
_OF_CHANNELS = {"GBW.ERRORS": "misses", "GBW.GUARD": 0}


def branch_problems(cfg) -> Iterator[str]:
    """One sentence where losses are weighted on branches alone that the trainer has no labels for."""
    weighted = [f"WEIGHTING.{key}" for key in WEIGHTED_KEYS if key != "TARGET" and cfg.WEIGHTING[key] != "none"]
    branches, trained = tuple(cfg.WEIGHTING.BRANCHES), branches_of(cfg)
    if weighted and not set(branches) & set(trained):
        yield (
            f"WEIGHTING.BRANCHES: expected some of {', '.join(trained)} with {cfg.TRAINER.NAME} and {weighted[0]} "
            f"{value_of(cfg, weighted[0])}, found {', '.join(branches) or 'none'}; name those that are to be weighted, "
            "or set the weighting to none."
        )


def released_problems(cfg) -> Iterator[str]:
    """The released reading of GBW: of which losses, and with which of the other keys."""
    if cfg.GBW.READING != "released":
        return
    for key in (f"WEIGHTING.{key}" for key in WEIGHTED_KEYS if key != "SEMANTIC"):
        if value_of(cfg, key) == "gbw":
            yield refusal(
                cfg, key, "another than gbw with GBW.READING released, which is of the cross entropy of semantic heads "
                          "only",
                "set it to none, or GBW.READING to ours",
            )  # fmt: skip
    if cfg.WEIGHTING.SEMANTIC != "gbw":
        yield refusal(
            cfg, "GBW.READING", f"ours with WEIGHTING.SEMANTIC {cfg.WEIGHTING.SEMANTIC}",
            "set WEIGHTING.SEMANTIC gbw, or GBW.READING ours",
        )  # fmt: skip
    for key, only in _RELEASED.items():
        if value_of(cfg, key) != only:
            yield refusal(
                cfg,
                key,
                f"{only} with GBW.READING released, which has no such choice",
                "set it to that, or GBW.READING to ours",
            )


def scale_free_problems(cfg) -> Iterator[str]:
    """The scale-free reading of GBW, and what sees the channels of semantic heads alone."""
    if cfg.GBW.READING == "scale_free" and cfg.GBW.NORMALIZE:
        yield refusal(
            cfg, "GBW.NORMALIZE", "False with GBW.READING scale_free, which has a unit of its own", "set it to False"
        )
    for key, off in _OF_CHANNELS.items():
        if cfg.GBW.READING == "released" or value_of(cfg, key) == off:
            continue
        for place, needed in (("WEIGHTING.SEMANTIC", "gbw"), ("GBW.GRADIENT", "logits")):
            if value_of(cfg, place) != needed:
                yield refusal(
                    cfg, key, f"{off} with {place} {value_of(cfg, place)}, since it is of the logits of semantic heads",
                    f"set it to that, or {place} {needed}",
                )  # fmt: skip


def tau_problems(cfg) -> Iterator[str]:
    """A correction of the decision that has nothing to take back."""
    weighted = cfg.WEIGHTING.SEMANTIC != "none" and "source" in cfg.WEIGHTING.BRANCHES
    for key in ("TEST.TAU", "SELF_TRAINING.TAU"):
        if value_of(cfg, key) and cfg.WEIGHTING.PRIOR == "weights" and not weighted:
            yield refusal(
                cfg, key, "0 with WEIGHTING.PRIOR weights where no semantic loss of the source has class weights",
                "set it to 0, or WEIGHTING.PRIOR frequencies",
            )  # fmt: skip


def manual_problems(cfg) -> Iterator[str]:
    """Weights by hand: one for each class, and only where they are read."""
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
