"""What all self-training with a mean teacher shares: the order of its terms, its views' random numbers, its log."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from ...structures.model import TrainedModel
from ...structures.samples import DomainBatch, LabelledTarget, MixedSample, SourceSample
from ..strategy import Stateful, Strategy, prefixed
from .augmentation import BlockMasking, StrongAugmentation
from .feature_distance import FeatureDistance
from .teacher import MeanTeacher
from .thresholds import ClassThresholds

#: Independent streams of random numbers: each student view of a target image has its own.
MIXED, MASKED = (), (1,)


@dataclass(frozen=True)
class LossWeights:
    """Factors of the target's terms, relative to the source's; and of some losses of the source, by name."""

    mixed: float
    masked: float
    source: Mapping[str, float] = field(default_factory=dict)
    instance_mix: float = 1.0

    def of_source(self, losses: dict[str, Tensor]) -> dict[str, Tensor]:
        """``losses`` of the source, weighted."""
        return {name: self.source[name] * loss if name in self.source else loss for name, loss in losses.items()}


class MeanTeacherTraining(Strategy, ABC):
    """Source losses, then those of the student on mixed and perhaps masked target images with the teacher's labels."""

    def __init__(
        self,
        *,
        teacher: MeanTeacher,
        labeller: Callable[..., tuple[list[LabelledTarget], dict[str, Tensor]]],
        augmentation: StrongAugmentation,
        class_mix: bool,
        masking: BlockMasking | None,
        feature_distance: FeatureDistance | None,
        loss_weights: LossWeights,
        ignore_label: int,
        seed: int,
        shared_pass: bool = False,
        thresholds: ClassThresholds | None = None,
    ) -> None:
        """
        Args:
            labeller: maps (teacher, target samples, with_instances) to labelled targets and scalars for the log.
            augmentation: of the student's views; the teacher sees target images as they come.
            class_mix: paste half of what a source image shows on the target image.
            masking: adds the branch ``masked``.
            feature_distance: adds a term to the source losses.
            seed: the augmentation and mixing of a step are a pure function of (seed, iteration, place among the images
                of the update, those of all ranks and micro-batches).
            shared_pass: source and mixed images go through the student together; without ``feature_distance`` alone,
                and the same only if no layer looks at the batch.
            thresholds: those of the labeller, where they follow the teacher.
        """
        self.teacher = teacher
        self.labeller = labeller
        self.augmentation = augmentation
        self.class_mix = class_mix
        self.masking = masking
        self.feature_distance = feature_distance
        self.loss_weights = loss_weights
        self.ignore_label = ignore_label
        self.seed = seed
        self.shared_pass = shared_pass
        self.thresholds = thresholds
        self.first_place = 0
        self.health: dict[str, Tensor] = {}
        self.modules: dict[str, Stateful] = {"teacher": teacher.model}
        if feature_distance is not None:
            self.modules["initial_backbone"] = feature_distance.initial
        if thresholds is not None:
            self.modules["class_thresholds"] = thresholds

    @abstractmethod
    def mixed(self, sources: list[SourceSample], targets: list[LabelledTarget], iteration: int) -> list[MixedSample]:
        """Samples for the student: half of each source on a labelled target image."""

    @abstractmethod
    def masked(self, targets: list[LabelledTarget], iteration: int) -> list[MixedSample]:
        """Samples for the student: the labelled target image, augmented and partly hidden."""

    def before_step(self, model: TrainedModel, iteration: int) -> None:
        self.teacher.update(model, iteration)
        if self.thresholds is not None:
            self.thresholds.begin()

    def after_step(self, iteration: int) -> None:
        if self.thresholds is not None:
            self.thresholds.commit()

    def terms(self, model: TrainedModel, batch: DomainBatch, iteration: int) -> Iterator[dict[str, Tensor]]:
        if self.shared_pass:
            yield from self._shared_terms(model, batch, iteration)
            return
        source = self._source_losses(model, batch.source, iteration)
        yield prefixed("source", self.loss_weights.of_source(source))
        yield from self.target_terms(model, batch, iteration, source)

    def target_terms(
        self, model: TrainedModel, batch: DomainBatch, iteration: int, source: dict[str, Tensor]
    ) -> Iterator[dict[str, Tensor]]:
        """The losses on target images. The source losses of this batch, ``source``, are what they are compared with in
        the log."""
        targets = self._labelled(batch)
        mixed = model(self.mixed(batch.source, targets, iteration), branch="mixed")
        self.health["pseudo_labels/loss_ratio"] = loss_ratio(mixed, source)
        yield prefixed("mixed", mixed, self.loss_weights.mixed)
        yield from self._further_terms(model, batch.source, targets, iteration)

    def _shared_terms(self, model: TrainedModel, batch: DomainBatch, iteration: int) -> Iterator[dict[str, Tensor]]:
        """The same terms, those of source and mixed images in one."""
        targets = self._labelled(batch)
        samples = [*batch.source, *self.mixed(batch.source, targets, iteration)]
        losses = model(samples, branch={"source": len(batch.source), "mixed": len(batch.target)})
        source, mixed = (
            {name.removeprefix(branch): loss for name, loss in losses.items() if name.startswith(branch)}
            for branch in ("source/", "mixed/")
        )
        self.health["pseudo_labels/loss_ratio"] = loss_ratio(mixed, source)
        source = self.loss_weights.of_source(source)
        yield {**prefixed("source", source), **prefixed("mixed", mixed, self.loss_weights.mixed)}
        yield from self._further_terms(model, batch.source, targets, iteration)

    def _labelled(self, batch: DomainBatch) -> list[LabelledTarget]:
        """The batch's target images as the teacher labels them."""
        self.first_place = batch.first_place
        targets, self.health = self.labeller(
            self.teacher.model, batch.target, with_instances="instance_ids" in batch.source[0]
        )
        return targets

    def _further_terms(
        self, model: TrainedModel, sources: list[SourceSample], targets: list[LabelledTarget], iteration: int
    ) -> Iterator[dict[str, Tensor]]:
        """Of views that are switched on."""
        if self.masking is not None:
            masked = model(self.masked(targets, iteration), branch="masked")
            yield prefixed("masked", masked, self.loss_weights.masked)

    def _source_losses(self, model: TrainedModel, samples: list[SourceSample], iteration: int) -> dict[str, Tensor]:
        if self.feature_distance is None:
            return model(samples, branch="source")
        if iteration == 0:  # weights are loaded after everything is built
            self.feature_distance.start_from(model)
        return self.feature_distance.source_losses(model, samples)

    def generator(self, iteration: int, index: int, stream: tuple[int, ...]) -> np.random.Generator:
        """Of the random numbers of a student's view, by its place in the update."""
        return np.random.default_rng((self.seed, iteration, self.first_place + index, *stream))


def loss_ratio(pseudo: dict[str, Tensor], source: dict[str, Tensor]) -> Tensor:
    """Sum of the losses on pseudo labels over that of the same losses on the source; 0 if that is 0. Detached."""
    ours = sum(value.detach() for value in pseudo.values())
    theirs = sum(source[name].detach() for name in pseudo)
    return torch.where(theirs > 0, ours / theirs, 0)
