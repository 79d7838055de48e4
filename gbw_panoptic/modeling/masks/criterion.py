"""Mask2Former's losses (arXiv 2112.01527, as released) as sums per class, so that class weightings apply.

Ours: groups by the matched segment's class; void and padding are left out; the factors and the confidence of pseudo
labels (MC-PanDA, arXiv 2407.14110) are a segment's ``weights`` and ``confidence``.

Shape legend: B images, L prediction sets, C classes, Q queries, N segments of an image, M matched segments, P points.
"""

from dataclasses import dataclass
from typing import Sequence

import torch
from torch import Tensor

from ...losses import PerClassLoss, Unions, cross_entropy_per_class, group_sums, most_probable
from ...losses.masks import AtChosenPoints, mask_losses
from ...structures.segments import SegmentTargets
from .head import MaskHeadOutput
from .matching import CostWeights, QueryMatches, match
from .points import Candidates, TargetMaps, at_points, draw_candidates

#: What is weighted by class: a class weighting each.
WEIGHTED = ("classification", "mask", "dice")


@dataclass(frozen=True)
class SegmentCriterion:
    """
    Attributes:
        num_classes: C.
        no_object_weight: of queries without a segment in the classification loss; outside of a weighting's program.
        num_points: P.
        oversample, importance: see :func:`~.points.draw_candidates`.
        min_confidence: points of less ``SegmentTargets.confidence`` count in no mask loss (they do in matching).
        loss_weights: factors of the losses and, in matching, of the costs.
        unions: of segments whose label says less than a class.
    """

    num_classes: int
    no_object_weight: float
    num_points: int
    oversample: float
    importance: float
    min_confidence: float
    loss_weights: CostWeights
    unions: Unions = ()

    def __call__(
        self,
        output: MaskHeadOutput,
        targets: Sequence[SegmentTargets],
        *,
        padded_size: tuple[int, int],
        gradients: dict[str, str | None],
        class_parameters: tuple[Tensor, ...],
    ) -> dict[str, PerClassLoss]:
        """Losses of :data:`WEIGHTED`, summed over the prediction sets; counts and class gradients are the last set's.

        Args:
            padded_size: of the input, which the predicted masks cover.
            gradients: loss -> class gradient that its weighting asks for, or None.
            class_parameters: weight and bias of the class prediction (class gradient ``autograd`` only).
        """
        with torch.autocast(output.hidden.device.type, enabled=False):
            maps = TargetMaps(targets, padded_size, min_confidence=self.min_confidence)
            segments = _AllSegments(targets)
            matches = match(
                output.class_logits,
                output.mask_logits,
                [x.classes for x in targets],
                maps,
                num_points=self.num_points,
                weights=self.loss_weights,
                unions=self.unions,
            )
            classification = self._classification(
                output, segments, matches, gradients["classification"], class_parameters
            )
            segments.classes = self._classes(segments, output.class_logits[-1], matches[-1])
            masks = self._masks(output.mask_logits, maps, segments, matches, gradients)
            return {"classification": classification, **masks}

    def _classes(self, segments: "_AllSegments", class_logits: Tensor, matches: QueryMatches) -> Tensor:
        """The class that each segment's masks count for: of a union the one that its last query finds most probable, or
        the first."""
        if not self.unions:
            return segments.classes
        index, classes = segments.index(matches), segments.classes
        scores = class_logits.new_zeros(len(classes), self.num_classes)
        scores[index] = class_logits.detach()[matches.images, matches.queries, :-1].to(scores.dtype)
        return most_probable(classes.view(1, -1, 1), scores.T[None, :, :, None], self.unions).view(-1)

    def _classification(
        self,
        output: MaskHeadOutput,
        segments: "_AllSegments",
        matches: Sequence[QueryMatches],
        gradient: str | None,
        parameters: tuple[Tensor, ...],
    ) -> PerClassLoss:
        """Cross entropy over C + 1 classes of all queries; those without a segment form the last group."""
        total = 0.0
        for index, (logits, of_set) in enumerate(zip(output.class_logits, matches)):
            last = index == len(matches) - 1
            labels = torch.full(logits.shape[:2], self.num_classes, dtype=torch.int64, device=logits.device)
            matched = segments.classes[segments.index(of_set)]
            # unions come behind the no-object class, too
            labels[of_set.images, of_set.queries] = matched + (matched >= self.num_classes)
            loss = cross_entropy_per_class(  # queries as pixels of an image of one column
                logits.transpose(1, 2).unsqueeze(3),
                labels.unsqueeze(2),
                ignore_label=-1,
                gradient=gradient if last else None,
                features=output.hidden.transpose(1, 2).unsqueeze(3) if last else None,
                parameters=parameters,
                unions=self.unions,
            )
            total = total + loss.total
        factors = torch.ones_like(loss.count)
        factors[-1] = self.no_object_weight
        count = factors * loss.count
        class_gradient = None if loss.gradient is None else loss.gradient[: self.num_classes]
        return PerClassLoss(factors * total, count, count.sum(), class_gradient)

    def _masks(
        self,
        mask_logits: Sequence[Tensor],
        maps: TargetMaps,
        segments: "_AllSegments",
        matches: Sequence[QueryMatches],
        gradients: dict[str, str | None],
    ) -> dict[str, PerClassLoss]:
        """Cross entropy and dice of the matched masks. All segments count, matched or not, as released."""
        totals = {"mask": 0.0, "dice": 0.0}
        options = {"num_points": self.num_points, "oversample": self.oversample, "importance": self.importance}
        candidates = [draw_candidates(maps, image, count, **options) for image, count in enumerate(segments.counts)]
        for logits, of_set in zip(mask_logits, matches):
            index = segments.index(of_set)
            classes, weights = segments.classes[index], segments.weights[index]
            losses, slopes = self._compare(logits, of_set, candidates)
            for name, loss in zip(totals, losses):
                totals[name] = totals[name] + group_sums(weights * loss, classes, self.num_classes)
        count = group_sums(segments.weights, segments.classes, self.num_classes)
        of_classes = {}
        for name, slope in zip(totals, slopes):
            gradient = None
            if gradients[name] is not None:  # of the last set
                gradient = group_sums(weights * slope, classes, self.num_classes).float().unsqueeze(1)
            of_classes[name] = PerClassLoss(totals[name], count, count.sum(), gradient, min_count=1.0)
        return of_classes

    def _compare(
        self, logits: Tensor, matches: QueryMatches, candidates: Sequence[Candidates]
    ) -> tuple[Tensor, Tensor]:
        """Cross entropy and dice [2, M] of one set's matched masks, and the sums [2, M] of their gradients' sizes.

        Args:
            logits: [B, Q, h, w].
        """
        sizes = [min(logits.shape[1], len(x.targets)) for x in candidates]
        queries, numbers = matches.queries.split(sizes), matches.segments.split(sizes)
        losses, slopes = [], []
        for image, points in enumerate(candidates):
            values = at_points(logits[image, queries[image]].float(), points.points)
            chosen = points.chosen(values.detach(), self.num_points)
            found = mask_losses(
                values.detach().gather(1, chosen),
                points.targets[numbers[image]].gather(1, chosen),
                points.counts[chosen].float(),
            )
            of_points = torch.stack((found.cross_entropy_gradient, found.dice_gradient))
            of_masks = torch.stack((found.cross_entropy, found.dice))
            losses.append(AtChosenPoints.apply(values, chosen, of_masks, of_points))
            slopes.append(of_points.abs().sum(dim=2))
        return torch.cat(losses, dim=1), torch.cat(slopes, dim=1)


class _AllSegments:
    """The segments of all images of a batch, one after the other.

    Attributes:
        classes: int64, weights: float32, one entry for each segment.
        counts: segments of each image.
    """

    def __init__(self, targets: Sequence[SegmentTargets]) -> None:
        self.classes = torch.cat([x.classes for x in targets])
        self.weights = torch.cat([x.weights for x in targets])
        self.counts = [len(x.classes) for x in targets]
        starts = torch.tensor([sum(self.counts[:image]) for image in range(len(self.counts))])
        self._starts = starts.to(self.classes.device, non_blocking=True)

    def index(self, matches: QueryMatches) -> Tensor:
        """[M] int64, the entry of each match."""
        return self._starts[matches.images] + matches.segments
