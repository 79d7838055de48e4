"""Writers that never leave half a file, and what they leave beside it when they are killed."""

import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import UserError

TEMPORARY_SUFFIX = ".tmp"
_TEMPORARY = re.compile(r"\..+\.(\d+)\.tmp(\.\w+)?")


def atomic_write(path: str | os.PathLike, data: bytes) -> None:
    """Write ``data`` so that ``path`` is at any moment absent, the old file or the whole new one."""
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def require_replaceable(path: str | os.PathLike) -> None:
    """Raise UserError where ``path`` is a device, a pipe or a socket: a file would take its place, for all programs."""
    if os.path.exists(path) and not os.path.isfile(path) and not os.path.isdir(path):
        raise UserError(f"expected to write a file at {path}, found a device or a pipe there; give another path")


@contextmanager
def replacing(path: str | os.PathLike, suffix: str = TEMPORARY_SUFFIX) -> Iterator[Path]:
    """A name beside ``path`` for the block to write to; the file takes ``path``'s place when the block ends well.

    Args:
        suffix: of that name, for writers that choose a format by it.
    """
    path = Path(path)
    require_replaceable(path)
    temporary = path.with_name(f".{_shortened(path.name)}.{os.getpid()}{suffix}")
    try:
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        # what writes to an open file, on a full disk say, does not name it
        if error.filename is None and error.errno is not None:
            error.filename = str(path)
        raise
    finally:
        temporary.unlink(missing_ok=True)


def clear_temporaries(folder: str | os.PathLike, *, below: bool = True) -> None:
    """Remove what writers that were killed have left in ``folder``; what a living process of this machine writes stays.

    Args:
        below: whether the folders in it (of a city, of a video) are cleared, too.
    """
    with os.scandir(folder) as entries:
        found = [
            (entry.path, _TEMPORARY.fullmatch(entry.name), entry.is_dir(follow_symlinks=False)) for entry in entries
        ]
    for path, match, is_folder in found:
        if is_folder and below:
            clear_temporaries(path, below=False)
        elif match and not is_folder and not _is_alive(int(match[1])):
            Path(path).unlink(missing_ok=True)


def _is_alive(process: int) -> bool:
    if os.name == "nt":  # where os.kill would end the process, and files in use cannot be removed anyway
        return True
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:  # another user's
        return True
    return not _is_zombie(process)


def _is_zombie(process: int) -> bool:
    """Whether it has ended and only waits to be asked how: in containers, for ever."""
    try:
        return Path(f"/proc/{process}/stat").read_bytes().rpartition(b")")[2].split()[0] == b"Z"
    except (OSError, IndexError):
        return False


def _shortened(name: str) -> str:
    """``name``, or its head and a digest where a process number behind it would be too long for a file system."""
    data = os.fsencode(name)
    if len(data) <= 220:
        return name
    return f"{data[:200].decode('utf-8', 'ignore')}{hashlib.sha256(data).hexdigest()[:10]}"
