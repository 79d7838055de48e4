"""What a mask model is trained on: segments, each a mask with a class.

Shape legend: C classes, H x W pixels of the image, N segments of it.
"""

from typing import Collection

import torch

from ..structures.samples import SemanticLabels
from ..structures.segments import SegmentTargets
from ..taxonomy import IGNORE_LABEL


def segment_targets(
    sample: SemanticLabels,
    *,
    thing_ids: Collection[int],
    ignore_label: int = IGNORE_LABEL,
    device: torch.device | None = None,
) -> SegmentTargets:
    """Segments of a labelled sample: one for each thing instance and each stuff class.

    Samples without ``instance_ids`` (semantic task) have one segment for each class. Pixels of a thing class without
    instance, and of a crowd (``offset_weights`` 0 on an instance), belong to no segment and are not valid.

    Args:
        sample: perhaps with instance labels; its tensors are numbered where they are; on the host, that waits for no device.
        thing_ids: classes with instances.
        device: of the result; None for that of the sample.
    """
    sem_seg = sample["sem_seg"]
    keys = torch.where(sem_seg == ignore_label, -1, sem_seg)
    classes_of_instances = sem_seg.new_empty(0)
    first_instance = int(keys.max()) + 1
    if "instance_ids" in sample:
        ids, classes_of_instances = sample["instance_ids"], sample["instance_classes"].to(sem_seg.device)
        things = torch.isin(sem_seg, torch.tensor(sorted(thing_ids), dtype=sem_seg.dtype, device=sem_seg.device))
        crowd = sample["offset_weights"][0] == 0 if "offset_weights" in sample else torch.zeros_like(things)
        instance_keys = torch.where((ids > 0) & ~crowd, first_instance + ids - 1, -1)
        keys = torch.where(things, instance_keys, keys)
    present, numbers = keys.unique(return_inverse=True)
    unlabelled = int((present < 0).sum())  # 0 or 1: -1 comes first
    present, numbers = present[unlabelled:], numbers - unlabelled
    of_class = torch.arange(first_instance, device=sem_seg.device)
    classes = torch.cat((of_class, classes_of_instances))[present].to(device)
    numbers = numbers.to(device, non_blocking=True)
    return SegmentTargets(
        masks=numbers == torch.arange(len(classes), device=numbers.device).view(-1, 1, 1),
        classes=classes,
        valid=numbers >= 0,
        weights=torch.ones(len(classes), device=numbers.device),
        confidence=torch.ones(numbers.shape, device=numbers.device),
    )
