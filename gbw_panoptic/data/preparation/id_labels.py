"""Label files of ids (or of colours), with or without instance numbers, as those of a taxonomy.

Shapes: H, W are the height and width of the label file.
"""

from typing import Callable, Mapping

import numpy as np

from ...structures.runs import compact_ids
from ...taxonomy import Taxonomy
from ..categories import IdTable, SegmentClass


def contiguous_labels(values: np.ndarray, table: IdTable) -> np.ndarray:
    """Labels of a file without instances.

    Args:
        values: integers [H, W].

    Returns:
        ``label_dtype`` of the taxonomy [H, W]: contiguous ids, the ignore label where void.

    Raises:
        ValueError: a value that the table lacks; the message is a noun phrase.
    """
    classes, ignored = table.resolve(), table.taxonomy.ignore_label

    def label(value: int) -> int:
        found = classes[value].contiguous
        return ignored if found is None else found

    return _looked_up(values, classes, lambda value: (value, None), label).astype(table.taxonomy.label_dtype)


def panoptic_ids(values: np.ndarray, table: IdTable) -> np.ndarray:
    """Panoptic ids of a file with instance numbers, which stay; stuff has none, and things without one are a crowd.

    Args:
        values: integers [H, W], ids and numbers as the table's ``numbering`` has it.

    Returns:
        int32 [H, W]: data set id of the class, for things that times ``label_divisor`` plus the number; 0 = void.

    Raises:
        ValueError: a value that the table lacks, or a number that does not fit; the message is a noun phrase.
    """
    classes, taxonomy = table.resolve(), table.taxonomy

    def new_id(value: int) -> int:
        class_id, number = table.split_value(value)
        return _panoptic_id(classes[class_id], number, taxonomy)

    return _looked_up(values, classes, table.split_value, new_id).astype(np.int32)


def _panoptic_id(segment_class: SegmentClass, number: int | None, taxonomy: Taxonomy) -> int:
    label = segment_class.contiguous
    if label is None:
        return 0
    category = taxonomy.label_dataset_ids[label]
    return (
        category if number is None or not taxonomy.label_is_thing[label] else category * taxonomy.label_divisor + number
    )


def _looked_up(
    values: np.ndarray,
    known: Mapping[int, SegmentClass],
    split: Callable[[int], tuple[int, int | None]],
    convert: Callable[[int], int],
) -> np.ndarray:
    distinct, index = compact_ids(values)
    outside = sorted({split(value)[0] for value in distinct.tolist()} - known.keys())
    if outside:
        more = f" and {len(outside) - 5} more" if len(outside) > 5 else ""
        raise ValueError(f"the ids {outside[:5]}{more}")
    return np.array([convert(value) for value in distinct.tolist()], dtype=np.int64)[index]
