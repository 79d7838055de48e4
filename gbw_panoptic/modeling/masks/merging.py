"""From masks that overlap to segments that do not: panoptic inference of Mask2Former (arXiv 2112.01527, as released).

The semantic output is class probabilities of the queries, spread by their masks. Memory is that of a few
full-resolution maps, however many queries there are.

Shape legend: B images, Q queries, K of them kept, C classes, h x w cells of the masks, H x W pixels of the image and of
the result, S segments.
"""

from dataclasses import dataclass
from typing import Collection, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from ...structures.predictions import SegmentPrediction
from ...structures.segments import Segments, counts_of, is_in

#: Queries whose masks exist at full resolution at a time.
QUERIES_AT_A_TIME = 8


def upsampled_masks(mask_logits: Tensor, *, stride: int, image_size: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """Mask logits at full resolution: bilinear to the padded input, cropped to the image, bilinear to ``size``.

    Args:
        mask_logits: [Q, h, w].
        stride: pixels per cell.
        image_size: (H, W) without padding, at most (stride * h, stride * w).
        size: of the result.

    Returns:
        [Q, *size] float32.
    """
    height, width = image_size
    masks = F.interpolate(mask_logits.float()[None], scale_factor=stride, mode="bilinear", align_corners=False)
    masks = masks[..., :height, :width]
    if (height, width) != tuple(size):
        masks = F.interpolate(masks, size=size, mode="bilinear", align_corners=False)
    return masks[0]


def semantic_probabilities(class_logits: Tensor, mask_logits: Tensor) -> Tensor:
    """sum_q softmax(class)_q * sigmoid(mask)_q (Mask2Former, section 3), normalised over the classes (ours).

    Args:
        class_logits: [B, Q, C + 1]; mask_logits: [B, Q, ...].

    Returns:
        [B, C, ...] float32 > 0, sums of 1.
    """
    with torch.autocast(mask_logits.device.type, enabled=False):  # logarithms of half precision are too coarse
        probabilities = class_logits.float().softmax(dim=-1)[..., :-1]
        return normalized(torch.einsum("bqc,bq...->bc...", probabilities, mask_logits.float().sigmoid()))


def normalized(scores: Tensor) -> Tensor:
    """[B, C, ...] >= 0 to sums of 1; a floor keeps logarithms finite where no query claims a pixel."""
    scores = scores + torch.finfo(torch.float32).eps
    return scores / scores.sum(dim=1, keepdim=True)


@torch.no_grad()
def semantic_logits(
    class_logits: Tensor,
    mask_logits: Tensor,
    *,
    stride: int,
    image_size: tuple[int, int],
    size: tuple[int, int] | None = None,
) -> Tensor:
    """Logarithm of :func:`semantic_probabilities` at full resolution, a few queries of an image at a time.

    Args:
        class_logits: [B, Q, C + 1]; mask_logits: [B, Q, h, w].
        stride, image_size, size: see :func:`upsampled_masks`; ``size`` defaults to ``image_size``.

    Returns:
        [B, C, *size] float32.
    """
    size = size or image_size
    probabilities = class_logits.float().softmax(dim=-1)[..., :-1]
    scores = torch.zeros((*probabilities.shape[::2], *size), device=mask_logits.device)
    for image, (p, masks) in enumerate(zip(probabilities, mask_logits)):
        for some, some_masks in zip(p.split(QUERIES_AT_A_TIME), masks.split(QUERIES_AT_A_TIME)):
            claims = upsampled_masks(some_masks, stride=stride, image_size=image_size, size=size).sigmoid()
            with torch.autocast(claims.device.type, enabled=False):
                scores[image] += torch.einsum("qc,qyx->cyx", some, claims)
    return normalized(scores).log()


def merge_segments(
    class_logits: Tensor,
    mask_logits: Tensor,
    size: tuple[int, int],
    *,
    stride: int,
    image_size: tuple[int, int],
    thing_ids: Collection[int],
    object_threshold: float,
    overlap_threshold: float,
) -> Segments:
    """Segments of one image.

    A query is kept if its likeliest class is an object's, of a probability above ``object_threshold``. A pixel goes to
    the kept query of the largest P; its region is what it wins and gives a mask probability of 0.5 at least. It becomes
    a segment if that is not empty, and if it wins ``overlap_threshold`` of the pixels that it gives so much. Queries of
    one stuff class become one segment.

    Args:
        class_logits: [Q, C + 1], the last for "no object"; mask_logits: [Q, h, w].
        size: (H, W) of the result.
        stride, image_size: see :func:`~.semantic.upsampled_masks`.
        thing_ids: classes with instances.
    """
    probability, labels = class_logits.float().softmax(dim=-1).max(dim=-1)
    kept = ((labels != class_logits.shape[-1] - 1) & (probability > object_threshold)).nonzero()[:, 0]
    scores, labels = probability[kept], labels[kept]

    def masks(queries: Tensor) -> Iterator[Tensor]:
        for some in queries.split(QUERIES_AT_A_TIME) if len(queries) else ():
            yield upsampled_masks(mask_logits[some], stride=stride, image_size=image_size, size=size).sigmoid()

    contest = _contest(masks(kept), scores, size)
    accepted = contest.accepted(overlap_threshold)
    numbers = _segment_numbers(labels, accepted, thing_ids)
    ids = torch.where(contest.mask >= 0.5, torch.cat((numbers.new_zeros(1), numbers))[contest.winner], 0)
    num_segments = int(numbers.max()) if len(numbers) else 0
    first = (numbers[:, None] == torch.arange(1, num_segments + 1, device=ids.device)).int()
    confidence = contest.best
    if not accepted.all():  # pixels that a rejected query won
        confidence = _contest(masks(kept[accepted]), scores[accepted], size).best
    none = torch.zeros(len(class_logits), dtype=torch.int64, device=ids.device)
    return Segments(
        ids=ids,
        classes=labels[first.argmax(dim=0)] if num_segments else labels[:0],
        scores=(first * scores[:, None]).amax(dim=0) if num_segments else scores[:0],
        query_segments=none.index_copy(0, kept, numbers),
        region_confidence=torch.where(ids > 0, contest.best, 0),
        confidence=confidence,
    )


@dataclass
class _Contest:
    """Which of K queries wins each pixel.

    Attributes:
        best: [H, W] float32, the largest P; winner: [H, W] int64, its query 1..K, 0 = none; mask: [H, W] float32, the
            winner's mask probability.
        claimed: [K] int64, pixels of mask probability 0.5 or more.
    """

    best: Tensor
    winner: Tensor
    mask: Tensor
    claimed: Tensor

    def accepted(self, overlap_threshold: float) -> Tensor:
        """[K] bool."""
        num_queries = len(self.claimed)
        won = counts_of(self.winner, num_queries + 1)[1:]
        region = counts_of(torch.where(self.mask >= 0.5, self.winner, 0), num_queries + 1)[1:]
        return (region > 0) & (won.double() >= overlap_threshold * self.claimed.double())


def _contest(masks: Iterator[Tensor], scores: Tensor, size: tuple[int, int]) -> _Contest:
    """``masks``: probabilities [some, H, W] of successive queries; scores [K]. The first one wins among equals."""
    best = torch.zeros(size, device=scores.device)
    winner, mask = torch.zeros(size, dtype=torch.int64, device=scores.device), torch.zeros_like(best)
    claimed = []
    for some in masks:
        done = sum(map(len, claimed))
        claimed.append((some >= 0.5).sum(dim=(1, 2)))
        p, index = (some * scores[done : done + len(some), None, None]).max(dim=0)
        better = p > best
        best = torch.where(better, p, best)
        winner = torch.where(better, index + done + 1, winner)
        mask = torch.where(better, some.gather(0, index[None])[0], mask)
    return _Contest(best, winner, mask, torch.cat(claimed) if claimed else winner.new_empty(0))


def _segment_numbers(labels: Tensor, accepted: Tensor, thing_ids: Collection[int]) -> Tensor:
    """[K] int64, the segment 1..S of each query, in their order, 0 for those rejected; stuff shares by class."""
    index = torch.arange(len(labels), device=labels.device)
    merges = (labels[:, None] == labels) & accepted & ~is_in(labels, thing_ids)[:, None]
    merges |= torch.diag(accepted)
    first = torch.where(merges, index, len(labels)).amin(dim=1) if len(labels) else index
    opens = accepted & (first == index)
    numbers = opens.long().cumsum(dim=0)
    return torch.where(accepted, numbers[first.clamp(max=max(len(labels) - 1, 0))], 0)


@dataclass(frozen=True)
class SegmentPostProcessing:
    """How predictions become segments; ``score_instances``: whether a model's output has ``instance_scores``, too."""

    thing_ids: tuple[int, ...]
    label_divisor: int
    object_threshold: float
    overlap_threshold: float
    score_instances: bool = False

    @torch.no_grad()
    def __call__(self, prediction: SegmentPrediction, image: int, size: tuple[int, int] | None = None) -> Segments:
        """Segments of one image of the batch at ``size``; None for the size of the input."""
        return merge_segments(
            prediction.class_logits[image],
            prediction.mask_logits[image],
            size or prediction.image_size,
            stride=prediction.stride,
            image_size=prediction.image_size,
            thing_ids=self.thing_ids,
            object_threshold=self.object_threshold,
            overlap_threshold=self.overlap_threshold,
        )
