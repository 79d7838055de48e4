"""Centre and offset targets of a map of instances on any device, for labels that are made while training.

Shapes: H x W image, K thing instances, S = 6 sigma + 3 side of the Gaussian patch of one centre.
Coordinates are (y, x) in pixels, with the centre of the top left pixel at (0, 0).
"""

from dataclasses import dataclass

import torch
from torch import Tensor


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
