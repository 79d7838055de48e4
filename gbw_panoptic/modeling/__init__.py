"""Meta-architectures and their parts."""

from .heads import PerClassInsEmbedHead, PerClassSemSegHead
from .panoptic_deeplab import DensePrediction, DomainAdaptivePanopticDeepLab, PostProcessing

__all__ = [
    "DensePrediction",
    "DomainAdaptivePanopticDeepLab",
    "PerClassInsEmbedHead",
    "PerClassSemSegHead",
    "PostProcessing",
]
