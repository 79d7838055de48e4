"""Panoptic merging as a graph of tensors alone: what :mod:`gbw_panoptic.modeling` does with loops and branches, without
them.

The maps are those of :func:`~gbw_panoptic.modeling.post_processing.panoptic_segmentation` and
:func:`~gbw_panoptic.modeling.masks.merging.merge_segments`, ties included. Sizes that depend on values (how many
centres, thing
pixels, kept queries) are never 0: a row that stands for "none" comes first.

Shapes: C classes, H x W pixels, K centres, Q queries, h x w cells of the masks.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from ..modeling.masks.merging import QUERIES_AT_A_TIME, SegmentPostProcessing, normalized
from ..modeling.post_processing import PostProcessing

#: Coordinate of the centre that stands for "none", in pixels: farther than any that an offset points to.
_FAR = 1e8


def panoptic_of_centers(
    labels: Tensor, center: Tensor, offset: Tensor, process: PostProcessing, num_classes: int
) -> Tensor:
    """Panoptic map of Panoptic-DeepLab's predictions.

    Args:
        labels: [H, W] int64, predicted class.
        center: [H, W] float, heat map.
        offset: [2, H, W] float, (dy, dx) in pixels.

    Returns:
        [H, W] int64: class * label_divisor + number, -1 = void.
    """
    height, width = labels.shape
    is_thing = _one_of(process.thing_ids, num_classes)
    cells = _kept_centers(center, process).nonzero()[:, 0]
    y = torch.cat((torch.full((1,), _FAR), (cells // width).float()))
    x = torch.cat((torch.full((1,), _FAR), (cells - cells // width * width).float()))
    instance = _nearest(y, x, offset, is_thing[labels])
    keys = (instance * num_classes + labels).flatten()
    counts = torch.zeros((cells.shape[0] + 1) * num_classes, dtype=torch.int64)
    counts = counts.scatter_add(0, keys, torch.ones_like(keys)).view(cells.shape[0] + 1, num_classes)
    table = _segment_values(counts, is_thing, process)
    return table.flatten()[keys].view(height, width)


def _kept_centers(center: Tensor, process: PostProcessing) -> Tensor:
    """[H * W] bool: local maxima above the threshold; of ``top_k`` or more, those above the ``top_k``-th."""
    kernel, top_k = process.nms_kernel, process.top_k
    highest = F.max_pool2d(center[None, None], kernel, stride=1, padding=kernel // 2)[0, 0]
    maximum = (center > max(process.threshold, 0.0)) & (center == highest)
    scores = torch.where(maximum, center, torch.full_like(center, -1.0)).flatten()
    weakest = torch.cat((scores, scores.new_full((top_k,), -1.0))).topk(top_k).values[-1]
    return scores > weakest.clamp(min=0.0)


def _nearest(y: Tensor, x: Tensor, offset: Tensor, things: Tensor) -> Tensor:
    """[H, W] int64: which of the centres y, x [K + 1] a thing pixel's offset points nearest to; 0 elsewhere."""
    height, width = things.shape
    # the first is none
    pixels = torch.cat((things.new_zeros(1, dtype=torch.int64), things.flatten().nonzero()[:, 0] + 1))
    places = (pixels - 1).clamp(min=0)
    row = places // width
    location_y = row.float() + offset[0].flatten()[places]
    location_x = (places - row * width).float() + offset[1].flatten()[places]
    distances = ((y[:, None] - location_y).square() + (x[:, None] - location_x).square()).sqrt()
    nearest = torch.zeros(height * width + 1, dtype=torch.int64).scatter(0, pixels, distances.argmin(dim=0))
    return nearest[1:].view(height, width)


def _segment_values(counts: Tensor, is_thing: Tensor, process: PostProcessing) -> Tensor:
    """[K + 1, C] int64: panoptic value of a pixel by its centre (0 = none) and class.

    Args:
        counts: [K + 1, C] int64, pixels of each centre and class.
        is_thing: [C] bool.
    """
    divisor = process.label_divisor
    classes = torch.arange(counts.shape[1])
    exists = (torch.arange(counts.shape[0]) > 0)[:, None]
    votes = counts * (is_thing & exists)
    of_instance = votes.argmax(dim=1, keepdim=True)
    area = votes.sum(dim=1, keepdim=True)
    kept = (area > 0) & (area >= process.instance_area)
    number = ((classes == of_instance) & kept).long().cumsum(dim=0).gather(1, of_instance)
    stuff = torch.where(~is_thing & (counts >= process.stuff_area), classes * divisor, -1)
    things = torch.where(is_thing & kept, of_instance * divisor + number, -1)
    return torch.where(exists, things, stuff)


def panoptic_of_masks(
    class_logits: Tensor, mask_logits: Tensor, size: tuple[int, int], stride: int, process: SegmentPostProcessing
) -> Tensor:
    """Panoptic map of Mask2Former's predictions.

    Args:
        class_logits: [Q, C + 1], the last for "no object"; mask_logits: [Q, h, w].
        size: (H, W), at most (stride * h, stride * w).

    Returns:
        [H, W] int64: class * label_divisor + number, -1 = void.
    """
    num_classes = class_logits.shape[1] - 1
    probability, labels = class_logits.softmax(dim=-1).max(dim=-1)
    kept = ((labels != num_classes) & (probability > process.object_threshold)).nonzero()[:, 0]
    chosen = torch.cat((torch.zeros(1, dtype=torch.int64), kept))  # the first stands for none
    real = torch.arange(chosen.shape[0]) > 0
    masks = _upsampled(mask_logits[chosen], stride).sigmoid()
    masks = masks * (real[:, None, None] & _inside(size, masks.shape[1:]))
    winner = (masks * probability[chosen, None, None]).argmax(dim=0)
    sure = masks.gather(0, winner[None])[0] >= 0.5
    won = _counts(winner, chosen.shape[0])
    region = _counts(torch.where(sure, winner, 0), chosen.shape[0])
    claimed = (masks >= 0.5).long().sum(dim=(1, 2))
    accepted = real & (region > 0) & (won.double() >= process.overlap_threshold * claimed.double())
    values = _values_of_queries(
        labels[chosen], accepted, _one_of(process.thing_ids, num_classes + 1), process.label_divisor
    )
    return cropped(torch.where(sure, values[winner], -1), size)


def _values_of_queries(labels: Tensor, accepted: Tensor, is_thing: Tensor, divisor: int) -> Tensor:
    """[Q'] int64: panoptic value of each query, -1 where it is not accepted; queries of one stuff class share
    theirs."""
    index = torch.arange(labels.shape[0])
    same, thing = labels[:, None] == labels, is_thing[labels]
    merges = (same & accepted & ~thing[:, None]) | ((index[:, None] == index) & accepted)
    first = torch.where(merges, index, labels.shape[0]).amin(dim=1).clamp(max=labels.shape[0] - 1)
    opens = accepted & (first == index)
    number = (same & opens & (index <= index[:, None])).long().sum(dim=1)
    values = labels * divisor + torch.where(thing, number, 0)
    return torch.where(accepted, values[first], -1)


def semantic_of_masks(
    class_logits: Tensor, mask_logits: Tensor, size: tuple[int, int], stride: int
) -> tuple[Tensor, Tensor]:
    """[H, W] int64 classes of Mask2Former's semantic output and their float32 probability, from the same tensors.

    A few masks are upsampled at a time.
    """
    probabilities = class_logits.softmax(dim=-1)[:, :-1]
    scores = None
    for some, masks in zip(probabilities.split(QUERIES_AT_A_TIME), mask_logits.split(QUERIES_AT_A_TIME)):
        claims = _upsampled(masks, stride).sigmoid()
        part = torch.einsum("qc,qyx->cyx", some, claims)
        scores = part if scores is None else scores + part
    shares = normalized(scores[None])[0]  # the floor decides where no query claims a pixel
    return cropped(shares.log().argmax(dim=0), size), cropped(shares.amax(dim=0), size)


def _upsampled(masks: Tensor, stride: int) -> Tensor:
    """[Q, stride * h, stride * w] of [Q, h, w]: with the padding, whose size a trace compares with the image's if it is
    cut off here."""
    return F.interpolate(masks[None], scale_factor=float(stride), mode="bilinear", align_corners=False)[0]


def _inside(size: tuple[int, int], padded: tuple[int, int]) -> Tensor:
    """bool of the padded size: the image."""
    return (torch.arange(padded[0]) < size[0])[:, None] & (torch.arange(padded[1]) < size[1])


def cropped(values: Tensor, size: tuple[int, int]) -> Tensor:
    """[..., H, W] of a map with padding; rows and columns are gathered, since a slice would be compared with what it is
    cut from."""
    return values.index_select(-2, torch.arange(size[0])).index_select(-1, torch.arange(size[1]))


def _one_of(classes: tuple[int, ...], num_classes: int) -> Tensor:
    return torch.tensor([c in classes for c in range(num_classes)])


def _counts(ids: Tensor, length: int) -> Tensor:
    flat = ids.flatten()
    return torch.zeros(length, dtype=torch.int64).scatter_add(0, flat, torch.ones_like(flat))
