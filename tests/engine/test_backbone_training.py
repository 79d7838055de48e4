"""The new backbones in training: resume to the bit, feature distance, auxiliary head, heads of Panoptic-DeepLab."""

import pytest
import torch

from gbw_panoptic.engine import build_trainer
from gbw_panoptic.engine.build import resume_or_load
from gbw_panoptic.errors import UserError
from gbw_panoptic.validation import validate

MIT = "streets/panoptic_deeplab_mit_b0_{}.yaml"
SMALL = (
    "INPUT.CROP.SIZE", "(64, 128)", "SOLVER.IMS_PER_BATCH", 1, "SOLVER.MAX_ITER", 4, "TEST.EVAL_PERIOD", 0,
    "DATASETS.TEST", "()", "MODEL.MIT.DROP_PATH_RATE", 0.5,
)  # fmt: skip
DISTANCE = (
    "SELF_TRAINING.FEATURE_DISTANCE.ENABLED", True, "SELF_TRAINING.FEATURE_DISTANCE.CLASSES", ("road", "building"),
    "SELF_TRAINING.FEATURE_DISTANCE.MIN_SHARE", 0.6,
)  # fmt: skip
SWIN = ("MODEL.BACKBONE.NAME", "build_swin_backbone", "MODEL.SWIN.OUT_FEATURES", ["res2", "res3", "res5"])
VIT = (
    "MODEL.BACKBONE.NAME", "build_vit_backbone", "MODEL.VIT.VARIANT", "dinov2_tiny_reg", "MODEL.VIT.PYRAMID_CHANNELS",
    32,
    "MODEL.VIT.PYRAMID_NORM", "GN", "MODEL.VIT.OUT_FEATURES", ["res2", "res3", "res5"],
)  # fmt: skip
CONVNEXT = (
    "MODEL.BACKBONE.NAME", "build_timm_backbone", "MODEL.TIMM.NAME", "convnext_atto", "MODEL.TIMM.FEATURE_NORM", True,
    "MODEL.TIMM.OUT_FEATURES", ["res2", "res3", "res5"],
)  # fmt: skip


def train(cfg, stop_at=None, resume=False):
    validate(cfg)
    trainer = build_trainer(cfg)
    resume_or_load(trainer, cfg.MODEL.WEIGHTS, resume=resume)
    trainer.train(trainer.start_iter, stop_at or cfg.SOLVER.MAX_ITER)
    return trainer


def states(trainer):
    models = {"student": trainer.model, **trainer.strategy.modules}
    return {f"{m}.{k}": v for m, model in models.items() for k, v in model.state_dict().items()}


@pytest.mark.slow
@pytest.mark.parametrize(
    "backbone",
    [
        (),
        SWIN,
        (*VIT, "MODEL.VIT.DROP_PATH_RATE", 0.5, "MODEL.VIT.GRADIENT_CHECKPOINTING", True, "SOLVER.LAYER_DECAY", 0.8),
    ],
    ids=["mit", "swin", "vit"],
)
def test_four_iterations_equal_two_and_resume_two(make_cfg, tmp_path, backbone):
    """With drop path, the feature distance and the masks of the weighting: everything that holds a state or draws."""
    name = "streets/self_training_gbw.yaml" if backbone else MIT.format("self_training_gbw")
    options = (*SMALL, *backbone, *DISTANCE, "SOLVER.CHECKPOINT_PERIOD", 2)
    whole = train(make_cfg(name, *options, "OUTPUT_DIR", tmp_path / "whole"))
    cut = make_cfg(name, *options, "OUTPUT_DIR", tmp_path / "cut")
    train(cut, stop_at=2)
    torch.rand(17)  # what ran in between must not matter
    resumed = train(cut, resume=True)
    expected, found = states(whole), states(resumed)
    assert expected.keys() == found.keys() and any(name.startswith("initial_backbone.") for name in found)
    assert all(torch.equal(tensor, found[name]) for name, tensor in expected.items())


def test_the_feature_distance_compares_the_coarsest_map_with_the_initial_one(make_cfg):
    trainer = build_trainer(make_cfg(MIT.format("self_training"), *SMALL, *DISTANCE, "MODEL.MIT.DROP_PATH_RATE", 0.0))
    distance = trainer.strategy.feature_distance
    assert (distance.feature, distance.stride) == ("res5", 32)
    batch = next(iter(trainer.loader))
    assert distance.source_losses(trainer.model, batch.source)["loss_feature_distance"] == 0
    with torch.no_grad():
        for parameter in trainer.model.backbone.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    losses = distance.source_losses(trainer.model, batch.source)
    assert losses["loss_feature_distance"] > 0
    losses["loss_feature_distance"].backward()
    assert trainer.model.backbone.encoder.stages[0].patch_embeddings.proj.weight.grad.any()


def test_an_auxiliary_head_reads_the_third_map(make_cfg):
    cfg = make_cfg(MIT.format("source_only"), *SMALL, "MODEL.AUXILIARY_HEAD.ENABLED", True)
    model = build_trainer(cfg).model
    assert model.auxiliary_head.in_feature == "res4" and model.auxiliary_head.stride == 16
    batch = next(iter(build_trainer(cfg).loader)).source
    loss = model(batch)["loss_auxiliary"]
    loss.backward()
    stages = model.backbone.encoder.stages
    assert stages[2].layer_norm.weight.grad.any() and stages[3].layer_norm.weight.grad is None


@pytest.mark.parametrize("backbone", [SWIN, CONVNEXT, VIT], ids=["swin", "convnext", "vit"])
def test_heads_of_panoptic_deeplab_read_the_maps(make_cfg, backbone):
    """Every parameter learns: data-parallel training of the source-only strategy does not search for unused ones."""
    trainer = build_trainer(make_cfg("streets/source_only.yaml", *SMALL, *backbone))
    losses = trainer.model(next(iter(trainer.loader)).source)
    sum(losses.values()).backward()
    assert [name for name, p in trainer.model.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize(
    "opts, words",
    [
        ((*SWIN[:2],), "OUT_FEATURES of the backbone: expected feature maps that a head reads, found res4"),
        ((*SWIN, "MODEL.AUXILIARY_HEAD.ENABLED", True), "AUXILIARY_HEAD.IN_FEATURE: expected some of.*found 'res4'"),
        ((*SWIN[:2], "MODEL.SWIN.OUT_FEATURES", ["res3", "res5"]), "SEM_SEG_HEAD.IN_FEATURES: .*found 'res2'"),
        (("MODEL.BACKBONE.NAME", "build_mitt_backbone"), "MODEL.BACKBONE.NAME: expected one of.*build_mit_backbone"),
        (
            ("MODEL.SEM_SEG_HEAD.NAME", "PanopticDeepLabSemSegHead"),
            "expected one of DAFormerSemSegHead, PerClassSemSegHead",
        ),
        (
            ("MODEL.INS_EMBED_HEAD.NAME", "DAFormerHead"),
            "INS_EMBED_HEAD.NAME: expected one of DAFormerInsEmbedHead, PerClassInsEmbedHead",
        ),
    ],
)
def test_wrong_combinations_are_one_sentence(make_cfg, opts, words):
    with pytest.raises(UserError, match=words) as caught:
        cfg = make_cfg("streets/source_only.yaml", *SMALL, *opts)
        validate(cfg)
        build_trainer(cfg)
    assert "\n" not in str(caught.value)
