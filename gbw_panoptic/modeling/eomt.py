"""Domain-adaptive EoMT (Kerssies et al., arXiv 2503.19108): a plain ViT whose last blocks process queries, too; losses,
class weightings and post-processing are Mask2Former's."""

from detectron2.modeling import META_ARCH_REGISTRY
from torch import Tensor

from .build import eomt_parts
from .mask2former import DomainAdaptiveMask2Former
from .masks.head import MaskHeadOutput


@META_ARCH_REGISTRY.register()
class DomainAdaptiveEoMT(DomainAdaptiveMask2Former):
    """Its ``mask_head`` runs the blocks of its ``backbone``, whose pyramid it has no use for."""

    @classmethod
    def from_config(cls, cfg):
        return eomt_parts(cfg)

    def segments(self, images: Tensor) -> MaskHeadOutput:
        return self.mask_head(self.backbone, images)
