"""labelme's JSON, one file beside each image, with shapes of the type ``mask``.

``group_id`` numbers the things of a class in an image
(0: none of its own). ``description`` may hold the centre, "y, x".
An image counts once its flag ``done`` is set.
"""

import base64
import binascii
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from .. import files
from ..errors import UserError
from .answer import Answer, Painter, center_text, polygon_mask, read_center, read_points
from .batch import AskedImage, Batch

DONE = "done"
_FORM = {
    "shapes": [
        {"label": str, "points": [[float]], "shape_type": str, "group_id?": files.Maybe(int), "mask?": files.Maybe(str),
         "description?": files.Maybe(str)}
    ],
    "imagePath": str, "flags?": files.Each(object), "imageHeight?": files.Maybe(int), "imageWidth?": files.Maybe(int),
}  # fmt: skip
_REMEDY = "save the image in labelme again"


def write(batch: Batch, answers: Mapping[str, Answer], folder: Path, *, done: bool = False) -> Path:
    """A JSON file and a copy of the image for each; ``labels.txt``."""
    for image_id, answer in answers.items():
        image = batch.images[image_id]
        copy = folder / image.file
        if not copy.exists() and (batch.folder / "images" / image.file).exists():
            shutil.copyfile(batch.folder / "images" / image.file, copy)
        shapes = [_shape(batch, answer, *segment) for segment in answer.segments()]
        value = {
            "version": "5.0.0", "flags": {DONE: done}, "shapes": shapes, "imagePath": image.file, "imageData": None,
            "imageHeight": image.size[0], "imageWidth": image.size[1],
        }  # fmt: skip
        files.atomic_write(folder / f"{Path(image.file).stem}.json", json.dumps(value, indent=1).encode())
    files.atomic_write(folder / "labels.txt", "\n".join(("__ignore__", *batch.names, "")).encode())
    return folder


def _shape(batch: Batch, answer: Answer, label: int, number: int, box: tuple[slice, slice], mask: np.ndarray) -> dict:
    rows, columns = box
    center = answer.centers.get((label, number))
    return {
        "label": batch.names[label], "points": [[columns.start, rows.start], [columns.stop - 1, rows.stop - 1]],
        "group_id": number if label in batch.things else None,
        "description": center_text(center) if center and label in batch.things else "",
        "shape_type": "mask", "flags": {},
        "mask": base64.b64encode(cv2.imencode(".png", mask.astype(np.uint8))[1].tobytes()).decode(),
    }  # fmt: skip


def read(path: Path, batch: Batch, *, all_done: bool = False) -> dict[str, dict[str, Answer]]:
    """As :func:`.cvat.read`, of a file or of all files in a folder."""
    answers = {}
    for file in sorted(path.glob("*.json")) if path.is_dir() else [path]:
        value = files.read_json(file, _FORM, remedy=_REMEDY)
        image = batch.find(value["imagePath"])
        if image is not None and (all_done or value.get("flags", {}).get(DONE) is True):
            answers[image.image_id] = _answer(value, image, batch, file)
    return {"": answers}


def _answer(value: Mapping[str, Any], image: AskedImage, batch: Batch, path: Path) -> Answer:
    size = (value.get("imageHeight") or image.size[0], value.get("imageWidth") or image.size[1])
    if size != image.size:
        raise UserError(
            f"expected an image of {image.size[0]}x{image.size[1]} pixels in {path}, found {size[0]}x{size[1]}; "
            f"{_REMEDY}"
        )
    painter = Painter(image.size, batch.taxonomy.thing_ids, with_instances=batch.with_instances)
    for shape in value["shapes"]:
        label = batch.label(shape["label"], path)
        try:
            top, left, mask = _mask(shape, image.size)
            center = read_center(shape.get("description") or "")
            painter.paint(label, mask, top=top, left=left, number=shape.get("group_id"), center=center)
        except (ValueError, binascii.Error, cv2.error) as error:
            raise UserError(f"expected polygons, rectangles and masks in {path}, found {error}; {_REMEDY}") from None
    return painter.finished()


def _mask(shape: Mapping[str, Any], size: tuple[int, int]) -> tuple[int, int, np.ndarray]:
    points = read_points(shape["points"])
    if shape["shape_type"] == "mask":
        data = np.frombuffer(base64.b64decode(shape.get("mask") or "", validate=True), np.uint8)
        pixels = cv2.imdecode(data, cv2.IMREAD_GRAYSCALE) if len(data) else None
        if pixels is None:
            raise ValueError("a mask without a PNG")
        left, top = (round(value) for value in points[0].tolist())
        return top, left, pixels > 0
    if shape["shape_type"] == "rectangle" and len(points) == 2:
        (x0, y0), (x1, y1) = points
        points = np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]])
    elif shape["shape_type"] not in ("polygon", "oriented_rectangle"):
        raise ValueError(f"a shape of the type {shape['shape_type']}")
    return 0, 0, polygon_mask(points, size)
