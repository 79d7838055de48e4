"""Swin Transformer (Liu et al., arXiv 2103.14030), from transformers.

timm's pads after the cyclic shift: where windows do not divide an image, those at its border mix opposite sides of it.
transformers' pads before, as published, and takes any size.

Shape legend: B images, H x W pixels, K_s channels of the map with stride s.
"""

from typing import Mapping, Sequence

from detectron2.modeling import BACKBONE_REGISTRY
from torch import Tensor, nn
from torchvision.ops import stochastic_depth

from ...errors import UserError
from ...optional import import_optional
from ..published.names import swin_state
from .pyramid import STRIDES, PyramidBackbone

_KEY = "MODEL.SWIN"
#: Variant -> channels of the first stage, blocks and heads of the four stages (the paper's section 3.3).
VARIANTS = {
    "t": (96, (2, 2, 6, 2), (3, 6, 12, 24)),
    "s": (96, (2, 2, 18, 2), (3, 6, 12, 24)),
    "b": (128, (2, 2, 18, 2), (4, 8, 16, 32)),
    "l": (192, (2, 2, 18, 2), (6, 12, 24, 48)),
}


class Swin(PyramidBackbone):
    """Swin-T to L with random weights; every map passes a layer norm of its own, as published for segmentation."""

    feature_norms = ("encoder.hidden_states_norms.",)

    def __init__(self, *, variant: str, window_size: int, drop_path_rate: float, out_features: Sequence[str]) -> None:
        """
        Args:
            variant: one of :data:`VARIANTS`.
            window_size: cells; public weights have 7, those trained at 384 pixels 12.
            drop_path_rate: of the last block, rising linearly from 0 at the first.

        Raises:
            UserError: an unknown variant or feature, or transformers is not installed.
        """
        if variant not in VARIANTS:
            raise UserError(f"{_KEY}.VARIANT: expected one of {', '.join(VARIANTS)}, found '{variant}'; correct it.")
        width, blocks, heads = VARIANTS[variant]
        super().__init__(
            channels=[width * 2**stage for stage in range(4)], out_features=out_features, key=f"{_KEY}.OUT_FEATURES"
        )
        transformers = import_optional("transformers", wanted_by="MODEL.BACKBONE.NAME build_swin_backbone")
        names = list(STRIDES)
        config = transformers.SwinConfig(
            embed_dim=width,
            depths=blocks[: self.depth],
            num_heads=heads[: self.depth],
            window_size=window_size,
            drop_path_rate=drop_path_rate,
            out_features=[f"stage{names.index(name) + 1}" for name in self._out_features],
        )
        self.encoder = transformers.SwinBackbone(config)
        self.encoder.swin.layernorm = nn.Identity()  # its output goes nowhere
        _drop_whole_blocks(self.encoder)

    def from_public(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return swin_state(state)

    def feature_maps(self, images: Tensor) -> list[Tensor | None]:
        found = dict(zip(self._out_features, self.encoder(images).feature_maps))
        return [found.get(name) for name in STRIDES]


@BACKBONE_REGISTRY.register()
def build_swin_backbone(cfg, input_shape) -> Swin:
    """MODEL.SWIN; Detectron2's ``input_shape`` is that of an RGB image."""
    options = cfg.MODEL.SWIN
    return Swin(
        variant=options.VARIANT,
        window_size=options.WINDOW_SIZE,
        drop_path_rate=options.DROP_PATH_RATE,
        out_features=tuple(options.OUT_FEATURES),
    )


class _DroppedLinear(nn.Linear):
    """A linear layer whose output [B, N, K] is dropped for a whole image at ``rate`` (stochastic depth)."""

    rate: float = 0.0

    def forward(self, x: Tensor) -> Tensor:
        return stochastic_depth(super().forward(x), self.rate, "row", self.training)


def _drop_whole_blocks(encoder: nn.Module) -> None:
    """Drop path on both branches of a block, as published; transformers has it on the attention alone."""
    for stage in encoder.swin.encoder.layers:
        for block in stage.blocks:
            last = block.mlp.fc2
            block.mlp.fc2 = _DroppedLinear(last.in_features, last.out_features)
            block.mlp.fc2.load_state_dict(last.state_dict())
            block.mlp.fc2.rate = getattr(block.drop_path, "drop_prob", 0.0)
