"""COCO-panoptic annotations: reading with validation, and the description of a segment map.

Shapes: H, W are the height and width of one label file.
"""

import os
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Iterator, Mapping

import numpy as np

from .. import files
from ..coco_format import SegmentInfo, checked_segments, is_thing
from ..errors import UserError
from ..structures.runs import runs
from ..taxonomy import Taxonomy


@dataclass(frozen=True)
class PanopticAnnotation:
    """One image of a COCO-panoptic JSON; ``category_id`` in ``segments_info`` is the data set id."""

    image_id: str | int
    image_file: str
    label_file: str
    segments_info: list[SegmentInfo]


def load_panoptic_json(
    path: str | os.PathLike, taxonomy: Taxonomy, *, info: Mapping | None = None
) -> list[PanopticAnnotation]:
    """Read and validate a COCO-panoptic JSON of this project's making.

    Args:
        info: what the file must have been made with.

    Raises:
        UserError: missing or damaged file, keys absent, categories or segments outside ``taxonomy``, ids that occur
            twice, file names that leave their folder.
    """
    with _explained(path, "prepare the data again"):
        value = files.read_json(path)
        if info is not None and value.get("info") != info:
            raise ValueError("labels that were made with other categories than those of now")
        _check_categories(value["categories"], taxonomy)
        annotations = _annotations(value)
        for annotation in annotations:
            _check_segments(annotation.segments_info, taxonomy)
        if len(annotations) != len(value["images"]):
            raise ValueError(f"{len(annotations)} annotations of {len(value['images'])} images")
    return annotations


def load_raw_panoptic_json(path: str | os.PathLike) -> tuple[list[PanopticAnnotation], list[dict]]:
    """Read a COCO-panoptic JSON of whatever origin: its annotations and its categories.

    Segments are as they stand in the file: a fault of one of them concerns one image, and is found where that is
    converted.

    Raises:
        UserError: missing or damaged file, keys absent, ids that occur twice, file names that leave their folder.
    """
    with _explained(path, "correct the file"):
        value = files.read_json(path, remedy="correct the file")
        categories = value["categories"]
        if not all(type(c["id"]) is int and isinstance(c["name"], str) for c in categories):
            raise ValueError("a category without an integer id and a name")
        if len({c["id"] for c in categories}) != len(categories):
            raise ValueError("a category id that occurs twice")
        for category in categories:
            is_thing({"isthing": 1, **category})
        return _annotations(value), categories


def save_panoptic_json(
    path: str | os.PathLike,
    images: list[dict],
    annotations: list[dict],
    taxonomy: Taxonomy,
    *,
    info: Mapping | None = None,
) -> None:
    """Write a COCO-panoptic JSON, atomically; ``info`` says what it was made with."""
    content = {"images": images, "annotations": annotations, "categories": taxonomy.categories()}
    files.write_json(path, content if info is None else {"info": info, **content})


def describe_segments(ids: np.ndarray, taxonomy: Taxonomy) -> list[SegmentInfo]:
    """``segments_info`` of a map of panoptic ids: data set id, or data set id * ``label_divisor`` + instance number.

    The rule is cityscapesScripts': a thing segment without instance number is a crowd.

    Args:
        ids: int32 [H, W], 0 = void.

    Returns:
        One dict per segment, by ascending id: ``id``, ``category_id``, ``area`` in pixels, ``bbox`` (x, y, width,
        height) in pixels, ``iscrowd``.

    Raises:
        ValueError: an id belongs to no class of ``taxonomy``; the message is a noun phrase.
    """
    values, index, starts, lengths = runs(ids)
    areas = np.bincount(index, lengths).astype(int)  # exact: integers below 2^53
    rows, columns = np.divmod(starts, ids.shape[1])
    left, right, top, bottom = (np.empty(len(values), int) for _ in range(4))
    left[:], right[:] = ids.shape[1], 0
    np.minimum.at(left, index, columns)
    np.maximum.at(right, index, columns + lengths)
    bottom[index], top[index[::-1]] = rows + 1, rows[::-1]  # runs are in reading order, and the last one stays
    segments = []
    for value, area, x, y, *ends in np.stack((values, areas, left, top, right, bottom), axis=1).tolist():
        if value == 0:
            continue
        category = value if value < taxonomy.label_divisor else value // taxonomy.label_divisor
        if category not in taxonomy.contiguous_id:
            raise ValueError(f"the panoptic id {value}")
        thing = taxonomy.label_is_thing[taxonomy.contiguous_id[category]]
        box = [x, y, ends[0] - x, ends[1] - y]
        crowd = int(thing and value < taxonomy.label_divisor)
        segments.append({"id": value, "category_id": category, "area": area, "bbox": box, "iscrowd": crowd})
    return segments


@contextmanager
def _explained(path: str | os.PathLike, remedy: str) -> Iterator[None]:
    """Whatever is wrong with the content becomes one sentence."""
    try:
        yield
    except KeyError as error:
        raise UserError(f"expected COCO-panoptic JSON, found no {error} in {path}; {remedy}") from None
    except (TypeError, ValueError, AttributeError) as error:
        raise UserError(f"expected COCO-panoptic JSON, found {error} in {path}; {remedy}") from None


def _annotations(value: dict) -> list[PanopticAnnotation]:
    images = {image["id"]: files.safe_file_name(image["file_name"]) for image in value["images"]}
    if len(images) != len(value["images"]):
        raise ValueError("an image id that occurs twice")
    annotations = [
        PanopticAnnotation(
            annotation["image_id"],
            images[annotation["image_id"]],
            files.safe_file_name(annotation["file_name"]),
            annotation["segments_info"],
        )
        for annotation in value["annotations"]
    ]
    if len({annotation.image_id for annotation in annotations}) != len(annotations):
        raise ValueError("an image that is annotated twice")
    return annotations


def _check_categories(categories: list[dict], taxonomy: Taxonomy) -> None:
    for category in categories:
        contiguous = taxonomy.contiguous_id.get(category["id"])
        if contiguous is None:
            raise ValueError(f"the category {category['id']} ({category['name']}), which {taxonomy.name} lacks,")
        expected = (taxonomy.label_names[contiguous], int(taxonomy.label_is_thing[contiguous]))
        if (category["name"], int(is_thing(category))) != expected:
            raise ValueError(f"the category {category['id']} as {category['name']} instead of {expected[0]}")


def _check_segments(segments: list[SegmentInfo], taxonomy: Taxonomy) -> None:
    for segment in checked_segments(segments):
        if segment["category_id"] not in taxonomy.contiguous_id:
            raise ValueError(f"a segment of category {segment['category_id']}, which {taxonomy.name} lacks,")
