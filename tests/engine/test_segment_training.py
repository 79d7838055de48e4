"""Self-training of segments end to end on Streets: burn-in and its resume, branches, health, AMP, filtered points."""

import json
from pathlib import Path

import pytest
import torch
from tiny_runs import NARROW

from gbw_panoptic.engine import build_trainer
from gbw_panoptic.engine.setup import load_config
from gbw_panoptic.engine.build import resume_or_load
from gbw_panoptic.errors import UserError
from gbw_panoptic.modeling.masks.head import MaskHeadOutput
from gbw_panoptic.structures.segments import SegmentTargets
from gbw_panoptic.validation import validate

CONFIGS = Path(__file__).parents[2] / "configs"
CONFIG = "streets/mask2former_self_training.yaml"
GBW = "streets/mask2former_self_training_gbw.yaml"
#: A model of a moment, whose untrained teacher finds segments.
SMALL = (
    *NARROW, "MODEL.MASK2FORMER.ENCODER_FEEDFORWARD_DIM", 32, "MODEL.MASK2FORMER.DECODER_FEEDFORWARD_DIM", 32,
    "TEST.EVAL_PERIOD", 0, "TEST.NUM_PANELS", 0, "DATASETS.TEST", "()", "SOLVER.IMS_PER_BATCH", 1, "SOLVER.MAX_ITER", 6,
    "SOLVER.CHECKPOINT_PERIOD", 100, "INPUT.CROP.SIZE", "(64, 96)", "MODEL.MASK2FORMER.NUM_QUERIES", 6,
    "MODEL.MASK2FORMER.HIDDEN_DIM", 32, "MODEL.MASK2FORMER.NUM_HEADS", 2, "MODEL.MASK2FORMER.ENCODER_LAYERS", 1,
    "MODEL.MASK2FORMER.DECODER_LAYERS", 1, "MODEL.MASK2FORMER.NUM_POINTS", 64,
    "MODEL.MASK2FORMER.OBJECT_THRESHOLD", 0.0, "MODEL.MASK2FORMER.OVERLAP_THRESHOLD", 0.0,
    "SELF_TRAINING.SEGMENTS.MIN_AREA", 3,
    "SELF_TRAINING.SEGMENTS.MASK_CONFIDENCE_THINGS", 0.05, "SELF_TRAINING.SEGMENTS.MASK_CONFIDENCE_STUFF", 0.05,
    "SELF_TRAINING.SEGMENTS.POINT_CONFIDENCE", 0.05,
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


@pytest.fixture
def teacher_weights(make_cfg, tmp_path):
    """A checkpoint of another seed."""
    path = tmp_path / "teacher.pth"
    torch.save(build_trainer(make_cfg(CONFIG, *SMALL, "SEED", 9)).model.state_dict(), path)
    return path


def burn_in(path, iterations=3):
    return ("SELF_TRAINING.SEGMENTS.BURN_IN_ITERS", iterations, "SELF_TRAINING.SEGMENTS.TEACHER_WEIGHTS", path)


def test_resume_before_at_and_after_the_end_of_the_burn_in_is_bit_for_bit(make_cfg, tmp_path, teacher_weights):
    options = (*SMALL, *burn_in(teacher_weights), "SELF_TRAINING.MASKED.ENABLED", True, "WEIGHTING.MASK", "gbw")
    whole = train(make_cfg(GBW, *options, "OUTPUT_DIR", tmp_path / "whole"))
    cut = make_cfg(GBW, *options, "OUTPUT_DIR", tmp_path / "cut")
    for stop_at in (2, 3, 4, 6):
        resumed = train(cut, stop_at=stop_at, resume=stop_at > 2)
        torch.rand(17)  # what ran in between must not matter
    expected, found = states(whole), states(resumed)
    assert expected.keys() == found.keys()
    for key, tensor in expected.items():
        assert torch.equal(tensor, found[key]), key


def test_the_teacher_is_fixed_then_the_students_copy_then_its_average(make_cfg, teacher_weights):
    trainer = build_trainer(make_cfg(CONFIG, *SMALL, *burn_in(teacher_weights, 2)))
    given = torch.load(teacher_weights, weights_only=True)
    name, seen = "mask_head.class_predictor.weight", []
    update = trainer.strategy.teacher.update

    def watched(model, iteration):
        update(model, iteration)
        of_both = (trainer.strategy.teacher.model, model)
        seen.append([module.state_dict()[name].clone() for module in of_both])

    trainer.strategy.teacher.update = watched
    trainer.train(0, 4)
    assert all(torch.equal(teacher, given[name]) for teacher, _ in seen[:2])
    assert torch.equal(*seen[2]) and not torch.equal(seen[2][0], given[name])
    torch.testing.assert_close(seen[3][0], 0.99 * seen[2][0] + 0.01 * seen[3][1])


def test_all_branches_and_the_health_are_in_the_log(make_cfg, tmp_path):
    train(make_cfg(GBW, *SMALL, "SOLVER.MAX_ITER", 2, "SELF_TRAINING.MASKED.ENABLED", True))
    last = json.loads((tmp_path / "run" / "metrics.json").read_text().splitlines()[-1])
    for branch in ("source", "mixed", "masked"):
        assert all(last[f"{branch}/loss_{name}"] > 0 for name in ("class", "mask", "dice"))
        assert f"gbw/{branch}/classification/weight/car" in last
    for name in ("quality", "confidence", "kept_pixels", "kept_segments", "loss_ratio"):
        assert last[f"pseudo_labels/{name}"] > 0, name


@pytest.mark.parametrize(
    "opts",
    [
        ("SOLVER.AMP.ENABLED", True),
        ("SELF_TRAINING.CLASS_MIX", False),
        ("SELF_TRAINING.FEATURE_DISTANCE.ENABLED", True),
        ("MODEL.TASK", "semantic", "DATASETS.TRAIN", "('gta5_sem_train',)"),
        ("INPUT.CROP.SIZE", "(50, 75)", "SOLVER.IMS_PER_BATCH", 2),
    ],
    ids=["amp", "no mix", "feature distance", "semantic", "odd crops"],
)
def test_every_switch_trains(make_cfg, opts):
    trainer = train(make_cfg(CONFIG, *SMALL, "SOLVER.MAX_ITER", 2, *opts))
    assert all(torch.isfinite(v).all() for v in states(trainer).values())


def test_amp_reaches_the_teacher(make_cfg):
    trainer, seen = build_trainer(make_cfg(CONFIG, *SMALL, "SOLVER.AMP.ENABLED", True)), set()
    predictor = trainer.strategy.teacher.model.mask_head.class_predictor
    predictor.register_forward_hook(lambda module, inputs, output: seen.add(output.dtype))
    trainer.train(0, 1)
    assert seen == {torch.bfloat16}


@pytest.mark.parametrize(
    "config, opts, words",
    [
        (CONFIG, ("BURN_IN_ITERS", 3), "TEACHER_WEIGHTS: expected a local .pth file.*first 3 iterations, found none"),
        (CONFIG, ("BURN_IN_ITERS", 3, "TEACHER_WEIGHTS", "nowhere.pth"), "found nothing at nowhere.pth"),
        (CONFIG, ("BURN_IN_ITERS", 7, "TEACHER_WEIGHTS", __file__), "expected at most SOLVER.MAX_ITER 6, found 7"),
        (CONFIG, ("TEACHER_WEIGHTS", __file__), "TEACHER_WEIGHTS: expected '' without a burn-in"),
        (CONFIG, ("BURN_IN_ITERS", -1), "BURN_IN_ITERS: expected an integer of at least 0"),
        (CONFIG, ("MASK_CONFIDENCE_THINGS", 1.0), r"MASK_CONFIDENCE_THINGS: expected a probability in \[0, 1\)"),
        (CONFIG, ("POINT_CONFIDENCE", -0.1), "POINT_CONFIDENCE: expected a probability"),
        (CONFIG, ("MIN_AREA", -1), "MIN_AREA: expected an integer of at least 0 pixels"),
        ("streets/self_training.yaml", ("BURN_IN_ITERS", 3), "whose self-training is of pixels"),
        ("streets/mask2former_source_only.yaml", ("BURN_IN_ITERS", 3), "SourceOnlyTrainer, which has no teacher"),
    ],
)
def test_contradictions_of_the_segments_keys_are_one_sentence(make_cfg, config, opts, words):
    keys = [f"SELF_TRAINING.SEGMENTS.{x}" if index % 2 == 0 else x for index, x in enumerate(opts)]
    with pytest.raises(UserError, match=words) as caught:
        validate(make_cfg(config, "SOLVER.MAX_ITER", 6, *keys))
    assert "\n" not in str(caught.value)


def test_selections_of_pixels_are_refused(make_cfg):
    for key, value in (("SELECTION", "threshold"), ("INSTANCE_LOSSES", True)):
        with pytest.raises(UserError, match=f"SELF_TRAINING.{key}: expected"):
            validate(make_cfg(CONFIG, f"SELF_TRAINING.{key}", value))


def test_weights_of_another_model_are_refused(make_cfg, tmp_path, teacher_weights):
    state = torch.load(teacher_weights, weights_only=True)
    headless = {name.removeprefix("backbone."): x for name, x in state.items() if name.startswith("backbone.")}
    del state["mask_head.class_predictor.bias"], headless["stem.conv1.weight"]
    cases = (
        (state, "every tensor of the configured model .* found 1 of "),
        (headless, "every tensor of the configured backbone"),
    )
    for given, words in cases:
        torch.save(given, tmp_path / "other.pth")
        with pytest.raises(UserError, match=f"TEACHER_WEIGHTS: expected {words}"):
            build_trainer(make_cfg(CONFIG, *SMALL, *burn_in(tmp_path / "other.pth")))


def test_points_without_a_confident_segment_get_no_mask_gradient(make_cfg):
    """Columns of the right half are filtered, whatever their masks (published: a quarter of such points remains)."""
    criterion = build_trainer(make_cfg(CONFIG, *SMALL, "SELF_TRAINING.SEGMENTS.POINT_CONFIDENCE", 0.8)).model.criterion
    masks = torch.zeros(2, 32, 64, dtype=torch.bool)
    masks[0, :16], masks[1, 16:] = True, True
    confidence = torch.full((32, 64), 0.9)
    confidence[:, 32:] = 0.7
    targets = SegmentTargets(
        masks, torch.tensor([3, 5]), torch.ones(32, 64, dtype=torch.bool), torch.tensor([1.0, 0.5]), confidence
    )
    torch.manual_seed(0)
    mask_logits = torch.randn(1, 4, 8, 16, requires_grad=True)
    output = MaskHeadOutput((torch.randn(1, 4, criterion.num_classes + 1),), (mask_logits,), torch.randn(1, 4, 32))
    parts = criterion(
        output,
        [targets],
        padded_size=(32, 64),
        gradients={"classification": None, "mask": None, "dice": None},
        class_parameters=(),
    )
    (parts["mask"].total.sum() + parts["dice"].total.sum()).backward()
    matched = mask_logits.grad.abs().sum(dim=(2, 3)) > 0
    assert matched.sum() == 2
    assert (mask_logits.grad[..., 9:] == 0).all() and (mask_logits.grad[..., :8] != 0).any()


@pytest.mark.parametrize("iterations, adaptive", [(0, False), (3, False), (0, True)])
def test_constant_thresholds_without_a_burn_in_are_warned_of(make_cfg, caplog, teacher_weights, iterations, adaptive):
    caplog.clear()
    options = ("SELF_TRAINING.ADAPTIVE_THRESHOLDS.ENABLED", adaptive, *(burn_in(teacher_weights) if iterations else ()))
    build_trainer(make_cfg(CONFIG, *SMALL, *options))
    told = [record.message for record in caplog.records if "BURN_IN_ITERS 0" in record.message]
    assert len(told) == (not iterations and not adaptive) and all("TEACHER_WEIGHTS" in text for text in told)


def test_no_shipped_self_training_of_segments_has_constant_thresholds():
    """They end below the source alone without a burn-in, which needs a file that only the user can make."""
    paths = [path for path in CONFIGS.glob("*/mask2former_*self_training*.yaml") if not path.name.startswith("Base")]
    assert len(paths) > 30
    for path in paths:
        options = load_config(str(path), []).SELF_TRAINING
        assert options.ADAPTIVE_THRESHOLDS.ENABLED and options.SEGMENTS.SOURCE_MASK_FACTOR == 2, path


def test_thresholds_follow_the_teacher_and_double_mask_losses_on_ground_truth(make_cfg, tmp_path):
    """One iteration from random weights: a class moves if the teacher has a segment of it, and the source's mask losses
    are twice what they are without the factor."""
    records = {}
    for factor in (2.0, 1.0):
        cfg = make_cfg(CONFIG, *SMALL, "SOLVER.MAX_ITER", 1, "SELF_TRAINING.SEGMENTS.SOURCE_MASK_FACTOR", factor,
                       "OUTPUT_DIR", tmp_path / str(factor))  # fmt: skip
        thresholds = train(cfg).strategy.modules["class_thresholds"]
        records[factor] = json.loads((tmp_path / str(factor) / "metrics.json").read_text().splitlines()[-1])
    moved = thresholds.updates > 0
    assert moved.any() and (thresholds.values[moved] > 0).all() and not thresholds.values[~moved].any()
    twice, once = records[2.0], records[1.0]
    for name, ratio in (("class", 1), ("mask", 2), ("dice", 2)):
        assert twice[f"source/loss_{name}"] == pytest.approx(ratio * once[f"source/loss_{name}"])
        assert twice[f"mixed/loss_{name}"] == pytest.approx(once[f"mixed/loss_{name}"])
    assert 0 < max(value for name, value in once.items() if name.startswith("pseudo_labels/threshold/")) < 1
