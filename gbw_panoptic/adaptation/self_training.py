"""Self-training with a mean teacher, quality-weighted pseudo labels and class mix (DACS, arXiv 2007.08702; DAFormer,
arXiv 2111.14887; for panoptic segmentation as EDAPS, arXiv 2304.14291), extended to instances (ours).

Shape legend: B images per rank, C classes, H x W pixels of the crop.
"""

from typing import Iterator

import numpy as np
import torch
from torch import Tensor, nn

from detectron2.utils import comm

from ..data.loader import DomainBatch
from .augmentation import StrongAugmentation
from .mixing import class_mix_mask, mix_instances, mix_semantic
from .pseudo_labels import instances_from_panoptic, semantic_pseudo_labels
from .strategy import Strategy, prefixed
from .teacher import MeanTeacher


class SelfTraining(Strategy):
    """Source loss, then the loss of the student on mixed images with the teacher's labels."""

    def __init__(
        self,
        *,
        teacher: MeanTeacher,
        augmentation: StrongAugmentation,
        confidence_threshold: float,
        quality: str,
        class_mix: bool,
        target_loss_weight: float,
        instance_losses: bool,
        center_sigma: float,
        ignore_label: int,
        seed: int,
    ) -> None:
        """
        Args:
            instance_losses: train the instance heads on the teacher's instances, too, weighted by their quality; else
                target pixels have weight 0 there (EDAPS).
            center_sigma: of the centre heatmap, pixels.
            seed: the augmentation and mixing of a step are a pure function of (seed, iteration, place in the batch).
        """
        self.teacher = teacher
        self.augmentation = augmentation
        self.confidence_threshold = confidence_threshold
        self.quality = quality
        self.class_mix = class_mix
        self.target_loss_weight = target_loss_weight
        self.instance_losses = instance_losses
        self.center_sigma = center_sigma
        self.ignore_label = ignore_label
        self.seed = seed
        self.health: dict[str, Tensor] = {}
        self.modules = {"teacher": teacher.model}

    def terms(self, model: nn.Module, batch: DomainBatch, iteration: int) -> Iterator[dict[str, Tensor]]:
        self.teacher.update(model, iteration)
        yield prefixed("source", model(batch.source, branch="source"))
        mixed = self.mixed_batch(batch, iteration)
        yield prefixed("mixed", model(mixed, branch="mixed"), self.target_loss_weight)

    @torch.no_grad()
    def mixed_batch(self, batch: DomainBatch, iteration: int) -> list[dict]:
        """Samples with the keys of a source sample: what the student is trained on besides the source."""
        dense = self.teacher.model.predict(batch.target)  # of the un-augmented target image
        labels, quality = semantic_pseudo_labels(
            dense.sem_seg, threshold=self.confidence_threshold, quality=self.quality
        )
        self.health = {"pseudo_labels/quality": quality.mean()}
        samples = []
        for index, (source, target) in enumerate(zip(batch.source, batch.target)):
            generator = np.random.default_rng((self.seed, iteration, comm.get_rank() * len(batch.source) + index))
            device = labels.device
            mask = torch.zeros_like(source["sem_seg"], dtype=torch.bool)
            if self.class_mix:  # on the host, where the source label is: no synchronisation
                mask = class_mix_mask(source["sem_seg"], generator, ignore_label=self.ignore_label)
            mask = mask.to(device)
            source = {k: v.to(device, non_blocking=True) if isinstance(v, Tensor) else v for k, v in source.items()}
            valid = target["valid_mask"].to(device)
            weight = quality[index] * valid
            pseudo = {
                "image": target["image"].to(device),
                "sem_seg": torch.where(valid, labels[index], self.ignore_label),
                "sem_seg_weights": weight,
            }
            sample = mix_semantic(mask, source, pseudo)
            sample["image"] = self.augmentation(sample["image"].float(), generator)
            if "instance_ids" in source:
                instances = self._target_instances(dense, index, weight)
                sample.update(
                    mix_instances(mask, source, *instances, sigma=self.center_sigma, ignore_label=self.ignore_label)
                )
            samples.append(sample)
        return samples

    def _target_instances(self, dense, index: int, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The teacher's instances [H, W], their classes, and the weight of losses on them; none unless asked for."""
        if not self.instance_losses:
            empty = torch.zeros(weight.shape, dtype=torch.int64, device=weight.device)
            return empty, empty.new_empty(0), torch.zeros_like(weight)
        post_processing = self.teacher.model.post_processing
        panoptic = post_processing(dense.sem_seg[index], dense.center[index], dense.offset[index])
        ids, classes = instances_from_panoptic(
            panoptic,
            label_divisor=post_processing.label_divisor,
            thing_ids=post_processing.thing_ids,
            max_instances=post_processing.top_k,
        )
        return ids, classes, weight
