"""What the losses are made of for mask models, and what a teacher's segments are.

Shape legend: C classes, H x W pixels of the image, Q queries, N segments of a training target, S bound on the number of
segments.
"""

from dataclasses import dataclass, fields
from typing import Collection

import torch
from torch import Tensor


@dataclass(frozen=True)
class SegmentTargets:
    """The segments of one image.

    Attributes:
        masks: [N, H, W] bool, disjoint; N may be 0.
        classes: [N] int64.
        valid: [H, W] bool; False (void, padding) is outside of every loss and cost.
        weights: [N] float32 >= 0, factor of a segment's mask losses; 1 on ground truth.
        confidence: [H, W] float32 in 0..1, how sure a teacher is of a pixel; 1 on ground truth.
    """

    masks: Tensor
    classes: Tensor
    valid: Tensor
    weights: Tensor
    confidence: Tensor

    @classmethod
    def of_labels(cls, ids: Tensor, classes: Tensor) -> "SegmentTargets":
        """Ground truth: ``ids`` [H, W] integers, 0 = none, else 1..N, on whose device the result is, and ``classes``
        [N]."""
        return cls(
            masks=ids == torch.arange(1, len(classes) + 1, device=ids.device).view(-1, 1, 1),
            classes=classes.to(ids.device, non_blocking=True),
            valid=ids > 0,
            weights=torch.ones(len(classes), device=ids.device),
            confidence=torch.ones(ids.shape, device=ids.device),
        )

    def to(self, device: torch.device) -> "SegmentTargets":
        """The same on ``device``."""
        return SegmentTargets(**{x.name: getattr(self, x.name).to(device, non_blocking=True) for x in fields(self)})


@dataclass(frozen=True)
class SegmentMap:
    """Disjoint segments of one image as one map, which needs less memory than a mask for each.

    Attributes:
        ids: [H, W] int64, 0 = none, else 1..S; ids may be absent. Stuff of one class is one segment.
        classes: [S] int64, class of segment s at index s - 1.
        own_confidence: [H, W] float in 0..1, P_i of the pixel's own segment i; 0 where there is none.
        confidence: [H, W] float in 0..1, the largest P_i of all segments, also beyond their borders.
        valid: [H, W] bool; other pixels are outside of every loss.
    """

    ids: Tensor
    classes: Tensor
    own_confidence: Tensor
    confidence: Tensor
    valid: Tensor


@dataclass(frozen=True)
class Segments:
    """Disjoint segments of one image; P_k = score_k * sigmoid(mask_k) is how sure query k is of a pixel.

    Attributes:
        ids: [H, W] int64, 0 = none, else 1..S.
        classes: [S] int64. A stuff class has one segment at most.
        scores: [S] float32, class probability; of merged queries the largest.
        query_segments: [Q] int64, the segment that a query went into; 0 = none.
        region_confidence: [H, W] float32, P of the pixel's own segment; 0 where there is none.
        confidence: [H, W] float32, the largest P of a pixel over all queries that went into a segment.
    """

    ids: Tensor
    classes: Tensor
    scores: Tensor
    query_segments: Tensor
    region_confidence: Tensor
    confidence: Tensor

    def panoptic(self, *, thing_ids: Collection[int], label_divisor: int) -> Tensor:
        """[H, W] int64: class * label_divisor + number (of things from 1 in each class, of stuff and groups 0); -1 =
        void."""
        return torch.cat((self.classes.new_tensor([-1]), self._values(thing_ids, label_divisor)))[self.ids]

    def instance_scores(self, *, thing_ids: Collection[int], label_divisor: int) -> tuple[Tensor, Tensor]:
        """Values [K] int64 of the things in :meth:`panoptic`, ascending, and confidence [K] float32: mean P in the
        region.

        That is the released instance score, class probability times mean mask probability.
        """
        areas = counts_of(self.ids, len(self.classes) + 1)[1:]
        sums = torch.zeros(len(self.classes) + 1, dtype=torch.float64, device=self.ids.device)
        sums.index_add_(0, self.ids.flatten(), self.region_confidence.flatten().double())
        values, order = self._values(thing_ids, label_divisor).sort()
        scores = (sums[1:] / areas).float()[order]
        things = (values >= 0) & (values % label_divisor > 0)
        return values[things], scores[things]

    def _values(self, thing_ids: Collection[int], label_divisor: int) -> Tensor:
        """[S] panoptic value of each segment; of more things than a class has numbers, the weakest are a group, number
        0."""
        things = is_in(self.classes, thing_ids)
        same = self.classes[:, None] == self.classes
        numbered = things
        if len(self.classes) >= label_divisor:
            order = torch.arange(len(self.scores), device=self.scores.device)
            ahead = (self.scores > self.scores[:, None]) | (self.scores == self.scores[:, None]) & (
                order < order[:, None]
            )
            numbered = things & ((same & ahead).sum(dim=1) < label_divisor - 1)
        number = (same & numbered).tril().sum(dim=1)  # this segment and those before it
        return self.classes * label_divisor + torch.where(numbered, number, 0)


def is_in(classes: Tensor, some: Collection[int]) -> Tensor:
    return torch.isin(classes, torch.tensor(sorted(some), dtype=torch.int64, device=classes.device))


def counts_of(ids: Tensor, length: int) -> Tensor:
    """[length] int64, how often each id occurs."""
    flat = ids.flatten()
    return torch.zeros(length, dtype=torch.int64, device=ids.device).scatter_add_(0, flat, torch.ones_like(flat))
