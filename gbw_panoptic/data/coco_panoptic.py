"""COCO-panoptic annotations: reading with validation, and the description of a segment map.

Shapes: H, W are the height and width of one label file.
"""

import os
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import find_objects

from ..errors import UserError
from ..taxonomy import Taxonomy
from .. import files


@dataclass(frozen=True)
class PanopticAnnotation:
    """One image of a COCO-panoptic JSON; ``category_id`` in ``segments_info`` is the data set id."""

    image_id: str | int
    image_file: str
    label_file: str
    segments_info: list[dict]


def load_panoptic_json(path: str | os.PathLike, taxonomy: Taxonomy) -> list[PanopticAnnotation]:
    """Read and validate a COCO-panoptic JSON.

    Raises:
        UserError: missing or damaged file, keys absent, categories or segments outside ``taxonomy``, ids that occur
            twice, file names that leave their folder.
    """
    value = files.read_json(path)
    try:
        _check_categories(value["categories"], taxonomy)
        images = {image["id"]: files.safe_file_name(image["file_name"]) for image in value["images"]}
        annotations = [
            PanopticAnnotation(
                annotation["image_id"],
                images[annotation["image_id"]],
                files.safe_file_name(annotation["file_name"]),
                _check_segments(annotation["segments_info"], taxonomy),
            )
            for annotation in value["annotations"]
        ]
        if not len({a.image_id for a in annotations}) == len(annotations) == len(value["images"]):
            raise ValueError(f"{len(annotations)} annotations of {len(value['images'])} images")
    except KeyError as error:
        raise UserError(f"expected COCO-panoptic JSON, found no {error} in {path}; prepare the data again") from None
    except (TypeError, ValueError) as error:
        raise UserError(f"expected COCO-panoptic JSON, found {error} in {path}; prepare the data again") from None
    return annotations


def save_panoptic_json(
    path: str | os.PathLike, images: list[dict], annotations: list[dict], taxonomy: Taxonomy
) -> None:
    """Write a COCO-panoptic JSON, atomically."""
    files.write_json(path, {"images": images, "annotations": annotations, "categories": taxonomy.categories()})


def describe_segments(ids: np.ndarray, taxonomy: Taxonomy) -> list[dict]:
    """``segments_info`` of a map of panoptic ids: data set id, or data set id * ``label_divisor`` + instance number.

    The rule is cityscapesScripts': a thing segment without instance number is a crowd.

    Args:
        ids: int32 [H, W], 0 = void.

    Returns:
        One dict per segment, by ascending id: ``id``, ``category_id``, ``area`` in pixels, ``bbox`` (x, y, width,
        height) in pixels, ``iscrowd``.

    Raises:
        UserError: an id belongs to no class of ``taxonomy``.
    """
    values, index = compact_ids(ids)
    areas = np.bincount(index.ravel(), minlength=len(values))
    boxes = find_objects(index + 1)
    segments = []
    for value, area, (rows, columns) in zip(values.tolist(), areas.tolist(), boxes):
        if value == 0:
            continue
        category = value if value < taxonomy.label_divisor else value // taxonomy.label_divisor
        if category not in taxonomy.contiguous_id:
            raise UserError(f"expected {taxonomy.name} classes, found the panoptic id {value}; prepare the data again")
        is_thing = taxonomy.is_thing[taxonomy.contiguous_id[category]]
        box = [columns.start, rows.start, columns.stop - columns.start, rows.stop - rows.start]
        crowd = int(is_thing and value < taxonomy.label_divisor)
        segments.append({"id": value, "category_id": category, "area": area, "bbox": box, "iscrowd": crowd})
    return segments


def compact_ids(ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Like ``np.unique(ids, return_inverse=True)`` for ids >= 0, by counting instead of sorting.

    Returns:
        values: the K ids that occur, ascending.
        index: int32 [H, W], 0..K-1.
    """
    values = np.flatnonzero(np.bincount(ids.ravel()))
    table = np.zeros(int(values[-1]) + 1 if len(values) else 1, dtype=np.int32)
    table[values] = np.arange(len(values), dtype=np.int32)
    return values, table[ids]


def _check_categories(categories: list[dict], taxonomy: Taxonomy) -> None:
    for category in categories:
        contiguous = taxonomy.contiguous_id.get(category["id"])
        if contiguous is None:
            raise ValueError(f"the category {category['id']} ({category['name']}), which {taxonomy.name} lacks,")
        expected = (taxonomy.names[contiguous], int(taxonomy.is_thing[contiguous]))
        if (category["name"], int(category["isthing"])) != expected:
            raise ValueError(f"the category {category['id']} as {category['name']} instead of {expected[0]}")


def _check_segments(segments: list[dict], taxonomy: Taxonomy) -> list[dict]:
    for segment in segments:
        if segment["category_id"] not in taxonomy.contiguous_id:
            raise ValueError(f"a segment of category {segment['category_id']}, which {taxonomy.name} lacks,")
        if type(segment["id"]) is not int or not 0 < segment["id"] < 1 << 24:
            raise ValueError(f"the segment id {segment['id']!r}")
        if segment["iscrowd"] not in (0, 1):
            raise ValueError(f"iscrowd {segment['iscrowd']!r}")
    if len({segment["id"] for segment in segments}) != len(segments):
        raise ValueError("a segment id that occurs twice")
    return segments
