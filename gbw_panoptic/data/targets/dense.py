"""Panoptic-DeepLab's training targets: centre heatmap, offsets to the centre and per-pixel weights.

Shapes: H x W image, K thing instances, P their pixels, S = 6 sigma + 3 side of the Gaussian patch of one centre.
Coordinates are (y, x) in pixels, with the centre of the top left pixel at (0, 0).

The values are those of Detectron2's ``PanopticDeepLabTargetGenerator`` (Cheng et al., CVPR 2020, section 3), which
scans the image several times per segment; here, every pixel is looked up once, however many segments there are, and
what instances alone have is computed at their pixels, few on a street.
"""

from dataclasses import dataclass
from typing import Any, Collection, Mapping, Sequence

import cv2
import numpy as np
import torch
from torch import Tensor


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
    of_things = {segment_ids.get(int(s["id"]), 0) for s in segments_info if int(s["category_id"]) in thing_ids} - {0}
    is_thing = np.zeros(len(segment_ids) + 1, dtype=bool)
    is_thing[list(of_things)] = True
    places = np.flatnonzero(look_up(is_thing, rows))
    row_of = rows.ravel()[places]
    areas = np.bincount(row_of, minlength=len(is_thing)).tolist()
    tables = _SegmentTables(len(is_thing), ignore_label)
    for segment in segments_info:
        row = segment_ids.get(int(segment["id"]), 0)
        if row == 0 or is_thing[row] and areas[row] == 0:
            continue
        category, crowd = int(segment["category_id"]), bool(segment.get("iscrowd", 0))
        if not (crowd and ignore_crowd_in_semantic):
            tables.category[row] = category
        if not crowd:
            counts = category in thing_ids or not ignore_stuff_in_offset
            tables.center_weight[row], tables.offset_weight[row] = 1, max(tables.offset_weight[row], counts)
        if category in thing_ids:
            tables.add_instance(row, category)
            if areas[row] < small_instance_area:
                tables.semantic_weight[row] = small_instance_weight
    return {
        "sem_seg": torch.from_numpy(look_up(tables.category, rows)),
        "sem_seg_weights": torch.from_numpy(look_up(tables.semantic_weight, rows)),
        "center_weights": torch.from_numpy(look_up(tables.center_weight, rows))[None],
        "offset_weights": torch.from_numpy(look_up(tables.offset_weight, rows))[None],
        **_instance_labels(places, tables.instance.take(row_of), rows.shape, tables, ignore_label, sigma),
    }


def _instance_labels(
    places: np.ndarray, ids: np.ndarray, size: tuple[int, int], tables: "_SegmentTables", ignore_label: int, sigma: int
) -> dict[str, Tensor | list]:
    """What the instances 1..K, all of which have pixels, are trained on.

    Args:
        places, ids: P integers, the pixels of instances as row * W + column, and the instance of each.
    """
    pixels = np.stack((rows := places // size[1], places - rows * size[1])).astype(np.float64)
    areas = np.bincount(ids)[1:]
    sums = [np.bincount(ids, axis)[1:] for axis in pixels]  # exact: integers below 2^53
    centroids = np.stack(sums) / areas
    classes = np.array(tables.instance_classes, dtype=np.int64)
    touched, squared, nearest = _nearest_centers(centroids, size, sigma)
    gaussian = np.exp(-np.arange(2 * (3 * sigma + 1) ** 2 + 1) / (2 * sigma**2)).astype(np.float32)
    offset = np.zeros((2, size[0] * size[1]), np.float32)
    for axis in range(2):
        offset[axis, places] = centroids[axis].take(ids - 1) - pixels[axis]
    return {
        "center": _map(size, 0.0, touched, gaussian.take(squared)),
        "center_classes": _map(size, ignore_label, touched, classes.take(nearest - 1)),
        "center_points": [centroids[:, instance - 1].tolist() for instance in tables.instance_order],
        "offset": torch.from_numpy(offset).view(2, *size),
        "instance_ids": _map(size, 0, places, ids),
        "instance_classes": torch.from_numpy(classes),
    }


def _map(size: tuple[int, int], elsewhere: float, places: np.ndarray, values: np.ndarray) -> Tensor:
    """[H, W] of the type of ``values``, which stand at ``places``."""
    filled = np.full(size[0] * size[1], elsewhere, values.dtype)
    filled[places] = values
    return torch.from_numpy(filled).view(size)


def _nearest_centers(
    centroids: np.ndarray, size: tuple[int, int], sigma: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The pixels within the patch of a centre (row * W + column), their squared distance from the nearest one and its
    instance, the lowest among equals.

    Centres are rounded to pixels: squared distances are integers. With the instance in the low bits, one minimum finds
    both.
    """
    radius, bits = 3 * sigma + 1, centroids.shape[1].bit_length()
    nowhere = (2 * radius**2 + 1) << bits  # above every squared distance within a patch
    reach = np.arange(-radius, radius + 1) ** 2
    patch = ((reach[:, None] + reach) << bits).astype(np.min_scalar_type(-nowhere))
    found = np.full(size, nowhere, patch.dtype)
    for instance, (y, x) in enumerate(np.rint(centroids).astype(int).T.tolist(), start=1):
        top, left = max(y - radius, 0), max(x - radius, 0)
        part = found[top : y + radius + 1, left : x + radius + 1]
        height, width = part.shape
        above, before = top - y + radius, left - x + radius
        np.minimum(part, patch[above : above + height, before : before + width] | instance, out=part)
    touched = np.flatnonzero(found != nowhere)
    values = found.ravel()[touched]
    return touched, values >> bits, values & ((1 << bits) - 1)


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
        """Keys of semantic and perhaps instance labels; arguments are those of :class:`TargetMaker`."""
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
        row of each listed id in the map's range, or of all if ids are rows. The look-up array spans that range; NumPy's
        zeros cost nothing until touched.
    """
    low, high = int(panoptic_ids.min()), int(panoptic_ids.max())
    listed = [int(segment["id"]) for segment in segments_info]
    if panoptic_ids.dtype == np.uint8 and high <= len(listed) and listed == list(range(1, len(listed) + 1)):
        return panoptic_ids, {i: i for i in listed}
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
