"""Adversarial and entropy trainers end to end on Streets: resume, levels, tasks, what reaches the log."""

import logging

import pytest
import torch
from test_training import FAST, metrics, train
from tiny_runs import TINY, flat

from gbw_panoptic.engine import build_trainer
from gbw_panoptic.engine.hooks import DiscriminatorMonitor, discriminator_state
from gbw_panoptic.errors import UserError
from gbw_panoptic.validation import validate

#: Two levels, instance heads, and an auxiliary head on a map that the small backbone has.
ALL = ("MODEL.AUXILIARY_HEAD.ENABLED", True, "MODEL.AUXILIARY_HEAD.IN_FEATURE", "res3",
       "ADVERSARIAL.ALIGN_INSTANCES", True)  # fmt: skip


@pytest.mark.parametrize("name", ["adversarial_gbw", "entropy_gbw"])
def test_resume_is_exact(make_cfg, tmp_path, name):
    options = (*FAST, *TINY, *ALL, "SOLVER.MAX_ITER", 6, "SOLVER.CHECKPOINT_PERIOD", 3)
    whole = train(make_cfg(f"quick/{name}.yaml", *options, "OUTPUT_DIR", tmp_path / "whole"))
    cut = make_cfg(f"quick/{name}.yaml", *options, "OUTPUT_DIR", tmp_path / "cut")
    train(cut, stop_at=3)
    torch.rand(17)  # what ran in between must not matter
    resumed = train(cut, resume=True)
    parts = [{"model": t.model, "optimizer": t.optimizer, **t.strategy.modules} for t in (whole, resumed)]
    expected, found = (flat({name: part.state_dict() for name, part in p.items()}) for p in parts)
    assert expected.keys() == found.keys() and len(expected) > 300
    for key, tensor in expected.items():
        assert torch.equal(tensor, found[key]), key


@pytest.mark.parametrize(
    "name, opts",
    [
        ("adversarial_gbw", (*ALL, "ADVERSARIAL.ALIGN", "entropy", "ADVERSARIAL.GAN", "least_squares")),
        ("adversarial_gbw", ("MODEL.TASK", "semantic", "WEIGHTING.CENTER", "none", "WEIGHTING.OFFSET", "none")),
        ("entropy_gbw", (*ALL[:4], "ENTROPY.LOSS", "maximum_squares", "ENTROPY.IMAGE_WISE", True)),
        ("entropy_gbw", ("GBW.GRADIENT", "last_layer", "WEIGHTING.SEMANTIC", "none")),
        ("entropy_gbw", ("MODEL.TASK", "semantic", "WEIGHTING.CENTER", "none", "WEIGHTING.OFFSET", "none",
                         "WEIGHTING.TARGET", "inverse_frequency")),
    ],
)  # fmt: skip
def test_every_switch_trains(make_cfg, tmp_path, name, opts):
    trainer = train(make_cfg(f"quick/{name}.yaml", *FAST, "SOLVER.MAX_ITER", 2, *opts))
    last = metrics(tmp_path / "run")[-1]
    kind = "alignment" if name == "adversarial_gbw" else trainer.strategy.loss
    assert f"target/loss_sem_seg_{kind}" in last and "source/loss_sem_seg" in last
    if "MODEL.AUXILIARY_HEAD.ENABLED" in opts:
        assert f"target/loss_auxiliary_{kind}" in last and "source/loss_auxiliary" in last


def test_log_shows_the_discriminator_and_its_class_weights(make_cfg, tmp_path):
    train(make_cfg("quick/adversarial_gbw.yaml", *FAST, "SOLVER.MAX_ITER", 2))
    last = metrics(tmp_path / "run")[-1]
    for name in ("discriminator/loss_sem_seg", "discriminator/sem_seg_accuracy_source", "discriminator/gradient_norm",
                 "discriminator/sem_seg_accuracy_target", "alignment/gradient_norm",
                 "gbw/target/alignment/weight/road", "gbw/source/sem_seg/weight/road"):  # fmt: skip
        assert name in last, name


def test_auxiliary_head_is_trained_by_the_source_and_left_out_of_inference(make_cfg):
    cfg = make_cfg("quick/entropy_gbw.yaml", *FAST, *ALL[:4], "SOLVER.MAX_ITER", 1, "SOLVER.WARMUP_FACTOR", 1.0)
    trainer = build_trainer(cfg)
    before = trainer.model.auxiliary_head.classifiers[0].weight.clone()
    trainer.train(0, 1)
    assert not torch.equal(before, trainer.model.auxiliary_head.classifiers[0].weight)
    trainer.model.eval()
    assert trainer.model.predict([{"image": torch.zeros(3, 64, 64, dtype=torch.uint8)}]).auxiliary is None


def test_states_of_a_discriminator():
    assert discriminator_state(0.7, 0.6) is None
    assert discriminator_state(0.999, 0.995) == "has won"
    assert discriminator_state(1.0, 0.0) == "answers the same for both domains"
    assert discriminator_state(1.0, 0.5) is None


def test_a_collapse_is_warned_of(caplog):
    class History:
        def __init__(self, value):
            self.value = value

        def avg(self, window):
            return self.value

    class Trainer:
        start_iter = 0
        iter = 0

        class storage:
            @staticmethod
            def histories():
                names = ("discriminator/sem_seg_accuracy_source", "discriminator/sem_seg_accuracy_target")
                return dict(zip(names, (History(1.0), History(0.0))))

    monitor = DiscriminatorMonitor(period=10, window=20)
    monitor.trainer = Trainer()
    with caplog.at_level(logging.WARNING, logger="gbw_panoptic"):
        for Trainer.iter in range(40):
            monitor.after_step()
    messages = [r.getMessage() for r in caplog.records]
    assert len(messages) == 3 and all("sem_seg answers the same for both domains" in m for m in messages)


@pytest.mark.parametrize(
    "name, opts, words",
    [
        ("adversarial_gbw", ("INPUT.CROP.SIZE", "(16, 64)"), "INPUT.CROP.SIZE: expected at least 32"),
        ("adversarial_gbw", ("ADVERSARIAL.ALIGN_INSTANCES", True, "MODEL.TASK", "semantic", "WEIGHTING.CENTER", "none",
                             "WEIGHTING.OFFSET", "none"), "ADVERSARIAL.ALIGN_INSTANCES: expected False"),
        ("adversarial_gbw", ("ADVERSARIAL.GAN", "wasserstein"), "ADVERSARIAL.GAN: expected one of vanilla"),
        ("adversarial_gbw", ("ADVERSARIAL.LEARNING_RATE", 0.0), "ADVERSARIAL.LEARNING_RATE: expected a number above 0"),
        ("entropy_gbw", ("GBW.GRADIENT", "autograd"), "GBW.GRADIENT: expected logits, last_layer or pixel"),
        ("entropy_gbw", ("ENTROPY.LOSS", "minent"), "ENTROPY.LOSS: expected one of entropy"),
        ("entropy_gbw", ("DATASETS.TARGET", "()"), "DATASETS.TARGET: expected the unlabelled target"),
        ("source_only", ("WEIGHTING.TARGET", "gbw"), "WEIGHTING.TARGET: expected none with SourceOnlyTrainer"),
        ("entropy_gbw", ("TEST.MODEL", "teacher"), "TEST.MODEL: expected student"),
    ],
)  # fmt: skip
def test_contradictions_are_one_sentence(make_cfg, name, opts, words):
    with pytest.raises(UserError, match=words):
        validate(make_cfg(f"quick/{name}.yaml", *opts))


def test_an_auxiliary_head_on_a_missing_map_is_refused(make_cfg):
    cfg = make_cfg("quick/entropy_gbw.yaml", *FAST, "MODEL.AUXILIARY_HEAD.ENABLED", True)
    with pytest.raises(UserError, match="MODEL.AUXILIARY_HEAD.IN_FEATURE: expected some of res2, res3, res5.*'res4'"):
        build_trainer(cfg)
