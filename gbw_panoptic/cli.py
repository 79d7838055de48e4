"""What every command-line tool does the same way."""

import os
import sys
from argparse import ArgumentTypeError
from typing import TYPE_CHECKING, Callable

from .errors import EXIT_CODE, Stopped, explained

if TYPE_CHECKING:
    from tqdm import tqdm


def run(main: Callable[[], int | None]) -> None:
    """Call ``main`` and exit with its status.

    What :func:`~gbw_panoptic.errors.explained` has a sentence for becomes that sentence on stderr and exit code 2. A command
    that is asked to stop exits with 128 + the signal's number.
    """
    try:
        status = main()
    except Stopped as stop:
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


def progress(total: int | None, title: str, unit: str = "image") -> "tqdm":
    """A progress bar on stderr with the time that is left; log files get a line in ten seconds."""
    from tqdm import tqdm

    interval = 0.1 if sys.stderr.isatty() else 10.0
    return tqdm(total=total, desc=title, unit=unit, mininterval=interval, maxinterval=interval)
