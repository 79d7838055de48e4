"""Backbones beside Detectron2's ResNets, under names that ``MODEL.BACKBONE.NAME`` selects. Their libraries are imported
when one of them is built."""

from .compact import build_compact_backbone
from .mit import MixTransformer, build_mit_backbone
from .pyramid import PyramidBackbone
from .swin import Swin, build_swin_backbone
from .timm_models import TimmBackbone, build_timm_backbone
from .vit import ViT, build_vit_backbone

__all__ = [
    "MixTransformer",
    "PyramidBackbone",
    "Swin",
    "TimmBackbone",
    "ViT",
    "build_compact_backbone",
    "build_mit_backbone",
    "build_swin_backbone",
    "build_timm_backbone",
    "build_vit_backbone",
]
