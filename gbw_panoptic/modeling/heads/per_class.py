"""Detectron2's Panoptic-DeepLab heads, returning losses as sums per class.

The layers, their names and their initialisation are Detectron2's; only what a head returns in training differs.

Shape legend: B images, C classes, K feature channels, H x W pixels of the input, h x w pixels at the head's stride.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from detectron2.config import configurable
from detectron2.modeling import SEM_SEG_HEADS_REGISTRY
from detectron2.projects.deeplab import DeepLabV3PlusHead
from detectron2.projects.panoptic_deeplab import INS_EMBED_BRANCHES_REGISTRY
from detectron2.projects.panoptic_deeplab.panoptic_seg import PanopticDeepLabInsEmbedHead, PanopticDeepLabSemSegHead
from torch import Tensor

from ...losses import (
    LossShaping,
    PerClassLoss,
    Unions,
    center_loss_per_class,
    cross_entropy_per_class,
    offset_loss_per_class,
)
from ...structures.predictions import DensePrediction
from ...weighting.build import build_loss_shaping


class PerClassPixelLosses:
    """The losses of a semantic head: it sets ``predictor`` (its last, 1x1 convolution), ``ignore_value``, ``top_k``
    (the share of pixels, those of largest loss, that counts) and ``shaping`` (how the pixel loss is shaped)."""

    def losses(
        self,
        prediction: DensePrediction,
        labels: Tensor,
        pixel_weights: Tensor,
        gradient: str | None,
        unions: Unions = (),
    ) -> PerClassLoss:
        """The pixel loss per class; ``gradient`` is what the class weighting asks for."""
        return cross_entropy_per_class(
            prediction.sem_seg,
            labels,
            pixel_weights,
            top_k=self.top_k,
            shaping=self.shaping,
            ignore_label=self.ignore_value,
            gradient=gradient,
            features=prediction.hidden,
            feature_stride=prediction.feature_stride,
            parameters=(self.predictor.weight, self.predictor.bias),
            unions=unions,
        )


class PerClassInstanceLosses:
    """The losses of a centre and offset head."""

    @staticmethod
    def losses(
        center: Tensor,
        offset: Tensor,
        targets: dict[str, Tensor],
        *,
        num_classes: int,
        gradients: tuple[bool, bool],
        class_of: Callable[[Tensor], Tensor] = lambda labels: labels,
    ) -> tuple[PerClassLoss, PerClassLoss]:
        """Centre and offset losses per class.

        Args:
            gradients: for each, whether its class weighting wants them.
            class_of: maps of labels -> the classes that they count for.
        """
        classes = class_of(instance_class_map(targets["instance_ids"], targets["instance_classes"], -1))
        return (
            center_loss_per_class(
                center,
                targets["center"],
                targets["center_weights"],
                class_of(targets["center_classes"]),
                num_classes=num_classes,
                with_gradient=gradients[0],
            ),
            offset_loss_per_class(
                offset,
                targets["offset"],
                targets["offset_weights"],
                classes,
                num_classes=num_classes,
                with_gradient=gradients[1],
            ),
        )


@SEM_SEG_HEADS_REGISTRY.register()
class PerClassSemSegHead(PerClassPixelLosses, PanopticDeepLabSemSegHead):
    """Semantic head. Image pooling is global, so that it takes images of any size (Detectron2 pools over the crop)."""

    @configurable
    def __init__(self, input_shape, *, loss_type: str, loss_top_k: float, shaping: LossShaping, **kwargs) -> None:
        """
        Args:
            loss_type: one of ``losses.LOSS_TYPES``; ``loss_top_k`` is read with ``hard_pixel_mining`` only.
            shaping: how the pixel loss is shaped.
        """
        super().__init__(input_shape, loss_type="cross_entropy", loss_top_k=loss_top_k, **kwargs)
        self.top_k = share_of_pixels(loss_type, loss_top_k)
        self.shaping = shaping

    @classmethod
    def from_config(cls, cfg, input_shape):
        shaping = build_loss_shaping(cfg)
        return {**super().from_config(cfg, input_shape), "train_size": None, "shaping": shaping}

    def forward(self, features: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Logits [B, C, h * stride, w * stride] and the features [B, K, h, w] that enter the last convolution."""
        hidden = self.head(DeepLabV3PlusHead.layers(self, features))
        return upsample(self.predictor(hidden), self.common_stride), hidden


@INS_EMBED_BRANCHES_REGISTRY.register()
class PerClassInsEmbedHead(PerClassInstanceLosses, PanopticDeepLabInsEmbedHead):
    """Centre and offset heads. Offsets are (dy, dx) in pixels of the input."""

    @classmethod
    def from_config(cls, cfg, input_shape):
        return {**super().from_config(cfg, input_shape), "train_size": None}

    def forward(self, features: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Centre heatmap [B, 1, h * stride, w * stride] and offsets [B, 2, h * stride, w * stride]."""
        center, offset = self.layers(features)
        stride = self.common_stride
        return upsample(center, stride), upsample(offset, stride) * stride


def instance_class_map(instance_ids: Tensor, instance_classes: list[Tensor], outside: int) -> Tensor:
    """Class of the instance at every pixel.

    Args:
        instance_ids: [B, H, W] int64, 0 = none, else 1..K_b.
        instance_classes: per image [K_b] int64.
        outside: value where there is no instance.

    Returns:
        [B, H, W] int64.
    """
    maps = []
    for ids, classes in zip(instance_ids, instance_classes):
        table = F.pad(classes.to(ids.device), (1, 0), value=outside)
        maps.append(table[ids])
    return torch.stack(maps)


def share_of_pixels(loss_type: str, loss_top_k: float) -> float:
    """The ``top_k`` of a semantic head: ``loss_top_k`` counts for hard pixel mining only."""
    return loss_top_k if loss_type == "hard_pixel_mining" else 1.0


def upsample(x: Tensor, factor: int) -> Tensor:
    """[B, K, h, w] -> [B, K, h * factor, w * factor], bilinear with half-pixel centres."""
    return F.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False)
