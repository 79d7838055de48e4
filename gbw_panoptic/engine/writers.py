"""Where a run's numbers go: terminal, metrics.json and TensorBoard always, Weights & Biases where it is asked for."""

import os
import sys
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from pathlib import Path

import yaml

from detectron2.engine import HookBase, hooks
from detectron2.engine.defaults import default_writers
from detectron2.utils.events import EventWriter, get_event_storage

from ..errors import UserError

_SMOOTHING = 20  # iterations whose median is written for noisy scalars; what Detectron2's own writers take


def build_writers(cfg) -> list[HookBase]:
    """The hooks of the main process that write; no file is opened before the training starts."""
    others = []
    if cfg.TRACKING.WANDB:
        config = yaml.safe_load(cfg.dump())
        others.append(WandbWriter(project=cfg.TRACKING.PROJECT, output_dir=cfg.OUTPUT_DIR, config=config))
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


class WandbWriter(HookBase, EventWriter):
    """Sends every scalar to Weights & Biases, under its name in metrics.json and over ``iteration``.

    A hook as well, because a run opens when training starts and is continued by a resumed training: its id lies in the
    checkpoint. Mode, entity, keys and the like are wandb's own environment variables (``WANDB_MODE=offline``).
    """

    def __init__(self, *, project: str, output_dir: str, config: dict) -> None:
        """
        Args:
            output_dir: its last part names the run; wandb's files go to ``wandb/`` there.
            config: the configuration as plain values.
        """
        self._project, self._output_dir, self._config = project, output_dir, config
        self._id: str | None = None
        self._run = None
        self._written: dict[str, int] = {}

    def before_train(self) -> None:
        import wandb  # validation has made sure of it where it is asked for

        try:
            self._run = wandb.init(
                project=self._project,
                name=Path(self._output_dir).resolve().name,
                dir=os.path.abspath(self._output_dir),
                config=self._config,
                id=self._id,
                resume="allow" if self._id else None,
            )
        except wandb.Error as error:
            reason = " ".join(str(error).split()).rstrip(".")
            raise UserError(
                f"TRACKING.WANDB: expected Weights & Biases to open a run, found: {reason}; run "
                "`wandb login`, set WANDB_MODE=offline, or TRACKING.WANDB False."
            ) from error
        self._id = self._run.id
        # not wandb's own step, which may not go back: a resumed run repeats what came after its checkpoint
        self._run.define_metric("*", step_metric="iteration")

    def write(self) -> None:
        """Sends what is newer than what was sent; nothing where no run could be opened."""
        if self._run is None:
            return
        lines: dict[int, dict[str, float]] = {}
        for name, (value, iteration) in get_event_storage().latest_with_smoothing_hint(_SMOOTHING).items():
            if iteration > self._written.get(name, -1):
                lines.setdefault(iteration, {})[name] = value
                self._written[name] = iteration
        for iteration in sorted(lines):
            self._run.log({"iteration": iteration, **lines[iteration]})

    def close(self) -> None:
        if self._run is not None:
            self._run.finish()

    def state_dict(self) -> dict:
        return {"id": self._id} if self._id else {}

    def load_state_dict(self, state: dict) -> None:
        self._id = state["id"]
