"""SIGKILL at any moment, also while a checkpoint is being written: the resumed run ends with the very same weights."""

import multiprocessing
import os
import random
import signal
import time

import pytest
import torch
from tiny_runs import assert_same_state, quiet_run

KILLS = 30
OPTIONS = (
    "SOLVER.MAX_ITER",
    6,
    "SOLVER.CHECKPOINT_PERIOD",
    1,
    "SOLVER.CHECKPOINTS_KEPT",
    2,
    "DATALOADER.NUM_WORKERS",
    1,
)


@pytest.fixture(scope="module")
def processes():
    """A server with everything imported: its forks are processes of their own that start at once."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["gbw_panoptic.engine.build", "gbw_panoptic.data.register"])
    return context


def kill_at_random(process, folder, chance: random.Random, seconds: float) -> None:
    """After a while, or as soon as half a checkpoint lies in the folder."""
    while_writing = chance.random() < 0.5
    deadline = time.monotonic() + chance.uniform(0, 0.8 * seconds)  # mostly before its end
    while process.is_alive():
        late = time.monotonic() > deadline
        if late and (not while_writing or any(name.endswith(".tmp") for name in os.listdir(folder))):
            os.kill(process.pid, signal.SIGKILL)
            break
        time.sleep(0.0005)
    process.join()


@pytest.mark.slow
@pytest.mark.timeout(3600)  # thirty starts on a busy machine
@pytest.mark.parametrize("config", ["quick/self_training_gbw.yaml"])
def test_thirty_kills_change_nothing(streets, tmp_path, processes, config):
    chance, kills, lives, seconds = random.Random(3), 0, 0, 0.0

    def start(folder, resume):
        arguments = (str(streets), config, folder, *OPTIONS)
        process = processes.Process(target=quiet_run, args=arguments, kwargs={"resume": resume})
        process.start()
        return process

    warm_up = processes.Process(target=int)  # the server imports everything now
    warm_up.start()
    warm_up.join()
    begin = time.monotonic()
    whole = start(tmp_path / "whole", False)
    whole.join()
    seconds = time.monotonic() - begin
    assert whole.exitcode == 0
    expected = torch.load(tmp_path / "whole" / "model_final.pth", weights_only=True)
    writing = 0
    while kills < KILLS:
        folder = tmp_path / f"life{lives}"
        folder.mkdir()
        lives += 1
        resume = False
        while True:
            process = start(folder, resume)
            if kills < KILLS:
                kill_at_random(process, folder, chance, seconds)
            process.join()
            if process.exitcode == 0:
                break
            assert process.exitcode == -signal.SIGKILL, "a resume failed"
            kills += 1
            writing += any(path.suffix == ".tmp" for path in folder.iterdir())
            resume = (folder / "metrics.json").exists()
        assert_same_state(expected, torch.load(folder / "model_final.pth", weights_only=True))
        assert not list(folder.glob("*.tmp")) and len(list(folder.glob("model_0*.pth"))) <= 2
    assert writing > 0  # some of them hit a checkpoint that was being written
