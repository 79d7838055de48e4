"""Mix Transformer, the encoder of SegFormer (Xie et al., arXiv 2105.15203), DAFormer and EDAPS, from transformers.

Shape legend: B images, H x W pixels, K_s channels of the map with stride s.
"""

import math
from typing import Mapping, Sequence

from detectron2.modeling import BACKBONE_REGISTRY
from torch import Tensor, nn

from ...errors import UserError
from ...optional import import_optional
from ..published.names import mit_state
from .pyramid import PyramidBackbone

_KEY = "MODEL.MIT"
_LARGE = (64, 128, 320, 512)
#: Variant -> channels and blocks of the four stages (SegFormer, table 6).
VARIANTS = {
    "b0": ((32, 64, 160, 256), (2, 2, 2, 2)),
    "b1": (_LARGE, (2, 2, 2, 2)),
    "b2": (_LARGE, (3, 4, 6, 3)),
    "b3": (_LARGE, (3, 4, 18, 3)),
    "b4": (_LARGE, (3, 8, 27, 3)),
    "b5": (_LARGE, (3, 6, 40, 3)),
}


class MixTransformer(PyramidBackbone):
    """MiT-B0 to B5 with random weights, initialised as published; every map has passed its stage's layer norm."""

    def __init__(self, *, variant: str, drop_path_rate: float, out_features: Sequence[str]) -> None:
        """
        Args:
            variant: one of :data:`VARIANTS`.
            drop_path_rate: of the last block, rising linearly from 0 at the first.

        Raises:
            UserError: an unknown variant or feature, or transformers is not installed.
        """
        if variant not in VARIANTS:
            raise UserError(f"{_KEY}.VARIANT: expected one of {', '.join(VARIANTS)}, found '{variant}'; correct it.")
        channels, blocks = VARIANTS[variant]
        super().__init__(channels=channels, out_features=out_features, key=f"{_KEY}.OUT_FEATURES")
        transformers = import_optional("transformers", wanted_by="MODEL.BACKBONE.NAME build_mit_backbone")
        settings = {"hidden_sizes": channels, "depths": blocks, "num_attention_heads": (1, 2, 5, 8)}
        self.encoder = transformers.SegformerModel(
            transformers.SegformerConfig(
                num_encoder_blocks=self.depth,
                drop_path_rate=drop_path_rate,
                **{name: values[: self.depth] for name, values in settings.items()},
            )
        )
        _initialise_convolutions(self.encoder)

    def from_public(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return mit_state(state)

    def feature_maps(self, images: Tensor) -> tuple[Tensor, ...]:
        return self.encoder(images, output_hidden_states=True).hidden_states


@BACKBONE_REGISTRY.register()
def build_mit_backbone(cfg, input_shape) -> MixTransformer:
    """MODEL.MIT; Detectron2's ``input_shape`` is that of an RGB image."""
    options = cfg.MODEL.MIT
    return MixTransformer(
        variant=options.VARIANT, drop_path_rate=options.DROP_PATH_RATE, out_features=tuple(options.OUT_FEATURES)
    )


def _initialise_convolutions(module: nn.Module) -> None:
    """N(0, 2 / fan-out), as published; transformers' deviation of 0.02 nearly silences depth-wise ones (fan-out 9)."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            fan_out = math.prod(layer.kernel_size) * layer.out_channels // layer.groups
            nn.init.normal_(layer.weight, std=math.sqrt(2 / fan_out))
            nn.init.zeros_(layer.bias)
