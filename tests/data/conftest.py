"""Tiny data sets in the exact formats of the published ones, drawn at random."""

import json
from functools import partial
from pathlib import Path
from typing import Callable

import cv2
import numpy as np
import pytest
from PIL import Image

from gbw_panoptic.data.preparation import prepare
from gbw_panoptic.taxonomy import VISTAS_CLASSES

SIZE = (18, 31)  # H, W
COUNTS = {"synthia": {"train": 5}, "gta5": {"train": 5}, "cityscapes": {"train": 4, "val": 2}}
VISTAS_COUNTS = {"train": 2, "val": 3}
CITIES = {"train": ("aachen", "aachen-west"), "val": ("ulm",)}


@pytest.fixture(scope="session")
def _raw_datasets(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("raw")
    generator = np.random.default_rng(0)
    _write_synthia(root / "synthia/RAND_CITYSCAPES", generator)
    _write_gta5(root / "gta5", generator)
    _write_cityscapes(root / "cityscapes", generator)
    manifest = {d: {split: {"images": count} for split, count in c.items()} for d, c in COUNTS.items()}
    (root / "streets.json").write_text(json.dumps({"datasets": manifest}))
    return root


@pytest.fixture
def raw_root(_raw_datasets: Path, tmp_path: Path) -> Path:
    """A root with the raw files of SYNTHIA, GTA5 and Cityscapes, for one test alone."""
    _copy_tree(_raw_datasets, tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def _prepared_targets(_raw_datasets: Path, tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("targets")
    _copy_tree(_raw_datasets, root)
    generator = np.random.default_rng(1)
    _write_foggy(root / "foggy_cityscapes", generator)
    _write_vistas(root / "mapillary_vistas", generator)
    for dataset in ("cityscapes", "mapillary_vistas"):
        prepare(dataset, root, workers=1)
    return root


@pytest.fixture
def targets_root(_prepared_targets: Path, tmp_path: Path) -> Path:
    """The raw root with Foggy Cityscapes (two densities) and Mapillary Vistas, both prepared."""
    _copy_tree(_prepared_targets, tmp_path)
    return tmp_path


@pytest.fixture
def write_coco_panoptic() -> Callable[..., dict]:
    """Writes random panoptic PNGs to a folder and returns the content of their JSON."""
    return partial(_write_coco_panoptic, generator=np.random.default_rng(2))


@pytest.fixture
def write_images() -> Callable[..., None]:
    """Writes random images to the given paths."""
    generator = np.random.default_rng(3)

    def write(*paths: Path) -> None:
        for path in paths:
            path.parent.mkdir(parents=True, exist_ok=True)
            _write_image(path, generator)

    return write


def _copy_tree(source: Path, target: Path) -> None:
    """Copy all files of ``source`` into the folder ``target``, which exists."""
    for path in sorted(source.rglob("*")):
        copy = target / path.relative_to(source)
        if path.is_dir():
            copy.mkdir(exist_ok=True)
        else:
            copy.write_bytes(path.read_bytes())


def _write_foggy(folder: Path, generator: np.random.Generator, betas=("0.02", "0.005")) -> None:
    """Foggy Cityscapes, of which only some densities were unpacked."""
    for split, cities in CITIES.items():
        for city in cities:
            (folder / "leftImg8bit_foggy" / split / city).mkdir(parents=True)
            for frame in range(2):
                for beta in betas:
                    name = f"{city}_000000_{frame:06d}_leftImg8bit_foggy_beta_{beta}.png"
                    _write_image(folder / "leftImg8bit_foggy" / split / city / name, generator)


def _write_vistas(folder: Path, generator: np.random.Generator, edition: str = "v1.2/") -> None:
    """Mapillary Vistas: images of both splits, panoptic labels of validation."""
    (folder / "training/images").mkdir(parents=True)
    (folder / "validation/images").mkdir(parents=True)
    for number in range(VISTAS_COUNTS["train"]):
        _write_image(folder / f"training/images/train{number}.jpg", generator)
    panoptic = folder / f"validation/{edition}panoptic"
    panoptic.mkdir(parents=True)
    stems = [f"val{number}" for number in range(VISTAS_COUNTS["val"])]
    for stem in stems:
        _write_image(folder / f"validation/images/{stem}.jpg", generator)
    categories = [
        {
            "id": category_id,
            "name": name.split("--")[-1].replace("-", " ").title(),
            "supercategory": name,
            "isthing": int(name.startswith(("object--vehicle", "human")) and not name.endswith("on-rails")),
            "color": [0, 0, 0],
        }
        for category_id, name in enumerate(VISTAS_CLASSES, start=1)
    ]
    value = _write_coco_panoptic(panoptic, stems, categories, generator=generator)
    (panoptic / "panoptic_2018.json").write_text(json.dumps(value))


def _write_coco_panoptic(folder: Path, stems, categories, *, generator, suffix=".jpg", size=SIZE) -> dict:
    """Random panoptic PNGs in ``folder``; returns the content of their JSON."""
    images, annotations = [], []
    for stem in stems:
        (folder / stem).parent.mkdir(parents=True, exist_ok=True)
        ids = np.zeros(size, np.int64)
        segments = []
        for block in range((size[0] // 3) * (size[1] // 3)):
            row, column = 3 * (block // (size[1] // 3)), 3 * (block % (size[1] // 3))
            if block % 7 == 6:
                continue  # void
            segment_id = int(generator.integers(1, 1 << 16)) * 256 + block
            ids[row : row + 3, column : column + 3] = segment_id
            category = categories[int(generator.integers(len(categories)))]
            crowd = int(bool(category["isthing"]) and generator.random() < 0.2)
            box = [column, row, 3, 3]
            segments.append({"id": segment_id, "category_id": category["id"], "area": 9, "bbox": box, "iscrowd": crowd})
        rgb = np.stack([ids & 255, ids >> 8 & 255, ids >> 16], axis=-1).astype(np.uint8)
        Image.fromarray(rgb).save(folder / f"{stem}.png")
        images.append({"id": stem, "file_name": f"{stem}{suffix}", "height": size[0], "width": size[1]})
        annotations.append({"image_id": stem, "file_name": f"{stem}.png", "segments_info": segments})
    return {"info": {}, "images": images, "annotations": annotations, "categories": categories}


def _write_synthia(folder: Path, generator: np.random.Generator) -> None:
    (folder / "RGB").mkdir(parents=True)
    (folder / "GT/LABELS").mkdir(parents=True)
    for number in range(COUNTS["synthia"]["train"]):
        name = f"{number:07d}.png"
        _write_image(folder / "RGB" / name, generator)
        labels = np.zeros((*SIZE, 3), np.uint16)  # BGR for OpenCV: the last channel is the class
        labels[..., 2] = _blocks(generator, [0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 12, 13, 14, 15, 17, 19, 21, 22])
        labels[..., 1] = _blocks(generator, [0, 1, 7, 300, 976, 65535])
        cv2.imwrite(str(folder / "GT/LABELS" / name), labels)


def _write_gta5(folder: Path, generator: np.random.Generator) -> None:
    (folder / "images").mkdir(parents=True)
    (folder / "labels").mkdir()
    for number in range(1, COUNTS["gta5"]["train"] + 1):
        _write_image(folder / f"images/{number:05d}.png", generator)
        image = Image.fromarray(_blocks(generator, range(35)).astype(np.uint8))
        image.putpalette(generator.integers(0, 256, 768, dtype=np.uint8).tobytes())
        image.save(folder / f"labels/{number:05d}.png")


def _write_cityscapes(folder: Path, generator: np.random.Generator) -> None:
    things = (24, 25, 26, 27, 28, 29, 31, 32, 33)
    for split, names in CITIES.items():
        for city in names:
            (folder / "leftImg8bit" / split / city).mkdir(parents=True)
            (folder / "gtFine" / split / city).mkdir(parents=True)
            for frame in range(2):
                stem = f"{city}_000000_{frame:06d}"
                _write_image(folder / f"leftImg8bit/{split}/{city}/{stem}_leftImg8bit.png", generator)
                labels = _blocks(generator, range(34))
                numbers = _blocks(generator, range(4))
                # Half of the thing blocks keep their bare class id: crowds.
                is_instance = np.isin(labels, things) & (_blocks(generator, range(2)) == 1)
                instances = np.where(is_instance, labels * 1000 + numbers, labels).astype(np.uint16)
                label_file = folder / f"gtFine/{split}/{city}/{stem}_gtFine_labelIds.png"
                Image.fromarray(labels.astype(np.uint8)).save(label_file)
                Image.fromarray(instances).save(folder / f"gtFine/{split}/{city}/{stem}_gtFine_instanceIds.png")


def _write_image(path: Path, generator: np.random.Generator) -> None:
    Image.fromarray(generator.integers(0, 256, (*SIZE, 3), dtype=np.uint8)).save(path)


def _blocks(generator: np.random.Generator, values) -> np.ndarray:
    """int64 [H, W] of 3 x 3 blocks, each of one of ``values``."""
    height, width = SIZE
    blocks = generator.choice(list(values), size=(-(-height // 3), -(-width // 3)))
    return np.kron(blocks, np.ones((3, 3), np.int64))[:height, :width]
