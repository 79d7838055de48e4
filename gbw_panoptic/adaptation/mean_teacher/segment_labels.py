"""From a teacher's segments to what a mask model is trained on: mask-wide loss scaling and confidence of points
(MC-PanDA, arXiv 2407.14110), by thresholds that may follow the teacher (MC-PanDA++, arXiv 2609.39681).

Shape legend: B images, H x W pixels, S bound on the number of segments, N segments that are kept, C classes.
"""

from dataclasses import dataclass
from typing import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ...structures.model import MetaArchitecture
from ...structures.samples import LabelledTarget, TargetSample
from ...structures.segments import SegmentMap, Segments, SegmentTargets, counts_of
from .pseudo_labels import view_of_student
from .thresholds import STATISTIC, ClassThresholds, group_quantiles, largest_of_classes


def segment_map(segments: Segments, valid: Tensor) -> SegmentMap:
    """A teacher's segments without what lies outside ``valid`` [H, W] bool: ignored borders, padding."""
    return SegmentMap(
        ids=torch.where(valid, segments.ids, 0),
        classes=segments.classes,
        own_confidence=torch.where(valid, segments.region_confidence.float(), 0),
        confidence=segments.confidence.float(),
        valid=valid,
    )


def areas_and_weights(segments: SegmentMap, thresholds: Tensor) -> tuple[Tensor, Tensor]:
    """Mask-wide loss scaling: lambda_i = share of the pixels of segment i with P_i > tau (MC-PanDA).

    Args:
        thresholds: [C] float, tau of each class.

    Returns:
        [S] int64 areas and [S] float32 lambda in 0..1; 0 for segments without pixels.
    """
    sure = segments.own_confidence > F.pad(thresholds[segments.classes], (1, 0))[segments.ids]
    flat = segments.ids.flatten()
    counts = torch.zeros((2, len(segments.classes) + 1), dtype=torch.int64, device=flat.device)
    counts.scatter_add_(1, flat.expand(2, -1), torch.stack((torch.ones_like(flat), sure.flatten().long())))
    area, confident = counts[:, 1:]
    return area, confident.float() / area.clamp(min=1)


@dataclass(frozen=True)
class MaskScaling:
    """Which segments are learnt from, and how much each counts.

    Attributes:
        thing_ids: classes with instances.
        num_classes: C.
        things, stuff: tau in [0, 1) of MC-PanDA's mask-wide loss scaling; 0 turns it off.
        min_area: pixels; segments of this area or less are dropped; their pixels are not, being of no other segment.
        adaptive: tau in place of both, if there are any.
    """

    thing_ids: tuple[int, ...]
    num_classes: int
    things: float
    stuff: float
    min_area: int
    adaptive: ClassThresholds | None = None

    def thresholds(self, device: torch.device) -> Tensor:
        """[C] float, tau of each class."""
        if self.adaptive:
            return self.adaptive.current()
        tau = [self.things if c in self.thing_ids else self.stuff for c in range(self.num_classes)]
        return torch.tensor(tau).to(device, non_blocking=True)

    def see(self, maps: Sequence[SegmentMap]) -> None:
        """Adapt the thresholds to a teacher's segments, before anything is pasted: the largest third quartile of each
        class. Segments that are too small to be learnt from take no part (MC-PanDA++ leaves that open)."""
        if self.adaptive:
            of_maps = [_largest_statistics(segments, self.num_classes, self.min_area) for segments in maps]
            self.adaptive.see(torch.stack(of_maps).amax(dim=0))

    def __call__(self, maps: Sequence[SegmentMap]) -> list[SegmentTargets]:
        """Targets of a batch. How many segments are kept must be known on the host: one synchronisation for all images.

        A dropped segment still counts in ``confidence``: that its pixels are of no other is as sure as before.
        """
        if not maps:
            return []
        thresholds = self.thresholds(maps[0].ids.device)
        areas, weights = zip(*(areas_and_weights(segments, thresholds) for segments in maps))
        kept = (torch.cat(areas) > self.min_area).cpu().split([len(area) for area in areas])
        return [
            _targets(segments, weight, keep.nonzero()[:, 0].to(weight.device, non_blocking=True))
            for segments, weight, keep in zip(maps, weights, kept)
        ]


def _largest_statistics(segments: SegmentMap, num_classes: int, min_area: int) -> Tensor:
    """[C] float32, -1 of classes without a segment of more than ``min_area`` pixels."""
    number = len(segments.classes)
    statistics = group_quantiles(segments.own_confidence, segments.ids - 1, number, STATISTIC)
    areas = counts_of(segments.ids, number + 1)[1:]
    return largest_of_classes(torch.where(areas > min_area, statistics, -1), segments.classes, num_classes)


def _targets(segments: SegmentMap, weights: Tensor, kept: Tensor) -> SegmentTargets:
    return SegmentTargets(
        masks=segments.ids == (kept + 1).view(-1, 1, 1),
        classes=segments.classes[kept],
        valid=segments.valid,
        weights=weights[kept],
        confidence=segments.confidence,
    )


@dataclass(frozen=True)
class SegmentLabeller:
    """Labels target samples with a teacher's segments, found as in panoptic inference."""

    scaling: MaskScaling

    @torch.no_grad()
    def __call__(
        self, teacher: MetaArchitecture, samples: list[TargetSample], *, with_instances: bool
    ) -> tuple[list[LabelledTarget], dict[str, Tensor]]:
        """
        Args:
            teacher: its ``post_processing`` makes :class:`Segments` of each image of what it predicts.
            samples: without strong augmentation.
            with_instances: has no effect here: panoptic inference knows what a thing is.

        Returns:
            One dictionary per sample with ``image`` (:func:`view_of_student`) and ``segment_map``
            (:class:`SegmentMap`), on the teacher's device; and scalars for the log.
        """
        prediction = teacher.predict(samples)
        labelled = []
        for index, sample in enumerate(samples):
            segments = teacher.post_processing(prediction, index)
            device = segments.ids.device
            segments = segment_map(segments, sample["valid_mask"].to(device, non_blocking=True))
            labelled.append({"image": view_of_student(sample, device), "segment_map": segments})
        maps = [sample["segment_map"] for sample in labelled]
        self.scaling.see(maps)
        return labelled, self.health(maps)

    def health(self, maps: Sequence[SegmentMap]) -> dict[str, Tensor]:
        """Scalars for the log: how good the labels of a batch are, before anything is pasted; no synchronisation.

        ``quality`` is the mean lambda of the segments that are large enough, ``kept_segments`` their number per image,
        ``confidence`` the mean of the confidence map over valid pixels, ``kept_pixels`` the share of all pixels in
        segments. 0 where there are none.
        """
        thresholds = self.scaling.thresholds(maps[0].ids.device)
        areas, weights = (torch.cat(x) for x in zip(*(areas_and_weights(segments, thresholds) for segments in maps)))
        kept = areas > self.scaling.min_area
        names = ("ids", "valid", "confidence")
        ids, valid, confidence = (torch.cat([getattr(x, name).flatten() for x in maps]) for name in names)
        return {
            "pseudo_labels/quality": (weights * kept).sum() / kept.sum().clamp(min=1),
            "pseudo_labels/confidence": (confidence * valid).sum() / valid.sum().clamp(min=1),
            "pseudo_labels/kept_pixels": (ids > 0).float().mean(),
            "pseudo_labels/kept_segments": kept.sum() / len(maps),
            **(self.scaling.adaptive.health() if self.scaling.adaptive else {}),
        }
