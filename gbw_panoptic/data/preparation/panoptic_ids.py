"""Panoptic ids of other data sets as those of a taxonomy: the class's id, for things times 1000 plus a number; 0 =
void.

Shapes: H, W are the height and width of the label file.
"""

from typing import Any, Mapping, Sequence

import numpy as np

from ...coco_format import checked_segment
from ...structures.runs import compact_ids
from ...taxonomy import CITYSCAPES, SYNTHIA_TO_CONTIGUOUS, SYNTHIA_VOID_IDS, Taxonomy
from ..categories import SegmentClass
from .report import FaultError, FaultKind


def synthia_panoptic_ids(classes: np.ndarray, instances: np.ndarray) -> np.ndarray:
    """Cityscapes panoptic ids from SYNTHIA's two channels.

    Pixels of one thing class that share an instance number are one instance, connected or not, number 0 included;
    instances are numbered from 0 by ascending SYNTHIA number.

    Args:
        classes, instances: uint16 [H, W].

    Returns:
        int32 [H, W]: Cityscapes id, for things Cityscapes id * 1000 + k; 0 = void.

    Raises:
        ValueError: a class outside SYNTHIA's table, or more instances of a class than fit.
    """
    outside = sorted(set(compact_ids(classes)[0].tolist()) - set(SYNTHIA_TO_CONTIGUOUS) - set(SYNTHIA_VOID_IDS))
    if outside:
        raise ValueError(f"the class ids {outside}")
    keys, index = compact_ids(classes.astype(np.int32) << 16 | instances)
    table, numbers = np.zeros(max(len(keys), 1), dtype=np.int32), [0] * CITYSCAPES.num_classes
    for position, synthia_class in enumerate((keys >> 16).tolist()):
        contiguous = SYNTHIA_TO_CONTIGUOUS.get(synthia_class)
        if contiguous is None:
            continue
        table[position] = CITYSCAPES.dataset_ids[contiguous]
        if CITYSCAPES.is_thing[contiguous]:
            table[position] = table[position] * CITYSCAPES.label_divisor + numbers[contiguous]
            numbers[contiguous] += 1
    if max(numbers) > CITYSCAPES.label_divisor:
        raise ValueError(f"{max(numbers)} instances of one class (at most {CITYSCAPES.label_divisor} fit)")
    return table[index]


def remap_segments(
    ids: np.ndarray,
    segments: Sequence[Mapping[str, Any]],
    classes: Mapping[int, SegmentClass],
    taxonomy: Taxonomy = CITYSCAPES,
) -> np.ndarray:
    """Panoptic ids from another data set's COCO-panoptic segments.

    Segments that become the same stuff class become one, as panoptic quality wants it; instances of a thing class are
    numbered from 0 in the order of ``segments``; crowds and stuff have no number.

    Args:
        ids: int32 [H, W], 0 = void.
        segments: ``segments_info``.
        classes: what each category id becomes.
        taxonomy: of the classes.

    Returns:
        int32 [H, W]: data set id of the class, for things that times ``label_divisor`` plus k; 0 = void.

    Raises:
        FaultError: without a path: a category that ``classes`` lacks, more instances than fit, or segments that are
            not those of ``ids``.
        ValueError: an id that the format does not have, see :func:`~..coco_panoptic.checked_segment`.
    """
    new_ids, numbers = {0: 0}, [0] * taxonomy.num_labels
    for segment in map(checked_segment, segments):
        segment_class = classes.get(segment["category_id"])
        if segment_class is None:
            found = f"the category id {segment['category_id']}, which is not among the categories"
            raise FaultError(FaultKind.OUTSIDE, found)
        if segment["id"] in new_ids:
            raise FaultError(FaultKind.DISAGREE, f"the segment id {segment['id']} twice")
        new_ids[segment["id"]] = _new_id(segment_class, bool(segment["iscrowd"]), numbers, taxonomy)
    if max(numbers) > taxonomy.label_divisor:
        found = f"{max(numbers)} instances of one class (at most {taxonomy.label_divisor} fit)"
        raise FaultError(FaultKind.OUTSIDE, found)
    values, index = compact_ids(ids)
    present = set(values.tolist())
    unlisted, absent = sorted(present - set(new_ids)), sorted(set(new_ids) - present - {0})
    if unlisted or absent:
        found = f"the ids {unlisted[:5]}, which are not listed" if unlisted else f"no pixel of the ids {absent[:5]}"
        raise FaultError(FaultKind.DISAGREE, found)
    return np.array([new_ids[value] for value in values.tolist()], dtype=np.int32)[index]


def _new_id(segment_class: SegmentClass, crowd: bool, numbers: list[int], taxonomy: Taxonomy) -> int:
    """Panoptic id of a segment; ``numbers`` holds the instances so far."""
    contiguous = segment_class.contiguous
    if contiguous is None:
        return 0
    category = taxonomy.label_dataset_ids[contiguous]
    if not taxonomy.label_is_thing[contiguous] or crowd or segment_class.crowd:
        return category
    numbers[contiguous] += 1
    return category * taxonomy.label_divisor + numbers[contiguous] - 1
