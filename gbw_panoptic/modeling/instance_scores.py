"""How sure a panoptic map is of each of its instances, for average precision.

Shapes: H x W image, C classes, M pixels of things, K instances.
"""

from typing import Collection

import torch
from torch import Tensor

from ..data.instance_scores import pixel_scores, scores_of_instances


def instance_scores(
    panoptic: Tensor, sem_seg: Tensor, center: Tensor, *, thing_ids: Collection[int], label_divisor: int
) -> tuple[Tensor, Tensor]:
    """Score of every instance of a panoptic map (:func:`~gbw_panoptic.data.instance_scores.scores_of_instances`).

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
    values, instance = panoptic[y, x].unique(return_inverse=True)
    probability = pixel_scores(sem_seg[:, y, x], classes[y, x])  # C x M: things are a small part of a street
    return values, scores_of_instances(probability, instance, pixels, center.reshape(center.shape[-2:]), len(values))
