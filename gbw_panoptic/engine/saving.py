"""When checkpoints are written, how many are kept, and what happens when a run is asked to stop."""

import logging
import re
import signal
import threading
from pathlib import Path

from detectron2.engine import HookBase
from detectron2.utils import comm

from ..errors import Stopped
from .checkpoint import SafeCheckpointer

_NUMBERED = re.compile(r"model_(\d{7})\.pth")
_SIGNALS = (signal.SIGTERM, signal.SIGINT)


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

    def after_step(self) -> None:
        is_last = self.trainer.iter == self.trainer.max_iter - 1
        if is_last:  # before the numbered one: a process that is killed in between is resumed with nothing left to train
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
        """Those of later iterations are leftovers of a run that was taken back; they do not count, but will be replaced."""
        if not self.keep:
            return
        found = {path: _NUMBERED.fullmatch(path.name) for path in Path(self.checkpointer.save_dir).glob("model_*.pth")}
        numbers = {path: int(match[1]) for path, match in found.items() if match}
        earlier = sorted((p for p, number in numbers.items() if number <= self.trainer.iter), key=numbers.get)
        for path in earlier[: -self.keep]:
            path.unlink()


def remove_halves(folder: str) -> None:
    """Delete the checkpoints that a process was killed in writing."""
    for path in Path(folder).glob("*.pth.tmp"):
        path.unlink()


class StopSignals(HookBase):
    """SIGTERM and SIGINT end a training after the step in progress, with a checkpoint of it; a second one at once.

    Stands before the evaluation among the hooks; :class:`StopTraining` stands last. Ranks stop together, whichever of them
    was asked.
    """

    def __init__(self, saver: CheckpointSaver | None) -> None:
        """
        Args:
            saver: None on ranks that save nothing.
        """
        self.saver = saver
        self.agreed = 0
        self._received = 0
        self._handlers: dict[int, object] = {}

    def before_train(self) -> None:
        if threading.current_thread() is threading.main_thread():  # Python allows no other to handle signals
            heard = [number for number in _SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]  # nohup, `&`
            self._handlers = {number: signal.signal(number, self._receive) for number in heard}

    def after_step(self) -> None:
        self.agreed = max(comm.all_gather(self._received)) if comm.get_world_size() > 1 else self._received
        if self.agreed and self.saver is not None:
            self.saver.save()

    def after_train(self) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers = {}

    def _receive(self, number: int, frame: object) -> None:
        self._received = number
        signal.signal(number, self._handlers[number])


class StopTraining(HookBase):
    """Ends the loop once :class:`StopSignals` has saved and the writers have written."""

    def __init__(self, signals: StopSignals) -> None:
        self._signals = signals

    def after_step(self) -> None:
        if not self._signals.agreed:
            return
        name = signal.Signals(self._signals.agreed).name
        logging.getLogger("gbw_panoptic").info("%s: stopping.", name)
        raise Stopped(
            f"stopped by {name} after iteration {self.trainer.iter}, with a checkpoint of it; run the same command with --resume "
            "to go on",
            128 + self._signals.agreed,
        )
