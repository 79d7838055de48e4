"""Two commands in one folder: the second is refused; a crash leaves no lock."""

import multiprocessing
import os
import signal
from pathlib import Path

import pytest

from gbw_panoptic import locks
from gbw_panoptic.errors import UserError
from gbw_panoptic.locks import exclusive

OPTIONS = {"what": "run", "remedy": "give another OUTPUT_DIR"}


def test_the_second_is_refused_and_the_third_is_not(tmp_path):
    path = tmp_path / "new" / ".lock"
    with exclusive(path, **OPTIONS):
        with pytest.raises(
            UserError, match=f"one run at a time in {path.parent}, found another .* process {os.getpid()} on"
        ):
            with exclusive(path, **OPTIONS):
                pytest.fail("two at once")
    assert not path.exists()
    with exclusive(path, **OPTIONS):
        assert path.is_file()


def _hold(path: Path, ready) -> None:
    with exclusive(path, **OPTIONS):
        ready.set()
        signal.pause()


def test_a_killed_holder_leaves_no_lock(tmp_path):
    context, path = multiprocessing.get_context("fork"), tmp_path / ".lock"
    ready = context.Event()
    process = context.Process(target=_hold, args=(path, ready))
    process.start()
    ready.wait(30)
    with pytest.raises(UserError, match=f"process {process.pid} on"):
        exclusive(path, **OPTIONS).__enter__()
    process.kill()
    process.join()
    assert path.exists()  # but it locks nothing
    with exclusive(path, **OPTIONS):
        pass


def test_a_forked_worker_that_outlives_its_process_holds_nothing(tmp_path):
    context, path = multiprocessing.get_context("fork"), tmp_path / ".lock"
    lock = exclusive(path, **OPTIONS)
    lock.__enter__()
    ready = context.Event()
    worker = context.Process(target=lambda: (ready.set(), signal.pause()))
    worker.start()
    ready.wait(30)
    (descriptor,) = locks._held  # as when this process is killed: closed, but nothing is unlocked
    os.close(descriptor)
    locks._held.clear()
    try:
        with exclusive(path, **OPTIONS):
            assert worker.is_alive() and len(locks._held) == 1
    finally:
        worker.kill()
        worker.join()
        lock.__exit__(None, None, None)


def test_a_disk_without_locks_refuses_nothing(tmp_path, monkeypatch):
    def unsupported(*arguments):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(locks.fcntl, "flock", unsupported)
    entered = 0
    with exclusive(tmp_path / ".lock", **OPTIONS), exclusive(tmp_path / ".lock", **OPTIONS):
        entered += 1
    assert entered == 1


def test_the_file_that_its_holder_removed_meanwhile_is_no_lock(tmp_path, monkeypatch):
    path, taken = tmp_path / ".lock", []
    flock = locks.fcntl.flock

    def removed_before(descriptor, how):
        if not taken:
            path.unlink()
        taken.append(descriptor)
        flock(descriptor, how)

    monkeypatch.setattr(locks.fcntl, "flock", removed_before)
    with exclusive(path, **OPTIONS):
        assert len(taken) == 2 and path.exists()
