"""The score of an instance, for average precision and as a weight of self-training: the one place that computes it.

Shapes: C classes, M pixels, K instances, H x W image.
"""

from typing import Collection

import torch
from torch import Tensor


def pixel_scores(logits: Tensor, classes: Tensor) -> Tensor:
    """float64 [M]: probability of the class ``classes`` [M] (int64) at each pixel of ``logits`` [C, M]."""
    logits = logits.float()
    return (logits.gather(0, classes[None])[0] - logits.logsumexp(0)).exp().double()


def scores_of_instances(probability: Tensor, instance: Tensor, pixels: Tensor, center: Tensor, count: int) -> Tensor:
    """Panoptic-DeepLab's confidence (arXiv 1911.10194, section 3.3, as in Detectron2): the mean probability of the
    instance's class over its pixels times the heat at their centroid, which is rounded down.

    No value is read on the host.

    Args:
        probability: float64 [M], of the instance's class.
        instance: int64 [M] in 0..K - 1.
        pixels: int64 [M, 2], row and column.
        center: [H, W], centre heatmap.
        count: K.

    Returns:
        float32 [K], as large as the heat allows; 0 without pixels.
    """
    zeros = torch.zeros(count, dtype=torch.int64, device=instance.device)
    areas = zeros.index_add(0, instance, torch.ones_like(instance)).clamp_(min=1)
    mean = zeros.double().index_add_(0, instance, probability) / areas
    centroids = zeros[:, None].repeat(1, 2).index_add_(0, instance, pixels).div_(areas[:, None], rounding_mode="floor")
    row, column = centroids.unbind(1)
    return (mean * center[row, column]).float()


def scores_of_map(
    panoptic: Tensor, sem_seg: Tensor, center: Tensor, *, thing_ids: Collection[int], label_divisor: int
) -> tuple[Tensor, Tensor]:
    """Score of every instance of a panoptic map (:func:`scores_of_instances`).

    Args:
        panoptic: H x W int64, class * label_divisor + number, -1 = void.
        sem_seg: C x H x W logits.
        center: H x W or 1 x H x W, centre heatmap.
        thing_ids: classes with instances.

    Returns:
        The K values of things in ``panoptic`` (int64, ascending) and their confidence (float32 [K]), about 0..1.
    """
    flat = panoptic.flatten() + 1
    seen = torch.zeros(int(flat.max()) + 1, dtype=torch.bool, device=flat.device).scatter_(0, flat, True)
    present = seen.nonzero()[:, 0] - 1
    classes = present.div(label_divisor, rounding_mode="floor")
    is_thing = torch.isin(classes, torch.tensor(sorted(thing_ids), dtype=torch.int64, device=panoptic.device))
    values = present[is_thing]
    numbers = torch.full((len(seen),), -1, dtype=torch.int32, device=panoptic.device)
    numbers[values + 1] = torch.arange(len(values), dtype=torch.int32, device=panoptic.device)
    instance = numbers.index_select(0, flat)
    places = (instance >= 0).nonzero()[:, 0]  # things are a small part of a street
    instance = instance.index_select(0, places).long()
    probability = pixel_scores(sem_seg.flatten(1).index_select(1, places), classes[is_thing].index_select(0, instance))
    width = panoptic.shape[1]
    pixels = torch.stack((places.div(width, rounding_mode="floor"), places % width), dim=1)
    return values, scores_of_instances(probability, instance, pixels, center.reshape(center.shape[-2:]), len(values))
