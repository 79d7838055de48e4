"""CVAT's "CVAT for images 1.1": masks as run lengths, row after row in their boxes.

A label's attribute ``instance`` numbers the things of its class in an image, ``center`` is "y, x" in pixels. An image
counts once it has the tag ``done``, since what a model suggested cannot be told from what somebody has looked at.
"""

import json
import xml.etree.ElementTree as tree
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from .. import files
from ..errors import UserError
from .answer import Answer, Painter, center_text, polygon_mask, read_center, read_number, read_points
from .batch import AskedImage, Batch
from .runs import decode_cvat, encode_cvat

DONE = "done"
_REMEDY = "export the task again as CVAT for images 1.1"


def write(batch: Batch, answers: Mapping[str, Answer], folder: Path, *, done: bool = False) -> Path:
    """``annotations.xml``, to be uploaded to a task with the labels of ``labels.json``."""
    root = tree.Element("annotations")
    tree.SubElement(root, "version").text = "1.1"
    for index, (image_id, answer) in enumerate(answers.items()):
        image = batch.images[image_id]
        height, width = image.size
        entry = tree.SubElement(
            root, "image", id=str(index), name=image.file, width=str(width), height=str(height)
        )  # fmt: skip
        if done:
            tree.SubElement(entry, "tag", label=DONE, source="manual")
        for order, (label, number, (rows, columns), mask) in enumerate(answer.segments()):
            shape = tree.SubElement(
                entry, "mask", label=batch.names[label], source="auto", occluded="0", rle=encode_cvat(mask),
                left=str(columns.start), top=str(rows.start), width=str(mask.shape[1]), height=str(mask.shape[0]),
                z_order=str(order),
            )  # fmt: skip
            if label in batch.things:
                tree.SubElement(shape, "attribute", name="instance").text = str(number)
                if (label, number) in answer.centers:
                    tree.SubElement(shape, "attribute", name="center").text = center_text(answer.centers[label, number])
    path = folder / "annotations.xml"
    tree.indent(root)
    files.atomic_write(path, tree.tostring(root, encoding="utf-8", xml_declaration=True))
    files.atomic_write(folder / "labels.json", json.dumps(_labels(batch), indent=1).encode())
    return path


def _labels(batch: Batch) -> list[dict]:
    """For the raw constructor of labels of a new task."""
    text = {"mutable": True, "input_type": "text", "default_value": "", "values": [""]}
    attributes = [{"name": "instance", **text}, {"name": "center", **text}]
    labels = [
        {
            "name": name,
            "color": "#{:02x}{:02x}{:02x}".format(*color),
            "attributes": attributes if i in batch.things else [],
        }
        for i, (name, color) in enumerate(zip(batch.names, batch.colors))
    ]
    return [*labels, {"name": DONE, "color": "#ffffff", "type": "tag", "attributes": []}]


def read(path: Path, batch: Batch, *, all_done: bool = False) -> dict[str, dict[str, Answer]]:
    """Annotator ("", CVAT tells none) -> image id -> answer.

    Raises:
        UserError: the file is damaged, or names a class that there is none of.
    """
    data = files.read_bytes(path)
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            name = next((n for n in archive.namelist() if Path(n).name == "annotations.xml"), None)
            data = archive.read(name) if name and archive.getinfo(name).file_size < 1 << 31 else b""
    if b"<!DOCTYPE" in data or b"<!ENTITY" in data:
        raise UserError(f"expected annotations of CVAT in {path}, found definitions of entities; {_REMEDY}")
    try:
        root = tree.fromstring(data)
    except tree.ParseError as error:
        raise UserError(f"expected XML of CVAT in {path}, found a damaged file ({error}); {_REMEDY}") from None
    answers = {}
    for entry in root.iter("image"):
        image = batch.find(entry.get("name", ""))
        tags = {tag.get("label") for tag in entry.iter("tag")}
        if image is not None and (all_done or DONE in tags):
            answers[image.image_id] = _answer(entry, image, batch, path)
    return {"": answers}


def _answer(entry: tree.Element, image: AskedImage, batch: Batch, path: Path) -> Answer:
    painter = Painter(image.size, batch.taxonomy.thing_ids, with_instances=batch.with_instances)
    where = f"{image.file} of {path}"
    if (entry.get("height"), entry.get("width")) != tuple(map(str, image.size)):
        found = f"{entry.get('height')}x{entry.get('width')}"
        raise UserError(f"expected {where} to have {image.size[0]}x{image.size[1]} pixels, found {found}; {_REMEDY}")
    shapes = [shape for shape in entry if shape.tag in ("mask", "polygon", "box")]
    try:
        for shape in sorted(shapes, key=lambda shape: read_number(shape.get("z_order"), "z_order") or 0):
            told = {attribute.get("name"): (attribute.text or "").strip() for attribute in shape.iter("attribute")}
            group = told.get("instance") or shape.get("group_id")
            top, left, mask = _mask(shape, image.size)
            painter.paint(
                batch.label(_attribute(shape, "label"), where), mask, top=top, left=left, number=read_number(group),
                center=read_center(told.get("center", "")),
            )  # fmt: skip
    except ValueError as error:
        raise UserError(f"expected shapes of CVAT in {where}, found {error}; {_REMEDY}") from None
    return painter.finished()


def _attribute(shape: tree.Element, key: str) -> str:
    if key not in shape.attrib:
        raise ValueError(f"a {shape.tag} without {key}")
    return shape.attrib[key]


def _mask(shape: tree.Element, size: tuple[int, int]) -> tuple[int, int, np.ndarray]:
    if shape.tag == "mask":
        top, left, height, width = (
            read_number(_attribute(shape, key) or "none", f"{key} of a mask")
            for key in ("top", "left", "height", "width")
        )
        if not (0 < height <= size[0] and 0 < width <= size[1]):
            raise ValueError(f"a mask of {height}x{width} pixels")
        return top, left, decode_cvat(_attribute(shape, "rle"), (height, width))
    if shape.tag == "box":
        x0, y0, x1, y1 = (_attribute(shape, key) for key in ("xtl", "ytl", "xbr", "ybr"))
        points = [[x0, y0], [x1, y0], [x1, y1], [x0, y1]]
    else:
        points = [pair.split(",") for pair in _attribute(shape, "points").split(";")]
    return 0, 0, polygon_mask(read_points(points), size)
