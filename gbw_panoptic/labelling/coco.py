"""COCO's panoptic format: a JSON and a folder of PNGs whose colours are segment ids, 0 = nothing is said.

Two keys more in ``segments_info`` tell of things: ``instance``, their number among those of their class in the image
(0: none of its own), and ``center``, [y, x] in pixels. A category "void" stands for no class.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .. import files
from ..coco_format import MAX_SEGMENT_ID, checked_segments
from ..errors import UserError
from .answer import Answer, Painter
from .batch import AskedImage, Batch

NAME = "panoptic"
_FORM = {
    "images": [{"id": object, "file_name": str}], "categories": [{"id": int, "name": str}],
    "annotations": [{"image_id": object, "file_name": str, "segments_info": [{"id": object, "category_id": object}]}],
}  # fmt: skip
_REMEDY = "export the annotations again as COCO panoptic"


def write(batch: Batch, answers: Mapping[str, Answer], folder: Path, *, done: bool = False) -> Path:
    """``panoptic.json`` and ``panoptic/``."""
    categories = batch.taxonomy.of_labels.categories()
    free = max(category["id"] for category in categories) + 1
    void = {"id": free, "name": batch.names[-1], "supercategory": "void", "isthing": 0, "color": [0, 0, 0]}
    ids = [category["id"] for category in categories] + [free]
    (folder / NAME).mkdir(exist_ok=True)
    images, annotations = [], []
    for index, (image_id, answer) in enumerate(answers.items(), start=1):
        image = batch.images[image_id]
        file = f"{Path(image.file).stem}.png"
        values, segments = np.zeros(image.size, np.int32), []
        for segment_id, (label, number, box, mask) in enumerate(answer.segments(), start=1):
            values[box][mask] = segment_id
            segments.append(_segment(batch, answer, segment_id, label, number, box, mask) | {"category_id": ids[label]})
        files.write_panoptic(folder / NAME / file, values)
        images.append({"id": index, "file_name": image.file, "height": image.size[0], "width": image.size[1]})
        annotations.append({"image_id": index, "file_name": file, "segments_info": segments})
    path = folder / f"{NAME}.json"
    files.write_json(path, {"images": images, "annotations": annotations, "categories": [*categories, void]})
    return path


def _segment(
    batch: Batch, answer: Answer, segment_id: int, label: int, number: int, box, mask: np.ndarray
) -> dict[str, Any]:
    rows, columns = box
    told: dict[str, Any] = {"instance": number} if label in batch.things else {}
    if (label, number) in answer.centers:
        told["center"] = [float(value) for value in answer.centers[label, number]]
    bbox = [columns.start, rows.start, columns.stop - columns.start, rows.stop - rows.start]
    return {"id": segment_id, "area": int(mask.sum()), "bbox": bbox, "iscrowd": 0, **told}


def read(path: Path, batch: Batch, *, all_done: bool = False) -> dict[str, dict[str, Answer]]:
    """As :func:`.cvat.read`; every image of the file counts."""
    value = files.read_json(path, _FORM, remedy=_REMEDY)
    names = {category["id"]: category["name"] for category in value["categories"]}
    files_of = {_image_id(image["id"], path): image["file_name"] for image in value["images"]}
    answers = {}
    for annotation in value["annotations"]:
        image = batch.find(files_of.get(_image_id(annotation["image_id"], path), annotation["file_name"]))
        if image is not None:
            answers[image.image_id] = _answer(annotation, image, batch, path, names)
    return {"": answers}


def _answer(
    annotation: Mapping[str, Any], image: AskedImage, batch: Batch, path: Path, names: Mapping[int, str]
) -> Answer:
    png = path.with_suffix("") / _inside(annotation["file_name"], path)
    ids = files.read_panoptic(png)
    if ids.shape != image.size:
        raise UserError(
            f"expected an image of {image.size[0]}x{image.size[1]} pixels in {png}, found {ids.shape}; {_REMEDY}"
        )
    try:
        segments = checked_segments(annotation["segments_info"])
    except ValueError as error:
        raise UserError(f"expected segments in {path}, found {error}; {_REMEDY}") from None
    unknown = set(np.unique(ids).tolist()) - {0, *(segment["id"] for segment in segments)}
    if unknown or max((segment["id"] for segment in segments), default=0) > MAX_SEGMENT_ID:
        raise UserError(f"expected segments that {path} lists in {png}, found the id {min(unknown)}; {_REMEDY}")
    painter = Painter(image.size, batch.taxonomy.thing_ids, with_instances=batch.with_instances)
    for segment in segments:
        name = names.get(segment["category_id"], segment["category_id"])
        number, center = segment.get("instance"), segment.get("center")
        if segment.get("iscrowd"):
            number = 0
        fits = number is None or (type(number) is int and 0 <= number < 1 << 20)
        if not fits or files.misfit(center, files.Maybe([float])) or center is not None and len(center) != 2:
            raise UserError(
                f"expected a number and a centre [y, x] of an instance in {path}, found {number!r}, {center!r}; "
                f"{_REMEDY}"
            )
        painter.paint(
            batch.label(name, path), ids == segment["id"], number=number, center=tuple(center) if center else None
        )
    return painter.finished()


def _image_id(value: Any, path: Path) -> Any:
    """``value``, if it can be an id: a JSON may hold lists and mappings in its place."""
    if isinstance(value, (list, dict)):
        raise UserError(f"expected a number or a text as an image's id in {path}, found {value!r}; {_REMEDY}")
    return value


def _inside(name: str, path: Path) -> str:
    try:
        return files.safe_file_name(name)
    except ValueError as error:
        raise UserError(f"expected names of files in {path}, found {error}; {_REMEDY}") from None
