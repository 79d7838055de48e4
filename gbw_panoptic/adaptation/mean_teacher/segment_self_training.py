"""Self-training of a mask model: a teacher's segments as pseudo labels, mask-wide loss scaling, confidence-based point
filtering and segment mix (MC-PanDA, arXiv 2407.14110). docs/mask2former.md says where this departs from the published.

Shape legend: H x W pixels of the crop, S bound on the number of the target's segments, N segments of the source, P of
them pasted: half, drawn at random (a panoptic class mix).
"""

from typing import Collection

import numpy as np
import torch
from torch import Tensor

from ...structures.samples import LabelledTarget, MixedSample, SourceSample
from ...structures.segments import SegmentMap
from .segment_labels import MaskScaling
from .training import MASKED, MIXED, MeanTeacherTraining


def choose_segments(number: int, generator: np.random.Generator) -> Tensor:
    """[ceil(N / 2)] int64: indices of the segments that are pasted, ascending, drawn without replacement."""
    return torch.as_tensor(np.sort(generator.permutation(number)[: (number + 1) // 2]), dtype=torch.int64)


def select_segments(ids: Tensor, classes: Tensor, indices: Tensor) -> tuple[Tensor, Tensor]:
    """Place [H, W] int64 of each pixel's segment among ``indices`` [P] (0 = none of them, else 1..P); classes [P].

    Args:
        ids: [H, W] integers, 0 = none, else 1..N; on the host, as all is here.
        classes: [N] int64.
    """
    places = torch.zeros(len(classes) + 1, dtype=torch.int64)
    places[indices + 1] = torch.arange(1, len(indices) + 1)
    return places[ids.long()], classes[indices]


def paste_segments(pasted: Tensor, classes: Tensor, target: SegmentMap, *, thing_ids: Collection[int]) -> SegmentMap:
    """The target's segments with others on top. What is covered shrinks; ids without pixels remain, and are dropped
    with the small ones. Pasted stuff joins the target's stuff of its class (the default of a published option). Pasted
    pixels are certain (confidence 1) and valid.

    Args:
        pasted: [H, W] int64, 0 = none, else 1..P.
        classes: [P] int64, classes of the pasted segments; each of stuff at most once.
        target: on the same device.
    """
    mask = pasted > 0
    things = torch.as_tensor(sorted(thing_ids), dtype=torch.int64).to(mask.device, non_blocking=True)
    own = torch.arange(len(classes), device=mask.device) + len(target.classes) + 1
    same = (classes[:, None] == target.classes) & ~torch.isin(classes, things)[:, None]
    numbers = torch.arange(1, len(target.classes) + 1, device=mask.device)
    joined = (same * numbers).sum(dim=1)  # one at most: stuff of one class is one segment
    ids = torch.cat((own.new_zeros(1), torch.where(joined > 0, joined, own)))
    return SegmentMap(
        ids=torch.where(mask, ids[pasted], target.ids),
        classes=torch.cat((target.classes, classes)),
        own_confidence=torch.where(mask, 1.0, target.own_confidence),
        confidence=torch.where(mask, 1.0, target.confidence),
        valid=target.valid | mask,
    )


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
