"""An ordered map over processes with a progress bar, which leaves no process behind."""

import contextlib
import multiprocessing
import os
import signal
import threading
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait
from typing import Callable, Iterator, Sequence, TypeVar

import cv2

from ... import cli
from ...errors import UserError

T = TypeVar("T")
R = TypeVar("R")
_CHUNK = 4  # items that travel together; small, so that an interrupted run loses little


def default_workers() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def ordered_map(function: Callable[[T], R], items: Sequence[T], *, workers: int, title: str) -> Iterator[R]:
    """Yield ``function(item)`` in the order of ``items``, computed by ``workers`` processes (1 = this one).

    Closing the iterator early cancels what has not begun and ends the processes.
    """
    if workers < 1:
        raise UserError(f"expected at least 1 worker, found {workers}; pass --workers 1 or more")
    results = _pool_map(function, items, workers) if workers > 1 else (function(item) for item in items)
    with cli.progress(len(items), title) as progress, contextlib.closing(results):
        for result in results:
            progress.update()
            yield result


def _pool_map(function: Callable[[T], R], items: Sequence[T], workers: int) -> Iterator[R]:
    # "spawn", because forking a process that has run OpenCV or torch threads can deadlock.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(min(workers, max(len(items), 1)), context, initializer=_start_worker)
    try:
        yield from pool.map(function, items, chunksize=_CHUNK)
    except BrokenProcessPool:
        raise UserError(
            "expected the worker processes to live, found one killed, probably for lack of memory; "
            "run the command again with fewer --workers: what is finished is kept"
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


def _start_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends the work
    cv2.setNumThreads(1)
    threading.Thread(target=_exit_with_parent, daemon=True).start()


def _exit_with_parent() -> None:
    # A killed parent cannot say goodbye, and a pool's worker would wait for its next task for ever.
    wait([multiprocessing.parent_process().sentinel])
    os._exit(1)
