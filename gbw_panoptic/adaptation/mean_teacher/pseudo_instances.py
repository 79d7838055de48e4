"""From a teacher's panoptic map to instances, how sure it is of them, and the targets of the instance heads.

Shape legend: H x W pixels, C classes, K bound on the number of instances.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from ...structures.instances import PseudoInstances, instance_targets, pixel_scores, scores_of_instances
from ...structures.samples import InstanceLabels


def target_instances(target: PseudoInstances, *, sigma: int, ignore_label: int) -> InstanceLabels:
    """Instance labels of a target image on which nothing is pasted."""
    keys, center_instances = instance_keys(target.ids, target.classes, sigma=sigma, ignore_label=ignore_label)
    center, offset = target_weights(target, target.ids, center_instances, num_source=0)
    return {**keys, "center_weights": center[None], "offset_weights": offset[None]}


def instance_keys(ids: Tensor, classes: Tensor, *, sigma: int, ignore_label: int) -> tuple[InstanceLabels, Tensor]:
    """Instance labels but for the weights, and the instance [H, W] whose Gaussian is largest (0 = none)."""
    targets = instance_targets(ids, len(classes), sigma=sigma)
    table = F.pad(classes, (1, 0), value=ignore_label)
    keys = {
        "center": targets["center"],
        "offset": targets["offset"],
        "center_classes": table[targets["center_instances"]],
        "instance_ids": ids,
        "instance_classes": classes,
    }
    return keys, targets["center_instances"]


def target_weights(
    target: PseudoInstances, ids: Tensor, center_instances: Tensor, *, num_source: int
) -> tuple[Tensor, Tensor]:
    """Centre and offset weights [H, W] of target pixels where the first ``num_source`` instances are the source's.

    A pixel's weight times that of the instance it belongs to (offset) or whose Gaussian dominates (centre; 1 where none
    does: that there is no centre is as sure as the pixel's label).
    """
    factors = F.pad(target.weights, (num_source + 1, 0), value=1.0)
    return target.pixel_weights * factors[center_instances], target.pixel_weights * factors[ids] * (ids > 0)


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
    size = (max(thing_ids, default=0) + 1) * label_divisor  # a data set may have no things
    code = torch.arange(size, device=panoptic.device)
    things = torch.tensor(thing_ids, dtype=torch.int64).to(panoptic.device, non_blocking=True)
    occurs = torch.zeros(size + 1, dtype=torch.bool, device=panoptic.device)
    occurs[torch.where((panoptic >= 0) & (panoptic < size), panoptic, size).flatten()] = True
    occurs = occurs[:size] & torch.isin(code // label_divisor, things) & (code % label_divisor > 0)
    number = torch.where(occurs, occurs.cumsum(0), 0)
    classes = torch.zeros(max_instances + 1, dtype=torch.int64, device=panoptic.device)
    classes.scatter_(0, number.clamp(max=max_instances), torch.where(occurs, code // label_divisor, 0))
    inside = (panoptic >= 0) & (panoptic < size)
    ids = torch.where(inside, number[panoptic.clamp(0, size - 1)], 0)
    return ids, classes[1:]


def instance_scores(ids: Tensor, classes: Tensor, logits: Tensor, center: Tensor) -> Tensor:
    """Score of each instance, as average precision ranks it; as a weight of losses it is ours.

    Args:
        ids: [H, W] int64, 0 = none, else 1..K.
        classes: [K] int64.
        logits: [C, H, W]; center: [1, H, W] heatmap, of which what exceeds 0..1 is cut.

    Returns:
        [K] float32 in 0..1; 0 for ids without pixels.
    """
    height, width = ids.shape
    wanted = F.pad(classes, (1, 0))[ids]
    rows, columns = (torch.arange(size, device=ids.device) for size in (height, width))
    pixels = torch.cartesian_prod(rows, columns)
    heat = center[0].float().clamp(0, 1)
    probability = pixel_scores(logits.flatten(1), wanted.flatten())
    return scores_of_instances(probability, ids.flatten(), pixels, heat, len(classes) + 1)[1:]
