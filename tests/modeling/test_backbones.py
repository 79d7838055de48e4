"""Backbones of other libraries: shapes, gradients, copies, and no network."""

import copy
import re
import socket
import sys
from pathlib import Path

import pytest
import torch
from detectron2.config import get_cfg
from detectron2.modeling import build_backbone

import gbw_panoptic.modeling  # noqa: F401  (registers them)
from gbw_panoptic.adaptation import MeanTeacher
from gbw_panoptic.config import add_gbw_panoptic_config
from gbw_panoptic.errors import UserError

STRIDES = {"res2": 4, "res3": 8, "res4": 16, "res5": 32}
MIT = ("MODEL.BACKBONE.NAME", "build_mit_backbone", "MODEL.MIT.VARIANT", "b0")
SWIN = ("MODEL.BACKBONE.NAME", "build_swin_backbone", "MODEL.SWIN.VARIANT", "t")
VIT = ("MODEL.BACKBONE.NAME", "build_vit_backbone", "MODEL.VIT.PYRAMID_CHANNELS", 32, "MODEL.VIT.VARIANT")
TIMM = ("MODEL.BACKBONE.NAME", "build_timm_backbone", "MODEL.TIMM.NAME")
ALL = {
    "mit": MIT,
    "swin": SWIN,
    "convnext": (*TIMM, "convnext_atto", "MODEL.TIMM.FEATURE_NORM", True, "MODEL.TIMM.DROP_PATH_RATE", 0.1),
    "pvt": (*TIMM, "pvt_v2_b0", "MODEL.TIMM.DROP_PATH_RATE", 0.1),
    "resnet": (*TIMM, "resnet18"),
    "dinov2": (*VIT, "dinov2_tiny_reg", "MODEL.VIT.PYRAMID_NORM", "GN", "MODEL.VIT.DROP_PATH_RATE", 0.5),
    "dinov3": (*VIT, "dinov3_tiny", "MODEL.VIT.PATCH_SIZE", 8, "MODEL.VIT.DROP_PATH_RATE", 0.5),
}


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("a backbone must not open a connection")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def build(*opts):
    cfg = get_cfg()
    add_gbw_panoptic_config(cfg)
    cfg.merge_from_list(list(opts))
    torch.manual_seed(0)
    return build_backbone(cfg)


@pytest.fixture(scope="module")
def backbones():
    """One of each family, built once; tests that change one take a copy."""
    return {name: build(*opts) for name, opts in ALL.items()}


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("size", [(64, 96), (33, 70), (5, 1)], ids=str)
def test_shapes_and_strides_for_any_size(backbones, name, size):
    backbone = backbones[name].eval()
    with torch.no_grad():
        maps = backbone(torch.randn(2, 3, *size))
    shapes = backbone.output_shape()
    assert list(maps) == list(shapes) == list(STRIDES)
    for key, stride in STRIDES.items():
        assert shapes[key].stride == stride
        assert maps[key].shape == (2, shapes[key].channels, -(-size[0] // stride), -(-size[1] // stride))
        assert torch.isfinite(maps[key]).all()


@pytest.mark.parametrize("name", ALL)
def test_cells_of_an_odd_image_are_those_of_the_padded_one(backbones, name):
    backbone, image = backbones[name].eval(), torch.randn(1, 3, 50, 40)
    padded = torch.zeros(1, 3, 64, 64)
    padded[..., :50, :40] = image
    with torch.no_grad():
        found, expected = backbone(image), backbone(padded)
    for key, x in found.items():
        assert torch.equal(x, expected[key][..., : x.shape[-2], : x.shape[-1]])


@pytest.mark.parametrize("name", ALL)
def test_a_gradient_reaches_every_parameter(backbones, name):
    backbone = copy.deepcopy(backbones[name]).train()
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in backbone.parameters():  # timm's residual branches start at 0
            parameter.add_(0.05 * torch.randn_like(parameter))
    maps = backbone(torch.randn(4, 3, 64, 64))
    # not the mean of squares: that is constant behind a layer norm
    sum((x * torch.randn_like(x)).mean() for x in maps.values()).backward()
    without = [n for n, p in backbone.named_parameters() if p.grad is None or not torch.isfinite(p.grad).all()]
    assert not without
    zero = [n for n, p in backbone.named_parameters() if not p.grad.any()]
    assert all("k_proj.bias" in n for n in zero), zero  # softmax does not see what all keys share


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("last", ["res3", "res4"])
def test_without_the_stages_that_nothing_reads(name, last):
    node = {"mit": "MIT", "swin": "SWIN", "dinov2": "VIT", "dinov3": "VIT"}.get(name, "TIMM")
    backbone = build(*ALL[name], f"MODEL.{node}.OUT_FEATURES", ["res2", last]).train()
    maps = backbone(torch.randn(2, 3, 64, 64))
    assert list(maps) == ["res2", last] == list(backbone.output_shape())
    sum((x * torch.randn_like(x)).mean() for x in maps.values()).backward()
    assert all(p.grad is not None for p in backbone.parameters())


@pytest.mark.parametrize("name", ALL)
def test_copies_are_independent_also_after_a_step(backbones, name):
    original = copy.deepcopy(backbones[name]).train()
    image = torch.randn(2, 3, 64, 64)
    original(image)
    frozen = copy.deepcopy(original).eval().requires_grad_(False)
    with torch.no_grad():
        before = frozen(image)
        for parameter in original.parameters():
            parameter.add_(1.0)
        after = frozen(image)
    assert original.training and all(torch.equal(before[key], after[key]) for key in before)


@pytest.mark.parametrize("name", ALL)
def test_the_teacher_of_decay_zero_predicts_as_the_student(backbones, name):
    student = copy.deepcopy(backbones[name]).train()
    teacher = MeanTeacher(student, decay=0.0)
    with torch.no_grad():
        for parameter in student.parameters():
            parameter.mul_(1.1)
    student(torch.randn(2, 3, 64, 64))  # moves the statistics of batch norm, and its counter
    teacher.update(student, 5)
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        expected, found = student.eval()(image), teacher.model(image)
    assert all(torch.equal(expected[key], found[key]) for key in expected)
    integers = {n: b for n, b in teacher.model.named_buffers() if not b.is_floating_point()}
    assert all(torch.equal(b, dict(student.named_buffers())[n]) for n, b in integers.items())
    assert bool(integers) == (name in ("swin", "resnet"))


@pytest.mark.parametrize("name", ["mit", "swin", "convnext", "pvt", "dinov2", "dinov3"])
def test_drop_path_is_random_in_training_only(backbones, name):
    backbone, image = backbones[name], torch.randn(2, 3, 64, 64)
    torch.manual_seed(2)
    with torch.no_grad():
        trained = [backbone.train()(image)["res5"] for _ in range(4)]
        evaluated = [backbone.eval()(image)["res5"] for _ in range(2)]
    assert any(not torch.equal(trained[0], other) for other in trained[1:])
    assert torch.equal(*evaluated)


def test_swin_drops_whole_blocks():
    """At a rate of 1, the last block is the identity in training, as published."""
    backbone = build(*SWIN, "MODEL.SWIN.DROP_PATH_RATE", 1.0 - 1e-7).train()
    block = backbone.encoder.swin.encoder.layers[-1].blocks[-1]
    x = torch.randn(2, 4, 768)
    torch.testing.assert_close(block(x, (2, 2), always_partition=True)[0], x)


def test_depth_wise_convolutions_of_mit_start_as_published():
    weight = build(*MIT).encoder.stages[0].blocks[0].mlp.dwconv.dwconv.weight
    assert weight.std().item() == pytest.approx((2 / 9) ** 0.5, rel=0.1)


@pytest.mark.parametrize(
    "opts, millions",
    [
        (MIT, 3.319392),
        # EDAPS's MiT-B5: 81,443,008
        pytest.param((*MIT, "MODEL.MIT.VARIANT", "b5"), 81.443008, marks=pytest.mark.slow),
        # the paper's 28.3 M without classifier and last norm, with a norm for every map
        (SWIN, 28.288354 - 769 * 1000 / 1e6 - 2 * 768 / 1e6 + 2 * (96 + 192 + 384 + 768) / 1e6),
    ],
)
def test_parameter_counts_are_the_published_ones(opts, millions):
    assert sum(p.numel() for p in build(*opts).parameters()) / 1e6 == pytest.approx(millions, abs=1e-6)


@pytest.mark.parametrize(
    "opts, words",
    [
        ((*MIT, "MODEL.MIT.VARIANT", "b6"), "MODEL.MIT.VARIANT: expected one of b0, .* found 'b6'"),
        ((*SWIN, "MODEL.SWIN.VARIANT", "tiny"), "MODEL.SWIN.VARIANT: expected one of t, s, b, l, found 'tiny'"),
        ((*MIT, "MODEL.MIT.OUT_FEATURES", ["res1"]), "MODEL.MIT.OUT_FEATURES: expected some of res2"),
        ((*VIT, "dinov2_giant"), "MODEL.VIT.VARIANT: expected one of dinov2_small, .* found 'dinov2_giant'"),
        ((*VIT, "dinov2_tiny", "MODEL.VIT.OUT_FEATURES", ["res1"]), "MODEL.VIT.OUT_FEATURES: expected some of res2"),
        ((*TIMM, "convnext_tinny"), "expected a model of timm \\(convnext_tiny.*found 'convnext_tinny'"),
        ((*TIMM, "swin_tiny_patch4_window7_224"), "found 'swin_tiny.*set MODEL.BACKBONE.NAME build_swin_backbone"),
        ((*TIMM, "vit_tiny_patch16_224"), "strides 4, 8, 16 and 32, found 'vit_tiny_patch16_224' with 16, 16"),
        ((*TIMM, "coat_tiny"), "takes images of any size and gives channels first, found 'coat_tiny'"),
        ((*TIMM, "mambaout_femto"), "takes images of any size and gives channels first, found 'mambaout_femto'"),
        ((*TIMM, "mobilenetv3_small_050", "MODEL.TIMM.OUT_FEATURES", []), "OUT_FEATURES: expected some of"),
        ((*TIMM, "vgg11", "MODEL.TIMM.DROP_PATH_RATE", 0.1), "vgg11"),
    ],
)
def test_wrong_settings_are_one_sentence(opts, words):
    with pytest.raises(UserError, match=words) as caught:
        build(*opts)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "name, package", [("mit", "transformers"), ("swin", "transformers"), ("pvt", "timm"), ("dinov2", "timm")]
)
def test_a_missing_package_is_one_sentence(monkeypatch, name, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UserError, match=f"build_.*_backbone: expected the package {package}, found none.*pip install"):
        build(*ALL[name])


def test_the_optional_packages_are_not_imported_with_ours():
    folder = Path(gbw_panoptic.modeling.__file__).parent / "backbones"
    for path in folder.glob("*.py"):
        assert not re.search(r"^(import|from) (timm|transformers)", path.read_text(), re.M), path.name


def test_compact_sees_at_half_the_strides_and_every_parameter_learns():
    names = ["res2", "res3", "res5"]
    backbone = build("MODEL.BACKBONE.NAME", "build_compact_backbone", "MODEL.RESNETS.OUT_FEATURES", names)
    shapes = backbone.output_shape()
    assert {name: (shape.stride, shape.channels) for name, shape in shapes.items()} == {
        "res2": (2, 32), "res3": (4, 64), "res5": (16, 128),
    }  # fmt: skip
    features = backbone(torch.rand(2, 3, 50, 70))
    assert [tuple(features[name].shape[1:]) for name in shapes] == [(32, 25, 35), (64, 13, 18), (128, 4, 5)]
    sum(x.sum() for x in features.values()).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in backbone.parameters() if p.requires_grad)


@pytest.mark.parametrize("widths", ["(16, 32, 32, 64)", "(16, 32, 64)"])
def test_compact_needs_four_rising_widths(widths):
    with pytest.raises(UserError, match="expected four rising numbers"):
        build("MODEL.BACKBONE.NAME", "build_compact_backbone", "MODEL.COMPACT.WIDTHS", widths)
