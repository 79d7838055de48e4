"""Self-training with a mean teacher, pseudo labels and class mix (DACS, arXiv 2007.08702; DAFormer, arXiv 2111.14887;
for panoptic segmentation as EDAPS, arXiv 2304.14291), extended to instances (ours).

Shape legend: H x W pixels of the crop.
"""

from dataclasses import dataclass
from typing import Iterator

import numpy as np
import torch
from torch import Tensor, nn

from detectron2.utils import comm

from ..data.loader import DomainBatch
from .augmentation import StrongAugmentation
from .feature_distance import FeatureDistance
from .masking import BlockMasking
from .mixing import class_mix_mask, mix_instances, mix_semantic
from .pseudo_instances import target_instances
from .pseudo_labels import PseudoLabeller
from .strategy import Stateful, Strategy, prefixed
from .teacher import MeanTeacher

#: Independent streams of random numbers: each student view of a target image has its own.
_MIXED, _MASKED = (), (1,)


@dataclass(frozen=True)
class LossWeights:
    """Factors of the target's terms, relative to the source's."""

    mixed: float
    masked: float


class SelfTraining(Strategy):
    """Source losses, then those of the student on mixed and perhaps masked target images with the teacher's labels."""

    def __init__(
        self,
        *,
        teacher: MeanTeacher,
        labeller: PseudoLabeller,
        augmentation: StrongAugmentation,
        class_mix: bool,
        masking: BlockMasking | None,
        feature_distance: FeatureDistance | None,
        loss_weights: LossWeights,
        center_sigma: int,
        ignore_label: int,
        seed: int,
    ) -> None:
        """
        Args:
            augmentation: of mixed and masked images; the teacher sees target images as they come.
            masking: adds the branch ``masked``.
            feature_distance: adds a term to the source losses.
            center_sigma: of the centre heatmap, pixels.
            seed: the augmentation and mixing of a step are a pure function of (seed, iteration, place in the batch).
        """
        self.teacher = teacher
        self.labeller = labeller
        self.augmentation = augmentation
        self.class_mix = class_mix
        self.masking = masking
        self.feature_distance = feature_distance
        self.loss_weights = loss_weights
        self.center_sigma = center_sigma
        self.ignore_label = ignore_label
        self.seed = seed
        self.health: dict[str, Tensor] = {}
        self.modules: dict[str, Stateful] = {"teacher": teacher.model}
        if feature_distance is not None:
            self.modules["initial_backbone"] = feature_distance.initial

    def terms(self, model: nn.Module, batch: DomainBatch, iteration: int) -> Iterator[dict[str, Tensor]]:
        self.teacher.update(model, iteration)
        source = self._source_losses(model, batch.source, iteration)
        yield prefixed("source", source)
        targets, self.health = self.labeller(
            self.teacher.model, batch.target, with_instances="instance_ids" in batch.source[0]
        )
        mixed = model(self.mixed(batch.source, targets, iteration), branch="mixed")
        self.health["pseudo_labels/loss_ratio"] = loss_ratio(mixed, source)
        yield prefixed("mixed", mixed, self.loss_weights.mixed)
        if self.masking is not None:
            masked = model(self.masked(targets, iteration), branch="masked")
            yield prefixed("masked", masked, self.loss_weights.masked)

    def _source_losses(self, model: nn.Module, samples: list[dict], iteration: int) -> dict[str, Tensor]:
        if self.feature_distance is None:
            return model(samples, branch="source")
        if iteration == 0:  # weights are loaded after everything is built
            self.feature_distance.start_from(model)
        return self.feature_distance.source_losses(model, samples)

    @torch.no_grad()
    def mixed(self, sources: list[dict], targets: list[dict], iteration: int) -> list[dict]:
        """Samples with the keys of a source sample: half of each source's classes on the labelled target image."""
        samples = []
        for index, (source, target) in enumerate(zip(sources, targets, strict=True)):
            generator = self._generator(iteration, index, len(sources), _MIXED)
            mask = torch.zeros_like(source["sem_seg"], dtype=torch.bool)
            if self.class_mix:  # on the host, where the source label is: no synchronisation
                mask = class_mix_mask(source["sem_seg"], generator, ignore_label=self.ignore_label)
            device = target["image"].device
            mask = mask.to(device)
            source = {k: v.to(device, non_blocking=True) if isinstance(v, Tensor) else v for k, v in source.items()}
            sample = mix_semantic(mask, source, target)
            sample["image"] = self.augmentation(sample["image"].float(), generator)
            if "instances" in target:
                sample.update(mix_instances(mask, source, target["instances"], **self._instance_options))
            samples.append(sample)
        return samples

    @torch.no_grad()
    def masked(self, targets: list[dict], iteration: int) -> list[dict]:
        """Samples with the keys of a source sample: the labelled target image, augmented and partly hidden."""
        samples = []
        for index, target in enumerate(targets):
            generator = self._generator(iteration, index, len(targets), _MASKED)
            image = self.masking(self.augmentation(target["image"].float(), generator), generator)
            sample = {"image": image, "sem_seg": target["sem_seg"], "sem_seg_weights": target["sem_seg_weights"]}
            if "instances" in target:
                sample.update(target_instances(target["instances"], **self._instance_options))
            samples.append(sample)
        return samples

    @property
    def _instance_options(self) -> dict:
        return {"sigma": self.center_sigma, "ignore_label": self.ignore_label}

    def _generator(self, iteration: int, index: int, batch_size: int, stream: tuple[int, ...]) -> np.random.Generator:
        return np.random.default_rng((self.seed, iteration, comm.get_rank() * batch_size + index, *stream))


def loss_ratio(pseudo: dict[str, Tensor], source: dict[str, Tensor]) -> Tensor:
    """Sum of the losses on pseudo labels over that of the same losses on the source; 0 if that is 0. Detached."""
    ours = sum(value.detach() for value in pseudo.values())
    theirs = sum(source[name].detach() for name in pseudo)
    return torch.where(theirs > 0, ours / theirs, 0)
