"""What every command-line tool does the same way."""

import importlib
import io
import os
import shutil
import sys
import time
from argparse import ArgumentParser, ArgumentTypeError, RawDescriptionHelpFormatter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import ClassVar, TextIO

from .errors import EXIT_CODE, Stopped, UserError, explained


def run(main: Callable[[], int | None]) -> None:
    """Call ``main`` and exit with its status.

    What :func:`~gbw_panoptic.errors.explained` has a sentence for becomes that sentence on stderr and exit code 2. A
    command that is asked to stop exits with 128 + the signal's number.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):  # a path that is no UTF-8 must not end a command that prints it
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        status = main()
    except Stopped as stop:
        if str(stop):
            print(stop, file=sys.stderr)
        status = stop.status
    except BrokenPipeError:  # the reader, `head` for one, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 0
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        status = 130
    except Exception as error:
        sentence = explained(error)
        if sentence is None:
            raise
        print(f"error: {sentence}", file=sys.stderr)
        status = EXIT_CODE
    sys.exit(status or 0)


def count(text: str) -> int:
    """Type of an option of argparse that counts something: a whole number of at least 1."""
    return _whole_number(text, least=1)


def seed(text: str) -> int:
    """Type of an option of argparse that seeds random numbers: a whole number of at least 0."""
    return _whole_number(text, least=0)


def _whole_number(text: str, *, least: int) -> int:
    if not (text.isascii() and text.isdigit() and int(text) >= least):
        raise ArgumentTypeError(f"expected a whole number of at least {least}, found {text}")
    return int(text)


class Progress:
    """One line on stderr: how much is done, how fast, and the time that is left.

    On a terminal the line is written over; elsewhere it is repeated after each tenth of the work or each minute, ten
    seconds apart at least. Of nested ones the innermost is shown.
    """

    _open: ClassVar[list["Progress"]] = []

    def __init__(self, total: int | None, title: str, unit: str = "image", *, done: int = 0) -> None:
        """
        Args:
            total: None where it is not known.
            done: of the total, before this process.
        """
        self.total, self.title, self.unit, self.note = total, title, unit, ""
        self.done = self._first = self._shown = done
        self._start = self._time = time.monotonic()
        self._terminal = sys.stderr.isatty()
        self._closed = False
        self._units = unit + ("es" if unit.endswith("ch") else "s")
        self.hide()  # of one that is open around it
        Progress._open.append(self)

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def update(self, count: int = 1) -> None:
        self.done += count
        now = time.monotonic()
        wait, far = now - self._time, (self.done - self._shown) * 10 >= (self.total or 1) and self.total
        if wait > 0.1 if self._terminal else wait > 60 or (far and wait > 10):
            self._show()

    def write(self, text: str, file: TextIO | None = None) -> None:
        """A line above the progress."""
        with above_progress():
            print(text, file=file or sys.stdout, flush=True)

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        Progress._open.remove(self)
        self._write(self._summary() if self.total in (None, self.done) else str(self), end="\n")

    def hide(self) -> None:
        """Free the line, if there is one."""
        if self._terminal:
            self._write("", end="")

    def _show(self) -> None:
        if Progress._open and Progress._open[-1] is self:
            self._shown, self._time = self.done, time.monotonic()
            self._write(str(self), end="" if self._terminal else "\n")

    def _write(self, text: str, *, end: str) -> None:
        line = "\r" + text[: shutil.get_terminal_size().columns - 1] + "\x1b[K" if self._terminal else text
        with suppress(OSError, ValueError):  # a terminal that is gone stops no work
            print(line, end=end, file=sys.stderr, flush=True)

    def __str__(self) -> str:
        seconds, done = time.monotonic() - self._start, self.done - self._first
        parts = [f"{self.title}: {self.done}/{self.total or '?'} {self._units}"]
        if done and seconds > 0:
            rate = done / seconds
            parts.append(f"{rate:.1f} {self._units}/s" if rate >= 1 else f"{1 / rate:.1f} s/{self.unit}")
            if self.total:
                parts.append(f"{timedelta(seconds=round(seconds / done * (self.total - self.done)))} left")
        return ", ".join([*parts, *([self.note] if self.note else [])])

    def _summary(self) -> str:
        took = timedelta(seconds=round(time.monotonic() - self._start))
        return ", ".join([f"{self.title}: {self.done} {self._units} in {took}", *([self.note] if self.note else [])])


@contextmanager
def above_progress() -> Iterator[None]:
    """For what is printed while a progress line may stand on the terminal."""
    if Progress._open:
        Progress._open[-1].hide()
    yield
    if Progress._open and Progress._open[-1]._terminal:
        Progress._open[-1]._show()


def progress(total: int | None, title: str, unit: str = "image") -> Progress:
    """A progress line on stderr, for a ``with`` block."""
    return Progress(total, title, unit)


def described_parser(document: str) -> ArgumentParser:
    """A parser whose help is a tool's docstring: its first line above the options, what follows as it stands below."""
    return ArgumentParser(
        description=document.split("\n")[0],
        epilog=document.partition("\n\n")[2],
        formatter_class=RawDescriptionHelpFormatter,
    )


def add_parts(parser: ArgumentParser) -> None:
    """The flag for what :func:`import_parts` imports, as ``imports``."""
    parser.add_argument(
        "--import",
        action="append",
        default=[],
        dest="imports",
        metavar="FILE",
        help="of Python, that registers parts of yours",
    )


def import_parts(paths: list[str]) -> None:
    """Import files of a user, for what they register (CONTRIBUTING.md).

    Raises:
        UserError: there is no such file, or a module of its name is imported already.
    """
    for path in paths:
        if not os.path.isfile(path):
            raise UserError(f"--import: expected a Python file, found nothing at {path}; correct the path.")
        sys.path.insert(0, os.path.dirname(os.path.abspath(path)))
        module = importlib.import_module(os.path.splitext(os.path.basename(path))[0])
        if not module.__file__ or not os.path.samefile(module.__file__, path):
            raise UserError(
                f"--import: expected {path}, found another module of that name, {module.__file__}; rename the file."
            )
