"""What log files and the loggers of others do when something ends a run."""

import logging
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from ..errors import Stopped, explained


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


@contextmanager
def guarded_log_file() -> Iterator[None]:
    """Around Detectron2's ``default_setup``: log.txt gets our messages, too, and a full disk under it ends the run as under
    any other file (Python's own logging prints a traceback for every line that it cannot write, and goes on).
    """
    logging.raiseExceptions, before = False, logging.raiseExceptions  # the next file to be written will say so
    try:
        yield
    except OSError:
        for handler in (*_file_handlers("detectron2"), *_file_handlers("fvcore")):
            _drop(handler)
        raise
    finally:
        logging.raiseExceptions = before
    for handler in (*_file_handlers("detectron2"), *_file_handlers("fvcore")):
        handler.handleError = _raising(handler)
    for handler in _file_handlers("detectron2"):
        logging.getLogger("gbw_panoptic").addHandler(handler)


def _file_handlers(name: str) -> list[logging.StreamHandler]:
    handlers = [handler for handler in logging.getLogger(name).handlers if isinstance(handler, logging.StreamHandler)]
    return [handler for handler in handlers if handler.stream not in (sys.stdout, sys.stderr)]


def _drop(handler: logging.StreamHandler) -> None:
    for name in ("detectron2", "fvcore", "gbw_panoptic"):
        logging.getLogger(name).removeHandler(handler)
    with suppress(OSError):  # else what it still holds is written, and fails, at the very end
        handler.stream.close()


def _raising(handler: logging.StreamHandler) -> Callable[[logging.LogRecord], None]:
    usual = handler.handleError

    def handle(record: logging.LogRecord) -> None:
        if explained(sys.exc_info()[1]) is None:
            return usual(record)
        _drop(handler)
        raise

    return handle


def _unexplained(record: logging.LogRecord) -> bool:
    error = record.exc_info[1] if record.exc_info else None
    return error is None or not (isinstance(error, Stopped) or explained(error))
