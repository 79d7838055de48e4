"""Instances that are known in part: told by an annotator, seen in a crop, as training labels.

Shapes: H x W pixels, K instances.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from .. import files
from ..structures.instances import InstancePixels, instance_targets
from ..structures.known_instances import KnownInstances
from ..structures.samples import InstanceLabels
from ..taxonomy import Taxonomy
from .label_maps import LabelMap, read_label_map
from .views import Window, cut, resize_ids


@dataclass(frozen=True)
class Annotator:
    """Answers for a human: reads the labels of a record where it is asked."""

    taxonomy: Taxonomy

    def labels(self, record: Mapping[str, Any]) -> np.ndarray:
        """H x W of the taxonomy's ``label_dtype``, contiguous ids or the ignore label."""
        return self._label(record).semantic

    def instances(self, record: Mapping[str, Any]) -> KnownInstances:
        """All thing instances but crowds."""
        return labelled_instances(self._label(record), self.taxonomy.thing_ids)

    def _label(self, record: Mapping[str, Any]) -> LabelMap:
        return read_label_map(record, files.read_image_size(record["file_name"]), self.taxonomy)


def labelled_instances(label: LabelMap, thing_ids: Collection[int]) -> KnownInstances:
    """All thing instances of a panoptic label but crowds."""
    segments = [s for s in label.segments if s["category_id"] in thing_ids and not s["iscrowd"]]
    number_of = np.zeros(len(label.categories), np.int32)
    number_of[[s["id"] for s in segments]] = np.arange(1, len(segments) + 1)
    numbers = number_of[label.rows]
    pixels = InstancePixels.all_of(torch.from_numpy(numbers.astype(np.int64)))
    _, centers = pixels.areas_and_centroids(len(segments))
    return KnownInstances(numbers, centers.numpy(), np.array([s["category_id"] for s in segments], np.int64))


def view_of(instances: KnownInstances, size: tuple[int, int], window: Window, *, flip: bool) -> KnownInstances:
    """Resized to ``size``, cut and perhaps flipped, as images are."""
    scale = np.array(size) / instances.numbers.shape
    centers = (instances.centers + 0.5) * scale - 0.5 - (window.top, window.left)
    if flip:
        centers[:, 1] = window.width - 1 - centers[:, 1]
    numbers = cut(resize_ids(instances.numbers, size), window, fill=0, flip=flip)
    return replace(instances, numbers=numbers, centers=centers)


def known_targets(instances: KnownInstances, known: np.ndarray, *, sigma: int, ignore_label: int) -> InstanceLabels:
    """Instance labels whose losses see what is known alone.

    Offsets count at the known pixels of instances; the heatmap at known pixels and at the centres themselves (ours).

    Args:
        known: H x W bool, pixels of which it is known to which instance they belong, or that to none.
        sigma: of the centre heatmap, pixels.
    """
    ids, classes = torch.from_numpy(instances.numbers.astype(np.int64)), torch.from_numpy(instances.classes)
    targets = instance_targets(ids, len(classes), sigma=sigma, centroids=torch.from_numpy(instances.centers))
    center_weights = torch.from_numpy(known).float()
    y, x = torch.from_numpy(instances.centers).round().long().unbind(1)
    inside = (y >= 0) & (y < ids.shape[0]) & (x >= 0) & (x < ids.shape[1])
    center_weights[y[inside], x[inside]] = 1
    return {
        "center": targets["center"],
        "center_weights": center_weights[None],
        "center_classes": torch.cat([classes.new_tensor([ignore_label]), classes])[targets["center_instances"]],
        "offset": targets["offset"],
        "offset_weights": (ids > 0).float()[None],
        "instance_ids": ids,
        "instance_classes": classes,
    }
