"""GBW.READING released: what it is built for, what it refuses, and a resumed run (its formulas: tests/weighting/test_released.py)."""

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
        (("WEIGHTING.TARGET", "gbw", "TRAINER.NAME", "EntropyMinimizationTrainer", "TEST.MODEL", "student"), "WEIGHTING.TARGET"),
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


def train(cfg, *, stop_at, resume=False):
    trainer = build_trainer(cfg)
    resume_or_load(trainer, cfg.MODEL.WEIGHTS, resume=resume)
    trainer.train(trainer.start_iter, stop_at)
    return trainer.model.state_dict()


def test_a_resumed_run_is_the_uninterrupted_one_bit_for_bit(make_cfg, tmp_path):
    options = (*NARROW, *TINY, "TEST.EVAL_PERIOD", 0, "DATASETS.TEST", "()", "SOLVER.MAX_ITER", 2, "SOLVER.CHECKPOINT_PERIOD", 1)
    whole = train(make_cfg(CONFIG, *options, "OUTPUT_DIR", tmp_path / "whole"), stop_at=2)
    assert "weightings.sem_seg.skipped" in whole
    cut = make_cfg(CONFIG, *options, "OUTPUT_DIR", tmp_path / "cut")
    train(cut, stop_at=1)
    resumed = train(cut, stop_at=2, resume=True)
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(value, resumed[name]) for name, value in whole.items())
