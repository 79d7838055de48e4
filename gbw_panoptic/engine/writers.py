"""Where a run's numbers go: terminal, metrics.json and TensorBoard always, Weights & Biases and MLflow where they are
asked for."""

import sys
from collections.abc import Sequence
from contextlib import nullcontext, suppress

import yaml

from detectron2.engine import HookBase, hooks
from detectron2.engine.defaults import default_writers
from detectron2.utils.events import EventWriter

from .tracking import MlflowWriter, WandbWriter


def build_writers(cfg) -> list[HookBase]:
    """The hooks of the main process that write; no file is opened before the training starts."""
    wanted = {WandbWriter: cfg.TRACKING.WANDB, MlflowWriter: cfg.TRACKING.MLFLOW}
    options = {"project": cfg.TRACKING.PROJECT, "output_dir": cfg.OUTPUT_DIR, "config": yaml.safe_load(cfg.dump())}
    others = [writer(**options) for writer, asked in wanted.items() if asked]
    return [*others, Writers(cfg.OUTPUT_DIR, others, at=(cfg.TEST.EVAL_PERIOD, cfg.SOLVER.CHECKPOINT_PERIOD))]


class Writers(hooks.PeriodicWriter):
    """Detectron2's hook and writers; at the end of a training that failed it writes what it can and does not hide the
    failure.

    It writes behind every evaluation and checkpoint, too: of a scalar that is logged more often than it is written, the
    last value alone would be kept, and a killed run would lose what a resume does not repeat.
    """

    def __init__(
        self, output_dir: str, others: Sequence[EventWriter] = (), *, period: int = 20, at: Sequence[int] = ()
    ) -> None:
        """
        Args:
            others: beside those of Detectron2, which are opened when training starts.
            at: periods of what else is followed by writing; 0 = never.
        """
        super().__init__(list(others), period)
        self._output_dir, self._at = output_dir, [number for number in at if number]

    def before_train(self) -> None:
        self._writers = [*default_writers(self._output_dir, self.trainer.max_iter), *self._writers]

    def after_step(self) -> None:
        last = self.trainer.iter == self.trainer.max_iter - 1
        if last or any((self.trainer.iter + 1) % number == 0 for number in (self._period, *self._at)):
            self._write_all()

    def _write_all(self) -> None:
        for writer in self._writers:
            try:
                writer.write()
            except OSError as error:
                if error.filename is None:
                    error.filename = f"{self._output_dir} (its {type(writer).__name__})"
                raise

    def after_train(self) -> None:
        failed = sys.exc_info()[0] is not None
        for action in [action for writer in self._writers for action in (writer.write, writer.close)]:
            with suppress(Exception) if failed else nullcontext():
                action()
