"""Meta-architectures and their parts."""

from ..structures.predictions import DensePrediction
from . import backbones  # noqa: F401  (registers them)
from .eomt import DomainAdaptiveEoMT
from .heads.daformer import DAFormerInsEmbedHead, DAFormerSemSegHead
from .heads.per_class import PerClassInsEmbedHead, PerClassSemSegHead
from .mask2former import DomainAdaptiveMask2Former
from .panoptic_deeplab import DomainAdaptivePanopticDeepLab
from .post_processing import PostProcessing

__all__ = [
    "DAFormerInsEmbedHead",
    "DAFormerSemSegHead",
    "DensePrediction",
    "DomainAdaptiveEoMT",
    "DomainAdaptiveMask2Former",
    "DomainAdaptivePanopticDeepLab",
    "PerClassInsEmbedHead",
    "PerClassSemSegHead",
    "PostProcessing",
]
