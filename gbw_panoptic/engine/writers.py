"""Where a run's numbers go: terminal, metrics.json and TensorBoard always, Weights & Biases and MLflow where they are
asked for."""

import logging
import os
import re
import sys
import time
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

import yaml
from detectron2.engine import HookBase, hooks
from detectron2.engine.defaults import default_writers
from detectron2.utils.events import EventWriter, get_event_storage

from ..errors import UserError

_SMOOTHING = 20  # iterations whose median is written for noisy scalars; what Detectron2's own writers take
_AT_ONCE = 100  # values in a request to an MLflow server, which refuses more parameters


class TrackingWriter(HookBase, EventWriter):
    """Sends every scalar under its name in metrics.json, once.

    A hook as well, because a run opens when training starts and is continued by a resumed training: its id lies in the
    checkpoint.
    """

    def __init__(self, *, project: str, output_dir: str, config: dict) -> None:
        """
        Args:
            output_dir: its last part names the run.
            config: the configuration as plain values.
        """
        self._project, self._output_dir, self._config = project, output_dir, config
        self._name = Path(output_dir).resolve().name
        self._id: str | None = None
        self._run: Any = None
        self._written: dict[str, int] = {}

    def write(self) -> None:
        """Send what is newer than what was sent; nothing where no run could be opened."""
        if self._run is None:
            return
        lines: dict[int, dict[str, float]] = {}
        for name, (value, iteration) in get_event_storage().latest_with_smoothing_hint(_SMOOTHING).items():
            if iteration > self._written.get(name, -1):
                lines.setdefault(iteration, {})[name] = value
                self._written[name] = iteration
        for iteration in sorted(lines):
            self._send(iteration, lines[iteration])

    @abstractmethod
    def _send(self, iteration: int, line: dict[str, float]) -> None:
        """One line of metrics.json."""

    def state_dict(self) -> dict:
        return {"id": self._id} if self._id else {}

    def load_state_dict(self, state: dict) -> None:
        self._id = state["id"]


class WandbWriter(TrackingWriter):
    """To Weights & Biases, over ``iteration``.

    Its files go to ``wandb/`` in OUTPUT_DIR. Mode, entity, keys and the like are wandb's own environment variables
    (``WANDB_MODE=offline``).
    """

    def before_train(self) -> None:
        import wandb  # validation has made sure of it where it is asked for

        try:
            self._run = wandb.init(
                project=self._project,
                name=self._name,
                dir=os.path.abspath(self._output_dir),
                config=self._config,
                id=self._id,
                resume="allow" if self._id else None,
            )
        except wandb.Error as error:
            raise _refused(
                "TRACKING.WANDB", "Weights & Biases", error, "run `wandb login`, set WANDB_MODE=offline"
            ) from error
        self._id = self._run.id
        # not wandb's own step, which may not go back: a resumed run repeats what came after its checkpoint
        self._run.define_metric("*", step_metric="iteration")

    def _send(self, iteration: int, line: dict[str, float]) -> None:
        self._run.log({"iteration": iteration, **line})

    def close(self) -> None:
        if self._run is not None:
            self._run.finish()


class MlflowWriter(TrackingWriter):
    """To MLflow: the project is its experiment, the configuration its parameters, the iteration its step.

    Where it goes to, and with which name and password, is said by MLflow's own environment variables
    (``MLFLOW_TRACKING_URI``). A server that is lost later costs what it would have got, not the training.
    """

    def before_train(self) -> None:
        from mlflow import MlflowClient  # validation has made sure of it where it is asked for
        from mlflow.exceptions import MlflowException

        self._failure = MlflowException
        try:
            self._client = MlflowClient()
            self._id = self._id or self._created()
            self._client.update_run(self._id, status="RUNNING")
        except MlflowException as error:
            raise _refused("TRACKING.MLFLOW", "MLflow", error, "correct MLFLOW_TRACKING_URI") from error
        self._run = self._id

    def _created(self) -> str:
        from mlflow.entities import Param

        experiment = self._client.get_experiment_by_name(self._project)
        number = experiment.experiment_id if experiment else self._client.create_experiment(self._project)
        run = self._client.create_run(number, run_name=self._name).info.run_id
        for some in _parts([Param(key, str(value)) for key, value in _flat(self._config)]):
            self._client.log_batch(run, params=some)
        return run

    def _send(self, iteration: int, line: dict[str, float]) -> None:
        from mlflow.entities import Metric

        now = int(1000 * time.time())
        values = [Metric(re.sub(r"[^/\w.\- ]", "_", name), value, now, iteration) for name, value in line.items()]
        for some in _parts(values):
            self._call(self._client.log_batch, metrics=some)

    def close(self) -> None:
        if self._run is not None:
            self._call(self._client.set_terminated, "FAILED" if sys.exc_info()[0] else "FINISHED")

    def _call(self, request: Any, *values: Any, **options: Any) -> None:
        """A request on the run; a failed one is the last."""
        if self._run is None:
            return
        try:
            request(self._run, *values, **options)
        except self._failure as error:
            self._run = None
            logging.getLogger(__name__).warning(
                "MLflow gets nothing more of this run, since its server failed: %s; metrics.json has all.", _line(error)
            )


def _parts(values: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for start in range(0, len(values), _AT_ONCE):
        yield values[start : start + _AT_ONCE]


def _flat(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(Key with dots, value) of nested settings."""
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _refused(key: str, name: str, error: Exception, remedy: str) -> UserError:
    return UserError(f"{key}: expected {name} to open a run, found: {_line(error)}; {remedy}, or {key} False.")


def _line(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".")


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
