"""Class mix: half of a source image's classes, pasted on a target image with labels and instances (ClassMix, arXiv
2007.07936; cross-domain: DACS, arXiv 2007.08702; with instances: ours). Instance mix: a teacher's instances, pasted on
a source image (IMix of LIDAPS, WACV 2025, for centres and offsets).

Shape legend: H x W pixels.
"""

import numpy as np
import torch
from torch import Tensor

from ...structures.instances import PseudoInstances
from ...structures.samples import InstanceLabels, LabelledTarget, MixedSample, SourceSample
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


def paste_instances(
    source: SourceSample, image: Tensor, pasted: PseudoInstances, *, sigma: int, ignore_label: int
) -> MixedSample:
    """A source image with instances of a target image on it, for the losses of instance heads alone: every pixel is
    void to the semantic head. What is covered of the source's instances is cut off; their centres are those of the
    rest.

    Without a pasted instance no pixel counts (LIDAPS leaves such batches out).

    Args:
        source: with instance labels, on the device of the others.
        image: [3, H, W] uint8 of the target.
        pasted: the instances that are sure enough.
    """
    mask = pasted.ids > 0
    num_source = len(source["instance_classes"])
    ids = torch.where(mask, pasted.ids + num_source, source["instance_ids"])
    classes = torch.cat((source["instance_classes"], pasted.classes))
    keys, _ = instance_keys(ids, classes, sigma=sigma, ignore_label=ignore_label)
    counts = mask.any().float()
    weights = {name: counts * torch.where(mask, 1, source[name]) for name in ("center_weights", "offset_weights")}
    return {
        **keys,
        **weights,
        "image": torch.where(mask, image, source["image"]).float(),
        "sem_seg": torch.full_like(source["sem_seg"], ignore_label),
        "sem_seg_weights": torch.zeros_like(source["sem_seg_weights"]),
    }
