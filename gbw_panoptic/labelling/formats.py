"""The tools that questions go to and answers come from."""

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from .. import files
from ..errors import UserError
from . import browser, coco, cvat, label_studio, labelme
from .answer import Answer
from .batch import Batch


class Format(Protocol):
    """What a module of a tool offers."""

    def write(self, batch: Batch, answers: Mapping[str, Answer], folder: Path, *, done: bool = False) -> Path:
        """Suggestions for the images of ``answers``, or answers as the tool would give them back (``done``)."""

    def read(self, path: Path, batch: Batch, *, all_done: bool = False) -> dict[str, dict[str, Answer]]:
        """Annotator -> image id -> answer.

        Args:
            all_done: whether images count that nobody has marked as done, in tools that need the mark.
        """


FORMATS: dict[str, Format] = {
    "browser": browser, "cvat": cvat, "label-studio": label_studio, "labelme": labelme, "coco": coco,
}  # fmt: skip


def format_of(path: Path) -> str:
    """Which tool a file, or labelme's folder, is from.

    Raises:
        UserError: it is from none.
    """
    if path.is_dir():
        return "labelme"
    data = files.read_bytes(path)
    if data.lstrip()[:1] == b"<" or zipfile.is_zipfile(path):
        return "cvat"
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        value = None
    keys = set(value) if isinstance(value, dict) else set()
    if isinstance(value, list):
        return "label-studio"
    for name, key in (("browser", "format"), ("labelme", "shapes"), ("coco", "annotations")):
        if key in keys:
            return name
    raise UserError(
        f"expected answers of {', '.join(FORMATS)}, found something else in {path}; name the tool with --from, or "
        "export the answers again"
    )
