"""A training that is stopped, resumed, extended or finished: by signals, other settings, other ends."""

import json
import signal
import sys
from types import SimpleNamespace

import pytest
import torch
import train_net
from detectron2.engine import HookBase
from detectron2.projects.deeplab import build_lr_scheduler
from tiny_runs import TINY, assert_same_state

from gbw_panoptic import cli
from gbw_panoptic.engine import build_trainer, saving
from gbw_panoptic.engine.build import resume_or_load
from gbw_panoptic.engine.checkpoint import SafeCheckpointer, read_checkpoint
from gbw_panoptic.engine.hooks import Evaluation, append_metrics
from gbw_panoptic.engine.saving import CheckpointSaver, StopSignals, StopTraining, stoppable
from gbw_panoptic.errors import Stopped, UserError

OPTIONS = (*TINY, "SOLVER.MAX_ITER", 4, "SOLVER.CHECKPOINT_PERIOD", 100)


class Signal(HookBase):
    """Sends this process a signal within a step."""

    def __init__(self, number: int, iteration: int) -> None:
        self.number, self.iteration = number, iteration

    def after_step(self) -> None:
        if self.trainer.iter == self.iteration:
            signal.raise_signal(self.number)


@pytest.fixture(autouse=True)
def heard_signals():
    """SIGINT as in a terminal: a shell's background jobs, the tests among them, start with it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def train(cfg, *first_hooks, resume=False):
    trainer = build_trainer(cfg)
    resume_or_load(trainer, "", resume=resume)
    trainer.register_hooks(first_hooks)
    trainer._hooks = [*first_hooks, *[hook for hook in trainer._hooks if hook not in first_hooks]]
    train_net.check_end(cfg, trainer)
    train_net.train(cfg, trainer)
    return trainer


@pytest.mark.parametrize("number, status", [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_saves_the_step_and_a_resume_goes_on_from_it(make_cfg, tmp_path, capsys, number, status):
    handlers = [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)]
    train(make_cfg("quick/source_only.yaml", *OPTIONS, "OUTPUT_DIR", tmp_path / "whole"))
    cut = make_cfg("quick/source_only.yaml", *OPTIONS, "OUTPUT_DIR", tmp_path / "cut")
    with pytest.raises(SystemExit) as stop:
        cli.run(lambda: train(cut, Signal(number, 1)) and None)
    assert stop.value.code == status
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith(
        f"stopped by {number.name} after iteration 1, with a checkpoint of it; run the same command with"
    )
    assert (tmp_path / "cut" / "last_checkpoint").read_text() == "model_0000001.pth"
    assert [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)] == handlers
    train(cut, resume=True)
    assert_same_state(*(read_checkpoint(str(tmp_path / run / "model_final.pth")) for run in ("whole", "cut")))


def test_a_signal_in_the_last_step_leaves_the_evaluation_to_the_resume(make_cfg, tmp_path, monkeypatch):
    cfg, evaluated = make_cfg("quick/source_only.yaml", *OPTIONS), []
    monkeypatch.setattr("gbw_panoptic.engine.build.evaluate", lambda *a, **k: evaluated.append("in training"))
    monkeypatch.setattr(train_net, "evaluate", lambda *a, **k: evaluated.append("after it"))
    with pytest.raises(Stopped):
        train(cfg, Signal(signal.SIGTERM, 3))
    assert not evaluated and (tmp_path / "run" / "model_final.pth").is_file()
    assert train(cfg, resume=True).start_iter == 4 and evaluated == ["after it"]


@pytest.fixture
def signals(monkeypatch):
    """Signals of this process as a training hears them; a TERM that is obeyed at once raises SystemExit. And the
    clock."""
    now, before = [0.0], signal.signal(signal.SIGTERM, lambda *arguments: sys.exit(143))
    monkeypatch.setattr(saving.time, "monotonic", lambda: now[0])
    stop = StopSignals(SimpleNamespace(save=lambda: None))
    stop.before_train()
    yield stop, now
    stop.restore()
    signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize("number, seconds", [(signal.SIGTERM, 0), (signal.SIGTERM, 60), (signal.SIGINT, 1)])
def test_one_signal_however_often_it_is_forwarded_is_one_stop(signals, number, seconds):
    stop, now = signals
    for _ in range(4):
        signal.raise_signal(number)
        now[0] += seconds
    stop.after_step()
    assert stop.agreed == number


@pytest.mark.parametrize(
    "numbers, seconds, end",
    [
        ((signal.SIGINT, signal.SIGINT), 6, KeyboardInterrupt),
        ((signal.SIGINT, signal.SIGTERM), 0, SystemExit),
        ((signal.SIGTERM, signal.SIGINT), 0, KeyboardInterrupt),
    ],
)
def test_a_second_signal_is_obeyed_at_once(signals, numbers, seconds, end):
    stop, now = signals
    signal.raise_signal(numbers[0])
    now[0] += seconds
    with pytest.raises(end):
        signal.raise_signal(numbers[1])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_in_the_last_evaluation_says_so_and_the_resume_evaluates(make_cfg, monkeypatch, number):
    cfg, evaluated = make_cfg("quick/source_only.yaml", *OPTIONS, "SOLVER.MAX_ITER", 1), []
    handlers = [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)]
    monkeypatch.setattr("gbw_panoptic.engine.build.evaluate", lambda *a, **k: signal.raise_signal(number))
    monkeypatch.setattr(train_net, "evaluate", lambda *a, **k: evaluated.append("after it"))
    with pytest.raises(
        Stopped, match=f"stopped by {number.name} in the evaluation behind the last iteration, whose checkpoint is"
    ):
        train(cfg)
    assert [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)] == handlers
    train(cfg, resume=True)
    assert evaluated == ["after it"]


def test_an_evaluation_alone_says_so_too():
    with (
        pytest.raises(Stopped, match="stopped by SIGTERM in the evaluation; run") as stop,
        stoppable("in the evaluation; run"),
    ):
        signal.raise_signal(signal.SIGTERM)
    assert stop.value.status == 143


@pytest.mark.parametrize("main", [True, False])
def test_ranks_leave_together_and_one_of_them_speaks(monkeypatch, main):
    """A process that leaves has its launcher end the others: nobody does before the checkpoint, nor before what is
    logged."""
    order = []
    monkeypatch.setattr(saving.comm, "get_world_size", lambda: 2)
    monkeypatch.setattr(saving.comm, "is_main_process", lambda: main)
    monkeypatch.setattr(saving.comm, "all_gather", lambda value: [value, signal.SIGTERM])
    monkeypatch.setattr(saving.comm, "synchronize", lambda: order.append("together"))
    stop = StopSignals(SimpleNamespace(save=lambda: order.append("saved")) if main else None)
    stop.after_step()
    last = StopTraining(stop)
    last.trainer = SimpleNamespace(iter=7)
    with pytest.raises(Stopped) as stopped:
        last.after_step()
    assert order == [*(["saved"] if main else []), "together", "together"]
    assert stopped.value.status == 143 and bool(str(stopped.value)) is main


def test_a_killed_evaluation_is_made_up_for_by_the_resume(tmp_path):
    """The checkpoint of an iteration comes before its evaluation: a kill in between lost that one for good."""
    path, done = tmp_path / "metrics.json", []
    path.write_text(json.dumps({"iteration": 9, "total_loss": 1.0}) + "\n")

    def resume(start):
        storage = SimpleNamespace(iter=start, put_scalars=lambda **scalars: done.append((storage.iter, scalars)))
        hook = Evaluation(5, lambda: {"student": {"panoptic": {"16": {"PQ": 1.0}}}}, str(path))
        hook.trainer = SimpleNamespace(start_iter=start, storage=storage, resumed=True)
        hook.before_train()
        assert storage.iter == start

    for start in (0, 7, 10):
        resume(start)
    assert done == [(9, {"student/panoptic/16/PQ": 1.0, "smoothing_hint": False})]
    append_metrics(str(path), 9, {"student": {"panoptic": {"16": {"PQ": 1.0}}}})
    resume(10)
    assert len(done) == 1


def test_a_signal_that_was_ignored_stays_ignored(make_cfg):
    """Ctrl-C in a terminal is not for the training in its background."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    assert train(make_cfg("quick/source_only.yaml", *OPTIONS), Signal(signal.SIGINT, 1)).iter == 4
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def test_a_resume_with_another_end_follows_that_schedule(make_cfg, tmp_path, caplog):
    options = [*OPTIONS, "SOLVER.WARMUP_ITERS", 0]
    train(make_cfg("quick/source_only.yaml", *options))
    longer = make_cfg("quick/source_only.yaml", *options, "SOLVER.MAX_ITER", 6)
    trainer = train(longer, resume=True)
    assert trainer.start_iter == 4 and trainer.iter == 6
    schedule = build_lr_scheduler(longer, torch.optim.SGD([torch.zeros(1)], lr=longer.SOLVER.BASE_LR))
    schedule.last_epoch = 5
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.json").read_text().splitlines()]
    logged = {line["iteration"]: line["lr"] for line in lines if "lr" in line}
    assert logged[5] == schedule.get_lr()[0] > 0
    with pytest.raises(UserError, match="expected SOLVER.MAX_ITER of at least 6, the iterations .*found 5"):
        train(make_cfg("quick/source_only.yaml", *options, "SOLVER.MAX_ITER", 5), resume=True)


def test_a_finished_run_says_so(make_cfg, caplog, monkeypatch):
    cfg = make_cfg("quick/source_only.yaml", *OPTIONS)
    monkeypatch.setattr(train_net.RunFolder, "read", lambda folder: SimpleNamespace(is_finished=True))
    monkeypatch.setattr(train_net.logging.getLogger("gbw_panoptic"), "propagate", True)
    trainer = SimpleNamespace(start_iter=4)
    with caplog.at_level("INFO", logger="gbw_panoptic"):
        train_net.train(cfg, trainer)
    assert "has had its 4 iterations and their evaluation" in caplog.text


@pytest.mark.parametrize(
    "config, switch, words",
    [
        (
            "source_only",
            ("WEIGHTING.SEMANTIC", "gbw"),
            "expected a checkpoint with the model of this configuration, found another",
        ),
        (
            "source_only",
            ("MODEL.SEM_SEG_HEAD.HEAD_CHANNELS", 16),
            "expected a checkpoint with the model of this configuration, found another",
        ),
        (
            "source_only",
            ("SOLVER.OPTIMIZER", "SGD"),
            "expected the state of this training in the checkpoint, found the state of another",
        ),
        (
            "adversarial_gbw",
            ("WEIGHTING.TARGET", "none"),
            "expected a checkpoint with the states of this configuration, found",
        ),
    ],
)
@pytest.mark.parametrize("version", ["now", "without settings"])
def test_a_checkpoint_of_other_settings_is_one_sentence(make_cfg, tmp_path, config, switch, words, version):
    build_trainer(make_cfg(f"quick/{config}.yaml", *OPTIONS)).checkpointer.save("model_0000001")
    other = build_trainer(make_cfg(f"quick/{config}.yaml", *OPTIONS, *switch))
    if version == "now":
        words = f"expected {switch[0]} .*, with which the checkpoint was made, found {switch[1]!r}"
    else:
        path = tmp_path / "run" / "model_0000001.pth"
        torch.save({k: v for k, v in torch.load(path, weights_only=True).items() if k != "settings"}, path)
    with pytest.raises(UserError, match=f"--resume: {words}.*start anew with it as MODEL.WEIGHTS") as error:
        resume_or_load(other, "", resume=True)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("keep, left", [(2, [5, 7]), (0, [1, 3, 5, 7])])
def test_the_last_checkpoints_stay_over_resumes(tmp_path, keep, left):
    torch.save({}, tmp_path / "model_0000099.pth")  # of a run that was taken back
    (tmp_path / "model_0000003.pth.tmp").write_bytes(b"half")
    for start, end in ((0, 4), (4, 8)):
        saver = CheckpointSaver(SafeCheckpointer(torch.nn.Linear(1, 1), str(tmp_path)), period=2, keep=keep)
        saver.trainer = SimpleNamespace(max_iter=100, iter=start)
        saver.before_train()
        for saver.trainer.iter in range(start, end):
            saver.after_step()
    names = sorted(path.name for path in tmp_path.glob("*.pth*"))
    assert names == [f"model_{number:07d}.pth" for number in [*left, 99]]
    assert (tmp_path / "last_checkpoint").read_text() == "model_0000007.pth"


def test_what_a_killed_process_had_yet_to_delete_goes_at_the_resume(tmp_path):
    for number in (3, 4, 5):
        torch.save({}, tmp_path / f"model_{number:07d}.pth")
    saver = CheckpointSaver(SafeCheckpointer(torch.nn.Linear(1, 1), str(tmp_path)), period=1, keep=2)
    saver.trainer = SimpleNamespace(max_iter=6, iter=6)  # nothing is left to train, and so to save
    saver.before_train()
    assert sorted(path.name for path in tmp_path.glob("*.pth")) == ["model_0000004.pth", "model_0000005.pth"]


def test_what_killed_writers_left_goes_and_another_run_s_stays(tmp_path):
    halves = ("model_0000003.pth.tmp", "last_checkpoint.tmp", ".config.yaml.123.tmp", "inference/.student.json.7.tmp")
    others = ("model_0000001.pth", "other/.config.yaml.123.tmp", "notes.tmp")
    for name in (*halves, *others):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    saving.remove_halves(str(tmp_path))
    assert {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()} == set(others)


def test_a_kill_between_the_last_two_checkpoints_loses_neither(make_cfg, tmp_path, monkeypatch):
    """The final weights come first: a resume has nothing to train, and so would never write them."""
    saved, save = [], SafeCheckpointer.save
    monkeypatch.setattr(SafeCheckpointer, "save", lambda self, name, **kw: (saved.append(name), save(self, name, **kw)))
    train(make_cfg("quick/source_only.yaml", *OPTIONS, "SOLVER.CHECKPOINT_PERIOD", 2))
    assert saved == ["model_0000001", "model_final", "model_0000003"]
    assert (tmp_path / "run" / "last_checkpoint").read_text() == "model_final.pth"
