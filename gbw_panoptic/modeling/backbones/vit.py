"""Vision transformers of DINOv2 (arXiv 2304.07193) and DINOv3 (arXiv 2508.10104) with ViTDet's simple feature pyramid
(arXiv 2203.16527).

Shape legend: B images, H x W pixels, h x w patches, N = registers + 1 + h w tokens, D channels of a token.
"""

import re
from types import ModuleType
from typing import Iterable, Mapping, Sequence

import torch
import torch.nn.functional as F
from detectron2.modeling import BACKBONE_REGISTRY
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ...errors import UserError
from ...optional import import_optional
from ..published.vit import vit_state
from .pyramid import STRIDES, ChannelNorm, PyramidBackbone

_KEY = "MODEL.VIT"
#: Of random weights that a CPU trains in minutes (ours).
_TINY = {"embed_dim": 128, "depth": 4, "num_heads": 4}
#: Variant -> name in timm, and what differs from it. timm's names without ``_qkvb`` lack biases that the files have.
VARIANTS: dict[str, tuple[str, dict[str, int]]] = {
    **{f"dinov2_{size}": (f"vit_{size}_patch14_dinov2", {}) for size in ("small", "base", "large")},
    **{f"dinov2_{size}_reg": (f"vit_{size}_patch14_reg4_dinov2", {}) for size in ("small", "base", "large")},
    **{f"dinov3_{size}": (f"vit_{size}_patch16_dinov3_qkvb", {}) for size in ("small", "base", "large")},
    "dinov2_tiny": ("vit_small_patch14_dinov2", _TINY),
    "dinov2_tiny_reg": ("vit_small_patch14_reg4_dinov2", _TINY),
    "dinov3_tiny": ("vit_small_patch16_dinov3_qkvb", _TINY),
}
#: Cells of the sides of DINOv2's table of positions.
GRID = 37
#: Whose formula brings the table to another size -> (antialias, offset of the scale or None). It decides where there are
#: no registers; with them, all three take the first line.
_SMOOTH = (True, None)
POSITIONS = {"facebookresearch": (False, 0.1), "timm": _SMOOTH, "transformers": (False, None)}
NORMS = {"LN": lambda channels: ChannelNorm(channels, eps=1e-6), "GN": lambda channels: nn.GroupNorm(32, channels)}


class ViT(PyramidBackbone):
    """A plain vision transformer with random weights; the pyramid reads the tokens of its last block, normed."""

    feature_norms = ("pyramid.",)
    staged = False
    decays_vectors = False

    def __init__(
        self,
        *,
        variant: str,
        patch_size: int,
        positions: str,
        drop_path_rate: float,
        pyramid_channels: int,
        pyramid_norm: str,
        gradient_checkpointing: bool,
        out_features: Sequence[str],
    ) -> None:
        """
        Args:
            variant: one of :data:`VARIANTS`.
            patch_size: side of a patch in pixels, a power of two; kernels of files are resized to it.
            positions: one of :data:`POSITIONS`.
            drop_path_rate: of the last block, rising linearly from 0 at the first.
            pyramid_channels: of every map.
            pyramid_norm: one of :data:`NORMS`.
            gradient_checkpointing: compute every block again in the backward pass, for its memory.

        Raises:
            UserError: an unknown feature, or timm is not installed.
        """
        super().__init__(
            channels=[pyramid_channels] * len(STRIDES), out_features=out_features, key=f"{_KEY}.OUT_FEATURES"
        )
        timm = import_optional("timm", wanted_by="MODEL.BACKBONE.NAME build_vit_backbone")
        self.patch_size, self.gradient_checkpointing = patch_size, gradient_checkpointing
        self.model = _create(timm, variant, patch_size=patch_size, drop_path_rate=drop_path_rate)
        width = self.model.embed_dim
        self.position_formula = _SMOOTH if self.model.num_prefix_tokens > 1 else POSITIONS[positions]
        self.pos_embed = None if _is_rotary(self.model) else nn.Parameter(0.02 * torch.randn(1, GRID**2, width))
        self.pyramid = nn.ModuleDict(
            {
                name: pyramid_level(width, pyramid_channels, patch_size, STRIDES[name], norm=pyramid_norm)
                for name in self._out_features
            }
        )

    @property
    def size_divisibility(self) -> int:
        return max(super().size_divisibility, self.patch_size)

    def feature_maps(self, images: Tensor) -> list[Tensor]:
        tokens = self.token_map(images)
        wanted = list(STRIDES)[: self.depth]
        return [self.pyramid[name](tokens) if name in self.pyramid else tokens for name in wanted]

    def token_map(self, images: Tensor) -> Tensor:
        """[B, D, h, w]: patches behind the last block and its norm, of images whose sides are whole patches."""
        x, size = self.embed(images)
        x = self.through(self.model.blocks, x, **self.rotary(size))
        return self.patch_map(self.model.norm(x), size)

    def embed(self, images: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """Tokens [B, N, D] in front of the first block, and (h, w)."""
        model = self.model
        patches = model.patch_embed(images)  # [B, h, w, D]
        size = patches.shape[1:3]
        x = patches.flatten(1, 2)
        if self.pos_embed is not None:
            x = x + resized_positions(self.pos_embed, size, *self.position_formula)
        prefix = [token.expand(len(x), -1, -1) for token in (model.cls_token, model.reg_token) if token is not None]
        return torch.cat([*prefix, x], dim=1), size

    def rotary(self, size: tuple[int, int]) -> dict[str, Tensor]:
        """What blocks are given beside tokens: ``rope`` [h w, 2 D'], sines and cosines of a head, or nothing."""
        return {"rope": self.model.rope.get_embed(shape=size)} if _is_rotary(self.model) else {}

    def through(self, blocks: Iterable[nn.Module], x: Tensor, **context: Tensor | None) -> Tensor:
        """Tokens [B, N, D] behind some of the blocks, to each of which ``context`` is given."""
        for block in blocks:
            if self.gradient_checkpointing and self.training and torch.is_grad_enabled():
                x = checkpoint(block, x, use_reentrant=False, **context)
            else:
                x = block(x, **context)
        return x

    def patch_map(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        """[B, D, h, w]: the patches among tokens [B, N, D]."""
        return x[:, self.model.num_prefix_tokens :].transpose(1, 2).unflatten(2, size).contiguous()

    def inspected(self, images: Tensor) -> dict[str, Tensor]:
        return {"the last block": self.token_map(images)}  # the pyramid's own weights vary what does not

    def layers_above(self, name: str) -> int | None:
        """0 for the last norm, 1 for the last block, ..., and for patches, positions and tokens one more than for the
        first (Detectron2's ViTDet; BEiT for tokens)."""
        if name.startswith("pyramid."):
            return None
        block = re.match(r"model\.blocks\.(\d+)\.", name)
        if block:
            return len(self.model.blocks) - int(block[1])
        return 0 if name.startswith("model.norm.") else len(self.model.blocks) + 1

    def from_public(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return vit_state(state, self.state_dict())


def pyramid_level(width: int, channels: int, patch: int, stride: int, *, norm: str) -> nn.Sequential:
    """From tokens [B, width, h, w] to a map of one stride: transposed convolutions or max pooling, then two
    convolutions (ViTDet)."""
    layers: list[nn.Module] = []
    while patch > stride:
        layers += [NORMS[norm](width), nn.GELU()] if layers else []
        layers.append(nn.ConvTranspose2d(width, width // 2, 2, stride=2))
        width, patch = width // 2, patch // 2
    if patch < stride:
        layers.append(nn.MaxPool2d(stride // patch))
    layers += [nn.Conv2d(width, channels, 1, bias=False), NORMS[norm](channels)]
    layers += [nn.Conv2d(channels, channels, 3, padding=1, bias=False), NORMS[norm](channels)]
    return nn.Sequential(*layers)


def resized_positions(table: Tensor, size: tuple[int, int], antialias: bool, offset: float | None) -> Tensor:
    """A square table [1, g * g, D] for h x w patches, [1, h w, D], by bicubic interpolation.

    Args:
        size: (h, w).
        offset: of the cells of a side, by which DINOv2's code scales; None: the scale follows from the sizes.
    """
    side = round(table.shape[1] ** 0.5)
    if size == (side, side):
        return table
    grid = table.unflatten(1, (side, side)).permute(0, 3, 1, 2)
    scale = {"size": size} if offset is None else {"scale_factor": tuple((cells + offset) / side for cells in size)}
    return F.interpolate(grid, **scale, mode="bicubic", antialias=antialias).flatten(2).transpose(1, 2)


@BACKBONE_REGISTRY.register()
def build_vit_backbone(cfg, input_shape) -> ViT:
    """MODEL.VIT; Detectron2's ``input_shape`` is that of an RGB image."""
    options = cfg.MODEL.VIT
    return ViT(
        variant=options.VARIANT,
        patch_size=options.PATCH_SIZE,
        positions=options.POSITIONS,
        drop_path_rate=options.DROP_PATH_RATE,
        pyramid_channels=options.PYRAMID_CHANNELS,
        pyramid_norm=options.PYRAMID_NORM,
        gradient_checkpointing=options.GRADIENT_CHECKPOINTING,
        out_features=tuple(options.OUT_FEATURES),
    )


def _create(timm: ModuleType, variant: str, *, patch_size: int, drop_path_rate: float) -> nn.Module:
    """timm's model without positions (they are ours) and without a classifier; layer scale starts at 1."""
    if variant not in VARIANTS:
        raise UserError(f"{_KEY}.VARIANT: expected one of {', '.join(VARIANTS)}, found '{variant}'; correct it.")
    name, changes = VARIANTS[variant]
    positions = {} if "dinov3" in name else {"pos_embed": "none", "dynamic_img_size": True}
    return timm.create_model(
        name, pretrained=False, num_classes=0, img_size=GRID * patch_size, patch_size=patch_size, init_values=1.0,
        drop_path_rate=drop_path_rate, **positions, **changes,
    )  # fmt: skip


def _is_rotary(model: nn.Module) -> bool:
    return getattr(model, "rope", None) is not None
