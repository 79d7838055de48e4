"""Tiny data sets in the exact formats of the published ones, drawn at random."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

SIZE = (18, 31)  # H, W
COUNTS = {"synthia": {"train": 5}, "gta5": {"train": 5}, "cityscapes": {"train": 4, "val": 2}}


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
    for path in sorted(_raw_datasets.rglob("*")):
        copy = tmp_path / path.relative_to(_raw_datasets)
        if path.is_dir():
            copy.mkdir()
        else:
            copy.write_bytes(path.read_bytes())
    return tmp_path


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
    cities = {"train": ("aachen", "aachen-west"), "val": ("ulm",)}
    things = (24, 25, 26, 27, 28, 29, 31, 32, 33)
    for split, names in cities.items():
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
