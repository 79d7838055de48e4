"""From a teacher's predictions to labels, their quality weight, and instances.

Shape legend: B images, C classes, H x W pixels, K bound on the number of instances.
"""

import torch
from torch import Tensor

#: Over what the quality weight is averaged: each image (ours; independent of ranks) or the batch (DACS, DAFormer).
QUALITIES = ("image", "batch")


def semantic_pseudo_labels(logits: Tensor, *, threshold: float, quality: str) -> tuple[Tensor, Tensor]:
    """Labels of every pixel and one quality weight per image (DACS, arXiv 2007.08702, section 3; DAFormer, eq. 3).

    Args:
        logits: [B, C, H, W] of the teacher.
        threshold: tau in (0, 1].
        quality: ``image``: q_b = share of image b's pixels whose largest probability is >= tau; ``batch``: the same share
            over the whole batch of this rank, as published.

    Returns:
        labels [B, H, W] int64 and q [B] float in 0..1.
    """
    probability, labels = logits.float().softmax(dim=1).max(dim=1)
    confident = (probability >= threshold).float().flatten(1).mean(dim=1)
    if quality == "batch":
        confident = confident.mean().expand_as(confident)
    elif quality != "image":
        raise ValueError(f"Expected quality to be one of {QUALITIES}, but got {quality!r}.")
    return labels, confident


def instances_from_panoptic(
    panoptic: Tensor, *, label_divisor: int, thing_ids: tuple[int, ...], max_instances: int
) -> tuple[Tensor, Tensor]:
    """Number the thing instances of a predicted panoptic map 1..K, without host synchronisation.

    Args:
        panoptic: [H, W] int64, class * label_divisor + instance number, negative = void.
        max_instances: K; no more than so many instances occur in the map.

    Returns:
        instance ids [H, W] int64 (0 = none) and the classes [K] int64 of ids 1..K (0 for unused ids).
    """
    size = (max(thing_ids) + 1) * label_divisor
    code = torch.arange(size, device=panoptic.device)
    things = torch.as_tensor(thing_ids, device=panoptic.device)
    occurs = torch.zeros(size + 1, dtype=torch.bool, device=panoptic.device)
    occurs[torch.where((panoptic >= 0) & (panoptic < size), panoptic, size).flatten()] = True
    occurs = occurs[:size] & torch.isin(code // label_divisor, things) & (code % label_divisor > 0)
    number = torch.where(occurs, occurs.cumsum(0), 0)
    classes = torch.zeros(max_instances + 1, dtype=torch.int64, device=panoptic.device)
    classes.scatter_(0, number.clamp(max=max_instances), torch.where(occurs, code // label_divisor, 0))
    inside = (panoptic >= 0) & (panoptic < size)
    ids = torch.where(inside, number[panoptic.clamp(0, size - 1)], 0)
    return ids, classes[1:]
