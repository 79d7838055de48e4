"""A full disk ends a training with one sentence and exit code 2; the checkpoint before stays whole.

Linux' /dev/full takes nothing and answers as a full disk does; a link to it stands for each of the files that a run
writes."""

import logging
import os
import threading

import pytest
import torch
from tiny_runs import TINY

from gbw_panoptic import cli, files
from gbw_panoptic.engine.build import build_trainer
from gbw_panoptic.engine.checkpoint import read_checkpoint
from gbw_panoptic.engine.saving import CheckpointSaver
from gbw_panoptic.engine.logs import LogFile, RunLog, quiet_explained_errors

pytestmark = pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full on this system")
OPTIONS = (*TINY, "SOLVER.MAX_ITER", 4, "SOLVER.CHECKPOINT_PERIOD", 2, "SOLVER.WARMUP_ITERS", 0)


def ends_with_one_sentence(main, capsys) -> str:
    with pytest.raises(SystemExit) as stop:
        cli.run(main)
    error = capsys.readouterr().err
    assert stop.value.code == 2 and "Traceback" not in error and "Logging error" not in error
    (line,) = [line for line in error.splitlines() if line.startswith("error:")]
    return line


@pytest.fixture
def quiet(monkeypatch):
    """As tools/train_net.py sets loggers up, and undone."""
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)
    logger = logging.getLogger("detectron2.engine.train_loop")
    before = list(logger.filters)
    quiet_explained_errors()
    yield
    logger.filters[:] = before


@pytest.mark.parametrize("file", ["metrics.json", "model_0000003.pth.tmp", "last_checkpoint.tmp"])
def test_whatever_fills_it(make_cfg, tmp_path, capsys, quiet, monkeypatch, file):
    monkeypatch.setattr(CheckpointSaver, "before_train", lambda self: None)  # which would clear the link away
    folder = tmp_path / "run"
    cfg = make_cfg("quick/source_only.yaml", *OPTIONS)
    first = build_trainer(cfg)
    first.train(0, 2)  # a checkpoint of iteration 1 and a final one
    del first
    (folder / file).unlink(missing_ok=True)
    (folder / file).symlink_to("/dev/full")

    def resume():
        trainer = build_trainer(cfg)
        trainer.checkpointer.resume_or_load("", resume=True)
        trainer.train(2, 4)

    sentence = ends_with_one_sentence(resume, capsys)
    assert "No space left on device" in sentence and "--resume" in sentence
    if file == "model_0000003.pth.tmp":
        assert "model_0000003.pth" in sentence and not (folder / "model_0000003.pth").exists()
        assert (folder / "last_checkpoint").read_text() == "model_final.pth"
    assert read_checkpoint(str(folder / "model_0000001.pth"))["trainer"]["iteration"] == 1


def test_tensorboard(make_cfg, tmp_path, capsys, quiet, monkeypatch):
    from tensorboard.compat.tensorflow_stub.io import gfile

    def full(self, *arguments):
        raise OSError(28, "No space left on device")

    trainer = build_trainer(make_cfg("quick/source_only.yaml", *OPTIONS))
    monkeypatch.setattr(gfile.GFile, "write", full)
    assert "No space left on device" in ends_with_one_sentence(lambda: trainer.train(0, 4), capsys)


def test_the_log(tmp_path, capsys, quiet):
    """The line that cannot be written ends the run and names the file; nothing more is said of it, at the end
    neither."""
    (tmp_path / "log.txt").symlink_to("/dev/full")
    with RunLog(0) as log:
        log.open(str(tmp_path))
        (file,) = [handler for handler in logging.getLogger("gbw_panoptic").handlers if isinstance(handler, LogFile)]
        sentence = ends_with_one_sentence(lambda: logging.getLogger("gbw_panoptic").warning("to the file"), capsys)
        assert "No space left on device" in sentence and str(tmp_path / "log.txt") in sentence
        assert all(file not in logging.getLogger(name).handlers for name in ("detectron2", "fvcore", "gbw_panoptic"))


def test_other_faults_of_logging_stay_its_own(tmp_path, capsys):
    with RunLog(0) as log:
        log.open(str(tmp_path))
        logging.getLogger("gbw_panoptic").warning("%d", "not a number")  # Python's own traceback, and the run goes on
    assert "Logging error" in capsys.readouterr().err


@pytest.mark.parametrize(
    "write", [lambda p: files.write_json(p, {}), lambda p: files.write_png(p, torch.zeros(2, 2).byte().numpy())]
)
def test_pictures_and_results(tmp_path, capsys, write):
    path = tmp_path / "picture.png"
    path.write_text("old")
    (tmp_path / f".picture.png.{os.getpid()}.tmp").symlink_to("/dev/full")
    sentence = ends_with_one_sentence(lambda: write(path), capsys)
    assert "No space left on device" in sentence and str(path) in sentence
    assert path.read_text() == "old" and [p.name for p in tmp_path.iterdir()] == ["picture.png"]


@pytest.mark.parametrize("number", [28, 30, 13])
def test_an_unwritable_folder(tmp_path, capsys, number):
    def main():
        raise OSError(number, os.strerror(number), str(tmp_path / "x"))

    sentence = ends_with_one_sentence(main, capsys)
    assert os.strerror(number) in sentence and str(tmp_path / "x") in sentence


def test_faults_of_the_program_keep_their_traceback():
    for error in (OSError(9, "Bad file descriptor"), RuntimeError("expected scalar type Float"), KeyError("x")):
        with pytest.raises(type(error)):
            cli.run(lambda: (_ for _ in ()).throw(error))
