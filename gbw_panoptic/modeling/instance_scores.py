"""How sure a panoptic map is of each of its instances, for average precision.

Shapes: H x W image, C classes, M pixels of things, K instances.
"""

from typing import Collection

import torch
from torch import Tensor


def instance_scores(
    panoptic: Tensor, sem_seg: Tensor, center: Tensor, *, thing_ids: Collection[int], label_divisor: int
) -> tuple[Tensor, Tensor]:
    """Panoptic-DeepLab's confidence (arXiv 1911.10194, section 3.3, as in Detectron2): the mean probability of the
    instance's class over its pixels times the heatmap at their centroid, rounded down.

    Args:
        panoptic: H x W int64, class * label_divisor + number, -1 = void.
        sem_seg: C x H x W logits.
        center: H x W or 1 x H x W, centre heatmap.
        thing_ids: classes with instances.

    Returns:
        The K values of things in ``panoptic`` (int64, ascending) and their confidence (float32 [K]), about 0..1.
    """
    classes = panoptic.div(label_divisor, rounding_mode="floor")
    mask = torch.isin(classes, torch.tensor(sorted(thing_ids), dtype=torch.int64, device=panoptic.device))
    pixels = mask.nonzero()
    y, x = pixels.unbind(1)
    values, instance, areas = panoptic[y, x].unique(return_inverse=True, return_counts=True)
    logits = sem_seg[:, y, x].float()  # C x M: things are a small part of a street
    probability = (logits.gather(0, classes[y, x][None])[0] - logits.logsumexp(0)).exp()
    mean = torch.zeros_like(areas, dtype=torch.float64).index_add_(0, instance, probability.double()) / areas
    centroids = torch.zeros((len(areas), 2), dtype=torch.int64, device=areas.device).index_add_(0, instance, pixels)
    row, column = centroids.div(areas[:, None], rounding_mode="floor").unbind(1)
    return values, (mean * center.reshape(center.shape[-2:])[row, column]).float()
