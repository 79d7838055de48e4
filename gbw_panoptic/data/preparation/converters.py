"""From the label files of each data set, as downloaded, to the label files that training and evaluation read.

A converter knows one image at a time, so that any number of processes can share the work and a killed run goes on
where it stopped. Shapes: H, W are the height and width of the label file.
"""

import contextlib
import io as text_io
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Mapping

import numpy as np

from ...taxonomy import CITYSCAPES, GTA5_IDS, IGNORE_LABEL, SYNTHIA_TO_CONTIGUOUS, SYNTHIA_VOID_IDS, lookup_table
from ... import files as disk
from ..coco_panoptic import compact_ids, describe_segments
from ..statistics import count_pixels
from .faults import FaultError, FaultKind


@dataclass(frozen=True)
class Files:
    """The files of one image."""

    image: Path
    raw_labels: tuple[Path, ...]
    prepared_labels: tuple[Path, ...]


@dataclass(frozen=True)
class Description:
    """What the indices on disk say about one image.

    Attributes:
        segments_info: COCO-panoptic segments; None for semantic labels.
        pixels: contiguous id -> pixels > 0.
        size: (H, W).
    """

    segments_info: list[dict] | None
    pixels: dict[int, int]
    size: tuple[int, int]


@dataclass(frozen=True)
class Converter:
    """How one data set is converted.

    Attributes:
        derive: reads the raw labels of one image and returns the arrays that its prepared files must hold.
        write: writes those arrays.
        readers: one for each prepared file.
        describe: summarises the last of the arrays.
        may_skip: kinds of fault that the published data set is known to have; such images are left out.
    """

    derive: Callable[[Files], tuple[np.ndarray, ...]]
    write: Callable[[Files, tuple[np.ndarray, ...]], None]
    readers: tuple[Callable[[Path], np.ndarray], ...]
    describe: Callable[[np.ndarray], Description]
    may_skip: frozenset[FaultKind] = frozenset()


def synthia_panoptic_ids(classes: np.ndarray, instances: np.ndarray) -> np.ndarray:
    """Cityscapes panoptic ids from SYNTHIA's two channels.

    Pixels of one thing class that share an instance number are one instance, connected or not, number 0 included;
    instances are numbered from 0 by ascending SYNTHIA number.

    Args:
        classes, instances: uint16 [H, W].

    Returns:
        int32 [H, W]: Cityscapes id, for things Cityscapes id * 1000 + k; 0 = void.

    Raises:
        ValueError: a class outside SYNTHIA's table, or more instances of a class than fit.
    """
    outside = sorted(set(compact_ids(classes)[0].tolist()) - set(SYNTHIA_TO_CONTIGUOUS) - set(SYNTHIA_VOID_IDS))
    if outside:
        raise ValueError(f"the class ids {outside}")
    keys, index = compact_ids(classes.astype(np.int32) << 16 | instances)
    table, numbers = np.zeros(max(len(keys), 1), dtype=np.int32), [0] * CITYSCAPES.num_classes
    for position, synthia_class in enumerate((keys >> 16).tolist()):
        contiguous = SYNTHIA_TO_CONTIGUOUS.get(synthia_class)
        if contiguous is None:
            continue
        table[position] = CITYSCAPES.dataset_ids[contiguous]
        if CITYSCAPES.is_thing[contiguous]:
            table[position] = table[position] * CITYSCAPES.label_divisor + numbers[contiguous]
            numbers[contiguous] += 1
    if max(numbers) > CITYSCAPES.label_divisor:
        raise ValueError(f"{max(numbers)} instances of one class (at most {CITYSCAPES.label_divisor} fit)")
    return table[index]


def _derive_synthia(files: Files) -> tuple[np.ndarray, ...]:
    path = files.raw_labels[0]
    pixels = disk.read_two_byte_channels(path)
    _require_size(files, path, pixels)
    try:
        return (synthia_panoptic_ids(pixels[:, :, 0], pixels[:, :, 1]),)
    except ValueError as error:
        raise _outside("SYNTHIA class ids in the first channel", str(error), path) from None


def _derive_gta5(files: Files) -> tuple[np.ndarray, ...]:
    path = files.raw_labels[0]
    labels = disk.read_label(path)
    _require_size(files, path, labels)
    _require_ids(labels, set(GTA5_IDS), path)
    return (CITYSCAPES.contiguous_table()[labels],)


def _derive_cityscapes(files: Files) -> tuple[np.ndarray, ...]:
    from cityscapesscripts.helpers.labels import id2label

    known = {id_: label for id_, label in id2label.items() if id_ >= 0}
    label_path, instance_path = files.raw_labels
    labels, instances = disk.read_label(label_path), disk.read_instance_ids(instance_path)
    _require_size(files, label_path, labels)
    _require_size(files, instance_path, instances)
    _require_ids(labels, set(known), label_path)
    divisor = CITYSCAPES.label_divisor
    classes = np.where(instances < divisor, instances, instances // divisor)
    _require_ids(classes, set(known), instance_path)
    train_ids = {i: IGNORE_LABEL if label.ignoreInEval else label.trainId for i, label in known.items()}
    evaluated = np.isin(classes, [i for i, label in known.items() if not label.ignoreInEval])
    return lookup_table(train_ids)[labels], np.where(evaluated, instances, 0)


def _write_panoptic(files: Files, arrays: tuple[np.ndarray, ...]) -> None:
    ids = arrays[0]
    disk.write_panoptic(files.prepared_labels[0], ids)


def _write_label(files: Files, arrays: tuple[np.ndarray, ...]) -> None:
    disk.write_png(files.prepared_labels[0], arrays[0])


def _write_cityscapes(files: Files, arrays: tuple[np.ndarray, ...]) -> None:
    """The panoptic PNG is made by cityscapesScripts itself, which knows only whole folders: it gets one of links."""
    from cityscapesscripts.preparation.createPanopticImgs import convert2panoptic

    train_id_path, panoptic_path = files.prepared_labels
    instance_path = files.raw_labels[1]
    disk.write_png(train_id_path, arrays[0])
    with tempfile.TemporaryDirectory(prefix=".", suffix=disk.TEMPORARY_SUFFIX, dir=panoptic_path.parent) as folder:
        city = Path(folder, "split", "city")
        city.mkdir(parents=True)
        os.symlink(instance_path.resolve(), city / instance_path.name)
        with contextlib.redirect_stdout(text_io.StringIO()):
            convert2panoptic(folder, folder, useTrainId=False, setNames=["split"])
        os.replace(Path(folder, "cityscapes_panoptic_split", panoptic_path.name), panoptic_path)


def _describe_panoptic(ids: np.ndarray) -> Description:
    segments = describe_segments(ids, CITYSCAPES)
    pixels: dict[int, int] = {}
    for segment in segments:
        contiguous = CITYSCAPES.contiguous_id[segment["category_id"]]
        pixels[contiguous] = pixels.get(contiguous, 0) + segment["area"]
    return Description(segments, dict(sorted(pixels.items())), ids.shape)


def _describe_label(labels: np.ndarray) -> Description:
    return Description(None, count_pixels(labels, CITYSCAPES.num_classes), labels.shape)


def _require_size(files: Files, path: Path, labels: np.ndarray) -> None:
    size = disk.read_image_size(files.image)
    if labels.shape[:2] != size:
        (height, width), (found_height, found_width) = size, labels.shape[:2]
        raise FaultError(
            FaultKind.SIZE,
            f"expected {width} x {height} pixels as in {files.image}, found {found_width} x {found_height} in {path}; "
            "unpack both again",
        )


def _require_ids(labels: np.ndarray, known: set[int], path: Path) -> None:
    outside = sorted(set(compact_ids(labels)[0].tolist()) - known)
    if outside:
        raise _outside(f"ids of the data set (0..{max(known)})", f"the ids {outside}", path)


def _outside(expected: str, found: str, path: Path) -> FaultError:
    return FaultError(
        FaultKind.OUTSIDE,
        f"expected {expected}, found {found} in {path}; use the label files as they were downloaded",
    )


CONVERTERS: Mapping[str, Converter] = {
    "synthia": Converter(_derive_synthia, _write_panoptic, (disk.read_panoptic,), _describe_panoptic),
    "cityscapes": Converter(
        _derive_cityscapes, _write_cityscapes, (disk.read_label, disk.read_panoptic), _describe_panoptic
    ),
    # The published GTA5 has images whose label is missing, damaged or of another size.
    "gta5": Converter(
        _derive_gta5,
        _write_label,
        (disk.read_label,),
        _describe_label,
        frozenset({FaultKind.MISSING, FaultKind.SIZE, FaultKind.UNREADABLE}),
    ),
}
