"""Class mix: half of a source image's classes, pasted on a target image with labels and instances (ClassMix, arXiv 2007.07936;
cross-domain: DACS, arXiv 2007.08702; with instances: ours).

Shape legend: H x W pixels, K source instances, J target instances.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..data.targets import instance_targets


def class_mix_mask(labels: Tensor, generator: np.random.Generator, *, ignore_label: int) -> Tensor:
    """Pixels of ceil(n / 2) of the n classes of a source label, drawn without replacement.

    Void is not a class here; the published code counts it as one and pastes it.

    Args:
        labels: [H, W] int64.

    Returns:
        [H, W] bool; all False when the label is void everywhere.
    """
    classes = labels.unique()
    classes = classes[classes != ignore_label]
    chosen = generator.permutation(len(classes))[: (len(classes) + 1) // 2]
    return torch.isin(labels, classes[torch.as_tensor(np.sort(chosen))])


def mix_semantic(mask: Tensor, source: dict, target: dict) -> dict:
    """Image, labels and pixel weights: source where ``mask``, target elsewhere."""
    keys = ("image", "sem_seg", "sem_seg_weights")
    return {key: torch.where(mask, source[key], target[key]) for key in keys}


def mix_instances(
    mask: Tensor,
    source: dict,
    target_ids: Tensor,
    target_classes: Tensor,
    target_weight: Tensor,
    *,
    sigma: float,
    ignore_label: int,
) -> dict:
    """Centre and offset targets of the mixed image.

    Whole classes are pasted, so source instances stay whole; target instances lose the pixels that are covered and get the
    centre of what is left.

    Args:
        mask: [H, W] bool.
        source: sample with the instance keys of docs/architecture.md.
        target_ids: [H, W] int64, 0 = none, 1..J.
        target_classes: [J] int64.
        target_weight: [H, W] float >= 0, weight of the instance losses on target pixels; 0 = no such losses.
        sigma: of the centre heatmap, pixels.

    Returns:
        ``center``, ``center_weights``, ``center_classes``, ``offset``, ``offset_weights``, ``instance_ids``,
        ``instance_classes``.
    """
    num_source = len(source["instance_classes"])
    shifted = torch.where(target_ids > 0, target_ids + num_source, 0)
    ids = torch.where(mask, source["instance_ids"], shifted)
    classes = torch.cat((source["instance_classes"].to(ids.device), target_classes))
    targets = instance_targets(ids, len(classes), sigma=sigma)
    table = F.pad(classes, (1, 0), value=ignore_label)
    return {
        "center": targets["center"],
        "offset": targets["offset"],
        "center_classes": table[targets["center_instances"]],
        "instance_ids": ids,
        "instance_classes": classes,
        "center_weights": torch.where(mask, source["center_weights"], target_weight),
        "offset_weights": torch.where(mask, source["offset_weights"], target_weight * (target_ids > 0)),
    }
