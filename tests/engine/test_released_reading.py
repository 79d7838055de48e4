"""GBW.READING: what each is built for, what it refuses, and resumed runs (their formulas: tests/weighting)."""

import pytest
import torch
from tiny_runs import NARROW, TINY

from gbw_panoptic.engine import build_trainer
from gbw_panoptic.engine.build import resume_or_load
from gbw_panoptic.errors import UserError
from gbw_panoptic.validation import validate
from gbw_panoptic.weighting import GradientBasedWeighting, ReleasedGradientWeighting
from gbw_panoptic.weighting.build import build_class_weighting

CONFIG = "streets/self_training_gbw_released.yaml"


@pytest.mark.parametrize(
    "options, named",
    [
        (("WEIGHTING.CENTER", "gbw"), "WEIGHTING.CENTER"),
        (("WEIGHTING.OFFSET", "gbw"), "WEIGHTING.OFFSET"),
        (
            ("WEIGHTING.TARGET", "gbw", "TRAINER.NAME", "EntropyMinimizationTrainer", "TEST.MODEL", "student"),
            "WEIGHTING.TARGET",
        ),
        (("WEIGHTING.SEMANTIC", "none"), "GBW.READING"),
        (("GBW.GRADIENT", "pixel"), "GBW.GRADIENT"),
        (("GBW.NORMALIZE", True), "GBW.NORMALIZE"),
        (("GBW.MOMENTUM", 0.9), "GBW.MOMENTUM"),
        (("GBW.WARMUP_ITERS", 5), "GBW.WARMUP_ITERS"),
    ],
)
def test_what_it_does_not_define_is_refused(make_cfg, options, named):
    with pytest.raises(UserError, match=f"{named}: expected .* found .*; set"):
        validate(make_cfg(CONFIG, *options))


def test_configuration_builds_it_for_semantic_heads_and_ours_by_default(make_cfg):
    for head in ("sem_seg", "auxiliary"):
        weighting = build_class_weighting(make_cfg(CONFIG), head)
        assert type(weighting) is ReleasedGradientWeighting
        assert (weighting.lam, weighting.denominator) == (1.0, "all")
        ours = build_class_weighting(make_cfg("streets/self_training_gbw.yaml"), head)
        assert type(ours) is GradientBasedWeighting
    assert make_cfg("streets/self_training_gbw.yaml").GBW.READING == "ours"


def test_the_scale_free_reading_has_one_lambda_for_all_losses(make_cfg):
    options = (
        "GBW.READING",
        "scale_free",
        "GBW.LAMBDA",
        1.25,
        "GBW.ERRORS",
        "both",
        "GBW.COOLDOWN_ITERS",
        7,
        "SOLVER.MAX_ITER",
        50,
    )
    cfg = make_cfg("streets/self_training_gbw.yaml", *options)
    found = {head: build_class_weighting(cfg, head) for head in ("sem_seg", "auxiliary", "center", "offset")}
    assert all((w.scale_free, w.normalize, w.lam, w.cooldown) == (True, False, 1.25, (7, 50)) for w in found.values())
    assert {head: w.errors for head, w in found.items()} == {
        "sem_seg": "both",
        "auxiliary": "both",
        "center": "misses",
        "offset": "misses",
    }


def train(cfg, *, stop_at, resume=False):
    trainer = build_trainer(cfg)
    resume_or_load(trainer, cfg.MODEL.WEIGHTS, resume=resume)
    trainer.train(trainer.start_iter, stop_at)
    return trainer.model.state_dict()


SCALE_FREE = (
    "GBW.READING", "scale_free", "GBW.ERRORS", "signed", "GBW.GUARD", 0.5, "GBW.COOLDOWN_ITERS", 1, "SELF_TRAINING.TAU",
    0.5,
    "MODEL.SEM_SEG_HEAD.LOSS_TYPE", "blda",
)  # fmt: skip


@pytest.mark.parametrize("config, own, state", [
    (CONFIG, (), "weightings.sem_seg.skipped"),
    ("streets/self_training_gbw.yaml", SCALE_FREE, "weightings.sem_seg.excess"),
])  # fmt: skip
def test_a_resumed_run_is_the_uninterrupted_one_bit_for_bit(make_cfg, tmp_path, config, own, state):
    options = (
        *NARROW,
        *TINY,
        *own,
        "TEST.EVAL_PERIOD",
        0,
        "DATASETS.TEST",
        "()",
        "SOLVER.MAX_ITER",
        2,
        "SOLVER.CHECKPOINT_PERIOD",
        1,
    )
    whole = train(make_cfg(config, *options, "OUTPUT_DIR", tmp_path / "whole"), stop_at=2)
    assert state in whole and (whole["weightings.sem_seg.mean_weights"][0] != 1).any()
    cut = make_cfg(config, *options, "OUTPUT_DIR", tmp_path / "cut")
    train(cut, stop_at=1)
    resumed = train(cut, stop_at=2, resume=True)
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(value, resumed[name]) for name, value in whole.items())
