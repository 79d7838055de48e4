"""Exceptions that end a command with one sentence, and the sentences for failures of the machine."""

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager

EXIT_CODE = 2
#: What a system call answers when a disk, a folder or a device refuses: nothing that a change of our code would mend.
_MACHINE = {
    errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.ENOTDIR,
    errno.EISDIR, errno.EEXIST, errno.ENOENT, errno.ELOOP, errno.ENAMETOOLONG,
}  # fmt: skip
_DEAD_WORKER = re.compile(r"DataLoader worker \(pid(?:\(s\))? [\d, ]+\) ([^.]*)")  # torch's words

_NO_MEMORY = re.compile(r"out of memory|can't allocate memory|Cannot allocate memory|can't start new thread")
_OPEN_FILES = re.compile(r"Too many open files|received \d+ items of ancdata")  # torch's, where workers pass tensors on
_ONE_VALUE = re.compile(r"Expected more than 1 value per channel when training")  # torch's batch normalisation
# gloo's, NCCL's
_DEAD_RANK = re.compile(r"Connection closed by peer|Connection reset by peer|remote process exited|Broken pipe")


class UserError(Exception):
    """Bad input: one sentence with what was expected, what was found and what to do.

    Command-line tools print it without a traceback and exit with :data:`EXIT_CODE` (see :func:`gbw_panoptic.cli.run`).
    """


class Stopped(Exception):
    """The end of a command that was asked to stop: a sentence, and the exit status to end with."""

    def __init__(self, sentence: str, status: int) -> None:
        super().__init__(sentence)
        self.status = status


@contextmanager
def about(name: str) -> Iterator[None]:
    """Say which configuration key or option a UserError that is raised inside is about; without a name, nothing is
    added."""
    try:
        yield
    except UserError as error:
        if not name:
            raise
        sentence = str(error)
        raise UserError(f"{name}: {sentence[:1].lower()}{sentence[1:]}") from error


def explained(error: BaseException) -> UserError | None:
    """The sentence for an error whose cause is the user's input or the machine; None for a fault of the program."""
    if isinstance(error, UserError):
        return error
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        return _no_memory("no memory left")
    if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
        return _too_many_files()
    if isinstance(error, OSError) and error.errno in _MACHINE:
        return UserError(
            f"expected to read and write {error.filename or 'the files of this command'}, found: {error.strerror}; "
            "free disk space, mend the path and its permissions or choose another folder, then run the command again "
            "(a training: with --resume)"
        )
    if isinstance(error, ValueError) and _ONE_VALUE.match(str(error)):
        return UserError(
            "expected two values of each channel or more for NORM BN (or SyncBN), found one, as of one small image; "
            "raise SOLVER.IMS_PER_BATCH or INPUT.CROP.SIZE, lower SOLVER.ACCUMULATION_STEPS, or set NORM to GN"
        )
    if not isinstance(error, RuntimeError):
        return None
    if _NO_MEMORY.search(str(error)):
        return _no_memory(" ".join(str(error).split())[:100])
    if _OPEN_FILES.search(str(error)):
        return _too_many_files()
    if _DEAD_RANK.search(str(error)):
        return UserError(
            "expected all processes of this job to go on, found that one has ended; what it said is the cause"
        )
    worker = _DEAD_WORKER.search(str(error))
    return dead_worker(worker[1].strip()) if worker else None


def _no_memory(found: str) -> UserError:
    return UserError(
        f"expected enough memory, found: {found}; end other programs, or lower SOLVER.IMS_PER_BATCH, INPUT.CROP.SIZE "
        "or DATALOADER.NUM_WORKERS (a training: with --resume)"
    )


def _too_many_files() -> UserError:
    return UserError(
        "expected to open another file, found that this process may have no more; raise the limit (ulimit -n 4096), or "
        "lower DATALOADER.NUM_WORKERS, then run the command again (a training: with --resume)"
    )


def dead_worker(found: str) -> UserError:
    """The sentence for a process of the data loader that has ended; ``found``: what it did or does."""
    return UserError(
        f"expected the worker processes of the data loader to live, found one that {found}; look for a lack of memory, "
        "of open files (ulimit -n) or of space in /dev/shm, lower DATALOADER.NUM_WORKERS, then --resume"
    )
