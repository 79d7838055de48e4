"""Class weighting: per-class sums of any pixel loss in, one scalar out."""

from fvcore.common.registry import Registry

from .backward import reweighted
from .base import BRANCHES, ClassWeighting, DynamicWeighting
from .gbw import ERRORS, GradientBasedWeighting
from .reduction import DENOMINATORS, weighted_mean
from .released import ReleasedGradientWeighting
from .simplex import gbw_weights
from .static import STATIC_WEIGHTS, StaticWeighting, static_weights

#: Keys of WEIGHTING that name a class weighting, and what they may name.
WEIGHTED_KEYS = ("SEMANTIC", "CENTER", "OFFSET", "CLASSIFICATION", "MASK", "TARGET")
WEIGHTINGS = ("none", "manual", *STATIC_WEIGHTS, "gbw")
#: What WEIGHTING.PRIOR may name.
PRIORS = ("weights", "frequencies")
#: Those of a user: subclasses of :class:`ClassWeighting`, by the name of the class, each made with that one's
#: arguments.
WEIGHTING_REGISTRY = Registry("CLASS_WEIGHTING")
#: What GBW.READING may name.
READINGS = ("ours", "scale_free", "released")


def weightings() -> tuple[str, ...]:
    """Names of class weightings, those of a user among them."""
    return tuple(dict.fromkeys((*WEIGHTINGS, *STATIC_WEIGHTS, *(name for name, _ in WEIGHTING_REGISTRY))))


__all__ = [
    "BRANCHES",
    "DENOMINATORS",
    "ERRORS",
    "PRIORS",
    "READINGS",
    "STATIC_WEIGHTS",
    "WEIGHTED_KEYS",
    "WEIGHTINGS",
    "WEIGHTING_REGISTRY",
    "ClassWeighting",
    "DynamicWeighting",
    "GradientBasedWeighting",
    "ReleasedGradientWeighting",
    "StaticWeighting",
    "gbw_weights",
    "reweighted",
    "static_weights",
    "weighted_mean",
    "weightings",
]
