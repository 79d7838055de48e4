"""The labels of one source image, read and checked, in a form that is cheap to resize and crop.

Shapes: H x W image, R rows of the segment table.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Mapping

import numpy as np

from .. import files
from ..coco_format import SegmentInfo
from ..errors import UserError
from ..taxonomy import Taxonomy
from .raw_cache import RawCache
from .targets import look_up
from .views import Window, resize_ids


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
        return look_up(self.categories, self.rows)

    def within(self, window: Window) -> "LabelMap":
        """The part of ``window`` that lies on the map."""
        rows = self.rows[window.top : window.top + window.height, window.left : window.left + window.width]
        return replace(self, rows=rows)

    def resize(self, size: tuple[int, int]) -> "LabelMap":
        """The nearest labels at another (height, width)."""
        return replace(self, rows=resize_ids(self.rows, size))


def read_label_map(
    record: Mapping[str, Any],
    size: tuple[int, int],
    taxonomy: Taxonomy,
    *,
    ignore_crowd: bool = False,
    cache: RawCache = RawCache(),
) -> LabelMap:
    """Read the panoptic label of a record or, where it has none, the semantic one.

    Args:
        size: (height, width) of the image, which the label must have.
        ignore_crowd: whether crowd segments count as unlabelled in ``semantic``.
        cache: of decoded labels.

    Raises:
        UserError: the file cannot be read, has another size, or holds ids that it must not.
    """
    if "pan_seg_file_name" not in record:
        path = record["sem_seg_file_name"]
        require = partial(_require_size, path=path, size=size, record=record)
        rows = cache(lambda: _semantic_rows(path, taxonomy, require), path, taxonomy.num_labels, taxonomy.ignore_label)
        require(rows)
        return LabelMap(
            rows, np.arange(taxonomy.ignore_label + 1, dtype=taxonomy.label_dtype), taxonomy.ignore_label, None
        )
    path = record["pan_seg_file_name"]
    row_of = {i: row for row, i in enumerate(dict.fromkeys(s["id"] for s in record["segments_info"]), start=1)}
    require = partial(_require_size, path=path, size=size, record=record)
    rows = cache(lambda: _panoptic_rows(path, row_of, require), path, *row_of)
    require(rows)  # of the cache's, too
    segments = [{**s, "id": row_of[s["id"]]} for s in record["segments_info"]]
    categories = np.full(len(row_of) + 1, taxonomy.ignore_label, dtype=taxonomy.label_dtype)
    for segment in segments:
        if not (segment["iscrowd"] and ignore_crowd):
            categories[segment["id"]] = segment["category_id"]
    return LabelMap(rows, categories, 0, segments)


def _require_size(rows: np.ndarray, path: str, size: tuple[int, int], record: Mapping[str, Any]) -> None:
    if rows.shape == size:
        return
    remedy = files.size_remedy(record["file_name"], rows.shape, "prepare the data set again")
    raise UserError(
        f"expected a label of the image's size, found {rows.shape[0]}x{rows.shape[1]} in {path} for "
        f"{size[0]}x{size[1]} in {record['file_name']}; {remedy}"
    )


def _semantic_rows(path: str, taxonomy: Taxonomy, require: Callable[[np.ndarray], None]) -> np.ndarray:
    """H x W of the taxonomy's ``label_dtype``: the file itself."""
    label = files.read_label(path, taxonomy.label_dtype)
    require(label)
    last, ignored = taxonomy.num_labels - 1, taxonomy.ignore_label
    unknown = label[(label > last) & (label != ignored)]
    if len(unknown):
        raise UserError(
            f"expected the ids 0..{last} or {ignored} in {path}, found {unknown[0]}; prepare the data set again"
        )
    return label


def _panoptic_rows(path: str, row_of: Mapping[int, int], require: Callable[[np.ndarray], None]) -> np.ndarray:
    """H x W uint8, or uint16 of more than 255 rows: the row of each pixel's id, 0 for the id 0 unless it is listed.

    Labels consist of long runs of equal ids: each run is looked up once.
    """
    ids = files.read_panoptic(path)
    require(ids)
    flat = ids.ravel()
    starts = np.flatnonzero(np.concatenate(([flat.size > 0], flat[1:] != flat[:-1])))
    values = flat[starts]
    table = np.zeros(int(values.max(initial=0)) + 1, np.min_scalar_type(len(row_of)))  # costs nothing until touched
    for segment_id, row in row_of.items():
        if segment_id < len(table):
            table[segment_id] = row
    run_rows = table[values]
    unknown = values[(run_rows == 0) & (values != 0)]
    if len(unknown):
        raise UserError(
            f"expected ids that its annotation lists in {path}, found {unknown[0]}; prepare the data set again"
        )
    return np.repeat(run_rows, np.diff(starts, append=flat.size)).reshape(ids.shape)
