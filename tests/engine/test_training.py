"""Both trainers end to end on Streets: resume, leaks, health."""

import json
import shutil

import pytest
import torch

from gbw_panoptic.data import register_all
from gbw_panoptic.engine import build_trainer
from gbw_panoptic.engine.build import resume_or_load
from gbw_panoptic.engine.hooks import truncate_metrics
from gbw_panoptic.errors import UserError
from gbw_panoptic.validation import validate

TRAINERS = ("source_only", "self_training_gbw")
FAST = ("TEST.EVAL_PERIOD", 0, "TEST.NUM_PANELS", 0, "DATASETS.TEST", "()")


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
@pytest.mark.parametrize("name", TRAINERS)
def test_ten_iterations_equal_five_and_resume_five(make_cfg, tmp_path, name, workers):
    options = (*FAST, "DATALOADER.NUM_WORKERS", workers)
    whole = train(make_cfg(f"quick/{name}.yaml", *options, "OUTPUT_DIR", tmp_path / "whole"))
    cut = make_cfg(f"quick/{name}.yaml", *options, "OUTPUT_DIR", tmp_path / "cut")
    train(cut, stop_at=5)
    torch.rand(17)  # what ran in between must not matter
    resumed = train(cut, resume=True)
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


def test_training_reads_no_target_label(own_streets, make_cfg, tmp_path):
    shutil.rmtree(own_streets / "cityscapes" / "gtFine")
    register_all()
    trainer = train(make_cfg("quick/self_training_gbw.yaml", *FAST, "SOLVER.MAX_ITER", 3))
    assert trainer.iter == 3
    assert (tmp_path / "run" / "model_final.pth").is_file()


def test_instance_losses_on_the_target_change_the_instance_heads_only_through_their_losses(make_cfg):
    off = train(make_cfg("quick/self_training.yaml", *FAST, "SOLVER.MAX_ITER", 2))
    on = make_cfg("quick/self_training.yaml", *FAST, "SOLVER.MAX_ITER", 2, "SELF_TRAINING.INSTANCE_LOSSES", True,
                  "MODEL.PANOPTIC_DEEPLAB.CENTER_THRESHOLD", -1.0)  # fmt: skip
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


def test_a_nan_stops_before_the_update_and_is_reported(make_cfg, tmp_path):
    cfg = make_cfg("quick/self_training_gbw.yaml", *FAST, "SOLVER.MAX_ITER", 4)
    trainer = build_trainer(cfg)
    before = {}

    def poison(name, value):
        def weighted(loss, *, branch):
            if trainer.iter == 2 and branch == "mixed":
                before.update({k: v.clone() for k, v in trainer.model.state_dict().items()})
                return value * loss.total.sum()
            return original(loss, branch=branch)

        original = trainer.model.weightings[name].forward
        trainer.model.weightings[name].forward = weighted

    poison("center", float("nan"))
    with pytest.raises(UserError, match="mixed/loss_center at iteration 2.*nan_report"):
        trainer.train(0, 4)
    report = json.loads((tmp_path / "run" / "nan_report_rank0.json").read_text())
    assert report["iteration"] == 2 and report["non_finite"] == ["mixed/loss_center"]
    assert len(report["source_files"]) == len(report["target_files"]) == 1
    parameters = dict(trainer.model.named_parameters())
    assert all(torch.equal(before[name], parameters[name]) for name in parameters)


def test_weights_are_in_the_log_for_every_class_branch_and_head(make_cfg, tmp_path):
    train(make_cfg("quick/self_training_gbw.yaml", *FAST))
    last = metrics(tmp_path / "run")[-1]
    for branch in ("source", "mixed"):
        for head in ("sem_seg", "center", "offset"):
            for kind in ("weight", "gradient", "share"):
                assert f"gbw/{branch}/{head}/{kind}/train" in last
    assert last["pseudo_labels/quality"] >= 0
