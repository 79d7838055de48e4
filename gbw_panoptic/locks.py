"""Locks that a crash does not leave behind: of two commands that would damage each other's files, the second is
refused."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .errors import UserError

try:
    import fcntl
except ImportError:  # Windows has no such locks: nothing is refused there
    fcntl = None

_held: set[int] = set()


def _close_all() -> None:
    """In a forked child, a worker of a loader for one: it may outlive this process, and the lock must not."""
    for descriptor in _held:
        with suppress(OSError):
            os.close(descriptor)
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_all)


@contextmanager
def exclusive(path: str | os.PathLike, *, what: str, remedy: str) -> Iterator[None]:
    """Hold the lock ``path`` during the block. The file goes with the block; one that a killed process left locks
    nothing.

    Args:
        what: noun phrase for what takes place in the file's folder, one at a time.
        remedy: what to do instead of waiting.

    Raises:
        UserError: another process, or this one, holds it.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = None if fcntl is None else _take(path, what, remedy)
    try:
        yield
    finally:
        if descriptor in _held:  # not in a forked child
            path.unlink(missing_ok=True)
            _held.discard(descriptor)
            os.close(descriptor)


def _take(path: Path, what: str, remedy: str) -> int | None:
    """An open, locked descriptor; None on a disk that knows no locks."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(descriptor, 200).decode(errors="replace").strip() or "of another machine"
            os.close(descriptor)
            raise UserError(
                f"expected one {what} at a time in {path.parent}, found another one at work, process {holder}; wait "
                f"for its end, or {remedy}"
            ) from None
        except OSError:
            os.close(descriptor)
            return None
        if _is_at(path, descriptor):
            break
        os.close(descriptor)  # its holder has removed it since it was opened
    os.ftruncate(descriptor, 0)
    os.write(descriptor, f"{os.getpid()} on {socket.gethostname()}".encode())
    _held.add(descriptor)
    return descriptor


def _is_at(path: Path, descriptor: int) -> bool:
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return False
    own = os.fstat(descriptor)
    return (found.st_dev, found.st_ino) == (own.st_dev, own.st_ino)
