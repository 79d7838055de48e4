"""When checkpoints are written, how many are kept, and what happens when a run is asked to stop."""

import logging
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from detectron2.engine import HookBase
from detectron2.utils import comm

from ..errors import Stopped
from .checkpoint import SafeCheckpointer
from .reading import NUMBERED

_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_FORWARDED_WITHIN = 5.0  # seconds; a launcher on a busy machine takes one or two


class CheckpointSaver(HookBase):
    """Saves after every ``period`` iterations (``model_<iteration>.pth``) and at the end (``model_final.pth``).

    Of the numbered checkpoints the last ``keep`` stay, whichever process wrote them: also over resumes.
    """

    def __init__(self, checkpointer: SafeCheckpointer, *, period: int, keep: int) -> None:
        """
        Args:
            keep: 0 keeps all.
        """
        self.checkpointer = checkpointer
        self.period = period
        self.keep = keep
        self.saved_at = -1

    def before_train(self) -> None:
        self._delete_older()  # what a process was killed before it could delete

    def after_step(self) -> None:
        is_last = self.trainer.iter == self.trainer.max_iter - 1
        # before the numbered one: a process that is killed in between is resumed with nothing left to train
        if is_last:
            self._save("model_final")
        if (self.trainer.iter + 1) % self.period == 0:
            self._save_numbered()
        if is_last:
            self.checkpointer.tag_last_checkpoint("model_final.pth")

    def save(self) -> None:
        """A checkpoint of this iteration, unless there is one."""
        if self.saved_at != self.trainer.iter:
            self._save_numbered()

    def _save_numbered(self) -> None:
        self._save(f"model_{self.trainer.iter:07d}")
        self._delete_older()

    def _save(self, name: str) -> None:
        self.checkpointer.save(name, iteration=self.trainer.iter)
        self.saved_at = self.trainer.iter

    def _delete_older(self) -> None:
        """Those of later iterations are leftovers of a run that was taken back; they do not count, but will be
        replaced."""
        if not self.keep:
            return
        found = {path: NUMBERED.fullmatch(path.name) for path in Path(self.checkpointer.save_dir).glob("model_*.pth")}
        numbers = {path: int(match[1]) for path, match in found.items() if match}
        earlier = sorted((p for p, number in numbers.items() if number <= self.trainer.iter), key=numbers.get)
        for path in earlier[: -self.keep]:
            path.unlink()


def remove_halves(folder: str) -> None:
    """Delete the files that a process was killed in writing; for the one that holds the folder."""
    own = (f"{part}.*.[0-9]*.tmp" for part in ("", "inference/**/", "report/"))  # gbw_panoptic.files' names
    for pattern in ("*.pth.tmp", "last_checkpoint.tmp", *own):
        for path in Path(folder).glob(pattern):
            path.unlink(missing_ok=True)


class StopSignals(HookBase):
    """SIGTERM and SIGINT end a training after the step in progress, with a checkpoint of it. Ranks stop together,
    whichever of them was asked.

    A launcher forwards what its processes have got already: SIGTERM again is the same stop, and so is SIGINT within
    seconds. Another signal, or SIGINT later, is obeyed at once. In the evaluation behind the last step, whose
    checkpoint is there, the first one is.

    Stands before the evaluation among the hooks; :class:`StopTraining` stands last.
    """

    def __init__(self, saver: CheckpointSaver | None) -> None:
        """
        Args:
            saver: None on ranks that save nothing.
        """
        self.saver = saver
        self.agreed = 0
        self._received, self._since = 0, 0.0
        self._handlers: dict[int, object] = {}

    def before_train(self) -> None:
        self._handlers = _handle(self._receive)

    def after_step(self) -> None:
        self.agreed = self._agree()
        if self.agreed:
            if self.saver is not None:
                self.saver.save()
            comm.synchronize()  # the first process that leaves has its launcher end the others

    def after_train(self) -> None:
        if sys.exc_info()[0] is not None:
            return self.restore()
        received = self._agree()
        if received:
            self._interrupt(received)
        for number in self._handlers:
            signal.signal(number, self._interrupt)

    def restore(self) -> None:
        """The handlers of before the training."""
        _restore(self._handlers)
        self._handlers = {}

    def _agree(self) -> int:
        return max(comm.all_gather(self._received)) if comm.get_world_size() > 1 else self._received

    def _receive(self, number: int, frame: object) -> None:
        now = time.monotonic()
        if not self._received:
            self._received, self._since = number, now
        elif number != self._received or (number == signal.SIGINT and now - self._since > _FORWARDED_WITHIN):
            self.restore()
            signal.raise_signal(number)

    def _interrupt(self, number: int, frame: object = None) -> None:
        self.restore()
        raise _stopped(
            number,
            "in the evaluation behind the last iteration, whose checkpoint is complete; run the same command with "
            "--resume to evaluate it",
        )


class StopTraining(HookBase):
    """Ends the loop once :class:`StopSignals` has saved and the writers have written."""

    def __init__(self, signals: StopSignals) -> None:
        self._signals = signals

    def after_step(self) -> None:
        if not self._signals.agreed:
            return
        logging.getLogger("gbw_panoptic").info("%s: stopping.", signal.Signals(self._signals.agreed).name)
        comm.synchronize()
        raise _stopped(
            self._signals.agreed,
            f"after iteration {self.trainer.iter}, with a checkpoint of it; run the same command with --resume to go "
            "on",
        )

    def after_train(self) -> None:
        self._signals.restore()


@contextmanager
def stoppable(words: str) -> Iterator[None]:
    """A block that SIGTERM and SIGINT end with a sentence.

    Args:
        words: what was stopped and what to do, behind "stopped by SIGTERM".
    """

    def interrupt(number: int, frame: object) -> None:
        raise _stopped(number, words)

    handlers = _handle(interrupt)
    try:
        yield
    finally:
        _restore(handlers)


def _stopped(number: int, words: str) -> Stopped:
    """The main process speaks for all."""
    sentence = f"stopped by {signal.Signals(number).name} {words}" if comm.is_main_process() else ""
    return Stopped(sentence, 128 + number)


def _handle(handler: Callable[[int, object], None]) -> dict[int, object]:
    """Set ``handler`` for the signals that are not ignored (by nohup, `&`); the former handlers."""
    if threading.current_thread() is not threading.main_thread():  # Python allows no other to handle signals
        return {}
    heard = [number for number in _SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    return {number: signal.signal(number, handler) for number in heard}


def _restore(handlers: dict[int, object]) -> None:
    for number, handler in handlers.items():
        signal.signal(number, handler)
