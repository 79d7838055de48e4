"""Both trainers end to end on Streets: resume, leaks, health."""

import json
import shutil

import pytest
import torch

from tiny_runs import NARROW, TINY

from gbw_panoptic.data import register_all
from gbw_panoptic.engine import build_trainer
from gbw_panoptic.engine.build import resume_or_load
from gbw_panoptic.engine.hooks import truncate_metrics
from gbw_panoptic.errors import UserError
from gbw_panoptic.validation import validate

TRAINERS = ("source_only", "self_training_gbw")
#: Every switch of self-training and of its input, beside the defaults.
ALL = (
    "SELF_TRAINING.SELECTION", "class_percentile", "SELF_TRAINING.INSTANCE_LOSSES", True,
    "SELF_TRAINING.INSTANCE_QUALITY", "score", "SELF_TRAINING.CONFIDENCE_THRESHOLD", 0.05,
    "SELF_TRAINING.MASKED.ENABLED", True, "SELF_TRAINING.MASKED.BLOCK_SIZE", 16,
    "SELF_TRAINING.INSTANCE_MIX.ENABLED", True, "SELF_TRAINING.INSTANCE_MIX.MIN_SCORE", 0.0,
    "SELF_TRAINING.INSTANCE_MIX.WEIGHT", 0.5,
    "SELF_TRAINING.FEATURE_DISTANCE.ENABLED", True,  # no thing fills a cell of 32 pixels in crops of 64 x 128
    "SELF_TRAINING.FEATURE_DISTANCE.CLASSES", ("road", "building"), "SELF_TRAINING.FEATURE_DISTANCE.MIN_SHARE", 0.6,
    "INPUT.FOURIER.ENABLED", True, "INPUT.FOURIER.BETA", 0.05, "SELF_TRAINING.LOCATION_PRIOR", 0.5,
    "INPUT.TARGET.IGNORE_TOP", 2, "INPUT.TARGET.IGNORE_LEFT", 3, "INPUT.TARGET.IGNORE_RIGHT", 3,
    "MODEL.PANOPTIC_DEEPLAB.CENTER_THRESHOLD", 0.0,  # an untrained teacher finds instances, too
)  # fmt: skip
#: Labels of a few target images, and thresholds that follow the teacher.
LABELLED = (
    "DATASETS.TARGET_LABELLED.NAME", "cityscapes_uda_panoptic_train", "DATASETS.TARGET_LABELLED.SHARE", 0.25,
    "DATASETS.TARGET_LABELLED.SEED", 3, "DATASETS.TARGET_LABELLED.LOSS_WEIGHT", 0.731,
    "SELF_TRAINING.ADAPTIVE_THRESHOLDS.ENABLED", True, "SELF_TRAINING.ADAPTIVE_THRESHOLDS.START", 0.25,
)  # fmt: skip
FAST = (*NARROW, "TEST.EVAL_PERIOD", 0, "TEST.NUM_PANELS", 0, "DATASETS.TEST", "()")


def train(cfg, stop_at=None, resume=False):
    validate(cfg)
    trainer = build_trainer(cfg)
    resume_or_load(trainer, cfg.MODEL.WEIGHTS, resume=resume)
    trainer.train(trainer.start_iter, stop_at or cfg.SOLVER.MAX_ITER)
    return trainer


def metrics(folder):
    lines = [json.loads(line) for line in (folder / "metrics.json").read_text().splitlines()]
    timing = ("time", "data_time", "eta_seconds")
    return [{k: v for k, v in line.items() if k not in timing} for line in lines]


def states(trainer):
    models = {"student": trainer.model, **trainer.strategy.modules}
    return {f"{m}.{k}": v for m, model in models.items() for k, v in model.state_dict().items()}


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "name, switches",
    [("source_only", ()), ("self_training_gbw", LABELLED), ("self_training_gbw", ALL)],
    ids=["source", "gbw", "all"],
)
def test_ten_iterations_equal_five_and_resume_five(make_cfg, tmp_path, name, switches, workers):
    options = (*FAST, *TINY, "INPUT.CROP.SIZE", "(64, 128)", "DATALOADER.NUM_WORKERS", workers, *switches)
    whole = train(make_cfg(f"quick/{name}.yaml", *options, "OUTPUT_DIR", tmp_path / "whole"))
    cut = make_cfg(f"quick/{name}.yaml", *options, "OUTPUT_DIR", tmp_path / "cut")
    train(cut, stop_at=5)
    torch.rand(17)  # what ran in between must not matter
    resumed = train(cut, resume=True)
    assert not any(module.training for module in resumed.strategy.modules.values())
    expected, found = states(whole), states(resumed)
    assert expected.keys() == found.keys()
    for key, tensor in expected.items():
        assert torch.equal(tensor, found[key]), key
    for one, two in zip(whole.optimizer.state.values(), resumed.optimizer.state.values(), strict=True):
        assert all(torch.equal(torch.as_tensor(one[k]), torch.as_tensor(two[k])) for k in one)
    last, again = metrics(tmp_path / "whole")[-1], metrics(tmp_path / "cut")[-1]
    assert last.keys() == again.keys() and len(metrics(tmp_path / "cut")) == 2
    exact = [k for k in last if k.startswith("gbw/") or k in ("lr", "iteration")]  # the rest are medians over a window
    assert [last[k] for k in exact] == [again[k] for k in exact]


def test_resume_cuts_metrics_back_to_the_checkpoint(tmp_path):
    path = tmp_path / "metrics.json"
    lines = [json.dumps({"iteration": i}) for i in range(5)]
    path.write_text("\n".join(lines) + '\n{"iterat')
    with open(path, "a") as writer:  # Detectron2's writer holds the file open
        truncate_metrics(str(path), 2)
        writer.write('{"iteration": 3, "again": 1}\n')
    assert [json.loads(line)["iteration"] for line in path.read_text().splitlines()] == [0, 1, 2, 3]


def test_training_reads_no_target_label(make_cfg, own_streets, tmp_path):
    shutil.rmtree(own_streets / "cityscapes" / "gtFine")
    register_all()
    trainer = train(make_cfg("quick/self_training_gbw.yaml", *FAST, "SOLVER.MAX_ITER", 3))
    assert trainer.iter == 3
    assert (tmp_path / "run" / "model_final.pth").is_file()


def test_instance_losses_on_the_target_change_the_instance_heads_only_through_their_losses(make_cfg):
    off = train(make_cfg("quick/self_training.yaml", *FAST, *TINY, "SOLVER.MAX_ITER", 2))
    on = make_cfg("quick/self_training.yaml", *FAST, *TINY, "SOLVER.MAX_ITER", 2, "SELF_TRAINING.INSTANCE_LOSSES", True,
                  "MODEL.PANOPTIC_DEEPLAB.CENTER_THRESHOLD", 0.0)  # fmt: skip
    first, second = states(off), states(train(on))
    assert any(not torch.equal(first[k], second[k]) for k in first if "ins_embed_head" in k)


@pytest.mark.parametrize("opts", [("SELF_TRAINING.CLASS_MIX", False), ("WEIGHTING.SEMANTIC", "inverse_frequency"),
                                  ("GBW.GRADIENT", "last_layer"), ("GBW.GRADIENT", "pixel"), ("GBW.MOMENTUM", 0.9),
                                  ("MODEL.SEM_SEG_HEAD.LOSS_TYPE", "hard_pixel_mining"),
                                  ("MODEL.SEM_SEG_HEAD.LOSS_TYPE", "focal"), ("MODEL.SEM_SEG_HEAD.LOSS_TYPE", "seesaw"),
                                  ("MODEL.SEM_SEG_HEAD.LOSS_TYPE", "logit_adjustment"), ("SOLVER.AMP.ENABLED", True),
                                  ("TRAINER.DETERMINISTIC", True), ("INPUT.FORMAT", "BGR")])  # fmt: skip
def test_every_switch_trains(make_cfg, opts):
    trainer = train(make_cfg("quick/self_training_gbw.yaml", *FAST, "SOLVER.MAX_ITER", 2, *opts))
    torch.use_deterministic_algorithms(False)
    assert all(torch.isfinite(v).all() for v in states(trainer).values())


def test_instance_mix_teaches_instance_heads_alone(make_cfg, tmp_path):
    cfg = make_cfg("quick/self_training.yaml", *FAST, *TINY, "SOLVER.MAX_ITER", 1, "SELF_TRAINING.INSTANCE_MIX.ENABLED",
                   True,
                   "SELF_TRAINING.INSTANCE_MIX.MIN_SCORE", 0.0, "MODEL.PANOPTIC_DEEPLAB.CENTER_THRESHOLD",
                   0.0)  # fmt: skip
    train(cfg)
    last = metrics(tmp_path / "run")[-1]
    assert last["instance_mix/loss_center"] > 0 and last["instance_mix/loss_offset"] > 0
    assert last["instance_mix/loss_sem_seg"] == 0
    assert last["pseudo_labels/pasted_instances"] > 0


def test_source_only_takes_the_targets_style_and_nothing_else(make_cfg):
    target = (*FAST, "DATASETS.TARGET", "('cityscapes_uda_images_train',)", "INPUT.FOURIER.ENABLED", True)
    seen = {}
    for beta in (0.0, 0.05):
        trainer = build_trainer(make_cfg("quick/source_only.yaml", *target, "INPUT.FOURIER.BETA", beta))
        seen[beta] = trainer.source_style(next(iter(trainer.loader))).source[0]
    assert not torch.equal(seen[0.0].pop("image"), seen[0.05].pop("image"))
    assert all(torch.equal(torch.as_tensor(seen[0.0][k]), torch.as_tensor(v)) for k, v in seen[0.05].items()
               if not isinstance(v, str))  # fmt: skip
    assert train(make_cfg("quick/source_only.yaml", *target, "SOLVER.MAX_ITER", 1)).iter == 1


@pytest.mark.parametrize("name", TRAINERS)
def test_semantic_task_from_gta5(make_cfg, name):
    weighting = ("WEIGHTING.CENTER", "none", "WEIGHTING.OFFSET", "none")
    trainer = train(make_cfg(f"quick/{name}.yaml", *FAST, "MODEL.TASK", "semantic", "DATASETS.TRAIN",
                             "('gta5_sem_train',)", "SOLVER.MAX_ITER", 2, *weighting))  # fmt: skip
    assert trainer.model.ins_embed_head is None
    assert not any("center" in key for line in metrics(trainer_folder(trainer)) for key in line)


def trainer_folder(trainer):
    from pathlib import Path

    return Path(trainer.output_dir)


@pytest.mark.parametrize("bad", ["mixed/loss_center", "masked/loss_sem_seg", "source/loss_feature_distance"])
def test_a_nan_stops_before_the_update_and_is_reported(make_cfg, tmp_path, bad):
    trainer = build_trainer(make_cfg("quick/self_training_gbw.yaml", *FAST, *TINY, *ALL, "SOLVER.MAX_ITER", 4))
    before = {}
    terms = trainer.strategy.terms

    def poisoned(model, batch, iteration):
        before.update({k: v.clone() for k, v in trainer.model.state_dict().items()})
        for losses in terms(model, batch, iteration):
            yield {k: v * float("nan") if (k, iteration) == (bad, 1) else v for k, v in losses.items()}

    trainer.strategy.terms = poisoned
    with pytest.raises(UserError, match=f"{bad} at iteration 1.*nan_report"):
        trainer.train(0, 4)
    report = json.loads((tmp_path / "run" / "nan_report_rank0.json").read_text())
    assert report["iteration"] == 1 and report["non_finite"] == [bad]
    assert len(report["source_files"]) == len(report["target_files"]) == 1
    parameters = dict(trainer.model.named_parameters())
    assert all(torch.equal(before[name], parameters[name]) for name in parameters)


@pytest.mark.parametrize(
    "name, part", [("source_only", "gradient_norm"), ("adversarial_gbw", "discriminator/gradient_norm")]
)
def test_a_gradient_that_is_not_finite_stops_before_the_update(make_cfg, name, part):
    """Where all losses are finite: of the model, and of the discriminators beside it."""
    trainer = build_trainer(make_cfg(f"quick/{name}.yaml", *FAST, *TINY, "SOLVER.MAX_ITER", 2))
    module = trainer.strategy.modules["discriminators"] if "discriminator" in part else trainer.model
    parameter = next(p for p in module.parameters() if p.requires_grad)
    parameter.register_hook(lambda gradient: gradient * float("inf"))
    before = parameter.detach().clone()
    with pytest.raises(UserError, match=f"found a non-finite value in {part} at iteration 0; nothing was updated"):
        trainer.train(0, 2)
    assert torch.equal(parameter, before)


def test_weights_are_in_the_log_for_every_class_branch_and_head(make_cfg, tmp_path):
    train(make_cfg("quick/self_training_gbw.yaml", *FAST, *ALL, "SOLVER.MAX_ITER", 2))
    last = metrics(tmp_path / "run")[-1]
    for branch in ("source", "mixed", "masked"):
        for head in ("sem_seg", "center", "offset"):
            for kind in ("weight", "gradient", "share"):
                assert f"gbw/{branch}/{head}/{kind}/train" in last
    pseudo = [f"pseudo_labels/{x}" for x in ("quality", "confidence", "kept_pixels", "kept_instances", "loss_ratio")]
    for name in (*pseudo, "source/loss_feature_distance", "masked/loss_sem_seg", "masked/loss_center"):
        assert last[name] > 0, name


@pytest.mark.parametrize("rule", ["quality", "threshold"])
def test_no_confident_pixel_is_a_loss_of_exactly_zero(make_cfg, rule):
    sure = ("SELF_TRAINING.SELECTION", rule, "SELF_TRAINING.CONFIDENCE_THRESHOLD", 1.0)
    options = (*FAST, *ALL, *sure, "SELF_TRAINING.CLASS_MIX", False, "SELF_TRAINING.INSTANCE_MIX.ENABLED", False)
    trainer = build_trainer(make_cfg("quick/self_training_gbw.yaml", *options))
    batch = next(iter(trainer.loader))
    for losses in trainer.strategy.terms(trainer.model, batch, 0):
        trainer.optimizer.zero_grad()
        sum(losses.values()).backward()
        gradients = [p.grad for p in trainer.model.parameters() if p.grad is not None]
        assert gradients and all(torch.isfinite(g).all() for g in gradients)
        if not any(name.startswith("source/") for name in losses):
            assert all(value == 0 for value in losses.values()) and not any(g.any() for g in gradients)
    health = trainer.strategy.health
    assert health["pseudo_labels/kept_pixels"] == health["pseudo_labels/kept_instances"] == 0
    assert health["pseudo_labels/loss_ratio"] == 0


def test_the_initial_backbone_is_that_of_the_weights_file(make_cfg, tmp_path):
    options = (*FAST, "SELF_TRAINING.FEATURE_DISTANCE.ENABLED", True, "SOLVER.MAX_ITER", 1)
    other = build_trainer(make_cfg("quick/self_training.yaml", *options, "SEED", 1)).model
    torch.save(other.state_dict(), tmp_path / "weights.pth")
    trainer = train(make_cfg("quick/self_training.yaml", *options, "MODEL.WEIGHTS", tmp_path / "weights.pth"))
    initial = trainer.strategy.modules["initial_backbone"].state_dict()
    assert all(torch.equal(tensor, initial[name]) for name, tensor in other.backbone.state_dict().items())
    assert any(not torch.equal(tensor, initial[name]) for name, tensor in trainer.model.backbone.state_dict().items())
    assert "initial_backbone" in torch.load(tmp_path / "run" / "model_final.pth", weights_only=True)


def test_a_resume_with_a_part_that_the_checkpoint_lacks_is_refused(make_cfg, tmp_path):
    cfg = make_cfg("quick/self_training.yaml", *FAST, "SELF_TRAINING.FEATURE_DISTANCE.ENABLED", True)
    build_trainer(cfg).checkpointer.save("model_0000004")
    path = tmp_path / "run" / "model_0000004.pth"
    contents = torch.load(path, weights_only=True)
    del contents["initial_backbone"]
    torch.save(contents, path)
    with pytest.raises(UserError, match="--resume: expected a checkpoint with initial_backbone"):
        resume_or_load(build_trainer(cfg), "", resume=True)
