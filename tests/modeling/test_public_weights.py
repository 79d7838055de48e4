"""Published weights: every layout against another implementation of the network, nothing loaded by halves."""

import hashlib
import re

import pytest
import timm
import torch
import torchvision
from torch import nn

from gbw_panoptic.engine.checkpoint import SafeCheckpointer, read_checkpoint
from gbw_panoptic.errors import UserError
from gbw_panoptic.modeling.backbones import MixTransformer, Swin, TimmBackbone
from gbw_panoptic.modeling.published.layouts import fit_to_model
from gbw_panoptic.modeling.published.names import timm_state
from gbw_panoptic.validation import validate

ALL = ("res2", "res3", "res4", "res5")


class Model(nn.Module):
    """What a checkpointer sees: a backbone and a head."""

    def __init__(self, backbone):
        super().__init__()
        self.backbone = backbone
        self.head = nn.Linear(2, 2)


def perturbed(network):
    """No two tensors alike: what starts at 0 or 1 would fit under any name."""
    torch.manual_seed(3)
    with torch.no_grad():
        for tensor in network.state_dict().values():
            if tensor.is_floating_point():
                tensor.add_(0.05 * torch.randn_like(tensor).abs())
    return network.eval()


def loaded(backbone, state, tmp_path, name="weights.pth"):
    torch.save(state, tmp_path / name)
    SafeCheckpointer(Model(backbone)).load(str(tmp_path / name))
    return backbone.eval()


def assert_equal_maps(found, expected, **tolerance):
    assert len(found) == len(expected)
    for one, two in zip(found, expected):
        torch.testing.assert_close(one, two, **tolerance)


def mit():
    return MixTransformer(variant="b0", drop_path_rate=0.1, out_features=ALL)


def segformer_names(state):
    """timm's PVTv2, which is MiT but for its ratios, under the names of SegFormer's files."""
    renamed = {}
    for name, tensor in state.items():
        name = re.sub(r"^patch_embed\.", "patch_embed1.", name)
        name = re.sub(r"^stages\.(\d)\.downsample\.", lambda m: f"patch_embed{int(m[1]) + 1}.", name)
        name = re.sub(r"^stages\.(\d)\.norm\.", lambda m: f"norm{int(m[1]) + 1}.", name)
        name = re.sub(r"^stages\.(\d)\.blocks\.", lambda m: f"block{int(m[1]) + 1}.", name)
        renamed[name.replace(".mlp.dwconv.", ".mlp.dwconv.dwconv.")] = tensor
    return renamed


@pytest.fixture(scope="module")
def reference():
    """Another implementation of MiT-B0, and its maps of an image."""
    network = timm.models.pvt_v2.PyramidVisionTransformerV2(
        depths=(2, 2, 2, 2), embed_dims=(32, 64, 160, 256), num_heads=(1, 2, 5, 8), mlp_ratios=(4, 4, 4, 4)
    )
    perturbed(network)
    image, maps = torch.randn(1, 3, 64, 96), []
    x = network.patch_embed(image)
    for stage in network.stages:
        x = stage(x)
        maps.append(x.detach())
    return network, image, maps


@pytest.mark.parametrize("wrapper", ["", "backbone.", "module."])
def test_segformers_files(reference, tmp_path, wrapper):
    network, image, maps = reference
    state = {wrapper + name: tensor for name, tensor in segformer_names(network.state_dict()).items()}
    if wrapper == "backbone.":  # a segmentation model of another project
        state = {"state_dict": {**state, "decode_head.conv_seg.weight": torch.zeros(2)}, "meta": {"epoch": 1}}
    backbone = loaded(mit(), state, tmp_path)
    with torch.no_grad():
        assert_equal_maps(list(backbone(image).values()), maps, rtol=1e-3, atol=1e-3)  # norms of 1e-6 there, 1e-5 here


def transformers_before_5(state):
    """The names of the files that the hub has."""
    rules = (
        (r"stages\.(\d)\.patch_embeddings", r"encoder.patch_embeddings.\1"), (r"layernorm_before", "layer_norm_1"),
        (r"stages\.(\d)\.layer_norm", r"encoder.layer_norm.\1"), (r"layernorm_after", "layer_norm_2"),
        (r"stages\.(\d)\.blocks", r"encoder.block.\1"),
        (r"sequence_reduction\.layer_norm", "self.layer_norm"), (r"sequence_reduction\.sequence_reduction", "self.sr"),
        (r"q_proj", "self.query"), (r"k_proj", "self.key"), (r"v_proj", "self.value"), (r"o_proj", "output.dense"),
        (r"mlp\.fc", "mlp.dense"),
    )  # fmt: skip
    renamed = {}
    for name, tensor in state.items():
        for pattern, replacement in rules:
            name = re.sub(pattern, replacement, name)
        renamed[f"segformer.{name}"] = tensor
    return {**renamed, "classifier.weight": torch.zeros(3, 256)}


@pytest.mark.parametrize("rename", [dict, transformers_before_5], ids=["new", "old"])
def test_transformers_files_of_mit(tmp_path, rename):
    source = perturbed(mit())
    backbone = loaded(mit(), rename(source.encoder.state_dict()), tmp_path)
    for name, tensor in source.state_dict().items():
        assert torch.equal(tensor, backbone.state_dict()[name]), name


def swin(window_size=4):
    return Swin(variant="t", window_size=window_size, drop_path_rate=0.1, out_features=ALL)


def authors_swin(state):
    """Swin's own files have the merging of patches behind a stage, timm before the next."""
    return {
        re.sub(r"^layers\.(\d)\.downsample", lambda m: f"layers.{int(m[1]) - 1}.downsample", name): tensor
        for name, tensor in state.items()
    }


@pytest.mark.parametrize("rename", [dict, authors_swin], ids=["timm", "authors"])
def test_swins_files(tmp_path, rename):
    """timm's Swin where windows divide every map: there its padding does not matter."""
    network = perturbed(
        timm.create_model("swin_tiny_patch4_window7_224", img_size=128, window_size=4, always_partition=True)
    )
    backbone = loaded(swin(), {"model": rename(network.state_dict())}, tmp_path).double()
    x = image = torch.randn(1, 3, 128, 128).double()
    network.double()
    with torch.no_grad():
        found = backbone.feature_maps(image)
        x = network.patch_embed(x)
        for stage, ours in zip(network.layers, found):
            x = stage(x)
            expected = nn.functional.layer_norm(x, x.shape[-1:]).permute(0, 3, 1, 2)  # norms of ours start at 1 and 0
            torch.testing.assert_close(ours, expected, rtol=1e-9, atol=1e-9)


def test_transformers_files_of_swin(tmp_path):
    rules = (
        (r"attention\.relative_position_bias\.", "attention.self."), (r"q_proj", "self.query"), (r"k_proj", "self.key"),
        (r"v_proj", "self.value"), (r"o_proj", "output.dense"), (r"mlp\.fc1", "intermediate.dense"),
        (r"mlp\.fc2", "output.dense"),
    )  # fmt: skip
    source, state = perturbed(swin()), {}
    for name, tensor in source.encoder.state_dict().items():
        for pattern, replacement in rules:
            name = re.sub(pattern, replacement, name)
        state[name] = tensor
    backbone = loaded(swin(), state, tmp_path)
    for name, tensor in source.state_dict().items():
        assert torch.equal(tensor, backbone.state_dict()[name]), name


@pytest.mark.parametrize("name", ["convnext_atto", "pvt_v2_b0", "resnet18"])
def test_timms_files(tmp_path, name):
    network = perturbed(timm.create_model(name, pretrained=False))
    backbone = TimmBackbone(name=name, drop_path_rate=0.0, feature_norm=name == "convnext_atto", out_features=ALL)
    loaded(backbone, network.state_dict(), tmp_path)
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(backbone.model(image)[-1], network.forward_features(image))


def test_the_three_conventions_of_timms_feature_models():
    own = {"model.conv1.weight", "model.stages_0.conv.weight", "model.features_conv0.weight", "model.model.norm.weight"}
    names = ("conv1.weight", "stages.0.conv.weight", "features.conv0.weight", "norm.weight", "head.fc.weight")
    state = timm_state({name: torch.tensor(float(i)) for i, name in enumerate(names)}, own)
    assert state.keys() - own == {"head.fc.weight"} and len(state) == 5
    assert state["model.features_conv0.weight"] == 2 and state["model.model.norm.weight"] == 3


def test_convnexts_own_files(tmp_path):
    network, state = perturbed(timm.create_model("convnext_atto", pretrained=False)), {}
    for name, tensor in network.state_dict().items():
        name = re.sub(r"^stem\.", "downsample_layers.0.", name)
        name = re.sub(r"^stages\.(\d)\.downsample\.", r"downsample_layers.\1.", name)
        name = name.replace(".blocks.", ".").replace(".conv_dw.", ".dwconv.").replace(".mlp.fc", ".pwconv")
        state[name] = tensor
    backbone = TimmBackbone(name="convnext_atto", drop_path_rate=0.0, feature_norm=False, out_features=ALL)
    loaded(backbone, {"model": state}, tmp_path)
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(backbone(image)["res5"], network.forward_features(image))


def test_torchvisions_resnet_for_timms(tmp_path):
    network = perturbed(torchvision.models.resnet18(weights=None))
    backbone = TimmBackbone(name="resnet18", drop_path_rate=0.0, feature_norm=False, out_features=ALL)
    loaded(backbone, network.state_dict(), tmp_path)
    assert torch.equal(backbone.model.layer4[1].conv2.weight, network.layer4[1].conv2.weight)
    assert torch.equal(backbone.model.bn1.running_var, network.bn1.running_var)


def test_safetensors_and_damaged_ones(tmp_path):
    from safetensors.torch import save_file

    source = perturbed(mit())
    save_file(source.encoder.state_dict(), tmp_path / "model.safetensors")
    backbone = mit()
    SafeCheckpointer(Model(backbone)).load(str(tmp_path / "model.safetensors"))
    assert all(torch.equal(tensor, backbone.state_dict()[name]) for name, tensor in source.state_dict().items())
    (tmp_path / "bad.safetensors").write_bytes(b"\xff" * 40)
    with pytest.raises(UserError, match="bad.safetensors.*nothing was executed"):
        read_checkpoint(str(tmp_path / "bad.safetensors"))


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda s: s.pop("block3.1.attn.kv.bias"), "found 2 of .*stages.2.blocks.1.attention.k_proj.bias \\(absent\\)"),
        (lambda s: s.update({"norm4.weight": torch.zeros(9)}), "stages.3.layer_norm.weight \\(of shape \\(9,\\)"),
        (lambda s: (s.clear(), s.update({"features.0.bias": torch.zeros(3)})), "expected every tensor"),
    ],
    ids=["absent", "shape", "foreign"],
)
def test_weights_that_do_not_fit_are_one_sentence_and_change_nothing(reference, tmp_path, change, words):
    state = segformer_names(reference[0].state_dict())
    change(state)
    backbone = mit()
    before = {name: tensor.clone() for name, tensor in backbone.state_dict().items()}
    with pytest.raises(UserError, match=words) as caught:
        loaded(backbone, state, tmp_path)
    assert "\n" not in str(caught.value)
    assert all(torch.equal(tensor, before[name]) for name, tensor in backbone.state_dict().items())


def test_a_larger_variant_is_refused(reference):
    large = Model(MixTransformer(variant="b1", drop_path_rate=0.1, out_features=ALL))
    with pytest.raises(UserError, match="give the weights of this backbone"):
        fit_to_model(segformer_names(reference[0].state_dict()), large, "mit_b0.pth")


def test_a_deeper_variant_is_refused_though_its_first_layers_fit(tmp_path):
    deeper = torchvision.models.resnet34(weights=None).state_dict()
    narrow = TimmBackbone(name="resnet18", drop_path_rate=0.0, feature_norm=False, out_features=ALL)
    with pytest.raises(UserError, match="found a deeper one, with layer1.2.bn1.bias .*configure the backbone that"):
        loaded(narrow, deeper, tmp_path)
    short = TimmBackbone(name="resnet18", drop_path_rate=0.0, feature_norm=False, out_features=("res2", "res3"))
    loaded(
        short, torchvision.models.resnet18(weights=None).state_dict(), tmp_path
    )  # stages that nothing reads are no fault


def test_own_checkpoints_are_left_alone():
    model = Model(mit())
    state = model.state_dict()
    assert fit_to_model(state, model, "model_final.pth") is state


def test_a_wrong_hash_is_refused_before_anything_is_read(make_cfg, tmp_path, monkeypatch):
    path = tmp_path / "weights.pth"
    path.write_bytes(b"content")
    monkeypatch.setattr(torch, "load", lambda *args, **kwargs: pytest.fail("read before it was checked"))
    right = hashlib.sha256(b"content").hexdigest()
    for found in (right, right.upper()):
        validate(make_cfg("quick/source_only.yaml", "MODEL.WEIGHTS", path, "MODEL.WEIGHTS_SHA256", found))
    with pytest.raises(UserError, match=f"MODEL.WEIGHTS_SHA256: expected {'0' * 64}, found {right} of .*weights.pth"):
        validate(make_cfg("quick/source_only.yaml", "MODEL.WEIGHTS", path, "MODEL.WEIGHTS_SHA256", f"'{'0' * 64}'"))
