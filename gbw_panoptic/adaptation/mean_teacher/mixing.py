"""Class mix: half of a source image's classes, pasted on a target image with labels and instances (ClassMix, arXiv
2007.07936; cross-domain: DACS, arXiv 2007.08702; with instances: ours).

Shape legend: H x W pixels.
"""

import numpy as np
import torch
from torch import Tensor

from ...structures.instances import PseudoInstances
from ...structures.samples import InstanceLabels, LabelledTarget, SourceSample
from .pseudo_instances import instance_keys, target_weights


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


def mix_semantic(mask: Tensor, source: SourceSample, target: LabelledTarget) -> dict[str, Tensor]:
    """Image, labels and pixel weights: source where ``mask``, target elsewhere."""
    keys = ("image", "sem_seg", "sem_seg_weights")
    return {key: torch.where(mask, source[key], target[key]) for key in keys}


def mix_instances(
    mask: Tensor, source: SourceSample, target: PseudoInstances, *, sigma: int, ignore_label: int
) -> InstanceLabels:
    """Centre and offset targets of the mixed image.

    Whole classes are pasted, so source instances stay whole; target instances lose the pixels that are covered and get
    the centre of what is left.

    Args:
        mask: [H, W] bool, pixels of the source.
        source: with instance labels.
        sigma: of the centre heatmap, pixels.
    """
    num_source = len(source["instance_classes"])
    shifted = torch.where(target.ids > 0, target.ids + num_source, 0)
    ids = torch.where(mask, source["instance_ids"], shifted)
    classes = torch.cat((source["instance_classes"].to(ids.device), target.classes))
    keys, center_instances = instance_keys(ids, classes, sigma=sigma, ignore_label=ignore_label)
    center, offset = target_weights(target, ids, center_instances, num_source=num_source)
    return {
        **keys,
        "center_weights": torch.where(mask, source["center_weights"], center),
        "offset_weights": torch.where(mask, source["offset_weights"], offset),
    }
