"""Published Mask2Former heads under the names of our :class:`MaskHead`."""

import re
from typing import Mapping

from torch import Tensor

_ORIGINAL = "sem_seg_head."
_TRANSFORMERS = ("model.pixel_level_module.decoder.", "model.transformer_module.", "class_predictor.")
_PIXEL, _QUERY = r"^pixel_decoder\.", r"^predictor\."
_LAYERS = r"^predictor\.transformer_"
_ORIGINAL_LAYOUT = (
    (_PIXEL + r"input_proj\.", "pixel_decoder.input_projections."),
    (_PIXEL + r"mask_features\.", "pixel_decoder.mask_projection."),
    (_PIXEL + r"transformer\.", "pixel_decoder."),
    (_PIXEL + r"(adapter_\d|layer_\d)\.norm\.", r"pixel_decoder.\1.1."),
    (_PIXEL + r"(adapter_\d|layer_\d)\.weight$", r"pixel_decoder.\1.0.weight"),
    (r"(^pixel_decoder\..*)\.norm1\.", r"\1.self_attn_layer_norm."),
    (r"(^pixel_decoder\..*)\.norm2\.", r"\1.final_layer_norm."),
    (_LAYERS + r"self_attention_layers\.(\d+)\.norm\.", r"transformer.decoder.layers.\1.self_attn_layer_norm."),
    (_LAYERS + r"self_attention_layers\.", "transformer.decoder.layers."),
    (_LAYERS + r"cross_attention_layers\.(\d+)\.norm\.", r"transformer.decoder.layers.\1.cross_attn_layer_norm."),
    (_LAYERS + r"cross_attention_layers\.(\d+)\.multihead_attn\.", r"transformer.decoder.layers.\1.cross_attn."),
    (_LAYERS + r"ffn_layers\.(\d+)\.norm\.", r"transformer.decoder.layers.\1.final_layer_norm."),
    (_LAYERS + r"ffn_layers\.", "transformer.decoder.layers."),
    (r"\.linear([12])\.", r".fc\1."),
    (_QUERY + r"decoder_norm\.", "transformer.decoder.layernorm."),
    (_QUERY + r"(query_feat|static_query)\.", "transformer.queries_features."),  # the second: of the first release
    (_QUERY + r"query_embed\.", "transformer.queries_embedder."),
    (_QUERY + r"level_embed\.", "transformer.level_embed."),
    (_QUERY + r"input_proj\.", "transformer.input_projections."),
    (_QUERY + r"mask_embed\.layers\.(\d+)\.", r"transformer.decoder.mask_predictor.mask_embedder.\1.0."),
    (_QUERY + r"class_embed\.", "class_predictor."),
)
_TRANSFORMERS_LAYOUT = (
    (r"^model\.pixel_level_module\.decoder\.", "pixel_decoder."),
    (r"^model\.transformer_module\.", "transformer."),
)
#: Queries, keys and values are three layers here and one in the original.
_JOINT = re.compile(r"^(transformer\.decoder\.layers\.\d+\.self_attn\.)in_proj_(weight|bias)$")


def split_head(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor] | None, dict[str, Tensor]]:
    """The mask head under our names, or None if the state is of neither published layout; and what is not of the head.

    Layouts: the authors' (Detectron2's names, ``sem_seg_head.predictor...``) and that of transformers'
    ``Mask2FormerForUniversalSegmentation``.
    """
    if any(name.startswith(f"{_ORIGINAL}predictor.") for name in state):
        prefixes, layout, cut = (_ORIGINAL,), _ORIGINAL_LAYOUT, _ORIGINAL
    elif any(name.startswith(_TRANSFORMERS[1]) for name in state):
        prefixes, layout, cut = _TRANSFORMERS, _TRANSFORMERS_LAYOUT, ""
    else:
        return None, dict(state)
    head: dict[str, Tensor] = {}
    for name, tensor in state.items():
        if name.startswith(prefixes):
            head.update(_renamed(name.removeprefix(cut), tensor, layout))
    rest = {name: x for name, x in state.items() if not name.startswith((*prefixes, "criterion."))}
    return head, rest


def _renamed(name: str, tensor: Tensor, layout: tuple[tuple[str, str], ...]) -> dict[str, Tensor]:
    for pattern, replacement in layout:
        name = re.sub(pattern, replacement, name)
    joint = _JOINT.match(name)
    if joint is None:
        return {name: tensor}
    return {f"{joint[1]}{part}_proj.{joint[2]}": piece for part, piece in zip("qkv", tensor.chunk(3))}
