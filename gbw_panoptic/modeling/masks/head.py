"""Mask2Former's pixel and transformer decoders (Cheng et al., arXiv 2112.01527); only this file imports transformers'.

Initialisation is the original's; transformers' own differs, and bare modules hold uninitialised memory.

Shape legend: B images, C classes, Q queries, D channels of a query, L prediction sets (raw queries, then one for each
decoder layer), h x w cells of the masks.
"""

import math
from dataclasses import dataclass

import torch
from detectron2.layers import ShapeSpec
from fvcore.nn import weight_init
from torch import Tensor, nn

from ...errors import UserError
from ...optional import import_optional
from .deformable import DeformableAttention

#: Strides of the backbone's maps that the decoders read.
STRIDES = (4, 8, 16, 32)


@dataclass(frozen=True)
class MaskHeadOutput:
    """Predictions of every prediction set, the last one being the result.

    Attributes:
        class_logits: L tensors [B, Q, C + 1].
        mask_logits: L tensors [B, Q, h, w].
        hidden: [B, Q, D], what entered the last class prediction.
    """

    class_logits: tuple[Tensor, ...]
    mask_logits: tuple[Tensor, ...]
    hidden: Tensor


class MaskHead(nn.Module):
    """From a backbone's maps of strides 4 to 32 to the classes and masks of all queries."""

    def __init__(
        self,
        input_shape: dict[str, ShapeSpec],
        *,
        num_classes: int,
        num_queries: int,
        hidden_dim: int,
        num_heads: int,
        encoder_layers: int,
        encoder_feedforward_dim: int,
        decoder_layers: int,
        decoder_feedforward_dim: int,
    ) -> None:
        """
        Args:
            hidden_dim: D, also of the pixel decoder and the mask features; a multiple of 32 (GroupNorm).
            decoder_layers: real layers; there is one prediction set more, of the raw queries.

        Raises:
            UserError: transformers is absent, or the backbone lacks a stride.
        """
        super().__init__()
        self.in_features = _features_by_stride(input_shape)
        config_class, pixel_decoder, transformer = _transformers_classes()
        config = config_class(
            feature_size=hidden_dim,
            mask_feature_size=hidden_dim,
            hidden_dim=hidden_dim,
            num_attention_heads=num_heads,
            num_queries=num_queries,
            encoder_layers=encoder_layers,
            encoder_feedforward_dim=encoder_feedforward_dim,
            decoder_layers=decoder_layers + 1,  # it counts the raw queries' predictions
            dim_feedforward=decoder_feedforward_dim,
            dropout=0.0,  # transformers would skip whole layers
        )
        self.pixel_decoder = pixel_decoder(config, [input_shape[name].channels for name in self.in_features])
        self.transformer = transformer(hidden_dim, config)
        self.class_predictor = nn.Linear(hidden_dim, num_classes + 1)
        initialize(self.pixel_decoder, self.transformer)
        for layer in self.pixel_decoder.encoder.layers:
            layer.self_attn = DeformableAttention(layer.self_attn)

    def forward(self, features: dict[str, Tensor]) -> MaskHeadOutput:
        maps = [features[name] for name in self.in_features]
        with torch.autocast(maps[0].device.type, enabled=False):  # as released
            pixels = self.pixel_decoder([x.float() for x in maps])
        decoded = self.transformer(list(pixels.multi_scale_features), pixels.mask_features)
        hidden = [x.transpose(0, 1) for x in decoded.intermediate_hidden_states]
        return MaskHeadOutput(
            class_logits=tuple(self.class_predictor(x) for x in hidden),
            mask_logits=tuple(decoded.masks_queries_logits),
            hidden=hidden[-1],
        )


def _features_by_stride(input_shape: dict[str, ShapeSpec]) -> tuple[str, ...]:
    """Names of the maps of :data:`STRIDES`."""
    by_stride = {shape.stride: name for name, shape in input_shape.items()}
    missing = [stride for stride in STRIDES if stride not in by_stride]
    if missing:
        raise UserError(
            f"MODEL.BACKBONE.NAME: expected feature maps of strides 4, 8, 16 and 32 for Mask2Former, found "
            f"{', '.join(map(str, sorted(by_stride)))}; set MODEL.RESNETS.OUT_FEATURES to res2 to res5, undilated."
        )
    return tuple(by_stride[stride] for stride in STRIDES)


def _transformers_classes() -> tuple[type, type, type]:
    """Configuration, pixel decoder and transformer decoder; neither of them asks a network."""
    package = "transformers.models.mask2former"
    configuration, modeling = (
        import_optional(
            f"{package}.{name}_mask2former",
            wanted_by="MODEL.META_ARCHITECTURE DomainAdaptiveMask2Former",
            otherwise="take DomainAdaptivePanopticDeepLab",
        )
        for name in ("configuration", "modeling")
    )
    return configuration.Mask2FormerConfig, modeling.Mask2FormerPixelDecoder, modeling.Mask2FormerTransformerModule


@torch.no_grad()
def initialize(pixel_decoder: nn.Module, transformer: nn.Module) -> None:
    """The original's initialisation, by kind of layer; what is not named keeps torch's default, as there."""
    nn.init.normal_(pixel_decoder.level_embed)
    _xavier(pixel_decoder.encoder)
    for module in pixel_decoder.encoder.modules():
        if hasattr(module, "sampling_offsets"):
            _initialize_deformable_attention(module)
    for projection in pixel_decoder.input_projections:
        nn.init.xavier_uniform_(projection[0].weight)
        nn.init.zeros_(projection[0].bias)
    projections = [x for x in transformer.input_projections if isinstance(x, nn.Conv2d)]
    convolutions = [pixel_decoder.mask_projection, *projections]
    for name, block in pixel_decoder.named_children():
        if name.startswith(("adapter_", "layer_")):  # the feature pyramid's lateral and output convolutions
            convolutions.append(block[0])
    for convolution in convolutions:
        weight_init.c2_xavier_fill(convolution)
    for layer in transformer.decoder.layers:
        _xavier(layer)
        for name, projection in layer.self_attn.named_children():
            if name != "out_proj":  # one matrix of three times the rows in the original
                nn.init.xavier_uniform_(projection.weight, gain=math.sqrt(0.5))
            nn.init.zeros_(projection.bias)


def _xavier(module: nn.Module) -> None:
    for parameter in module.parameters():
        if parameter.dim() > 1:
            nn.init.xavier_uniform_(parameter)


def _initialize_deformable_attention(attention: nn.Module) -> None:
    """Deformable DETR's: a direction for each head, its points 1, 2, ... cells away; all weigh alike."""
    angles = torch.arange(attention.n_heads) * (2 * math.pi / attention.n_heads)
    directions = torch.stack((angles.cos(), angles.sin()), dim=1)
    directions /= directions.abs().amax(dim=1, keepdim=True)
    steps = torch.arange(1, attention.n_points + 1).view(1, 1, -1, 1)
    offsets = directions[:, None, None] * steps
    nn.init.zeros_(attention.sampling_offsets.weight)
    attention.sampling_offsets.bias.copy_(offsets.expand(-1, attention.n_levels, -1, -1).flatten())
    nn.init.zeros_(attention.attention_weights.weight)
    nn.init.zeros_(attention.attention_weights.bias)
    nn.init.zeros_(attention.value_proj.bias)
    nn.init.zeros_(attention.output_proj.bias)
