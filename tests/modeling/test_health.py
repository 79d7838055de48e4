"""A backbone without variance is named; sound ones are not, and nothing of them changes."""

import pytest
import torch
from detectron2.modeling import build_backbone

from gbw_panoptic.engine import build_trainer
from gbw_panoptic.engine.build import resume_or_load
from gbw_panoptic.modeling.health import describe_flat_features, noise, relative_deviation

VIT = ("MODEL.DEVICE", "cpu", "MODEL.BACKBONE.NAME", "build_vit_backbone", "MODEL.VIT.VARIANT", "dinov2_tiny")


@pytest.fixture
def backbone(make_cfg):
    return build_backbone(make_cfg("quick/mask2former_source_only.yaml", *VIT)).train()


def test_sound_weights_pass_and_stay(backbone):
    before, state = {n: t.clone() for n, t in backbone.state_dict().items()}, torch.get_rng_state()
    assert describe_flat_features(backbone) is None and backbone.training
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(before[name], tensor) for name, tensor in backbone.state_dict().items())


def lose_patches(backbone):
    backbone.model.patch_embed.proj.weight.zero_()
    backbone.pos_embed.zero_()


def explode(backbone):
    backbone.model.blocks[1].mlp.fc1.weight.fill_(float("nan"))


@pytest.mark.parametrize("break_it, value", [(lose_patches, "0.000"), (explode, "nan")])
def test_a_flat_backbone_is_named(backbone, break_it, value):
    with torch.no_grad():
        break_it(backbone)
    found = describe_flat_features(backbone)
    assert found.startswith("expected features that vary over a picture") and f"found {value}" in found
    assert "in the last block of ViT;" in found and "\n" not in found


def test_relative_deviation_by_hand():
    x = torch.tensor([[[[1.0, 3.0]], [[2.0, 2.0]]]])  # deviations 1.414 and 0, mean size 2
    assert relative_deviation(x) == pytest.approx(2**0.5 / 2 / 2)
    assert noise().std().item() == pytest.approx(1) and torch.equal(noise(), noise())


def test_the_start_of_training_warns(make_cfg, tmp_path, caplog):
    cfg = make_cfg("streets/mask2former_vit_source_only.yaml", "SOLVER.IMS_PER_BATCH", 1)
    trainer = build_trainer(cfg)
    with torch.no_grad():
        lose_patches(trainer.model.backbone)
    torch.save({"model": trainer.model.state_dict()}, tmp_path / "flat.pth")
    resume_or_load(trainer, str(tmp_path / "flat.pth"), resume=False)
    assert [
        r for r in caplog.records if r.levelname == "WARNING" and "flat.pth: expected features that vary" in r.message
    ]
