"""What the backbones of other libraries have in common: feature maps under Detectron2's names, for images of any size.

Shape legend: B images, H x W pixels, K_s channels of the map with stride s.
"""

from abc import abstractmethod
from types import MappingProxyType
from typing import Mapping, Sequence

import torch.nn.functional as F
from detectron2.modeling import Backbone
from torch import Tensor, nn

from ...errors import UserError

#: Names of the feature maps, as Detectron2's ResNets have them, and their strides in pixels.
STRIDES = {"res2": 4, "res3": 8, "res4": 16, "res5": 32}
#: The same, for backbones that have a finer map.
FINE_STRIDES = {"res1": 2, **STRIDES}


class PyramidBackbone(Backbone):
    """A backbone with one feature map at each stride of :data:`STRIDES`, or of :data:`FINE_STRIDES`.

    Images are padded with zeros (the mean colour) below and to the right to whole cells of the coarsest wanted map, and
    what lies beyond the image is cut off again: every map has ceil(H / s) x ceil(W / s) cells.

    Attributes:
        feature_norms: beginnings of the names of parameters that weights of classifiers lack.
        staged: whether the first number in a name is that of a stage, of which the last ones may be absent here.
        decays_vectors: whether weight decay is for biases and factors of channels, too.
    """

    feature_norms: tuple[str, ...] = ()
    staged: bool = True
    decays_vectors: bool = True

    def __init__(
        self,
        *,
        channels: Sequence[int],
        out_features: Sequence[str],
        key: str,
        strides: Mapping[str, int] = MappingProxyType(STRIDES),
    ) -> None:
        """
        Args:
            channels: of the maps, finest first, one for each of ``strides``.
            out_features: names of the maps that are wanted.
            key: configuration key of ``out_features``, for messages.
            strides: in pixels, of the maps that there are, finest first.

        Raises:
            UserError: an unknown name, or none.
        """
        super().__init__()
        check_names(out_features, strides, key)
        self._out_features = tuple(name for name in strides if name in out_features)
        self._out_feature_channels = dict(zip(strides, channels, strict=True))
        self._out_feature_strides = dict(strides)

    @property
    def size_divisibility(self) -> int:
        return self._out_feature_strides[self._out_features[-1]]

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Feature maps [B, K_s, ceil(H / s), ceil(W / s)] by name, of normalised images [B, 3, H, W]."""
        height, width = images.shape[-2:]
        padding = (0, -width % self.size_divisibility, 0, -height % self.size_divisibility)
        strides = self._out_feature_strides
        maps = dict(zip(strides, self.feature_maps(F.pad(images, padding) if any(padding) else images)))
        return {
            name: maps[name][..., : -(-height // stride), : -(-width // stride)]
            for name, stride in strides.items()
            if name in self._out_features
        }

    @abstractmethod
    def feature_maps(self, images: Tensor) -> Sequence[Tensor]:
        """Maps [B, K_s, H / s, W / s], finest first, of images whose sides are multiples of the coarsest wanted stride.

        Maps coarser than the last one that is wanted may be left out.
        """

    def inspected(self, images: Tensor) -> dict[str, Tensor]:
        """Maps [B, K, h, w] whose variance tells whether the weights are sound, by what they are called."""
        return self(images)

    def layers_above(self, name: str) -> int | None:
        """How many layers, for SOLVER.LAYER_DECAY, lie between a parameter and the heads; None: it is new, as they
        are."""
        return 0

    @abstractmethod
    def from_public(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Published weights of such a backbone under its names here; what is left over has a name that it lacks."""

    @property
    def depth(self) -> int:
        """How many of the maps there are up to the coarsest wanted one."""
        return list(self._out_feature_strides).index(self._out_features[-1]) + 1


def check_names(out_features: Sequence[str], strides: Mapping[str, int], key: str) -> None:
    """
    Args:
        key: configuration key of ``out_features``, for the message.

    Raises:
        UserError: a name that is none of ``strides``, or no name.
    """
    if not out_features or not set(out_features) <= set(strides):
        raise UserError(f"{key}: expected some of {', '.join(strides)}, found {list(out_features)}; correct it.")


class ChannelNorm(nn.LayerNorm):
    """Layer normalisation over the channels of [B, K, h, w] maps."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
