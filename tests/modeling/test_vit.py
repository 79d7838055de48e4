"""DINOv2 and DINOv3: features of timm and of transformers from every layout of their files, positions, learning rates."""

import re

import numpy as np
import pytest
import timm
import torch
import transformers
from detectron2.modeling import build_backbone
from safetensors.torch import load_file
from torch import nn

from gbw_panoptic.engine.checkpoint import SafeCheckpointer
from gbw_panoptic.engine.solver import build_optimizer
from gbw_panoptic.errors import UserError
from gbw_panoptic.modeling.backbones.vit import VARIANTS, ViT, resized_positions

SIZES = [(64, 96), (80, 208), (208, 80)]
TINY = {"embed_dim": 128, "depth": 4, "num_heads": 4}
SMALL = {"hidden_size": 128, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 512}


def vit(variant, **changes):
    options = {
        "patch_size": 16, "positions": "facebookresearch", "drop_path_rate": 0.0, "pyramid_channels": 32, "pyramid_norm": "LN",
        "gradient_checkpointing": False, "out_features": ("res2", "res3", "res4", "res5"),
    }  # fmt: skip
    torch.manual_seed(1)
    return ViT(variant=variant, **{**options, **changes})


class Model(nn.Module):
    def __init__(self, backbone):
        super().__init__()
        self.backbone = backbone
        self.head = nn.Linear(2, 2)


def loaded(backbone, state, folder):
    torch.save(state, folder / "weights.pth")
    SafeCheckpointer(Model(backbone)).load(str(folder / "weights.pth"))
    return backbone.eval()


def perturbed(network):
    torch.manual_seed(3)
    with torch.no_grad():
        for tensor in network.state_dict().values():
            tensor.add_(0.05 * torch.randn_like(tensor))
    return network.eval()


def timms(variant, **options):
    name = VARIANTS[variant][0]
    dynamic = {} if "dinov3" in name else {"dynamic_img_size": True}
    return timm.create_model(name, num_classes=0, **dynamic, **TINY, **options)


def features_of_timm(network, image):
    return network.forward_intermediates(image, indices=1, norm=True, output_fmt="NCHW", intermediates_only=True)[-1]


@pytest.mark.parametrize("variant", ["dinov2_tiny", "dinov2_tiny_reg", "dinov3_tiny"])
@torch.no_grad()
def test_features_are_those_of_timm_at_odd_sizes(variant, tmp_path):
    network = perturbed(timms(variant, patch_size=16, img_size=592))
    backbone = loaded(vit(variant, positions="timm"), network.state_dict(), tmp_path)
    for size in SIZES:
        image = torch.randn(1, 3, *size)
        torch.testing.assert_close(backbone.token_map(image), features_of_timm(network, image), atol=1e-5, rtol=1e-5)
    odd = torch.randn(1, 3, 85, 131)  # padded to whole cells of the coarsest map
    padded = torch.zeros(1, 3, 96, 160)
    padded[..., :85, :131] = odd
    maps = dict(zip(backbone.output_shape(), backbone.feature_maps(padded)))
    assert all(torch.equal(x, maps[name][..., : x.shape[-2], : x.shape[-1]]) for name, x in backbone(odd).items())


@pytest.mark.parametrize("variant", ["dinov2_tiny", "dinov2_tiny_reg"])
@torch.no_grad()
def test_patches_of_14_pixels_become_those_of_16_as_timm_resizes_them(variant, tmp_path):
    torch.save(perturbed(timms(variant, img_size=518)).state_dict(), tmp_path / "weights.pth")
    overlay = {"file": str(tmp_path / "weights.pth"), "num_classes": 0}
    network = timms(variant, patch_size=16, img_size=592, pretrained=True, pretrained_cfg_overlay=overlay).eval()
    backbone = vit(variant, positions="timm")
    SafeCheckpointer(Model(backbone)).load(str(tmp_path / "weights.pth"))
    image = torch.randn(1, 3, 64, 96)
    torch.testing.assert_close(backbone.eval().token_map(image), features_of_timm(network, image), atol=1e-5, rtol=1e-5)


def theirs(variant):
    patches = {"patch_size": 16, "image_size": 592}
    name, options = {
        "dinov2_tiny": ("Dinov2", patches), "dinov2_tiny_reg": ("Dinov2WithRegisters", patches),
        "dinov3_tiny": ("DINOv3ViT", {"num_register_tokens": 4}),
    }[variant]  # fmt: skip
    config = getattr(transformers, f"{name}Config")(**SMALL, **options)
    return perturbed(getattr(transformers, f"{name}Model")(config))


def file_of_facebookresearch(state):
    """Of transformers' names: those of the authors, with one matrix for queries, keys and values."""
    rules = (
        (r"^embeddings\.position_embeddings", "pos_embed"), (r"^embeddings\.(cls_token|mask_token)", r"\1"),
        (r"^embeddings\.patch_embeddings\.(projection\.)?", "patch_embed.proj."), (r"^layernorm", "norm"),
        (r"^(encoder\.|model\.)?layer\.", "blocks."), (r"layer_scale(\d)\.lambda1", r"ls\1.gamma"), (r"attention\.o_proj", "attn.proj"),
        (r"mlp\.up_proj", "mlp.fc1"), (r"mlp\.down_proj", "mlp.fc2"),
    )  # fmt: skip
    rotary = not any("position" in name for name in state)
    renamed = {}
    for name, tensor in state.items():
        for pattern, replacement in rules:
            name = re.sub(pattern, replacement, name)
        renamed[name.replace("embeddings.register_tokens", "storage_tokens" if rotary else "register_tokens")] = tensor
    for number in range(4):
        before, block = f"blocks.{number}.attention.", f"blocks.{number}.attn."
        weights = [renamed.pop(f"{before}{part}_proj.weight") for part in "qkv"]
        biases = [renamed.pop(f"{before}{part}_proj.bias", torch.full((128,), float("nan"))) for part in "qkv"]
        renamed |= {f"{block}qkv.weight": torch.cat(weights), f"{block}qkv.bias": torch.cat(biases)}
        if rotary:
            renamed[f"{block}qkv.bias_mask"] = torch.cat([torch.ones(128), torch.zeros(128), torch.ones(128)])
    return {**renamed, "rope_embed.periods": torch.ones(8)} if rotary else renamed


@pytest.mark.parametrize("layout", ["file", "module", "classifier", "facebookresearch"])
@pytest.mark.parametrize("variant", ["dinov2_tiny", "dinov2_tiny_reg", "dinov3_tiny"])
@torch.no_grad()
def test_features_are_those_of_transformers_from_every_layout(variant, layout, tmp_path):
    network = theirs(variant)
    state = network.state_dict()
    if layout == "file":  # old names
        network.save_pretrained(tmp_path)
        state = load_file(tmp_path / "model.safetensors")
    elif layout == "classifier":
        wrapper = "dinov3_vit" if "v3" in variant else "dinov2"
        state = {
            **{f"{wrapper}.{name}": tensor for name, tensor in state.items()},
            "classifier.weight": torch.zeros(3, 256),
        }
    elif layout == "facebookresearch":
        state = file_of_facebookresearch(state)
    backbone = loaded(vit(variant, positions="transformers"), state, tmp_path)
    prefix = 1 if variant == "dinov2_tiny" else 5
    for size in ((64, 96), (80, 208)):
        image = torch.randn(2, 3, *size)
        expected = (
            network(image).last_hidden_state[:, prefix:].transpose(1, 2).unflatten(2, (size[0] // 16, size[1] // 16))
        )
        torch.testing.assert_close(backbone.token_map(image), expected, atol=2e-5, rtol=1e-4)


@torch.no_grad()
def test_timms_files_of_dinov3_without_biases(tmp_path):
    name = VARIANTS["dinov3_tiny"][0].removesuffix("_qkvb")
    network = perturbed(timm.create_model(name, num_classes=0, **TINY))
    backbone = loaded(vit("dinov3_tiny"), network.state_dict(), tmp_path)
    image = torch.randn(1, 3, 64, 96)
    torch.testing.assert_close(backbone.token_map(image), features_of_timm(network, image), atol=1e-5, rtol=1e-5)


def bicubic(cells, side, scale):
    """[cells, side]: Keys' cubic convolution (a = -0.75) at (i + 0.5) / scale - 0.5, the ends repeated."""
    places = (np.arange(cells) + 0.5) / scale - 0.5
    weights = np.zeros((cells, side))
    for row, place in enumerate(places):
        for column in range(int(np.floor(place)) - 1, int(np.floor(place)) + 3):
            d = abs(place - column)
            near, far = 1.25 * d**3 - 2.25 * d**2 + 1, -0.75 * (d**3 - 5 * d**2 + 8 * d - 4)
            weights[row, min(max(column, 0), side - 1)] += near if d <= 1 else far if d < 2 else 0
    return weights


@pytest.mark.parametrize("offset", [None, 0.1])
@pytest.mark.parametrize("size", [(32, 64), (5, 13), (40, 37)])
def test_positions_are_interpolated_as_published(size, offset):
    table = torch.randn(1, 37 * 37, 6, dtype=torch.float64)
    rows, columns = (bicubic(n, 37, (n + (offset or 0)) / 37) for n in size)
    expected = np.einsum("hi,wj,ijd->hwd", rows, columns, table.numpy().reshape(37, 37, 6)).reshape(1, -1, 6)
    np.testing.assert_allclose(resized_positions(table, size, False, offset).numpy(), expected, atol=1e-12)
    assert resized_positions(table, (37, 37), False, offset) is table


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda s: s.pop("blocks.2.ls1.gamma"), "found 1 of .*model.blocks.2.ls1.gamma \\(absent\\)"),
        (
            lambda s: s.update({"blocks.4.norm1.bias": torch.zeros(128)}),
            "found a deeper one, with model.blocks.4.norm1.bias",
        ),
        (
            lambda s: s.update({"pos_embed": torch.zeros(1, 257, 128)}),
            "pos_embed \\(of shape \\(1, 257, 128\\) instead of",
        ),
        (
            lambda s: s.update({"patch_embed.proj.weight": torch.zeros(64, 3, 14, 14)}),
            "shape \\(64, 3, 14, 14\\) instead of",
        ),
        (lambda s: s.pop("cls_token"), "found 2 of .*first pos_embed \\(of shape \\(1, 1370, 128\\)"),
        (
            lambda s: (s.clear(), s.update({"conv1.weight": torch.zeros(3)})),
            "expected every tensor of the configured backbone",
        ),
    ],
    ids=["layer scale", "deeper", "another grid", "narrower", "no token", "foreign"],
)
def test_a_file_is_taken_whole_or_refused_in_one_sentence(change, words, tmp_path):
    state = dict(timms("dinov2_tiny", img_size=518).state_dict())
    change(state)
    backbone = vit("dinov2_tiny")
    before = {name: tensor.clone() for name, tensor in backbone.state_dict().items()}
    with pytest.raises(UserError, match=words) as caught:
        loaded(backbone, state, tmp_path)
    assert "\n" not in str(caught.value)
    assert all(torch.equal(tensor, before[name]) for name, tensor in backbone.state_dict().items())


@pytest.mark.parametrize("variant", ["dinov2_tiny", "dinov3_tiny"])
def test_gradient_checkpointing_changes_memory_alone(variant):
    found = []
    for switch in (False, True):
        backbone, kept = vit(variant, gradient_checkpointing=switch, drop_path_rate=0.5).train(), {}
        torch.manual_seed(5)

        def keep(x):
            kept[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
            return x

        image = torch.randn(2, 3, 64, 96)
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
            maps = backbone(image)
        sum(x.square().sum() for x in maps.values()).backward()
        found.append(({n: p.grad for n, p in backbone.named_parameters()}, sum(kept.values())))
    (plain, much), (again, little) = found
    assert all(torch.equal(gradient, again[name]) for name, gradient in plain.items()) and little < much


def test_learning_rates_fall_with_depth_and_vectors_do_not_decay(make_cfg):
    options = (
        "MODEL.DEVICE", "cpu", "MODEL.BACKBONE.NAME", "build_vit_backbone", "MODEL.VIT.VARIANT", "dinov2_tiny_reg", "MODEL.VIT.PYRAMID_CHANNELS", 32,
        "SOLVER.BASE_LR", 1.0, "SOLVER.BACKBONE_MULTIPLIER", 0.1, "SOLVER.LAYER_DECAY", 0.5, "SOLVER.WEIGHT_DECAY", 0.05,
    )  # fmt: skip
    cfg = make_cfg("quick/mask2former_source_only.yaml", *options)
    model = Model(build_backbone(cfg))
    groups = build_optimizer(cfg, model).param_groups
    names = {parameter: name for name, parameter in model.named_parameters()}
    found = {names[p]: (group["lr"], group["weight_decay"]) for group in groups for p in group["params"]}
    assert found.keys() == set(names.values())
    expected = {
        "backbone.model.norm.weight": (0.1, 0), "backbone.model.blocks.3.attn.qkv.weight": (0.05, 0.05),
        "backbone.model.blocks.3.attn.qkv.bias": (0.05, 0), "backbone.model.blocks.0.ls1.gamma": (0.00625, 0),
        "backbone.model.patch_embed.proj.weight": (0.003125, 0.05), "backbone.pos_embed": (0.003125, 0),
        "backbone.model.cls_token": (0.003125, 0), "backbone.model.reg_token": (0.003125, 0),
        "backbone.pyramid.res2.0.weight": (1.0, 0.05), "backbone.pyramid.res5.4.weight": (1.0, 0), "head.weight": (1.0, 0.05),
    }  # fmt: skip
    for name, pair in expected.items():
        assert found[name] == pytest.approx(pair), name
    others = make_cfg("quick/mask2former_source_only.yaml", "MODEL.DEVICE", "cpu", "SOLVER.LAYER_DECAY", 0.5)
    with pytest.raises(UserError, match="SOLVER.LAYER_DECAY: expected 1.0 with a backbone whose layers.*found 0.5"):
        build_optimizer(others, Model(build_backbone(others)))
