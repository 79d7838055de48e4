"""Which of the host's registered parts this project can use, by name. What a user registers is among them."""

from detectron2.modeling import BACKBONE_REGISTRY, META_ARCH_REGISTRY, SEM_SEG_HEADS_REGISTRY
from detectron2.projects.panoptic_deeplab import INS_EMBED_BRANCHES_REGISTRY
from fvcore.common.registry import Registry

from .base import DomainAdaptiveModel
from .heads.per_class import PerClassInstanceLosses, PerClassPixelLosses


def architectures() -> list[str]:
    """Names of MODEL.META_ARCHITECTURE."""
    return _subclasses(META_ARCH_REGISTRY, DomainAdaptiveModel)


def semantic_heads() -> list[str]:
    """Names of MODEL.SEM_SEG_HEAD.NAME: heads whose losses are per class."""
    return _subclasses(SEM_SEG_HEADS_REGISTRY, PerClassPixelLosses)


def instance_heads() -> list[str]:
    """Names of MODEL.INS_EMBED_HEAD.NAME: heads whose losses are per class."""
    return _subclasses(INS_EMBED_BRANCHES_REGISTRY, PerClassInstanceLosses)


def backbones() -> list[str]:
    """Names of MODEL.BACKBONE.NAME: all but feature pyramids, whose maps are another kind."""
    return sorted(name for name, _ in BACKBONE_REGISTRY if "fpn" not in name)


def _subclasses(registry: Registry, base: type) -> list[str]:
    return sorted(name for name, part in registry if isinstance(part, type) and issubclass(part, base))
