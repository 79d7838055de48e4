"""What a model is fed, taken where it is fed: training steps that are looked at."""

from collections.abc import Callable
from dataclasses import dataclass, field

from detectron2.engine import HookBase, hooks

from gbw_panoptic.adaptation.mean_teacher.pseudo_instances import target_instances
from gbw_panoptic.adaptation.mean_teacher.training import MeanTeacherTraining
from gbw_panoptic.data.samplers import Draw
from gbw_panoptic.engine.trainer import DomainAdaptationTrainer
from gbw_panoptic.structures.samples import DomainBatch, LabelledTarget, Sample


@dataclass
class RecordedStep:
    """One training step; of an update of several micro-batches the last one.

    Attributes:
        iteration: its number.
        batch: what the loader gave.
        draws: of the source samples.
        fed: (branch, samples) of every call of the model, in order. A call that names no branch, and so
            has no losses of its own, is ``target``.
        pseudo: per target image, as the teacher labelled it before anything was pasted: ``image`` and ``segments``, or
            ``sem_seg``, ``sem_seg_weights`` and, with the panoptic task, instance targets; empty without a teacher.
    """

    iteration: int
    batch: DomainBatch
    draws: list[Draw]
    fed: list[tuple[str, list[Sample]]] = field(default_factory=list)
    pseudo: list[dict] = field(default_factory=list)


class StepRecorder(HookBase):
    """Hands every step of a trainer to a function, behind the step."""

    def __init__(self, on_step: Callable[[RecordedStep], None]) -> None:
        self._on_step = on_step
        self._step: RecordedStep | None = None

    def before_train(self) -> None:
        self._handle = self.trainer.model.register_forward_pre_hook(self._record, with_kwargs=True)
        self._style = self.trainer.source_style
        self.trainer.source_style = self._remember
        self._strategy = getattr(self.trainer.strategy, "self_training", self.trainer.strategy)
        if isinstance(self._strategy, MeanTeacherTraining):
            self._labeller = self._strategy.labeller
            self._strategy.labeller = self._label

    def after_step(self) -> None:
        self._on_step(self._step)
        self._step = None

    def after_train(self) -> None:
        self._handle.remove()
        self.trainer.source_style = self._style
        if isinstance(self._strategy, MeanTeacherTraining):
            self._strategy.labeller = self._labeller

    def _remember(self, batch: DomainBatch) -> DomainBatch:
        loader = self.trainer.loader
        draws = loader.source_draws(loader.consumed - loader.images_per_micro_batch)
        self._step = RecordedStep(self.trainer.iter, batch, draws)
        return batch if self._style is None else self._style(batch)

    def _record(self, model, args: tuple, kwargs: dict) -> None:
        samples = args[0] if args else kwargs["batched_inputs"]
        branch = kwargs.get("branch", args[1] if len(args) > 1 else "target")
        if isinstance(branch, str):
            self._step.fed.append((branch, samples))
            return
        start = 0
        for name, count in branch.items():  # in one pass
            self._step.fed.append((name, samples[start : start + count]))
            start += count

    def _label(self, *args, **kwargs) -> tuple[list[LabelledTarget], dict]:
        labelled, health = self._labeller(*args, **kwargs)
        strategy = self._strategy
        for sample in labelled:
            extra = {}
            if "segment_map" in sample:
                (extra["segments"],) = strategy.scaling([sample["segment_map"]])
            if "instances" in sample:
                options = {"sigma": strategy.center_sigma, "ignore_label": strategy.ignore_label}
                extra = target_instances(sample["instances"], **options)
            self._step.pseudo.append({**sample, **extra})
        return labelled, health


def record_steps(
    trainer: DomainAdaptationTrainer, num: int, on_step: Callable[[RecordedStep], None], *, max_iter: int
) -> None:
    """Train ``num`` steps from where the trainer stands; nothing is evaluated, logged or saved.

    Args:
        max_iter: end of the learning rate's schedule; behind it the rate stays as it is.
    """
    start = trainer.start_iter
    within = start + num <= max_iter
    for hook in trainer._hooks:
        if isinstance(hook, hooks.PeriodicWriter):
            for writer in hook._writers:
                writer.close()
    trainer._hooks = [hook for hook in trainer._hooks if within and isinstance(hook, hooks.LRScheduler)]
    trainer.register_hooks([StepRecorder(on_step)])
    trainer.train(start, start + num)
