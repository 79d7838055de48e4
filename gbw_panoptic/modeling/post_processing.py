"""From dense predictions to a panoptic map: centres, pixels grouped around them, majority vote per instance.

The method and its results are those of Panoptic-DeepLab (Cheng et al., CVPR 2020, section 3.3) as Detectron2 implements
it; memory is bounded and the host waits a fixed number of times, however many instances there are.

Shapes: H x W image, K centres, C classes. Coordinates are (y, x) in pixels.
"""

from dataclasses import dataclass
from typing import Collection

import torch
import torch.nn.functional as F
from torch import Tensor

from ..structures.instances import scores_of_map
from .nearest_centers import nearest_centers

_ROWS = 64  # of a heatmap whose maxima stay in a CPU's cache


def panoptic_segmentation(
    sem_seg: Tensor,
    center: Tensor,
    offset: Tensor,
    *,
    thing_ids: Collection[int],
    label_divisor: int,
    stuff_area: int,
    void_label: int,
    threshold: float = 0.1,
    nms_kernel: int = 7,
    top_k: int | None = 200,
    instance_area: int = 0,
) -> Tensor:
    """The map that Detectron2's ``get_panoptic_segmentation`` gives, from the predictions for one image.

    Of more instances than a class has numbers, the strongest have one: see :func:`merge_semantic_and_instance`.

    Args:
        sem_seg: H x W or 1 x H x W int64, predicted class.
        center: H x W or 1 x H x W float, centre heatmap.
        offset: 2 x H x W float, (dy, dx) to the centre.
        thing_ids: classes with instances.
        label_divisor, stuff_area, void_label, instance_area: see :func:`merge_semantic_and_instance`.
        threshold, nms_kernel, top_k: see :func:`find_centers`.

    Returns:
        H x W int64.
    """
    sem_seg = sem_seg.reshape(sem_seg.shape[-2:])
    centers = find_centers(center, threshold=threshold, nms_kernel=nms_kernel, top_k=top_k)
    is_thing = _among(thing_ids, int(sem_seg.max()) + 1, sem_seg.device)
    things = is_thing.index_select(0, sem_seg.flatten()).view(sem_seg.shape)
    scores = center.reshape(sem_seg.shape)[centers[:, 0], centers[:, 1]]
    return merge_semantic_and_instance(
        sem_seg,
        group_pixels(centers, offset, mask=things),
        num_instances=len(centers),
        scores=scores,
        thing_ids=thing_ids,
        label_divisor=label_divisor,
        stuff_area=stuff_area,
        void_label=void_label,
        instance_area=instance_area,
    )


def find_centers(center: Tensor, *, threshold: float = 0.1, nms_kernel: int = 7, top_k: int | None = 200) -> Tensor:
    """Local maxima of a centre heatmap.

    With ``top_k`` or more maxima, those above the score of the ``top_k``-th are kept: ``top_k`` - 1 if no scores are
    equal. That is Detectron2's rule.

    Args:
        center: H x W or 1 x H x W float.
        threshold: a centre scores more than this, and more than 0.
        nms_kernel: odd side of the window in which a centre is the maximum.
        top_k: see above; None keeps all.

    Returns:
        K x 2 int64 (y, x), in reading order.
    """
    if nms_kernel < 1 or nms_kernel % 2 == 0:
        raise ValueError(f"expected an odd positive nms_kernel, found {nms_kernel}")
    heat = center.reshape(center.shape[-2:])
    centers = ((heat > max(threshold, 0.0)) & _is_window_maximum(heat, nms_kernel)).nonzero()
    if top_k is None or len(centers) < top_k:
        return centers
    scores = heat[centers[:, 0], centers[:, 1]]
    return centers[scores > scores.topk(top_k).values[-1]]


def _is_window_maximum(values: Tensor, kernel: int) -> Tensor:
    """bool H x W: whether a value is the maximum of the ``kernel`` x ``kernel`` window around it, clipped to the image.

    Windows double in width, one axis after the other: 6 maxima per pixel for a kernel of 7 where pooling takes 49.
    """
    height, reach = len(values), kernel // 2
    rows = _ROWS if values.device.type == "cpu" else height
    parts = []
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        above, below = max(top - reach, 0), min(bottom + reach, height)
        border = (reach, reach, reach - (top - above), reach - (below - bottom))
        strip = F.pad(values[above:below], border, value=float("-inf"))
        parts.append(values[top:bottom] == _of_whole_windows(strip, kernel))
    return torch.cat(parts)


def _of_whole_windows(values: Tensor, kernel: int) -> Tensor:
    """[H - kernel + 1, W - kernel + 1]: the maximum of each window of H x W."""
    for axis in (0, 1):
        width = 1
        while width < kernel:
            step = min(width, kernel - width)
            length = values.shape[axis] - step
            values = torch.maximum(values.narrow(axis, 0, length), values.narrow(axis, step, length))
            width += step
    return values


def _among(thing_ids: Collection[int], num_classes: int, device: torch.device) -> Tensor:
    """[num_classes] bool: which classes have instances."""
    things = torch.tensor(sorted(thing_ids), dtype=torch.int64, device=device)
    return torch.isin(torch.arange(num_classes, device=device), things)


def group_pixels(centers: Tensor, offset: Tensor, *, mask: Tensor) -> Tensor:
    """Assign pixels to the centre that is nearest to where their offset points; the first one among equals.

    Args:
        centers: K x 2 int64 (y, x).
        offset: 2 x H x W float (dy, dx).
        mask: H x W bool, the pixels to be assigned.

    Returns:
        H x W int64: 1..K where ``mask`` holds (if K > 0), else 0.
    """
    instance_ids = torch.zeros(mask.shape, dtype=torch.int64, device=offset.device)
    if len(centers) == 0:
        return instance_ids
    offset = offset if offset.dtype == torch.float64 else offset.float()  # 16 bits do not hold coordinates
    places = mask.flatten().nonzero()[:, 0]
    rows = places.div(mask.shape[1], rounding_mode="floor")
    pixels = torch.stack((rows, places - rows * mask.shape[1])).to(offset.dtype)
    locations = (pixels + offset.flatten(1).index_select(1, places)).T
    instance_ids.view(-1).index_copy_(0, places, nearest_centers(centers, locations, mask.shape) + 1)
    return instance_ids


def merge_semantic_and_instance(
    sem_seg: Tensor,
    instance_ids: Tensor,
    *,
    num_instances: int,
    scores: Tensor | None = None,
    thing_ids: Collection[int],
    label_divisor: int,
    stuff_area: int,
    void_label: int,
    instance_area: int = 0,
) -> Tensor:
    """Give each instance the class of most of its thing pixels (the lowest one among equals), and stuff the rest.

    One histogram over (instance, class) holds all votes and all stuff areas, and one look-up paints the map.

    Args:
        sem_seg: H x W int64 >= 0, predicted class.
        instance_ids: H x W int64, 0 = no instance, else 1..K.
        num_instances: K.
        scores: K float; None: earlier ones are stronger.
        thing_ids: classes with instances.
        label_divisor: panoptic id = class * label_divisor + number within the class, in order of instance id from 1; 0
            for stuff, and for what is left of a class when its numbers have gone to its strongest instances: as in
            Cityscapes, a group. One number more would be another class.
        stuff_area: stuff classes of fewer pixels become void.
        void_label: also the label of thing pixels without an instance.
        instance_area: instances of fewer thing pixels become void (ours; Detectron2 keeps every instance).

    Returns:
        H x W int64 panoptic ids.
    """
    num_classes = int(sem_seg.max()) + 1
    device = sem_seg.device
    keys = torch.add(sem_seg, instance_ids, alpha=num_classes).flatten()
    counts = torch.zeros((num_instances + 1) * num_classes, dtype=torch.int64, device=device)
    counts = counts.scatter_add_(0, keys, torch.ones_like(keys)).view(num_instances + 1, num_classes)

    classes, is_thing = torch.arange(num_classes, device=device), _among(thing_ids, num_classes, device)
    votes = counts[1:] * is_thing
    area = votes.sum(dim=1, keepdim=True)
    kept = (area > 0) & (area >= instance_area)
    instance_class = votes.argmax(dim=1)
    of_class = F.one_hot(instance_class, num_classes) * kept
    if num_instances >= label_divisor:
        of_class = of_class * _strongest(of_class, scores, label_divisor - 1)[:, None]
    number = (of_class.cumsum(dim=0) * of_class).sum(dim=1, keepdim=True)

    stuff = torch.where(~is_thing & (counts[0] >= stuff_area), classes * label_divisor, void_label)
    things = torch.where(is_thing & kept, instance_class[:, None] * label_divisor + number, void_label)
    labels = torch.cat([stuff[None], things])
    return labels.flatten().index_select(0, keys).view(sem_seg.shape)


def _strongest(of_class: Tensor, scores: Tensor | None, count: int) -> Tensor:
    """[K] bool: the ``count`` strongest instances of each class; ``of_class`` [K, C] is 1 for an instance's class."""
    order = (
        torch.arange(len(of_class), device=of_class.device)
        if scores is None
        else scores.argsort(descending=True, stable=True)
    )
    place = (of_class[order].cumsum(dim=0) * of_class[order]).sum(dim=1)
    return torch.zeros_like(place, dtype=torch.bool).index_put_((order,), place <= count)


@dataclass(frozen=True)
class PostProcessing:
    """How dense predictions become instances (names and defaults are Detectron2's MODEL.PANOPTIC_DEEPLAB keys).

    ``score_instances`` says whether a model's output has ``instance_scores``, too.
    """

    thing_ids: tuple[int, ...]
    label_divisor: int
    stuff_area: int
    threshold: float
    nms_kernel: int
    top_k: int
    score_instances: bool = False
    instance_area: int = 0

    def __call__(self, labels: Tensor, center: Tensor, offset: Tensor) -> Tensor:
        """[H, W] int64 panoptic map (class * label_divisor + instance number, -1 = void) from the likeliest
        classes [H, W] int64 and [1 | 2, H, W] maps."""
        return panoptic_segmentation(
            labels,
            center,
            offset,
            thing_ids=self.thing_ids,
            label_divisor=self.label_divisor,
            stuff_area=self.stuff_area,
            void_label=-1,
            threshold=self.threshold,
            nms_kernel=self.nms_kernel,
            top_k=self.top_k,
            instance_area=self.instance_area,
        )

    def scores(self, panoptic: Tensor, sem_seg: Tensor, center: Tensor) -> tuple[Tensor, Tensor]:
        """Values [K] of the instances in the map that ``__call__`` made of these predictions, and confidence [K]."""
        return scores_of_map(panoptic, sem_seg, center, thing_ids=self.thing_ids, label_divisor=self.label_divisor)
