"""Losses. Those of pixels are summed per class and not yet reduced; adversarial, active and mask losses are means."""

from ..structures.per_class_loss import PerClassLoss, group_counts, group_sums
from .class_gradients import GRADIENTS, SQUARES, sum_gradients
from .cross_entropy import Unions, cross_entropy_per_class, hardest_pixels, most_probable
from .entropy import IMAGE_WISE_RATIO, entropy_per_class, image_wise_factors, maximum_squares_per_class
from .logit_alignment import LogitAlignment
from .regression import center_loss_per_class, offset_loss_per_class
from .shaping import LOSS_REGISTRY, LOSS_TYPES, Focal, LogitAdjustment, LossShaping, Seesaw, log_frequencies, loss_types

__all__ = [
    "GRADIENTS",
    "IMAGE_WISE_RATIO",
    "LOSS_REGISTRY",
    "LOSS_TYPES",
    "Focal",
    "LogitAdjustment",
    "LogitAlignment",
    "LossShaping",
    "PerClassLoss",
    "SQUARES",
    "Seesaw",
    "Unions",
    "center_loss_per_class",
    "cross_entropy_per_class",
    "entropy_per_class",
    "group_counts",
    "group_sums",
    "hardest_pixels",
    "loss_types",
    "image_wise_factors",
    "log_frequencies",
    "maximum_squares_per_class",
    "most_probable",
    "offset_loss_per_class",
    "sum_gradients",
]
