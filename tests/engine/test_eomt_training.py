"""EoMT end to end: self-training of segments whose masks are annealed, and its resume."""

import json

import pytest
import torch
from tiny_runs import flat

from gbw_panoptic.engine import build_trainer
from gbw_panoptic.engine.build import resume_or_load
from gbw_panoptic.validation import validate

SMALL = (
    "TEST.EVAL_PERIOD", 0, "TEST.NUM_PANELS", 0, "DATASETS.TEST", "()", "SOLVER.IMS_PER_BATCH", 1, "SOLVER.MAX_ITER", 4,
    "SOLVER.CHECKPOINT_PERIOD", 100, "INPUT.CROP.SIZE", "(50, 75)", "MODEL.MASK2FORMER.NUM_QUERIES", 6, "MODEL.MASK2FORMER.NUM_POINTS", 64,
    "MODEL.MASK2FORMER.OBJECT_THRESHOLD", 0.0, "MODEL.MASK2FORMER.OVERLAP_THRESHOLD", 0.0, "SELF_TRAINING.SEGMENTS.POINT_CONFIDENCE", 0.05,
    "GBW.MOMENTUM", 0.9, "TRAINER.DETERMINISTIC", True,
)  # fmt: skip


def train(cfg, stop_at, resume=False):
    validate(cfg)
    trainer, seen = build_trainer(cfg), []
    head = trainer.model.mask_head
    head.register_forward_hook(
        lambda module, inputs, output: seen.append((head.probabilities, len(output.class_logits)))
    )
    resume_or_load(trainer, "", resume=resume)
    trainer.train(trainer.start_iter, stop_at)
    return trainer, seen


def test_self_training_is_annealed_and_resumes_bit_for_bit(make_cfg, tmp_path):
    """Four steps, at no, a quarter, a half and three quarters of the training; the second and the last draw masks."""
    config = "streets/eomt_self_training_gbw.yaml"
    whole, seen = train(make_cfg(config, *SMALL, "OUTPUT_DIR", tmp_path / "whole"), 4)
    half = pytest.approx(0.5**0.9)
    assert [p for p, _ in seen[::2]] == [(1, 1), (half, 1), (0, 1), (0, half)] and {count for _, count in seen} == {3}
    cut = make_cfg(config, *SMALL, "OUTPUT_DIR", tmp_path / "cut")
    train(cut, 2)
    torch.rand(17)  # what ran in between must not matter
    resumed, _ = train(cut, 4, resume=True)
    parts = [{"model": t.model, "optimizer": t.optimizer, **t.strategy.modules} for t in (whole, resumed)]
    expected, found = (flat({name: part.state_dict() for name, part in p.items()}) for p in parts)
    assert expected.keys() == found.keys() and len(expected) > 200
    assert all(torch.equal(tensor, found[key]) for key, tensor in expected.items())
    teacher = whole.strategy.modules["teacher"].state_dict()["mask_head.masked"]
    assert teacher.tolist() == [False, True]  # copied, not averaged
    values = json.loads((tmp_path / "whole" / "metrics.json").read_text().splitlines()[-1])
    for branch in ("source", "mixed"):
        assert all(0 < values[f"{branch}/loss_{name}"] < float("inf") for name in ("class", "mask", "dice"))
        weights = [value for name, value in values.items() if name.startswith(f"gbw/{branch}/classification/weight/")]
        assert len(weights) == 19 and max(weights) > min(weights)
    assert any(name.startswith("pseudo_labels/threshold/") for name in values)
