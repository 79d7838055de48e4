"""Files of DINOv2 and DINOv3 under the names of ``backbones.vit.ViT``: facebookresearch's, timm's, transformers' old
and new names.

Three conventions become one. The position of the class token is added to that token, as timm does where there are
registers. Query, key and value are one matrix. DINOv3 has no bias of keys.
"""

import re
from typing import Mapping

import torch
from torch import Tensor

State = dict[str, Tensor]

_NAMES = (
    (r"^(?:(?:dinov2\w*|dinov3_vit|model)\.)+", ""),  # transformers' wrappers
    (r"^embeddings\.position_embeddings$", "pos_embed"),
    (r"^embeddings\.(cls_token|mask_token)$", r"\1"),
    (r"^(?:embeddings\.)?(?:register|storage)_tokens$", "reg_token"),
    (r"^embeddings\.patch_embeddings\.(?:projection\.)?", "patch_embed.proj."),
    (r"^layernorm\.", "norm."),
    (r"^(?:encoder\.)?layer\.(\d+)\.", r"blocks.\1."),
    (r"\.attention\.attention\.(query|key|value)\.", lambda m: f".attn.{m[1][0]}_proj."),
    (r"\.attention\.([qkv])_proj\.", r".attn.\1_proj."),
    (r"\.attention\.(?:output\.dense|o_proj)\.", ".attn.proj."),
    (r"\.layer_scale(\d)\.lambda1$", r".ls\1.gamma"),
    (r"\.mlp\.up_proj\.", ".mlp.fc1."),
    (r"\.mlp\.down_proj\.", ".mlp.fc2."),
)
#: Of DINOv3's class in timm.
_ROTARY_NAMES = ((r"\.ls(\d)\.gamma$", r".gamma_\1"),)


def vit_state(state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> State:
    """
    Args:
        state: of a file.
        own: of the backbone, which the kernel of patches is resized for.
    """
    rotary = "pos_embed" not in own
    renamed = _joined({_renamed(name, rotary): tensor for name, tensor in state.items()})
    if rotary:
        renamed = _without_key_bias(renamed)
    _fold_class_position(renamed, own)
    _resize_kernel(renamed, own)
    return {name if name == "pos_embed" else f"model.{name}": tensor for name, tensor in renamed.items()}


def _renamed(name: str, rotary: bool) -> str:
    for pattern, replacement in (*_NAMES, *(_ROTARY_NAMES if rotary else ())):
        name = re.sub(pattern, replacement, name)
    return name


def _joined(state: State) -> State:
    """One matrix of queries, keys and values; where keys have no bias, theirs is 0."""
    joined = dict(state)
    for name in state:
        block = re.match(r"(.*\.attn\.)q_proj\.weight$", name)
        parts = [f"{block[1]}{part}_proj." for part in "qkv"] if block else []
        if not block or any(f"{part}weight" not in state for part in parts):
            continue
        joined[f"{block[1]}qkv.weight"] = torch.cat([joined.pop(f"{part}weight") for part in parts])
        query, key, value = (f"{part}bias" for part in parts)
        if query in state and value in state:
            biases = (joined.pop(query), joined.pop(key, torch.zeros_like(state[query])), joined.pop(value))
            joined[f"{block[1]}qkv.bias"] = torch.cat(biases)
    return joined


def _without_key_bias(state: State) -> State:
    """DINOv3's biases of queries and values; its released files have them with a mask, or, where all are 0, not at
    all."""
    found: State = {}
    for name, tensor in state.items():
        block = re.match(r"(.*\.attn\.)(?:qkv\.bias|qkv\.bias_mask)$", name)
        if block is None:
            found[name] = tensor
        elif name.endswith("qkv.bias"):
            found[f"{block[1]}q_bias"], _, found[f"{block[1]}v_bias"] = tensor.chunk(3)
    for name, tensor in state.items():
        block = re.match(r"(.*\.attn\.)qkv\.weight$", name)
        if block:
            zeros = tensor.new_zeros(len(tensor) // 3)
            found.setdefault(f"{block[1]}q_bias", zeros)
            found.setdefault(f"{block[1]}v_bias", zeros)
    return found


def _fold_class_position(state: State, own: Mapping[str, Tensor]) -> None:
    positions, token = state.get("pos_embed"), state.get("cls_token")
    if positions is None or token is None or "pos_embed" not in own or positions.ndim != 3:
        return
    if positions.shape[1] == own["pos_embed"].shape[1] + 1 and positions.shape[2] == token.shape[-1]:
        state["cls_token"] = token + positions[:, :1]
        state["pos_embed"] = positions[:, 1:]


def _resize_kernel(state: State, own: Mapping[str, Tensor]) -> None:
    """By FlexiViT's pseudo-inverse (arXiv 2212.08013): the response to a patch that was upsampled stays."""
    from timm.layers import resample_patch_embed

    name = "patch_embed.proj.weight"
    kernel, wanted = state.get(name), own[f"model.{name}"]
    if kernel is not None and kernel.ndim == 4 and kernel.shape[:2] == wanted.shape[:2]:
        state[name] = resample_patch_embed(kernel.float(), list(wanted.shape[2:]))
