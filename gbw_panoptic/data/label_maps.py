"""The labels of one source image, read and checked, in a form that is cheap to resize and crop.

Shapes: H x W image, R rows of the segment table.
"""

from dataclasses import dataclass, replace
from typing import Any, Mapping

import numpy as np

from ..coco_format import SegmentInfo
from ..errors import UserError
from ..taxonomy import Taxonomy
from .. import files
from .targets import segment_rows
from .views import resize_ids


@dataclass(frozen=True)
class LabelMap:
    """A label per pixel, as a row of a small table.

    Attributes:
        rows: H x W integers.
        categories: [R] contiguous id of each row, or the ignore label.
        fill: the row of what is not labelled.
        segments: ``segments_info`` with rows as ids; None for labels without instances.
    """

    rows: np.ndarray
    categories: np.ndarray
    fill: int
    segments: list[SegmentInfo] | None

    @property
    def semantic(self) -> np.ndarray:
        """H x W of the taxonomy's ``label_dtype``, contiguous ids or the ignore label."""
        return self.categories.take(self.rows)

    def resize(self, size: tuple[int, int]) -> "LabelMap":
        """The nearest labels at another (height, width)."""
        return replace(self, rows=resize_ids(self.rows, size))


def read_label_map(
    record: Mapping[str, Any], size: tuple[int, int], taxonomy: Taxonomy, *, ignore_crowd: bool = False
) -> LabelMap:
    """Read the panoptic label of a record or, where it has none, the semantic one.

    Args:
        size: (height, width) of the image, which the label must have.
        ignore_crowd: whether crowd segments count as unlabelled in ``semantic``.

    Raises:
        UserError: the file cannot be read, has another size, or holds ids that it must not.
    """
    panoptic = "pan_seg_file_name" in record
    path = record["pan_seg_file_name"] if panoptic else record["sem_seg_file_name"]
    label = files.read_panoptic(path) if panoptic else files.read_label(path, taxonomy.label_dtype)
    if label.shape != size:
        remedy = files.size_remedy(record["file_name"], label.shape, "prepare the data set again")
        raise UserError(
            f"expected a label of the image's size, found {label.shape[0]}x{label.shape[1]} in {path} for "
            f"{size[0]}x{size[1]} in {record['file_name']}; {remedy}"
        )
    if panoptic:
        return _panoptic(label, record, taxonomy, ignore_crowd)
    return _semantic(label, path, taxonomy)


def _semantic(label: np.ndarray, path: str, taxonomy: Taxonomy) -> LabelMap:
    last, ignored = taxonomy.num_labels - 1, taxonomy.ignore_label
    unknown = label[(label > last) & (label != ignored)]
    if len(unknown):
        raise UserError(
            f"expected the ids 0..{last} or {ignored} in {path}, found {unknown[0]}; prepare the data set again"
        )
    return LabelMap(label, np.arange(ignored + 1, dtype=taxonomy.label_dtype), ignored, None)


def _panoptic(ids: np.ndarray, record: Mapping[str, Any], taxonomy: Taxonomy, ignore_crowd: bool) -> LabelMap:
    rows, row_of = segment_rows(ids, record["segments_info"])
    unknown = ids[(rows == 0) & (ids != 0)]
    if len(unknown):
        raise UserError(
            f"expected ids that its annotation lists in {record['pan_seg_file_name']}, found {unknown[0]}; "
            "prepare the data set again"
        )
    segments = [{**s, "id": row_of[s["id"]]} for s in record["segments_info"] if s["id"] in row_of]
    categories = np.full(len(row_of) + 1, taxonomy.ignore_label, dtype=taxonomy.label_dtype)
    for segment in segments:
        if not (segment["iscrowd"] and ignore_crowd):
            categories[segment["id"]] = segment["category_id"]
    return LabelMap(rows.astype(np.int32), categories, 0, segments)
