"""From model outputs and label files to the maps that the metrics compare.

Shapes: H x W pixels, C classes. A panoptic map (integer H x W) holds contiguous id * label_divisor + instance number
(stuff and crowds 0, things from 1), -1 = void.
"""

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from .. import files
from ..coco_format import SegmentInfo
from ..errors import UserError
from ..structures.predictions import GroundTruth, likeliest_classes
from ..taxonomy import Taxonomy
from .counting import distinct_values, positions


def read_ground_truth(record: Mapping, taxonomy: Taxonomy) -> GroundTruth:
    """Reads the panoptic label of a data set record, or else its semantic one; crowds count in the semantic truth."""
    if "pan_seg_file_name" in record:
        ids = files.read_panoptic(record["pan_seg_file_name"])
        table = np.full(int(ids.max(initial=0)) + 1, taxonomy.ignore_label, taxonomy.label_dtype)
        for segment in record["segments_info"]:
            if segment["id"] < len(table):
                table[segment["id"]] = segment["category_id"]
        return GroundTruth(table.take(ids), ids, record["segments_info"])
    if "sem_seg_file_name" in record:
        return GroundTruth(files.read_label(record["sem_seg_file_name"], taxonomy.label_dtype), None, ())
    raise UserError(
        f"expected labels to evaluate {record['file_name']}, found none: name a labelled data set in DATASETS.TEST"
    )


def segments_of(panoptic: np.ndarray, taxonomy: Taxonomy) -> tuple[np.ndarray, list[SegmentInfo]]:
    """Segment ids (value + 1, so that void is 0) and segments (contiguous ``category_id``) of a panoptic map."""
    values = distinct_values(panoptic).tolist()
    segments = [{"id": v + 1, "category_id": v // taxonomy.label_divisor} for v in values if v >= 0]
    return panoptic + 1, segments


def panoptic_map(ids: np.ndarray, segments: Sequence[Mapping], taxonomy: Taxonomy) -> tuple[np.ndarray, dict[int, int]]:
    """Numbers the listed segments per class, those of unions left out.

    Returns:
        the panoptic map (-1 on ids that are not listed) and segment id -> value in it.

    Raises:
        UserError: more instances of a class than the map has numbers for: their ids would be another class's.
    """
    values: dict[int, int] = {}
    instances: Counter = Counter()
    for segment in segments:
        category = segment["category_id"]
        if category >= taxonomy.num_classes:
            continue
        countable = taxonomy.is_thing[category] and not segment.get("iscrowd", 0)
        instances[category] += countable
        values[segment["id"]] = category * taxonomy.label_divisor + (instances[category] if countable else 0)
    if instances and max(instances.values()) >= taxonomy.label_divisor:
        category, count = instances.most_common(1)[0]
        raise UserError(
            f"expected at most {taxonomy.label_divisor - 1} instances of a class in an image, found {count} of "
            f"{taxonomy.names[category]}; merge the smallest into crowds, or leave them out"
        )
    table = np.array([-1, *values.values()], dtype=np.int64)
    return table[positions(ids, list(values))], values


def label_map(labels: np.ndarray, taxonomy: Taxonomy) -> np.ndarray:
    """Panoptic map without instances of a semantic label map."""
    return np.where(labels < taxonomy.num_classes, labels.astype(np.int64) * taxonomy.label_divisor, -1)


def predicted_panoptic_map(output: Mapping, taxonomy: Taxonomy) -> np.ndarray:
    """Panoptic map of an output's ``panoptic_seg``: the map itself, or ids (0 = void) with ``segments_info``."""
    ids, segments = output["panoptic_seg"]
    ids = ids.int().cpu().numpy()  # half the memory to copy and compare
    return ids if segments is None else panoptic_map(ids, segments, taxonomy)[0]


def predicted_labels(output: Mapping) -> np.ndarray:
    """uint8 H x W contiguous ids (int16 where one is 256 or more): an output's ``labels``, or else the arg max of its
    ``sem_seg`` logits [C, H, W]."""
    labels = output["labels"] if "labels" in output else likeliest_classes(output["sem_seg"])
    labels = labels.short().cpu().numpy()
    return labels.astype(np.uint8) if labels.max(initial=0) < 256 else labels


def predicted_scores(output: Mapping) -> dict[int, float] | None:
    """Confidence by segment id (value + 1, as :func:`segments_of` gives) of ``instance_scores``; None without."""
    if "instance_scores" not in output:
        return None
    values, scores = output["instance_scores"]
    return dict(zip((values + 1).tolist(), scores.tolist()))
