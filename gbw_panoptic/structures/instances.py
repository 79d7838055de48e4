"""Instances of a map: a teacher's, centres and offsets for labels that are made while training, and the score of each.

Shape legend: H x W image, K (bound on the number of) thing instances, C classes, M pixels, S = 6 sigma + 3 side of the
Gaussian patch of one centre. Coordinates are (y, x) in pixels, with the centre of the top left pixel at (0, 0).
"""

from collections.abc import Collection
from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class PseudoInstances:
    """A teacher's instances of one target image.

    Attributes:
        ids: [H, W] int64, 0 = none, else 1..K; ids may be absent.
        classes: [K] int64, class of instance k at index k - 1.
        weights: [K] float in 0..1, factor of each instance's losses.
        pixel_weights: [H, W] float >= 0, factor of the losses at each pixel; 0 = no such losses.
    """

    ids: Tensor
    classes: Tensor
    weights: Tensor
    pixel_weights: Tensor

    @classmethod
    def none(cls, like: Tensor) -> "PseudoInstances":
        """No instances, and no losses on their absence, in a map of the size and device of ``like`` [H, W] float."""
        ids = torch.zeros_like(like, dtype=torch.int64)
        return cls(ids, ids.new_empty(0), like.new_empty(0), torch.zeros_like(like))

    def sure(self, scores: Tensor, least: float, believed: Tensor) -> "PseudoInstances":
        """Without the instances of less score, [K] float, and without pixels that are not ``believed`` [H, W] bool."""
        kept = torch.cat((scores.new_zeros(1, dtype=torch.bool), scores >= least))
        return replace(self, ids=torch.where(kept[self.ids] & believed, self.ids, 0))

    def num_kept(self) -> Tensor:
        """Scalar float: the number of instances with a pixel that counts."""
        return self._number(torch.where(self.pixel_weights > 0, self.ids, 0))

    def num_present(self) -> Tensor:
        """Scalar float: the number of instances with a pixel."""
        return self._number(self.ids)

    def _number(self, ids: Tensor) -> Tensor:
        occurs = torch.zeros(len(self.classes) + 1, dtype=torch.bool, device=ids.device)
        occurs[ids.flatten()] = True
        return occurs[1:].sum().float()


def instance_targets(
    instance_ids: Tensor,
    num_instances: int,
    *,
    sigma: int,
    centroids: Tensor | None = None,
) -> dict[str, Tensor]:
    """Centre and offset targets of a map of instances; on any device, without waiting for it.

    Args:
        instance_ids: H x W int64, 0 = no instance, else 1..K. Ids may be absent.
        num_instances: K, an upper bound of the ids.
        sigma: standard deviation of the Gaussian around a centre, in pixels.
        centroids: K x 2 float64 where they are known better than from ``instance_ids``; all of them are on the heatmap.

    Returns:
        ``centroids``: K x 2 float64, mean (y, x) of the instance's pixels (zeros if it has none), unless they were
            given.
        ``areas``: K int64, pixels of the instance.
        ``center``: H x W float32 in 0..1, the maximum over Gaussian patches of S x S pixels around rounded centroids.
        ``center_instances``: H x W int64, the instance whose Gaussian is largest (the lowest id among equals); 0 where
        ``center`` is 0.
        ``offset``: 2 x H x W float32, (dy, dx) = centroid - pixel; 0 outside of instances.
    """
    pixels = InstancePixels.all_of(instance_ids)
    areas, means = pixels.areas_and_centroids(num_instances)
    present = areas > 0 if centroids is None else torch.ones_like(areas, dtype=torch.bool)
    centroids = means if centroids is None else centroids
    center, center_instances = _center_heatmap(centroids, present, instance_ids.shape, sigma)
    return {
        "centroids": centroids,
        "areas": areas,
        "center": center,
        "center_instances": center_instances,
        "offset": pixels.offsets(centroids, instance_ids.shape),
    }


@dataclass(frozen=True)
class InstancePixels:
    """The pixels of a map, N of them.

    Attributes:
        rows, columns: [N] int64.
        ids: [N] int64, 0 = no instance.
    """

    rows: Tensor
    columns: Tensor
    ids: Tensor

    @classmethod
    def all_of(cls, instance_ids: Tensor) -> "InstancePixels":
        """Those of a map H x W int64."""
        (height, width), device = instance_ids.shape, instance_ids.device
        y, x = (torch.arange(n, device=device) for n in (height, width))
        rows = y.repeat_interleave(width, output_size=height * width)
        return cls(rows, x.repeat(height), instance_ids.flatten())

    def areas_and_centroids(self, num_instances: int) -> tuple[Tensor, Tensor]:
        """Pixel counts [K] int64 and mean (y, x) [K, 2] float64 (exact: integer sums, one division)."""

        def sum_per_instance(values: Tensor) -> Tensor:
            sums = torch.zeros(num_instances + 1, dtype=torch.int64, device=self.ids.device)
            return sums.scatter_add_(0, self.ids, values)[1:]

        areas = sum_per_instance(torch.ones_like(self.ids))
        sums = torch.stack([sum_per_instance(self.rows), sum_per_instance(self.columns)], dim=1)
        return areas, sums.double() / areas.clamp(min=1)[:, None]

    def offsets(self, centroids: Tensor, size: tuple[int, int]) -> Tensor:
        """[2, H, W] float32: centroid - pixel, subtracted in float64; 0 where there is no instance."""
        table = torch.cat([centroids.new_zeros(1, 2), centroids])
        axes = [
            (table[:, axis].index_select(0, self.ids) - pixel).float().masked_fill_(self.ids == 0, 0)
            for axis, pixel in enumerate((self.rows, self.columns))
        ]
        return torch.stack(axes).view(2, *size)


def _center_heatmap(centroids: Tensor, present: Tensor, size: torch.Size, sigma: int) -> tuple[Tensor, Tensor]:
    """Heatmap [H, W] float32 and the instance of the largest Gaussian [H, W] int64.

    Centres are rounded to pixels, so that the largest Gaussian is the one of least squared distance, an integer. With
    the id in its low bits, one scatter of minima finds the distance and, among equals, the lowest id.
    """
    height, width = size
    num_instances, device = len(centroids), centroids.device
    radius = 3 * sigma + 1
    id_bits = num_instances.bit_length()
    no_center = 2 * radius**2 + 1  # above every squared distance within a patch

    narrow = torch.int32 if no_center << id_bits < 2**31 else torch.int64
    reach = torch.arange(-radius, radius + 1, device=device)
    squared_distances = (reach[:, None] ** 2 + reach[None, :] ** 2).to(narrow)
    y, x = torch.round(centroids).long().unbind(1)
    y, x = (y[:, None] + reach)[:, :, None], (x[:, None] + reach)[:, None, :]
    inside = ((y >= 0) & (y < height) & present[:, None, None]) & ((x >= 0) & (x < width))
    ids = torch.arange(1, num_instances + 1, dtype=narrow, device=device)[:, None, None]
    keys = torch.where(inside, squared_distances << id_bits | ids, no_center << id_bits)
    pixels = torch.where(inside, y * width + x, 0)

    nearest = torch.full((height * width,), no_center << id_bits, dtype=narrow, device=device)
    nearest.scatter_reduce_(0, pixels.flatten(), keys.flatten(), "amin")
    gaussian = torch.exp(-torch.arange(no_center + 1, dtype=torch.float64, device=device) / (2 * sigma**2)).float()
    gaussian[no_center] = 0
    center = gaussian.index_select(0, nearest >> id_bits)
    return center.view(height, width), (nearest & ((1 << id_bits) - 1)).long().view(height, width)


def pixel_scores(logits: Tensor, classes: Tensor) -> Tensor:
    """float64 [M]: probability of the class ``classes`` [M] (int64) at each pixel of ``logits`` [C, M]."""
    logits = logits.float()
    return (logits.gather(0, classes[None])[0] - logits.logsumexp(0)).exp().double()


def scores_of_instances(probability: Tensor, instance: Tensor, pixels: Tensor, center: Tensor, count: int) -> Tensor:
    """Panoptic-DeepLab's confidence (arXiv 1911.10194, section 3.3, as in Detectron2): the mean probability of the
    instance's class over its pixels times the heat at their centroid, which is rounded down.

    No value is read on the host.

    Args:
        probability: float64 [M], of the instance's class.
        instance: int64 [M] in 0..K - 1.
        pixels: int64 [M, 2], row and column.
        center: [H, W], centre heatmap.
        count: K.

    Returns:
        float32 [K], as large as the heat allows; 0 without pixels.
    """
    zeros = torch.zeros(count, dtype=torch.int64, device=instance.device)
    areas = zeros.index_add(0, instance, torch.ones_like(instance)).clamp_(min=1)
    mean = zeros.double().index_add_(0, instance, probability) / areas
    centroids = zeros[:, None].repeat(1, 2).index_add_(0, instance, pixels).div_(areas[:, None], rounding_mode="floor")
    row, column = centroids.unbind(1)
    return (mean * center[row, column]).float()


def scores_of_map(
    panoptic: Tensor, sem_seg: Tensor, center: Tensor, *, thing_ids: Collection[int], label_divisor: int
) -> tuple[Tensor, Tensor]:
    """Score of every instance of a panoptic map (:func:`scores_of_instances`).

    Args:
        panoptic: H x W int64, class * label_divisor + number, -1 = void.
        sem_seg: C x H x W logits.
        center: H x W or 1 x H x W, centre heatmap.
        thing_ids: classes with instances.

    Returns:
        The K values of things in ``panoptic`` (int64, ascending) and their confidence (float32 [K]), about 0..1.
    """
    flat = panoptic.flatten() + 1
    seen = torch.zeros(int(flat.max()) + 1, dtype=torch.bool, device=flat.device).scatter_(0, flat, True)
    present = seen.nonzero()[:, 0] - 1
    classes = present.div(label_divisor, rounding_mode="floor")
    is_thing = torch.isin(classes, torch.tensor(sorted(thing_ids), dtype=torch.int64, device=panoptic.device))
    values = present[is_thing]
    numbers = torch.full((len(seen),), -1, dtype=torch.int32, device=panoptic.device)
    numbers[values + 1] = torch.arange(len(values), dtype=torch.int32, device=panoptic.device)
    instance = numbers.index_select(0, flat)
    places = (instance >= 0).nonzero()[:, 0]  # things are a small part of a street
    instance = instance.index_select(0, places).long()
    probability = pixel_scores(sem_seg.flatten(1).index_select(1, places), classes[is_thing].index_select(0, instance))
    width = panoptic.shape[1]
    pixels = torch.stack((places.div(width, rounding_mode="floor"), places % width), dim=1)
    return values, scores_of_instances(probability, instance, pixels, center.reshape(center.shape[-2:]), len(values))
