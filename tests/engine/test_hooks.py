"""What the class weighting puts into the log, without a training run."""

import logging
from types import SimpleNamespace

import pytest
import torch
from detectron2.utils.events import EventStorage
from torch import nn

from gbw_panoptic.adaptation import SourceOnly
from gbw_panoptic.engine.hooks import ClassWeightLogger, truncate_metrics
from gbw_panoptic.losses import cross_entropy_per_class
from gbw_panoptic.weighting import ClassWeighting, GradientBasedWeighting

NAMES = ("road", "car")


class Steps:
    """A model with two weightings, and the hook driven as a trainer would."""

    def __init__(self, *, period: int) -> None:
        self.weighting = GradientBasedWeighting(num_classes=2, lam=0.5, gradient="logits")
        heads = nn.ModuleDict({"sem_seg": self.weighting, "center": ClassWeighting(num_classes=2)})
        self.hook = ClassWeightLogger(heads, SourceOnly(), NAMES, period=period)
        self.storage = EventStorage(0)
        self.hook.trainer = SimpleNamespace(iter=-1, max_iter=100, storage=self.storage)
        self.hook.before_train()

    def step(self, *, finite: bool = True, branch: str = "source") -> None:
        logits = torch.zeros(1, 2, 1, 2) if finite else torch.full((1, 2, 1, 2), torch.inf)
        loss = cross_entropy_per_class(logits, torch.tensor([[[0, 1]]]), gradient="logits")
        self.weighting(loss, branch=branch)
        self.hook.trainer.iter += 1
        self.hook.after_step()

    def logged(self) -> dict[str, float]:
        return {name: value for name, (value, _) in self.storage.latest().items()}


@pytest.fixture
def warnings(caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("gbw_panoptic"), "propagate", True)  # Detectron2's set-up turns it off
    return lambda: [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


def test_every_scalar_is_named_by_branch_head_and_class(warnings):
    steps = Steps(period=1)
    steps.step()
    kinds = [f"gbw/source/sem_seg/{kind}/{name}" for kind in ("weight", "gradient", "share") for name in NAMES]
    assert sorted(steps.logged()) == sorted([*kinds, "gbw/source/sem_seg/skipped"])
    assert steps.logged()["gbw/source/sem_seg/share/car"] == 0.5
    assert steps.logged()["gbw/source/sem_seg/skipped"] == 0 and not warnings()


def test_skipped_steps_are_counted_and_warned_of_once(warnings):
    steps = Steps(period=2)
    steps.step()
    steps.step(finite=False)
    assert not warnings()  # outside of the period nothing is read from the device
    steps.step(finite=False)
    assert steps.logged()["gbw/source/sem_seg/skipped"] == 2
    (warning,) = warnings()
    assert "source/sem_seg was not finite in 2 step(s) up to iteration 2 (2 since the start)" in warning
    for _ in range(4):
        steps.step()
    assert steps.logged()["gbw/source/sem_seg/skipped"] == 2 and len(warnings()) == 1
    for _ in range(2):
        steps.step(finite=False, branch="mixed")
    assert steps.logged()["gbw/mixed/sem_seg/skipped"] == 2
    assert "mixed/sem_seg was not finite in 2 step(s)" in warnings()[1]


def test_a_resumed_run_does_not_warn_again(warnings):
    before = Steps(period=1)
    before.step(finite=False)
    assert len(warnings()) == 1
    after = Steps(period=1)
    after.weighting.load_state_dict(before.weighting.state_dict())
    after.hook.before_train()
    after.step()
    assert after.logged()["gbw/source/sem_seg/skipped"] == 1 and len(warnings()) == 1


@pytest.mark.parametrize(
    "line", ["", "null", "5", "[1]", '{"a": 1}', '{"iteration": "2"}', '{"iteration": 1e999}', '{"iteration": true}',
             "[" * 9999,
             '{"iteration": ' + "9" * 5000 + "}", '{"iteration": 2, "x": "\\ud800"}', "\0" * 40, '{"iteration": 2']
)  # fmt: skip
def test_metrics_end_where_a_line_is_damaged(tmp_path, line):
    """A loss of power may leave anything behind the lines that were written; a resume goes on behind the last sound
    one."""
    path = tmp_path / "metrics.json"
    sound = '{"iteration": 0, "total_loss": NaN}\n{"iteration": 1, "total_loss": 1.0}\n'
    path.write_text(sound + line + "\n" + '{"iteration": 1, "total_loss": 2.0}\n')
    truncate_metrics(str(path), 5)
    assert path.read_text() == sound
