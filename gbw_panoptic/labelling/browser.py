"""This project's own annotator: one HTML file for a batch, which works offline, and the JSON file that it gives
back."""

import base64
import hashlib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2

from .. import files
from ..errors import UserError
from ..reporting.html import write_template
from .answer import UNANSWERED, Answer
from .batch import AskedImage, Batch
from .runs import decode_map, encode_map

FORMAT = "gbw_panoptic.answers"
_FORM = {
    "format": str, "classes": [str], "annotator?": str, "round": int,
    "images": [{"file": str, "height": int, "width": int, "labels": [int], "numbers": [int], "centers": [[float]]}],
}  # fmt: skip
_REMEDY = "save the answers in the page again"
#: Images of more pixels go into the page as JPEG.
_LOSSLESS_PIXELS = 1 << 18


def write(batch: Batch, answers: Mapping[str, Answer], folder: Path, *, done: bool = False) -> Path:
    """The page, ``label.html``, with what a model suggests; of answers that are done ``answers.json``, as it saves
    them."""
    if done:
        path = folder / "answers.json"
        files.write_json(path, _answers(batch, answers))
        return path
    images = [_page_image(batch, batch.images[image_id], answer) for image_id, answer in answers.items()]
    about = {
        "format": FORMAT, "round": batch.number, "unit": batch.unit, "classes": batch.names, "colors": batch.colors,
        "things": batch.things,
        "digest": hashlib.sha256(repr([(i["file"], i["parts"]) for i in images]).encode()).hexdigest()[:16],
    }  # fmt: skip
    path = folder / "label.html"
    write_template("label.html.j2", path, title=f"Labels, round {batch.number}", about=about, images=images)
    return path


def _answers(batch: Batch, answers: Mapping[str, Answer]) -> dict[str, Any]:
    images = []
    for image_id, answer in answers.items():
        image = batch.images[image_id]
        centers = [[label, number, *map(float, center)] for (label, number), center in answer.centers.items()]
        maps = {"labels": encode_map(answer.labels), "numbers": encode_map(answer.numbers), "centers": centers}
        images.append({"file": image.file, "height": image.size[0], "width": image.size[1], **maps})
    return {
        "format": FORMAT,
        "version": 1,
        "round": batch.number,
        "annotator": "",
        "classes": list(batch.names),
        "images": images,
    }


def _page_image(batch: Batch, image: AskedImage, answer: Answer) -> dict[str, Any]:
    pixels = files.read_image(batch.folder / "images" / image.file)
    small = image.size[0] * image.size[1] <= _LOSSLESS_PIXELS
    options = [] if small else [cv2.IMWRITE_JPEG_QUALITY, 92]
    _, data = cv2.imencode(".png" if small else ".jpg", pixels[..., ::-1], options)
    source = f"data:image/{'png' if small else 'jpeg'};base64,{base64.b64encode(data.tobytes()).decode()}"
    centers = [[label, number, *map(float, center)] for (label, number), center in answer.centers.items()]
    return {
        "file": image.file, "height": image.size[0], "width": image.size[1], "source": source,
        "parts": encode_map(image.parts), "labels": encode_map(answer.labels), "numbers": encode_map(answer.numbers),
        "centers": centers,
    }  # fmt: skip


def read(path: Path, batch: Batch, *, all_done: bool = False) -> dict[str, dict[str, Answer]]:
    """As :func:`.cvat.read`; the annotator as the page was told."""
    value = files.read_json(path, _FORM, remedy=_REMEDY)
    if value["round"] != batch.number:
        raise UserError(
            f"expected answers for round {batch.number} in {path}, found round {value['round']}; give --round"
        )
    labels = {index: batch.label(name, path) for index, name in enumerate(value["classes"])}
    answers = {}
    for entry in value["images"]:
        image = batch.find(entry["file"])
        if image is not None:
            answers[image.image_id] = _answer(entry, image, labels, path)
    return {value.get("annotator", ""): answers}


def _answer(entry: Mapping[str, Any], image: AskedImage, labels: Mapping[int, int], path: Path) -> Answer:
    if (entry["height"], entry["width"]) != image.size:
        raise UserError(
            f"expected {image.file} of {image.size[0]}x{image.size[1]} pixels in {path}, found another size; {_REMEDY}"
        )
    table = {**labels, UNANSWERED: UNANSWERED}
    try:
        entry = {**entry, "labels": [v if i % 2 else table[v] for i, v in enumerate(entry["labels"])]}
        maps = [decode_map(entry[key], image.size) for key in ("labels", "numbers")]
        centers = dict(_center(told, labels) for told in entry["centers"])
    except (ValueError, KeyError) as error:
        found = f"the class {error}" if isinstance(error, KeyError) else error
        raise UserError(f"expected runs of labels of {image.file} in {path}, found {found}; {_REMEDY}") from None
    return Answer(maps[0], maps[1] * (maps[1] > 0), centers)


def _center(told: list[float], labels: Mapping[int, int]) -> tuple[tuple[int, int], tuple[float, float]]:
    """(Class, number) and (y, x) of an instance's centre."""
    if len(told) != 4 or not all(map(math.isfinite, told)) or told[0] not in labels or told[1] != int(told[1]):
        raise ValueError(f"{told} in centers, where [class, number, y, x] belongs")
    return (labels[int(told[0])], int(told[1])), (float(told[2]), float(told[3]))
