"""Panoptic-DeepLab's training targets: centre heatmap, offsets to the centre and per-pixel weights.

Shapes: H x W image, K thing instances, S = 6 sigma + 3 side of the Gaussian patch of one centre.
Coordinates are (y, x) in pixels, with the centre of the top left pixel at (0, 0).

The values are those of Detectron2's ``PanopticDeepLabTargetGenerator`` (Cheng et al., CVPR 2020, section 3), which
scans the image several times per segment; here, every pixel is looked up once, however many segments there are.
"""

from dataclasses import dataclass
from typing import Any, Collection, Mapping, Sequence

import cv2
import numpy as np
import torch
from torch import Tensor


def instance_targets(
    instance_ids: Tensor,
    num_instances: int,
    *,
    sigma: int,
    centroids: Tensor | None = None,
    pixels: "InstancePixels | None" = None,
) -> dict[str, Tensor]:
    """Centre and offset targets of a map of instances; on any device, without waiting for it.

    Args:
        instance_ids: H x W int64, 0 = no instance, else 1..K. Ids may be absent.
        num_instances: K, an upper bound of the ids.
        sigma: standard deviation of the Gaussian around a centre, in pixels.
        centroids: K x 2 float64 where they are known better than from ``instance_ids``; all of them are on the heatmap.
        pixels: those where ``instance_ids`` is not 0, if they are known; no others are looked at then.

    Returns:
        ``centroids``: K x 2 float64, mean (y, x) of the instance's pixels (zeros if it has none), unless they were
            given.
        ``areas``: K int64, pixels of the instance.
        ``center``: H x W float32 in 0..1, the maximum over Gaussian patches of S x S pixels around rounded centroids.
        ``center_instances``: H x W int64, the instance whose Gaussian is largest (the lowest id among equals); 0 where
        ``center`` is 0.
        ``offset``: 2 x H x W float32, (dy, dx) = centroid - pixel; 0 outside of instances.
    """
    pixels = InstancePixels.all_of(instance_ids) if pixels is None else pixels
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
    """Some pixels of a map, N of them: all that belong to an instance, and perhaps others.

    Attributes:
        places: [N] int64, row * W + column; rows, columns: [N] int64.
        ids: [N] int64, 0 = no instance.
    """

    places: Tensor
    rows: Tensor
    columns: Tensor
    ids: Tensor

    @classmethod
    def all_of(cls, instance_ids: Tensor) -> "InstancePixels":
        """Those of a map H x W int64."""
        (height, width), device = instance_ids.shape, instance_ids.device
        y, x = (torch.arange(n, device=device) for n in (height, width))
        rows = y.repeat_interleave(width, output_size=height * width)
        return cls(torch.arange(height * width, device=device), rows, x.repeat(height), instance_ids.flatten())

    @classmethod
    def of_table(cls, table: np.ndarray, rows: np.ndarray) -> "InstancePixels":
        """Those that ``table[rows]``, int64 H x W, gives to an instance."""
        places = np.flatnonzero(look_up(table > 0, rows))
        y = places // rows.shape[1]
        arrays = (places, y, places - y * rows.shape[1], table.take(rows.ravel()[places]))
        return cls(*map(torch.from_numpy, arrays))

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
        offset = torch.zeros((2, size[0] * size[1]), dtype=torch.float32, device=centroids.device)
        for axis, pixel in enumerate((self.rows, self.columns)):
            values = (table[:, axis].index_select(0, self.ids) - pixel).float().masked_fill_(self.ids == 0, 0)
            offset[axis].index_copy_(0, self.places, values)
        return offset.view(2, *size)


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


def panoptic_deeplab_targets(
    panoptic_ids: np.ndarray | Tensor,
    segments_info: Sequence[Mapping],
    *,
    thing_ids: Collection[int],
    ignore_label: int,
    sigma: int,
    ignore_stuff_in_offset: bool = True,
    small_instance_area: int = 0,
    small_instance_weight: float = 1,
    ignore_crowd_in_semantic: bool = False,
) -> dict[str, Tensor | list]:
    """All targets of one labelled image, equal to Detectron2's, with its keys and three more.

    A crowd segment of a thing class gets a centre and offsets, too, as in Detectron2; its weights are 0 there.

    Args:
        panoptic_ids: H x W integers (an array or a CPU tensor), segment ids.
        segments_info: ``id``, ``category_id`` (contiguous) and ``iscrowd`` of the segments. Pixels of an id that is not
            listed are ignored; a segment may be absent from the map (cropped away).
        thing_ids: contiguous ids of the thing classes.
        ignore_label: label of pixels without a segment.
        sigma: standard deviation of the Gaussian around a centre, in pixels.
        ignore_stuff_in_offset: whether stuff is left out of the offset loss rather than trained to be 0.
        small_instance_area: instances of fewer visible pixels get ``small_instance_weight`` in the semantic loss.
        small_instance_weight: see above; other pixels get 1.
        ignore_crowd_in_semantic: whether crowd pixels get ``ignore_label``.

    Returns:
        ``sem_seg`` H x W int64; ``sem_seg_weights`` H x W float32; ``center`` H x W float32; ``center_weights``
        1 x H x W float32; ``center_points``, a list of [y, x]; ``offset`` 2 x H x W float32, (dy, dx) in pixels;
        ``offset_weights`` 1 x H x W float32; ``instance_ids`` H x W int64, 0 or 1..K; ``instance_classes`` K int64;
        ``center_classes`` H x W int64, the class of the instance whose Gaussian is largest, or ``ignore_label``.
    """
    rows, segment_ids = segment_rows(np.asarray(panoptic_ids), segments_info)
    areas = counts_of_rows(rows, len(segment_ids) + 1)
    tables = _SegmentTables(len(areas), ignore_label)
    for segment in segments_info:
        row = segment_ids.get(int(segment["id"]), 0)
        if row == 0 or areas[row] == 0:
            continue
        category, crowd = int(segment["category_id"]), bool(segment.get("iscrowd", 0))
        is_thing = category in thing_ids
        if not (crowd and ignore_crowd_in_semantic):
            tables.category[row] = category
        if not crowd:
            tables.center_weight[row] = 1
            tables.offset_weight[row] = max(tables.offset_weight[row], is_thing or not ignore_stuff_in_offset)
        if is_thing:
            tables.add_instance(row, category)
            if areas[row] < small_instance_area:
                tables.semantic_weight[row] = small_instance_weight
    return _targets_of_rows(rows, tables, ignore_label, sigma)


def _targets_of_rows(
    rows: np.ndarray, tables: "_SegmentTables", ignore_label: int, sigma: int
) -> dict[str, Tensor | list]:
    """Look every pixel's targets up by the row (H x W) of its segment."""
    instance_ids = torch.from_numpy(look_up(tables.instance, rows))
    classes = torch.tensor(tables.instance_classes, dtype=torch.int64)
    pixels = InstancePixels.of_table(tables.instance, rows)  # few, on a street
    instances = instance_targets(instance_ids, len(classes), sigma=sigma, pixels=pixels)
    center_table = torch.cat([classes.new_tensor([ignore_label]), classes])
    centroids = instances["centroids"].tolist()
    return {
        "sem_seg": torch.from_numpy(look_up(tables.category, rows)),
        "center": instances["center"],
        "center_points": [centroids[instance - 1] for instance in tables.instance_order],
        "offset": instances["offset"],
        "sem_seg_weights": torch.from_numpy(look_up(tables.semantic_weight, rows)),
        "center_weights": torch.from_numpy(look_up(tables.center_weight, rows))[None],
        "offset_weights": torch.from_numpy(look_up(tables.offset_weight, rows))[None],
        "center_classes": center_table.index_select(0, instances["center_instances"].flatten()).view_as(instance_ids),
        "instance_ids": instance_ids,
        "instance_classes": classes,
    }


@dataclass(frozen=True)
class DenseTargets:
    """Labels and weights of pixels and, for panoptic labels and task, centres and offsets of instances.

    Attributes:
        options: keyword arguments of :func:`panoptic_deeplab_targets`; None for the semantic task.
    """

    options: Mapping[str, Any] | None

    @property
    def ignore_crowd(self) -> bool:
        """Whether crowds have no label in ``sem_seg``."""
        return bool(self.options and self.options.get("ignore_crowd_in_semantic"))

    def __call__(
        self, rows: np.ndarray, categories: np.ndarray, segments: Sequence[Mapping] | None
    ) -> dict[str, Tensor]:
        """Keys of semantic and perhaps instance labels; arguments are those of :class:`~.maker.TargetMaker`."""
        if self.options is None or segments is None:
            sem_seg = torch.from_numpy(categories[rows].astype(np.int64))
            return {"sem_seg": sem_seg, "sem_seg_weights": torch.ones(sem_seg.shape)}
        targets = panoptic_deeplab_targets(rows, segments, **self.options)
        del targets["center_points"]  # a list of its own length in every sample; instance_ids say the same
        return targets


def segment_rows(panoptic_ids: np.ndarray, segments_info: Sequence[Mapping]) -> tuple[np.ndarray, dict[int, int]]:
    """Replace ids (up to 2^24, sparse) by rows of a small table.

    Returns:
        H x W uint8 (wider where there are more rows), the row of the segment, 0 for ids that are not listed; and the
        row of each listed id in the map's range. The look-up array spans that range; NumPy's zeros cost nothing until
        touched.
    """
    low, high = int(panoptic_ids.min()), int(panoptic_ids.max())
    listed = (int(segment["id"]) for segment in segments_info)
    segment_ids = {i: row for row, i in enumerate(dict.fromkeys(i for i in listed if low <= i <= high), start=1)}
    table = np.zeros(high - low + 1, dtype=np.min_scalar_type(len(segment_ids)))
    for segment_id, row in segment_ids.items():
        table[segment_id - low] = row
    return look_up(table, panoptic_ids if low == 0 else panoptic_ids - low), segment_ids


def counts_of_rows(rows: np.ndarray, length: int) -> list[int]:
    """How often each row occurs."""
    if rows.dtype == np.uint8 and rows.size < 2**24:  # float32 counts exactly, three times as fast
        return cv2.calcHist([rows], [0], None, [256], [0, 256]).ravel()[:length].astype(int).tolist()
    return np.bincount(rows.ravel(), minlength=length).tolist()


def look_up(table: np.ndarray, index: np.ndarray) -> np.ndarray:
    """``table[index]`` [H, W] of a table of numbers; ten times as fast where ``index`` is uint8."""
    if index.dtype != np.uint8:
        return table.take(index)
    whole = np.zeros(256, table.dtype)
    whole[: len(table)] = table[:256]
    same_width = {np.dtype(np.int64): np.float64, np.dtype(bool): np.uint8}.get(table.dtype, table.dtype)
    return cv2.LUT(index, whole.view(same_width)).view(table.dtype)  # OpenCV 4 lacks some types; bits are copied


class _SegmentTables:
    """What each row of the segment table means for its pixels; row 0 stands for pixels without a segment."""

    def __init__(self, num_rows: int, ignore_label: int) -> None:
        self.category = np.full(num_rows, ignore_label, dtype=np.int64)
        self.instance = np.zeros(num_rows, dtype=np.int64)
        self.semantic_weight = np.ones(num_rows, dtype=np.float32)
        self.center_weight = np.zeros(num_rows, dtype=np.float32)
        self.offset_weight = np.zeros(num_rows, dtype=np.float32)
        self.instance_classes: list[int] = []
        self.instance_order: list[int] = []  # one entry per listed thing segment, also if it is listed twice

    def add_instance(self, row: int, category: int) -> None:
        if self.instance[row] == 0:
            self.instance_classes.append(category)
            self.instance[row] = len(self.instance_classes)
        self.instance_classes[self.instance[row] - 1] = category
        self.instance_order.append(int(self.instance[row]))
