"""What the terminal and log.txt of a run show, and what they do when something ends it."""

import copy
import logging
import os
import sys
import threading
from contextlib import suppress

from .. import cli
from ..errors import Stopped, explained

_LOGGERS = ("detectron2", "fvcore", "gbw_panoptic")


def quiet_explained_errors() -> None:
    """No traceback where one sentence explains the error: from Detectron2's training loop and TensorBoard's thread.

    The loop logs every exception before it raises it; what fails in the thread is raised in the main one, too.
    """
    logging.getLogger("detectron2.engine.train_loop").addFilter(_unexplained)
    others = threading.excepthook

    def only_unexplained(arguments: threading.ExceptHookArgs) -> None:
        if explained(arguments.exc_value) is None:
            others(arguments)

    threading.excepthook = only_unexplained


class RunLog:
    """The loggers of one process of a run, for the time of a ``with`` block.

    The terminal of the main process shows our own messages and the warnings of others. log.txt gets everything, also
    what was logged before :meth:`open`: no file is touched until the command is accepted.
    """

    def __init__(self, rank: int) -> None:
        self._rank = rank
        self._early = _Early()
        self._handlers: list[logging.Handler] = [self._early, *([_Terminal()] if rank == 0 else [])]
        self._before: dict[str, tuple[int, bool, list[logging.Handler]]] = {}

    def __enter__(self) -> "RunLog":
        for name in _LOGGERS:
            logger = logging.getLogger(name)
            self._before[name] = (logger.level, logger.propagate, list(logger.handlers))
            logger.setLevel(logging.DEBUG)
            logger.propagate = False
            logger.handlers[:] = self._handlers
        return self

    def __exit__(self, *error: object) -> None:
        for name, (level, propagate, handlers) in self._before.items():
            logger = logging.getLogger(name)
            logger.setLevel(level)
            logger.propagate = propagate
            logger.handlers[:] = handlers
        for handler in self._handlers:
            handler.close()

    def open(self, folder: str) -> None:
        """Begin to write to ``folder``/log.txt (.rank<N> on others than the main process), behind what is there."""
        file = LogFile(os.path.join(folder, "log.txt" + (f".rank{self._rank}" if self._rank else "")))
        self._handlers.append(file)
        for name in _LOGGERS:
            handlers = logging.getLogger(name).handlers
            handlers[:] = [file, *(handler for handler in handlers if handler is not self._early)]
        for record in self._early.records:
            file.handle(record)
        self._early.records.clear()


class LogFile(logging.FileHandler):
    """log.txt in Detectron2's format. A full disk under it ends the run as under any other file; Python's own logging
    prints a traceback for every line that it cannot write, and goes on.
    """

    def __init__(self, path: str) -> None:
        super().__init__(path, encoding="utf-8")
        self.setFormatter(_FileFormatter("[%(asctime)s] %(name)s %(levelname)s: %(message)s", datefmt="%m/%d %H:%M:%S"))

    def handleError(self, record: logging.LogRecord) -> None:
        error = sys.exc_info()[1]
        if explained(error) is None:
            return super().handleError(record)
        for name in _LOGGERS:
            logging.getLogger(name).removeHandler(self)
        with suppress(OSError):  # else what it still holds is written, and fails, at the very end
            self.stream.close()
        self.stream = None
        if isinstance(error, OSError) and error.filename is None:
            error.filename = self.baseFilename
        raise


class _FileFormatter(logging.Formatter):
    """With Detectron2's abbreviation of its own name."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        return self._style.format(_renamed(record, record.name.replace("detectron2.", "d2.")))


class _Terminal(logging.StreamHandler):
    """Ours from INFO on, others' from WARNING on; above the progress line where there is one."""

    def __init__(self) -> None:
        super().__init__(sys.stdout)
        self.addFilter(
            lambda record: (
                record.levelno >= (logging.INFO if record.name.startswith("gbw_panoptic") else logging.WARNING)
            )
        )

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        return f"{record.levelname}: {text}" if record.levelno >= logging.WARNING else text

    def emit(self, record: logging.LogRecord) -> None:
        with cli.above_progress():
            super().emit(record)


class _Early(logging.Handler):
    """Keeps records until there is a file for them."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


def _renamed(record: logging.LogRecord, name: str) -> logging.LogRecord:
    changed = copy.copy(record)
    changed.name = name
    return changed


def _unexplained(record: logging.LogRecord) -> bool:
    error = record.exc_info[1] if record.exc_info else None
    return error is None or not (isinstance(error, Stopped) or explained(error))
