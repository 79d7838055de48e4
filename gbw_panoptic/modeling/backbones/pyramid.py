"""What the backbones of other libraries have in common: feature maps under Detectron2's names, for images of any size.

Shape legend: B images, H x W pixels, K_s channels of the map with stride s.
"""

from abc import abstractmethod
from typing import Mapping, Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from detectron2.modeling import Backbone

from ...errors import UserError

#: Names of the feature maps, as Detectron2's ResNets have them, and their strides in pixels.
STRIDES = {"res2": 4, "res3": 8, "res4": 16, "res5": 32}


class PyramidBackbone(Backbone):
    """A backbone with one feature map at each stride of :data:`STRIDES`.

    Images are padded with zeros (the mean colour) below and to the right to whole cells of the coarsest map, and what
    lies beyond the image is cut off again: every map has ceil(H / s) x ceil(W / s) cells.

    Attributes:
        feature_norms: beginnings of the names of parameters that weights of classifiers lack.
    """

    feature_norms: tuple[str, ...] = ()

    def __init__(self, *, channels: Sequence[int], out_features: Sequence[str], key: str) -> None:
        """
        Args:
            channels: of the maps, finest first, one for each of :data:`STRIDES`.
            out_features: names of the maps that are wanted.
            key: configuration key of ``out_features``, for messages.

        Raises:
            UserError: an unknown name, or none.
        """
        super().__init__()
        if not out_features or not set(out_features) <= set(STRIDES):
            raise UserError(f"{key}: expected some of {', '.join(STRIDES)}, found {list(out_features)}; correct it.")
        self._out_features = tuple(name for name in STRIDES if name in out_features)
        self._out_feature_channels = dict(zip(STRIDES, channels, strict=True))
        self._out_feature_strides = STRIDES

    @property
    def size_divisibility(self) -> int:
        return max(STRIDES.values())

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Feature maps [B, K_s, ceil(H / s), ceil(W / s)] by name, of normalised images [B, 3, H, W]."""
        height, width = images.shape[-2:]
        padding = (0, -width % self.size_divisibility, 0, -height % self.size_divisibility)
        maps = dict(zip(STRIDES, self.feature_maps(F.pad(images, padding) if any(padding) else images)))
        return {
            name: maps[name][..., : -(-height // stride), : -(-width // stride)]
            for name, stride in STRIDES.items()
            if name in self._out_features
        }

    @abstractmethod
    def feature_maps(self, images: Tensor) -> Sequence[Tensor]:
        """Maps [B, K_s, H / s, W / s], finest first, of images whose sides are multiples of the coarsest stride.

        Maps coarser than the last one that is wanted may be left out.
        """

    @abstractmethod
    def from_public(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Published weights of such a backbone under its names here; what is left over has a name that it lacks."""

    @property
    def depth(self) -> int:
        """How many of the four stages the wanted maps need."""
        return list(STRIDES).index(self._out_features[-1]) + 1


class ChannelNorm(nn.LayerNorm):
    """Layer normalisation over the channels of [B, K, h, w] maps."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
