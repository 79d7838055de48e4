"""Self-training with a mean teacher, pseudo labels and class mix (DACS, arXiv 2007.08702; DAFormer, arXiv 2111.14887;
for panoptic segmentation as EDAPS, arXiv 2304.14291), extended to instances (ours).

Shape legend: H x W pixels of the crop.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from ...structures.model import TrainedModel
from ...structures.samples import LabelledTarget, MixedSample, SourceSample
from ..strategy import prefixed
from .mixing import class_mix_mask, mix_instances, mix_semantic, paste_instances
from .pseudo_instances import target_instances
from .training import MASKED, MIXED, MeanTeacherTraining


class SelfTraining(MeanTeacherTraining):
    """Of dense predictions: a label and a weight for every pixel, centres and offsets for its instances."""

    def __init__(self, *, center_sigma: int, instance_mix: bool = False, **parts) -> None:
        """
        Args:
            center_sigma: of the centre heatmap, pixels.
            instance_mix: adds the losses of instance heads on source images with the labeller's ``pasted`` instances;
                their class weights are the branch ``target``'s.
            parts: of :class:`MeanTeacherTraining`.
        """
        super().__init__(**parts)
        self.center_sigma = center_sigma
        self.instance_mix = instance_mix

    def _further_terms(
        self, model: TrainedModel, sources: list[SourceSample], targets: list[LabelledTarget], iteration: int
    ) -> Iterator[dict[str, Tensor]]:
        yield from super()._further_terms(model, sources, targets, iteration)
        if self.instance_mix:
            losses = model(self.pasted(sources, targets), branch="target")
            yield prefixed("instance_mix", losses, self.loss_weights.instance_mix)

    @torch.no_grad()
    def pasted(self, sources: list[SourceSample], targets: list[LabelledTarget]) -> list[MixedSample]:
        """Source images with the target's sure instances on them; their colours stay."""
        samples = []
        for source, target in zip(sources, targets, strict=True):
            source = _on(target["image"].device, source)
            samples.append(paste_instances(source, target["image"], target["pasted"], **self._instance_options))
        return samples

    @torch.no_grad()
    def mixed(self, sources: list[SourceSample], targets: list[LabelledTarget], iteration: int) -> list[MixedSample]:
        """Samples with the keys of a source sample: half of each source's classes on the labelled target image."""
        samples = []
        for index, (source, target) in enumerate(zip(sources, targets, strict=True)):
            generator = self.generator(iteration, index, MIXED)
            mask = torch.zeros_like(source["sem_seg"], dtype=torch.bool)
            if self.class_mix:  # on the host, where the source label is: no synchronisation
                mask = class_mix_mask(source["sem_seg"], generator, ignore_label=self.ignore_label)
            device = target["image"].device
            mask = mask.to(device)
            source = _on(device, source)
            sample = mix_semantic(mask, source, target)
            sample["image"] = self.augmentation(sample["image"].float(), generator)
            if "instances" in target:
                sample.update(mix_instances(mask, source, target["instances"], **self._instance_options))
            samples.append(sample)
        return samples

    @torch.no_grad()
    def masked(self, targets: list[LabelledTarget], iteration: int) -> list[MixedSample]:
        """Samples with the keys of a source sample: the labelled target image, augmented and partly hidden."""
        samples = []
        for index, target in enumerate(targets):
            generator = self.generator(iteration, index, MASKED)
            image = self.masking(self.augmentation(target["image"].float(), generator), generator)
            sample = {"image": image, "sem_seg": target["sem_seg"], "sem_seg_weights": target["sem_seg_weights"]}
            if "instances" in target:
                sample.update(target_instances(target["instances"], **self._instance_options))
            samples.append(sample)
        return samples

    @property
    def _instance_options(self) -> dict:
        return {"sigma": self.center_sigma, "ignore_label": self.ignore_label}


def _on(device: torch.device, sample: SourceSample) -> SourceSample:
    return {k: v.to(device, non_blocking=True) if isinstance(v, Tensor) else v for k, v in sample.items()}
