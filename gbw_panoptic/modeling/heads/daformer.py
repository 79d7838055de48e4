"""DAFormer's context-aware feature fusion (Hoyer et al., arXiv 2111.14887, section 3.2) as heads of Panoptic-DeepLab.

One such decoder for classes and a second one for centres and offsets, on a MiT-B5, is the bottom-up variant of EDAPS
(Saha et al., ICCV 2023; M-Dec-BU).

Shape legend: B images, C classes, K fused channels, s the stride of the finest map, h x w its cells.
"""

from typing import Sequence

import torch
import torch.nn.functional as F
from detectron2.config import configurable
from detectron2.layers import Conv2d, DepthwiseSeparableConv2d, ShapeSpec, get_norm
from detectron2.modeling import SEM_SEG_HEADS_REGISTRY
from detectron2.projects.panoptic_deeplab import INS_EMBED_BRANCHES_REGISTRY
from torch import Tensor, nn

from ...losses import LossShaping
from ...weighting.build import build_loss_shaping
from .per_class import PerClassInstanceLosses, PerClassPixelLosses, share_of_pixels, upsample

_PREDICTOR_DEVIATION = 0.01  # DAFormer


class ContextFusion(nn.Module):
    """Every map embedded linearly and brought to the finest one's size, then all through parallel dilated convolutions.

    The branch of dilation 1 is a 1x1 convolution; the others are depth-wise separable 3x3 ones. No image pooling.
    """

    def __init__(
        self,
        input_shape: dict[str, ShapeSpec],
        *,
        embedding_channels: int,
        fused_channels: int,
        dilations: Sequence[int],
        norm: str,
    ) -> None:
        """
        Args:
            input_shape: of the maps to fuse, in any order.
            embedding_channels: of each embedded map.
            fused_channels: K, of each branch and of the result.
            norm: Detectron2's name of the normalisation behind every convolution.
        """
        super().__init__()
        self.in_features = sorted(input_shape, key=lambda name: input_shape[name].stride)
        self.stride = input_shape[self.in_features[0]].stride
        self.embeddings = nn.ModuleDict(
            {name: nn.Conv2d(input_shape[name].channels, embedding_channels, 1) for name in self.in_features}
        )
        width = embedding_channels * len(self.in_features)
        self.branches = nn.ModuleList(_branch(width, fused_channels, dilation, norm) for dilation in dilations)
        self.bottleneck = _convolution(fused_channels * len(dilations), fused_channels, 3, norm)
        for embedding in self.embeddings.values():
            nn.init.trunc_normal_(embedding.weight, std=0.02)
            nn.init.zeros_(embedding.bias)

    def forward(self, features: dict[str, Tensor]) -> Tensor:
        """[B, K, h, w] from the maps by name."""
        size = features[self.in_features[0]].shape[-2:]
        embedded = [_resized(self.embeddings[name](features[name]), size) for name in self.in_features]
        joined = torch.cat(embedded, dim=1)
        return self.bottleneck(torch.cat([branch(joined) for branch in self.branches], dim=1))


@SEM_SEG_HEADS_REGISTRY.register()
class DAFormerSemSegHead(PerClassPixelLosses, nn.Module):
    """Semantic head; the same call as :class:`PerClassSemSegHead`, at the stride of the finest map that it reads."""

    @configurable
    def __init__(
        self,
        *,
        fusion: ContextFusion,
        fused_channels: int,
        dropout: float,
        num_classes: int,
        ignore_value: int,
        loss_type: str,
        loss_top_k: float,
        shaping: LossShaping,
    ) -> None:
        """
        Args:
            dropout: share of the fused channels that training drops, for a whole image.
            loss_type: one of ``losses.LOSS_TYPES``; ``loss_top_k`` is read with ``hard_pixel_mining`` only.
            shaping: how the pixel loss is shaped.
        """
        super().__init__()
        self.fusion = fusion
        self.common_stride = fusion.stride
        self.dropout = nn.Dropout2d(dropout)
        self.predictor = _predictor(fused_channels, num_classes)
        self.ignore_value = ignore_value
        self.top_k = share_of_pixels(loss_type, loss_top_k)
        self.shaping = shaping

    @classmethod
    def from_config(cls, cfg, input_shape):
        options = cfg.MODEL.SEM_SEG_HEAD
        return {
            "fusion": _build_fusion(options, input_shape),
            "fused_channels": options.ASPP_CHANNELS,
            "dropout": options.ASPP_DROPOUT,
            "num_classes": options.NUM_CLASSES,
            "ignore_value": options.IGNORE_VALUE,
            "loss_type": options.LOSS_TYPE,
            "loss_top_k": options.LOSS_TOP_K,
            "shaping": build_loss_shaping(cfg),
        }

    def forward(self, features: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Logits [B, C, h * s, w * s] and the features [B, K, h, w] that enter the last convolution."""
        hidden = self.dropout(self.fusion(features))
        return upsample(self.predictor(hidden), self.common_stride), hidden


@INS_EMBED_BRANCHES_REGISTRY.register()
class DAFormerInsEmbedHead(PerClassInstanceLosses, nn.Module):
    """Centre and offset heads on a fusion of their own. Offsets (dy, dx) come in pixels of the input, as in EDAPS."""

    @configurable
    def __init__(self, *, fusion: ContextFusion, fused_channels: int, dropout: float) -> None:
        super().__init__()
        self.fusion = fusion
        self.common_stride = fusion.stride
        self.dropout = nn.Dropout2d(dropout)
        self.center_predictor = _predictor(fused_channels, 1)
        self.offset_predictor = _predictor(fused_channels, 2)

    @classmethod
    def from_config(cls, cfg, input_shape):
        options = cfg.MODEL.INS_EMBED_HEAD
        return {
            "fusion": _build_fusion(options, input_shape),
            "fused_channels": options.ASPP_CHANNELS,
            "dropout": options.ASPP_DROPOUT,
        }

    def forward(self, features: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Centre heatmap [B, 1, h * s, w * s] and offsets [B, 2, h * s, w * s]; each drops channels of its own."""
        fused = self.fusion(features)
        center = self.center_predictor(self.dropout(fused))
        offset = self.offset_predictor(self.dropout(fused))
        return upsample(center, self.common_stride), upsample(offset, self.common_stride)


def _build_fusion(options, input_shape: dict[str, ShapeSpec]) -> ContextFusion:
    """From the keys of Panoptic-DeepLab's heads: CONVS_DIM is an embedding's width, ASPP_CHANNELS the fusion's."""
    return ContextFusion(
        {name: input_shape[name] for name in options.IN_FEATURES},
        embedding_channels=options.CONVS_DIM,
        fused_channels=options.ASPP_CHANNELS,
        dilations=tuple(options.ASPP_DILATIONS),
        norm=options.NORM,
    )


def _branch(in_channels: int, out_channels: int, dilation: int, norm: str) -> nn.Module:
    if dilation == 1:
        return _convolution(in_channels, out_channels, 1, norm)
    return DepthwiseSeparableConv2d(
        in_channels,
        out_channels,
        padding=dilation,
        dilation=dilation,
        norm1=norm,
        activation1=F.relu,
        norm2=norm,
        activation2=F.relu,
    )


def _convolution(in_channels: int, out_channels: int, kernel_size: int, norm: str) -> Conv2d:
    layer = Conv2d(
        in_channels,
        out_channels,
        kernel_size,
        padding=kernel_size // 2,
        bias=not norm,
        norm=get_norm(norm, out_channels),
        activation=F.relu,
    )
    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def _predictor(in_channels: int, out_channels: int) -> nn.Conv2d:
    layer = nn.Conv2d(in_channels, out_channels, 1)
    nn.init.normal_(layer.weight, std=_PREDICTOR_DEVIATION)
    nn.init.zeros_(layer.bias)
    return layer


def _resized(x: Tensor, size: torch.Size) -> Tensor:
    return x if x.shape[-2:] == size else F.interpolate(x, size=size, mode="bilinear", align_corners=False)
