"""Self-training of a mask model: a teacher's segments as pseudo labels, mask-wide loss scaling, confidence-based point
filtering and segment mix (MC-PanDA, arXiv 2407.14110). docs/mask2former.md says where this departs from the published.

Shape legend: H x W pixels of the crop.
"""

import torch
from torch import Tensor

from ...structures.samples import LabelledTarget, MixedSample, SourceSample
from ...structures.segments import SegmentMap
from .segment_labels import MaskScaling
from .segment_mixing import choose_segments, paste_segments, select_segments
from .training import MASKED, MIXED, MeanTeacherTraining


class SegmentSelfTraining(MeanTeacherTraining):
    """Of segments. The student's samples hold ``image`` and ``segments`` (:class:`SegmentTargets`). Source and target
    crop of one place have one size; places may differ."""

    def __init__(self, *, scaling: MaskScaling, **parts) -> None:
        """
        Args:
            scaling: which segments are learnt from, and how much each counts.
            parts: of :class:`MeanTeacherTraining`; the labeller gives samples with ``image`` and ``segment_map``.
        """
        super().__init__(**parts)
        self.scaling = scaling

    @torch.no_grad()
    def mixed(self, sources: list[SourceSample], targets: list[LabelledTarget], iteration: int) -> list[MixedSample]:
        """Half of each source's segments on the augmented target image; source pixels stay as they are (published)."""
        images, maps = [], []
        for index, (source, target) in enumerate(zip(sources, targets, strict=True)):
            generator = self.generator(iteration, index, MIXED)
            image, segments = self.augmentation(target["image"].float(), generator), target["segment_map"]
            if self.class_mix:
                image, segments = self._paste(source, image, segments, generator)
            images.append(image)
            maps.append(segments)
        return self._samples(images, maps)

    @torch.no_grad()
    def masked(self, targets: list[LabelledTarget], iteration: int) -> list[MixedSample]:
        """The target image, augmented and partly hidden, with the teacher's segments."""
        images = []
        for index, target in enumerate(targets):
            generator = self.generator(iteration, index, MASKED)
            images.append(self.masking(self.augmentation(target["image"].float(), generator), generator))
        return self._samples(images, [target["segment_map"] for target in targets])

    def _paste(self, source: SourceSample, image: Tensor, segments: SegmentMap, generator) -> tuple[Tensor, SegmentMap]:
        """Chosen on the host, where the source's label is: no synchronisation."""
        ids, of_source = source["segment_ids"], source["segment_classes"]
        chosen = choose_segments(len(of_source), generator)
        pasted, classes = (x.to(image.device, non_blocking=True) for x in select_segments(ids, of_source, chosen))
        source_image = source["image"].to(image.device, non_blocking=True).float()
        return (
            torch.where(pasted > 0, source_image, image),
            paste_segments(pasted, classes, segments, thing_ids=self.scaling.thing_ids),
        )

    def _samples(self, images: list[Tensor], maps: list[SegmentMap]) -> list[MixedSample]:
        targets = self.scaling(maps)
        return [{"image": image, "segments": segments} for image, segments in zip(images, targets, strict=True)]
