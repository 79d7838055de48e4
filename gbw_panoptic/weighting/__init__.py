"""Class weighting: per-class sums of any pixel loss in, one scalar out."""

from .backward import reweighted
from .base import BRANCHES, ClassWeighting
from .gbw import GradientBasedWeighting
from .reduction import DENOMINATORS, weighted_mean
from .simplex import gbw_weights
from .static import StaticWeighting, inverse_frequency_weights

#: What WEIGHTING.{SEMANTIC, CENTER, OFFSET} may name.
WEIGHTINGS = ("none", "inverse_frequency", "gbw")

__all__ = [
    "BRANCHES",
    "DENOMINATORS",
    "WEIGHTINGS",
    "ClassWeighting",
    "GradientBasedWeighting",
    "StaticWeighting",
    "gbw_weights",
    "inverse_frequency_weights",
    "reweighted",
    "weighted_mean",
]
