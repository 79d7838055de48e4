"""Contradictions in the settings of class weighting; a part of :mod:`gbw_panoptic.validation`."""

from typing import Iterator

from ..losses import LOSS_TYPES
from . import WEIGHTED_KEYS, WEIGHTINGS
from .base import BRANCHES

#: Trainer -> branches that have labels; the source's alone with the others.
_TRAINED = {"SelfTrainingTrainer": ("source", "mixed", "masked"), "ActiveTrainer": BRANCHES}


def weighting_problems(cfg) -> Iterator[str]:
    """One sentence for each setting of WEIGHTING that says nothing, or something else than it seems to."""
    for check in (_comparators, _branches, _manual_weights):
        yield from check(cfg)


def _comparators(cfg) -> Iterator[str]:
    """A class weighting named as a pixel loss, or the reverse: say where it belongs."""
    for head in WEIGHTED_KEYS:
        name = cfg.WEIGHTING[head]
        if name in LOSS_TYPES:
            yield (
                f"WEIGHTING.{head}: expected a class weighting ({', '.join(WEIGHTINGS)}), found '{name}', a pixel loss "
                f"of the semantic head; choose it by MODEL.SEM_SEG_HEAD.LOSS_TYPE {name}."
            )
    name = cfg.MODEL.SEM_SEG_HEAD.LOSS_TYPE
    if name in WEIGHTINGS:
        yield (
            f"MODEL.SEM_SEG_HEAD.LOSS_TYPE: expected a pixel loss ({', '.join(LOSS_TYPES)}), found '{name}', a class "
            f"weighting; choose it by WEIGHTING.SEMANTIC {name}."
        )


def _branches(cfg) -> Iterator[str]:
    branches, expected = tuple(cfg.WEIGHTING.BRANCHES), ", ".join(BRANCHES)
    for name in branches:
        if name not in BRANCHES:
            yield f"WEIGHTING.BRANCHES: expected some of {expected}, found '{name}'; correct it."
    weighted = [f"WEIGHTING.{key}" for key in WEIGHTED_KEYS if key != "TARGET" and cfg.WEIGHTING[key] != "none"]
    trained = _TRAINED.get(cfg.TRAINER.NAME, ("source",))
    if weighted and not set(branches) & set(trained):
        yield (
            f"WEIGHTING.BRANCHES: expected some of {', '.join(trained)} with {cfg.TRAINER.NAME} and {weighted[0]} "
            f"{cfg.WEIGHTING[weighted[0][10:]]}, found {', '.join(branches) or 'none'}; name those that are to be weighted, or "
            "set the weighting to none."
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
    elif not all(type(w) in (int, float) and 0 <= w < float("inf") for w in weights) or not any(weights):
        yield (
            f"WEIGHTING.CLASS_WEIGHTS: expected finite numbers of at least 0, one of them above 0, found {weights}; "
            "correct them."
        )
