"""The on-disk formats of SYNTHIA-RAND-CITYSCAPES, GTA5 and Cityscapes, byte by byte as their readers expect them.

Shape legend: H, W = image height and width.
"""

import io
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

import cv2
import numpy as np
from PIL import Image

from .. import files
from ..taxonomy import CITYSCAPES, SYNTHIA_TO_CONTIGUOUS, SYNTHIA_VOID_IDS
from .canvas import Canvas
from .materials import CITYSCAPES_IDS, LABEL_NAMES

_TRAIN_CITIES = ("altweiler", "brunnstadt", "eichenmoor", "falkenried", "lindenhain")
_VAL_CITIES = ("morgenfurt", "rabental")
_CITIES = {"train": _TRAIN_CITIES, "val": _VAL_CITIES}
_FRAME = 19  # Cityscapes annotates the 20th frame of each sequence

_SYNTHIA_VOID, _SYNTHIA_PARKING = SYNTHIA_VOID_IDS[:2]


def _synthia_table() -> np.ndarray:
    """uint16 [labels]: SYNTHIA id of each of ``LABEL_NAMES``."""
    by_contiguous = {contiguous: synthia for synthia, contiguous in SYNTHIA_TO_CONTIGUOUS.items()}
    special = {"parking": _SYNTHIA_PARKING}
    ids = [by_contiguous.get(i, special.get(name, _SYNTHIA_VOID)) for i, name in enumerate(LABEL_NAMES)]
    return np.array(ids, dtype=np.uint16)


_SYNTHIA_IDS = _synthia_table()
_CITYSCAPES_ID_TABLE = np.array(CITYSCAPES_IDS, dtype=np.uint16)
#: uint8 [256]: data set id -> contiguous id, for reading finished labels back.
_CONTIGUOUS = CITYSCAPES.contiguous_table()


@dataclass(frozen=True)
class Files:
    """Paths of one image relative to the root, the main label (which holds the classes) first among the labels."""

    image: Path
    labels: tuple[Path, ...]

    @property
    def all(self) -> tuple[Path, ...]:
        return (self.image, *self.labels)


def _synthia_files(split: str, index: int) -> Files:
    folder, name = Path("synthia/RAND_CITYSCAPES"), f"{index:07d}.png"
    return Files(folder / "RGB" / name, (folder / "GT" / "LABELS" / name,))


def _gta5_files(split: str, index: int) -> Files:
    name = f"{index + 1:05d}.png"
    return Files(Path("gta5/images") / name, (Path("gta5/labels") / name,))


def _cityscapes_files(split: str, index: int) -> Files:
    cities = _CITIES[split]
    city = cities[index % len(cities)]
    stem = f"{city}_{index // len(cities):06d}_{_FRAME:06d}"
    labels = Path("cityscapes/gtFine") / split / city
    return Files(
        Path("cityscapes/leftImg8bit") / split / city / f"{stem}_leftImg8bit.png",
        (labels / f"{stem}_gtFine_labelIds.png", labels / f"{stem}_gtFine_instanceIds.png"),
    )


def _synthia_labels(canvas: Canvas) -> list[bytes]:
    classes = _SYNTHIA_IDS[canvas.label_map()]
    blue_green_red = np.stack([np.zeros_like(classes), canvas.instance_map(), classes], axis=-1)
    return [_png(blue_green_red)]


def _gta5_labels(canvas: Canvas) -> list[bytes]:
    image = Image.fromarray(_CITYSCAPES_ID_TABLE[canvas.label_map()].astype(np.uint8), mode="P")
    palette = np.zeros((256, 3), dtype=np.uint8)
    palette[list(CITYSCAPES.dataset_ids)] = CITYSCAPES.colors
    image.putpalette(palette.tobytes())
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return [buffer.getvalue()]


def _cityscapes_labels(canvas: Canvas) -> list[bytes]:
    labels = _CITYSCAPES_ID_TABLE[canvas.label_map()]
    return [_png(labels.astype(np.uint8)), _png(cityscapes_instance_ids(labels, canvas.instance_map()))]


def cityscapes_instance_ids(label_ids: np.ndarray, instances: np.ndarray) -> np.ndarray:
    """uint16 [H, W]: the class id where there is no instance, else class id * 1000 + k with k = 0, 1, ... per class."""
    result = label_ids.astype(np.uint16)
    numbers, first = np.unique(instances, return_index=True)
    next_number: dict[int, int] = {}
    table = np.zeros(int(instances.max()) + 1, dtype=np.uint16)
    for number, position in zip(numbers.tolist(), first.tolist()):
        if number:
            label = int(label_ids.flat[position])
            table[number] = label * CITYSCAPES.label_divisor + next_number.get(label, 0)
            next_number[label] = next_number.get(label, 0) + 1
    return np.where(instances > 0, table[instances], result)


@dataclass(frozen=True)
class Format:
    """One data set's on-disk format."""

    files: Callable[[str, int], Files]
    encode_labels: Callable[[Canvas], list[bytes]]


#: Data set name -> format.
FORMATS = {
    "synthia": Format(_synthia_files, _synthia_labels),
    "gta5": Format(_gta5_files, _gta5_labels),
    "cityscapes": Format(_cityscapes_files, _cityscapes_labels),
}


def read_contiguous(name: str, path: Path) -> np.ndarray:
    """uint8 [H, W] of contiguous ids (255 = void) from a written main label file."""
    if name == "synthia":
        table = np.full(256, CITYSCAPES.ignore_label, dtype=np.uint8)
        table[list(SYNTHIA_TO_CONTIGUOUS)] = list(SYNTHIA_TO_CONTIGUOUS.values())
        return table[files.read_two_byte_channels(path)[..., 0]]
    return _CONTIGUOUS[files.read_label(path)]


def write_image(path: Path, image: np.ndarray) -> None:
    """Write an RGB image (uint8 [H, W, 3]) atomically."""
    write_bytes(path, _png(np.ascontiguousarray(image[..., ::-1])))


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file atomically: readers see the old file, none, or the whole new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.write_bytes(content)
    os.replace(temporary, path)


def _png(pixels: np.ndarray) -> bytes:
    ok, encoded = cv2.imencode(".png", pixels)
    if not ok:
        raise RuntimeError(f"PNG encoder refused an array of shape {pixels.shape} and type {pixels.dtype}")
    return encoded.tobytes()
