"""Label Studio's tasks: masks of its brush as run lengths of RGBA images.

Two texts of a region tell of things: ``instance``, their number among those of their class in the image (0: none of its
own), and ``center``, "y, x" in pixels. What a model suggests are predictions; what somebody has submitted counts.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

import numpy as np

from .. import files
from ..errors import UserError
from .answer import Answer, Painter, center_text, polygon_mask, read_center, read_number, read_points
from .batch import AskedImage, Batch
from .runs import decode_brush, encode_brush

_FORM = [{"data": {"image": str}, "annotations?": files.Maybe([{"result": [{"type": str}]}])}]
_SHAPES = {
    "brushlabels": {"rle": [int]}, "polygonlabels": {"points": [[float]]},
    "rectanglelabels": {key: float for key in ("x", "y", "width", "height")},
}  # fmt: skip
_FORMS: dict[str, Any] = {"textarea": {"id": str, "from_name": str, "value": {"text": object}}} | {
    kind: {"id": str, "original_width": int, "original_height": int, "value": {kind: [str], **shape}}
    for kind, shape in _SHAPES.items()
}
_REMEDY = "export the project again as JSON"


def write(batch: Batch, answers: Mapping[str, Answer], folder: Path, *, done: bool = False) -> Path:
    """``tasks.json``, to be imported, and ``config.xml``, the project's labelling interface."""
    tasks = []
    for image_id, answer in answers.items():
        image = batch.images[image_id]
        result = [
            item
            for number, segment in enumerate(answer.segments())
            for item in _items(batch, image, answer, number, *segment)
        ]
        said = (
            {"annotations": [{"result": result}]}
            if done
            else {"predictions": [{"model_version": "model", "result": result}]}
        )
        tasks.append({"data": {"image": f"/data/local-files/?d=images/{image.file}"}, **said})
    path = folder / "tasks.json"
    files.atomic_write(path, json.dumps(tasks).encode())
    files.atomic_write(folder / "config.xml", _config(batch).encode())
    return path


def _config(batch: Batch) -> str:
    labels = "\n".join(
        f'    <Label value={quoteattr(name)} background="#{color[0]:02x}{color[1]:02x}{color[2]:02x}"/>'
        for name, color in zip(batch.names, batch.colors)
    )
    texts = "".join(
        f'  <TextArea name="{name}" toName="image" perRegion="true" maxSubmissions="1" editable="true" '
        f'placeholder="{hint}"/>\n'
        for name, hint in (("instance", "number among its class"), ("center", "y, x"))
    )
    return (
        '<View>\n  <Image name="image" value="$image" zoom="true" zoomControl="true"/>\n  <BrushLabels name="label" '
        f'toName="image">\n{labels}\n  </BrushLabels>\n{texts if batch.things else ""}</View>\n'
    )


def _items(
    batch: Batch, image: AskedImage, answer: Answer, index: int, label: int, number: int, box, mask: np.ndarray
) -> list[dict]:
    """The region, and the texts that tell of its instance."""
    whole = np.zeros(image.size, bool)
    whole[box] = mask
    common = {
        "id": f"{image.image_id}-{index}", "to_name": "image", "original_width": image.size[1],
        "original_height": image.size[0], "image_rotation": 0,
    }  # fmt: skip
    brush = {"format": "rle", "rle": encode_brush(whole), "brushlabels": [batch.names[label]]}
    items = [{**common, "type": "brushlabels", "from_name": "label", "value": brush}]
    if label in batch.things:
        texts = {"instance": str(number)}
        if (label, number) in answer.centers:
            texts["center"] = center_text(answer.centers[label, number])
        items += [
            {**common, "type": "textarea", "from_name": name, "value": {"text": [text]}} for name, text in texts.items()
        ]
    return items


def read(path: Path, batch: Batch, *, all_done: bool = False) -> dict[str, dict[str, Answer]]:
    """As :func:`.cvat.read`; annotators as Label Studio calls them."""
    answers: dict[str, dict[str, Answer]] = {}
    for task in files.read_json(path, _FORM, remedy=_REMEDY):
        image = batch.find(task["data"]["image"].split("?d=")[-1])
        for annotation in task.get("annotations") or [] if image is not None else []:
            if annotation.get("was_cancelled") is not True:
                by = annotation.get("completed_by", "")
                by = by.get("email") or by.get("id", "") if isinstance(by, Mapping) else by
                answers.setdefault(str(by), {})[image.image_id] = _answer(annotation["result"], image, batch, path)
    return answers


def _answer(result: list[Mapping[str, Any]], image: AskedImage, batch: Batch, path: Path) -> Answer:
    painter = Painter(image.size, batch.taxonomy.thing_ids, with_instances=batch.with_instances)
    where = f"{image.file} of {path}"
    try:
        for item in result:
            wrong = files.misfit(item, _FORMS.get(item["type"], object))
            if wrong:
                raise UserError(f"expected {wrong[0]} of a region in {where}, found {wrong[1]}; {_REMEDY}")
        texts: dict[str, dict[str, str]] = {}
        for item in (item for item in result if item["type"] == "textarea"):
            text = item["value"]["text"]
            text = (text or [""])[0] if isinstance(text, list) else text
            texts.setdefault(item["id"], {})[item["from_name"]] = str(text).strip()
        for item in (item for item in result if item["type"] in _SHAPES):
            size = (item["original_height"], item["original_width"])
            if size != image.size:
                raise ValueError(f"an image of {size[0]}x{size[1]} pixels")
            told = texts.get(item["id"], {})
            label = batch.label(next(iter(item["value"][item["type"]]), None), where)
            center = read_center(told.get("center", ""))
            painter.paint(label, _mask(item, image.size), number=read_number(told.get("instance")), center=center)
    except ValueError as error:
        raise UserError(f"expected regions of Label Studio in {where}, found {error}; {_REMEDY}") from None
    return painter.finished()


def _mask(item: Mapping[str, Any], size: tuple[int, int]) -> np.ndarray:
    value = item["value"]
    if item["type"] == "brushlabels":
        return decode_brush(value["rle"], size)
    if item["type"] == "rectanglelabels":
        x, y, width, height = (value[key] for key in ("x", "y", "width", "height"))
        points = [[x, y], [x + width, y], [x + width, y + height], [x, y + height]]
    else:
        points = value["points"]
    return polygon_mask(read_points(points) / 100 * [size[1], size[0]], size)
