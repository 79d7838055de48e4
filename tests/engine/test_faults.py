"""What a training meets in its data, its processes and its folder, and what it says or how it goes on."""

import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.engine import HookBase
from tiny_runs import TINY

from gbw_panoptic import cli, files
from gbw_panoptic.data import register_all
from gbw_panoptic.engine import build_trainer
from gbw_panoptic.errors import UserError, explained
from gbw_panoptic.validation import validate

OPTIONS = (*TINY, "SOLVER.MAX_ITER", 2, "SOLVER.CHECKPOINT_PERIOD", 100)


def void_labels(root: Path) -> None:
    """Not one labelled pixel in the whole source."""
    paths = list(root.glob("synthia/**/panoptic*/**/*.png"))
    assert paths
    for path in paths:
        files.write_panoptic(path, np.zeros(files.read_panoptic(path).shape, np.int32))


def one_target_image(root: Path) -> None:
    paths = sorted(root.glob("cityscapes/leftImg8bit/train/**/*.png"))
    for path in paths[1:]:
        path.unlink()


@pytest.mark.parametrize(
    "damage, opts",
    [
        (void_labels, ()),
        (one_target_image, ("SOLVER.IMS_PER_BATCH", 2)),
        (None, ("INPUT.MIN_SIZE_TRAIN", "(16,)", "INPUT.TARGET.MIN_SIZE_TRAIN", "(16,)")),  # crops are 32 x 64
    ],
    ids=["only void", "one target image", "smaller than the crop"],
)
def test_training_goes_on_with(own_streets, make_cfg, monkeypatch, damage, opts):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(own_streets))
    register_all()
    if damage is not None:
        damage(own_streets)
    trainer = build_trainer(make_cfg("quick/self_training_gbw.yaml", *OPTIONS, *opts))
    trainer.train(0, 2)
    assert trainer.iter == 2 and all(torch.isfinite(value).all() for value in trainer.model.state_dict().values())


class Killer(HookBase):
    def after_step(self) -> None:
        for worker in torch.multiprocessing.active_children():
            os.kill(worker.pid, signal.SIGKILL)


def test_a_killed_worker_is_one_sentence_and_no_hang(make_cfg, capsys):
    def main() -> None:
        trainer = build_trainer(
            make_cfg("quick/source_only.yaml", *OPTIONS, "SOLVER.MAX_ITER", 50, "DATALOADER.NUM_WORKERS", 1)
        )
        trainer.register_hooks([Killer()])
        trainer.train(0, 50)

    with pytest.raises(SystemExit) as stop:
        cli.run(main)
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
    assert stop.value.code == 2 and "expected the worker processes of the data loader to live, found one that" in line


@pytest.mark.parametrize(
    "words, found",
    [
        ("DataLoader worker (pid 17) is killed by signal: Killed. ", "is killed by signal: Killed"),
        ("DataLoader worker (pid(s) 17, 18) exited unexpectedly", "exited unexpectedly"),
    ],
)
def test_torch_s_words_for_it(words, found):
    assert f"found one that {found}; look for" in str(explained(RuntimeError(words)))
    assert explained(RuntimeError("Caught KeyError in DataLoader worker process 0.")) is None


@pytest.mark.parametrize(
    "error, words",
    [
        (MemoryError(), "enough memory"),
        (OSError(12, "Cannot allocate memory"), "enough memory"),
        (
            RuntimeError("[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory: you tried"),
            "enough memory",
        ),
        (
            torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
            "enough memory, found: CUDA out of memory",
        ),
        (RuntimeError("can't start new thread"), "enough memory"),
        (OSError(24, "Too many open files"), "ulimit -n"),
        (RuntimeError("received 0 items of ancdata"), "ulimit -n"),
    ],
)
def test_the_end_of_memory_or_of_open_files_is_one_sentence(error, words):
    assert words in str(explained(error))


def test_an_output_folder_behind_a_link_to_a_disk_that_is_gone(tmp_path, capsys):
    (tmp_path / "output").symlink_to(tmp_path / "unmounted")
    with pytest.raises(SystemExit) as stop:
        cli.run(lambda: (tmp_path / "output" / "metrics.json").write_text(""))
    assert stop.value.code == 2
    assert (
        f"error: expected to read and write {tmp_path / 'output' / 'metrics.json'}, found: No such file"
        in capsys.readouterr().err
    )


def test_an_output_folder_below_a_file(make_cfg, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="OUTPUT_DIR: expected a folder that can be written"):
        validate(make_cfg("quick/source_only.yaml", *OPTIONS, "OUTPUT_DIR", tmp_path / "file" / "run"))


@pytest.mark.slow
def test_loader_and_training_with_spawned_workers(make_cfg):
    """Processes that inherit nothing, as on macOS and Windows; the evaluation's loader, too."""
    method = torch.multiprocessing.get_start_method(allow_none=True)
    torch.multiprocessing.set_start_method("spawn", force=True)
    try:
        opts = ("DATALOADER.NUM_WORKERS", 1, "DATASETS.TEST", "('cityscapes_uda_panoptic_val',)", "SOLVER.MAX_ITER", 1)
        trainer = build_trainer(make_cfg("quick/self_training_gbw.yaml", *TINY, *opts))
        trainer.train(0, 1)
    finally:
        torch.multiprocessing.set_start_method(method, force=True)
    assert trainer.iter == 1
    assert any(key.endswith("/PQ") for key in trainer.storage.latest())
