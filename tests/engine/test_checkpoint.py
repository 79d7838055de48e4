"""Checkpoints: nothing is executed, nothing is half written, torchvision's names fit."""

import os
import pickle

import pytest
import torch
import torchvision

from gbw_panoptic.engine.build import build_models, build_trainer, check_resumable, load_for_evaluation, resume_or_load
from gbw_panoptic.engine.checkpoint import SafeCheckpointer
from gbw_panoptic.errors import UserError
from gbw_panoptic.modeling.published.names import detectron2_resnet_state


class Payload:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("kind", ["pickle", "torch"])
def test_a_malicious_checkpoint_is_refused_and_its_payload_does_not_run(tmp_path, kind):
    target, path = tmp_path / "executed", tmp_path / "evil.pth"
    with open(path, "wb") as file:
        (pickle.dump if kind == "pickle" else torch.save)({"model": Payload(str(target))}, file)
    with pytest.raises(UserError, match="nothing was executed"):
        SafeCheckpointer(torch.nn.Linear(2, 2)).load(str(path))
    assert not target.exists()


def test_garbage_and_missing_files_are_named(tmp_path):
    (tmp_path / "garbage.pth").write_bytes(b"not a checkpoint")
    with pytest.raises(UserError, match="garbage.pth"):
        SafeCheckpointer(torch.nn.Linear(2, 2)).load(str(tmp_path / "garbage.pth"))
    with pytest.raises(UserError, match="found none"):
        SafeCheckpointer(torch.nn.Linear(2, 2)).load(str(tmp_path / "missing.pth"))


def test_a_failed_write_keeps_the_previous_checkpoint(tmp_path, monkeypatch):
    checkpointer = SafeCheckpointer(torch.nn.Linear(2, 2), str(tmp_path))
    checkpointer.save("model_a")

    def full(data, file):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(UserError, match="No space left on device.*resume"):
        checkpointer.save("model_b")
    assert (tmp_path / "last_checkpoint").read_text() == "model_a.pth"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["last_checkpoint", "model_a.pth"]


def test_a_run_can_be_resumed_from_its_first_moment_on(make_cfg, tmp_path):
    with pytest.raises(UserError, match="--resume: expected a checkpoint.*found none, nor a run that has begun"):
        check_resumable(str(tmp_path / "run"))
    trainer = build_trainer(make_cfg("quick/source_only.yaml", "DATASETS.TEST", "()"))
    (tmp_path / "run" / "metrics.json").touch()  # with which a run begins
    check_resumable(str(tmp_path / "run"))
    resume_or_load(trainer, "", resume=True)
    assert trainer.resumed and trainer.start_iter == 0


def test_torchvision_names_fit_detectron2(make_cfg, tmp_path):
    torch.manual_seed(0)
    network = torchvision.models.resnet18(weights=None)
    torch.save(network.state_dict(), tmp_path / "resnet18.pth")
    trainer = build_trainer(make_cfg("quick/source_only.yaml", "DATASETS.TEST", "()"))
    resume_or_load(trainer, str(tmp_path / "resnet18.pth"), resume=False)
    backbone = trainer.model.backbone.eval()
    renamed = detectron2_resnet_state(network.state_dict())
    assert renamed.keys() - {"fc.weight", "fc.bias"} == backbone.state_dict().keys()
    x = torch.rand(1, 3, 64, 64)
    network.eval()
    expected = network.layer1(network.maxpool(network.relu(network.bn1(network.conv1(x)))))
    torch.testing.assert_close(backbone(x)["res2"], expected)


def test_evaluation_loads_both_models_or_says_which_is_missing(make_cfg, tmp_path, caplog):
    cfg = make_cfg("quick/self_training.yaml", "DATASETS.TEST", "()")
    trainer = build_trainer(cfg)
    trainer.strategy.teacher.model.sem_seg_head.predictor.bias.fill_(3.0)
    trainer.checkpointer.save("both")
    models = build_models(cfg)
    load_for_evaluation(models, "", cfg.OUTPUT_DIR, resume=True)
    assert (models["teacher"].sem_seg_head.predictor.bias == 3).all()
    assert (models["student"].sem_seg_head.predictor.bias == 0).all()

    torch.save(trainer.model.state_dict(), tmp_path / "student_only.pth")
    load_for_evaluation(models, str(tmp_path / "student_only.pth"), cfg.OUTPUT_DIR, resume=False)
    assert list(models) == ["student"]
    with pytest.raises(UserError, match="--eval-only: expected a checkpoint"):
        load_for_evaluation(models, "", cfg.OUTPUT_DIR, resume=False)
