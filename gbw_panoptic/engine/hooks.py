"""What happens around a step."""

import json
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from itertools import takewhile

from detectron2.engine import HookBase, hooks
from detectron2.evaluation.testing import flatten_results_dict
from detectron2.utils import comm
from torch import nn

from .. import files
from ..adaptation import Strategy
from ..adaptation.mean_teacher.teacher import unwrapped
from ..cli import Progress
from ..modeling.masks.encoder_only import EncoderOnlyHead
from ..structures import metric_names
from ..structures.metric_names import ClassScalar
from ..trust.collapse import Watch
from ..weighting import BRANCHES, ClassWeighting, DynamicWeighting

METRICS = "metrics.json"  # in OUTPUT_DIR


class LearningRate(hooks.LRScheduler):
    """The learning rate as a function of the iteration and the configuration alone.

    Detectron2 keeps the scheduler's state in the checkpoint, and with it the old end of the schedule: a resumed run
    with another SOLVER.MAX_ITER would leave its domain.
    """

    def before_train(self) -> None:
        super().before_train()
        self.scheduler.last_epoch = self.trainer.start_iter  # "epochs" of these schedulers are iterations
        for group, rate in zip(self._optimizer.param_groups, self.scheduler.get_lr(), strict=True):
            group["lr"] = rate

    def state_dict(self) -> dict:
        return {}


class MaskAnnealing(HookBase):
    """Tells a head whose masks are annealed, before every step, which share of the training is over."""

    def __init__(self, head: EncoderOnlyHead, *, iterations: int) -> None:
        self.head, self.iterations = head, iterations

    def before_step(self) -> None:
        self.head.anneal(self.trainer.iter / self.iterations)


class ClassWeightLogger(HookBase):
    """Puts weight, gradient and pixel share of every class, branch and head into the log.

    GBW's skipped steps, too: their count is a scalar, and a warning says when it has grown.
    """

    def __init__(self, model: nn.Module, strategy: Strategy, class_names: tuple[str, ...], *, period: int) -> None:
        own = {name: module for name, module in strategy.modules.items() if isinstance(module, ClassWeighting)}
        of_heads = {
            name.rsplit(".", 1)[-1]: module
            for name, module in unwrapped(model).named_modules()
            if isinstance(module, ClassWeighting)
        }
        self.weightings = {**of_heads, **own}
        self.class_names = class_names
        self.period = period
        self._skipped: dict[str, dict[str, int]] = {}

    def before_train(self) -> None:  # a resumed run has skipped steps that were warned of
        self._skipped = {head: _skipped_steps(weighting) for head, weighting in self.weightings.items()}

    def after_step(self) -> None:
        last = self.trainer.iter == self.trainer.max_iter - 1
        if self.trainer.iter % self.period and not last:
            return
        for head, weighting in self.weightings.items():
            for branch, statistics in weighting.statistics.items():
                for kind, values in statistics.items():
                    named = zip(self.class_names, values.tolist())
                    scalars = {str(ClassScalar(f"{branch}/{head}", kind, name)): value for name, value in named}
                    self.trainer.storage.put_scalars(**scalars, smoothing_hint=False)
            self._log_skipped(head, weighting)

    def _log_skipped(self, head: str, weighting: ClassWeighting) -> None:
        for branch, skipped in _skipped_steps(weighting).items():
            if branch not in weighting.statistics:
                continue
            self.trainer.storage.put_scalar(metric_names.skipped(f"{branch}/{head}"), skipped, smoothing_hint=False)
            new = skipped - self._skipped[head][branch]
            if new > 0:
                logging.getLogger("gbw_panoptic").warning(
                    "GBW: a class gradient of %s/%s was not finite in %d step(s) up to iteration %d (%d since the "
                    "start); %s.", branch, head, new, self.trainer.iter, skipped, weighting.in_skipped_steps,
                )  # fmt: skip
            self._skipped[head][branch] = skipped


def _skipped_steps(weighting: ClassWeighting) -> dict[str, int]:
    """Branch -> steps whose gradients were not finite, so far; one host synchronisation."""
    if not isinstance(weighting, DynamicWeighting):
        return {}
    return dict(zip(BRANCHES, weighting.skipped.tolist()))


class DiscriminatorMonitor(HookBase):
    """Warns when a discriminator has won, or answers the same for both domains: either way alignment has stopped.

    Where the log has no accuracy of a discriminator, it says nothing.
    """

    def __init__(self, *, period: int, window: int) -> None:
        """
        Args:
            period: iterations between two looks.
            window: iterations that are averaged.
        """
        self.period = period
        self.window = window

    def after_step(self) -> None:
        done = self.trainer.iter - self.trainer.start_iter + 1
        if done < self.window or done % self.period:
            return
        histories = self.trainer.storage.histories()
        for name in [n for n in histories if n.startswith("discriminator/") and n.endswith("_accuracy_source")]:
            pair = (name, name.removesuffix("source") + "target")
            source, target = (histories[n].avg(self.window) for n in pair)
            state = discriminator_state(source, target)
            if state:
                logging.getLogger("gbw_panoptic").warning(
                    "The discriminator of %s %s (accuracy %.2f on the source, %.2f on the target over the last %d "
                    "iterations): see ADVERSARIAL.LEARNING_RATE and ADVERSARIAL.LOSS_WEIGHT.",
                    name.split("/")[1].removesuffix("_accuracy_source"), state, source, target, self.window,
                )  # fmt: skip


def discriminator_state(source_accuracy: float, target_accuracy: float) -> str | None:
    """What is wrong with a discriminator of these accuracies (0..1); None while it and the model are in a contest.

    The bounds are ours.
    """
    if min(source_accuracy, target_accuracy) > 0.99:
        return "has won"
    if min(source_accuracy, target_accuracy) < 0.01:
        return "answers the same for both domains"
    return None


class Evaluation(hooks.EvalHook):
    """Detectron2's hook; a resumed run first makes up for an evaluation that was due behind its checkpoint."""

    def __init__(self, period: int, evaluate: Callable[[], dict], metrics: str) -> None:
        """
        Args:
            period: iterations from one evaluation to the next; 0: only after the last one.
            metrics: path of metrics.json, which tells whether there was one.
        """
        super().__init__(period, evaluate)
        self._metrics = metrics

    def before_train(self) -> None:
        start, storage = self.trainer.start_iter, self.trainer.storage
        due = self.trainer.resumed and self._period > 0 and start > 0 and start % self._period == 0
        if due and comm.all_gather(not has_evaluation(self._metrics, start - 1))[0]:
            storage.iter = start - 1
            self._do_eval()
            storage.iter = start


class CollapseWatch(HookBase):
    """Warns once of each sign that a model collapses, in the estimates that evaluations have put into the log.

    A resumed run reads the estimates before it in metrics.json.
    """

    def __init__(self, source_shares: Mapping[str, float] | None, metrics: str) -> None:
        """
        Args:
            source_shares: class -> share of the source's labels; None where they are not known.
            metrics: path of metrics.json.
        """
        self._watch, self._metrics = Watch(source_shares), metrics

    def before_train(self) -> None:
        for line in _lines(self._metrics) if self.trainer.start_iter > 0 else ():
            for model in ("student", "teacher"):
                self._watch.take(model, line["iteration"], metric_names.estimates(line, model))

    def after_step(self) -> None:
        self._look()

    def after_train(self) -> None:
        self._look()

    def _look(self) -> None:
        latest = self.trainer.storage.latest()
        for model in ("student", "teacher"):
            name = metric_names.estimate(model, "view_mIoU")
            if name in latest and latest[name][1] == self.trainer.storage.iter:
                now = {key: value for key, (value, iteration) in latest.items() if iteration == latest[name][1]}
                found = self._watch.take(model, latest[name][1], metric_names.estimates(now, model))
                if found:
                    logging.getLogger("gbw_panoptic").warning(
                        "The %s may be collapsing at iteration %d: %s; look at its pictures, and see "
                        "docs/no_labels.md.",
                        model, latest[name][1], "; ".join(found),
                    )  # fmt: skip


class ProgressLine(HookBase):
    """How far the training is, on the terminal."""

    def __init__(self) -> None:
        self._line: Progress | None = None

    def before_train(self) -> None:
        self._line = Progress(self.trainer.max_iter, "Training", "iteration", done=self.trainer.start_iter)

    def after_step(self) -> None:
        history = self.trainer.storage.histories().get("total_loss")
        if history is not None:
            self._line.note = f"total_loss {history.latest():.3g}"
        self._line.update()

    def after_train(self) -> None:
        if self._line is not None:
            self._line.close()


def has_evaluation(path: str, iteration: int) -> bool:
    """Whether metrics.json holds scores of ``iteration``."""
    return any(line["iteration"] == iteration and _has_scores(line) for line in _lines(path))


def append_metrics(path: str, iteration: int, results: dict | None) -> None:
    """Add the scores of an evaluation that no trainer has written.

    Args:
        results: nested, as :func:`~gbw_panoptic.engine.evaluation.evaluate` returns them.
    """
    scores = {name: float(value) for name, value in flatten_results_dict(results or {}).items()}
    if not scores:
        return
    with open(path, "a") as file:
        file.write(json.dumps({**scores, "iteration": iteration}, sort_keys=True) + "\n")


def truncate_metrics(path: str, iteration: int) -> None:
    """Cut metrics.json behind the lines up to ``iteration``: a resumed run writes the rest again. The evaluation of the
    weights behind ``iteration`` stays: its line bears the next number.

    In place, since a writer may hold the file open; one system call, so a kill leaves the old file or the new one.
    """
    if not os.path.isfile(path):
        return
    kept = takewhile(lambda line: line["iteration"] <= iteration or _closes(line, iteration), _lines(path))
    os.truncate(path, sum(line["bytes"] for line in kept))


def _closes(line: dict, iteration: int) -> bool:
    return line["iteration"] == iteration + 1 and _has_scores(line) and "total_loss" not in line


def _has_scores(line: dict) -> bool:
    return any(metric_names.is_score(name) or metric_names.is_estimate(name) for name in line)


def _lines(path: str) -> Iterator[dict]:
    """Those of metrics.json with their length as ``bytes``, up to the one that a killed process left half written."""
    with suppress(FileNotFoundError), open(path, "rb") as file:
        for line in file:
            try:
                value = files.parse_json(line, finite=False)
            except ValueError:
                return
            if files.misfit(value, {"iteration": int}) or not line.endswith(b"\n"):
                return
            yield {**value, "bytes": len(line)}
