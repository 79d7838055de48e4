"""Check a data set: read every file, raw and prepared, and report all faults. Writes nothing."""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ... import files as disk
from ...coco_format import SegmentInfo
from ...errors import UserError
from ..coco_panoptic import load_panoptic_json
from ..custom import find_data_set
from ..layout import Split, expected_images, expected_splits, label_command
from ..statistics import ClassStatistics
from .converters import CONVERTERS, Converter, Description
from .parallel import ordered_map
from .preparing import missing_label, require_pair, require_same_size
from .report import Fault, FaultError, FaultKind, SplitReport, as_fault
from .sources import RawImage, RawSplit, list_raw


@dataclass(frozen=True)
class _CheckTask:
    raw: RawImage
    has_index: bool  # whether there is a panoptic JSON that can be read
    segments_info: list[SegmentInfo] | None  # in it; None = not listed there


@dataclass(frozen=True)
class _CheckResult:
    faults: tuple[Fault, ...]
    description: Description | None
    turned: bool


def check(
    dataset: str,
    root: Path,
    *,
    workers: int,
    custom: str | os.PathLike | None = None,
    prepared: Path | None = None,
    taxonomy: str | os.PathLike | None = None,
    strict: bool = False,
) -> list[SplitReport]:
    """Read every file of ``dataset`` below ``root`` and compare raw labels, prepared labels, indices and counts."""
    splits = expected_splits(root, find_data_set(root, dataset, custom, prepared, taxonomy))
    found = [(split, list_raw(root, split, strict=strict)) for split in splits]
    return [_check_split(root, split, raw, workers) for split, raw in found]


def _check_split(root: Path, split: Split, raw: RawSplit, workers: int) -> SplitReport:
    faults: list[Fault] = []
    segments = _read_index(root, split, faults)
    stems = [image.name.stem for image in raw.images]
    has_index, segments = segments is not None, segments or {}
    tasks = [_CheckTask(image, has_index, segments.get(image.name.stem)) for image in raw.images]
    pixels: dict[str, dict[int, int]] = {}
    turned: list[str] = []
    sound = 0
    for stem, result in zip(stems, ordered_map(_check_image, tasks, workers=workers, title=f"checking {split.title}")):
        faults += result.faults
        turned += [stem] if result.turned else []
        sound += not result.faults
        if result.description is not None:
            pixels[stem] = result.description.pixels
    faults += _check_index_names(root, split, set(segments), set(stems))
    statistics = ClassStatistics(split.taxonomy.names, pixels)
    faults += _check_statistics(root, split, statistics)
    expected, images = expected_images(root, split), raw.count_images()
    if expected is not None and images != expected:
        folder = root / split.image_root
        message = f"expected {expected} images in {folder}, found {images}; unpack or generate the data set again"
        faults.append(Fault(FaultKind.COUNT, message))
    return SplitReport(
        split=split,
        expected=expected,
        images=images,
        prepared=len(pixels) if split.prepared_labels else sound,
        statistics=statistics if pixels else None,
        faults=tuple(faults),
        void_categories=raw.void_categories,
        unmapped=raw.unmapped,
        left_out=raw.left_out,
        turned=tuple(turned),
    )


def _check_image(check_task: _CheckTask) -> _CheckResult:
    raw = check_task.raw
    files, converter = raw.files, CONVERTERS[raw.split.format]
    faults: list[Fault] = []
    derived: tuple[np.ndarray, ...] | None = None
    try:
        require_pair(files)
        derived = () if converter.derive is None else converter.derive(raw)
        if converter.derive is None and all(path.is_file() for path in files.prepared_labels):
            require_same_size(files)
    except UserError as error:
        faults.append(as_fault(error))
    if files.image.is_file():
        faults += _attempt(disk.read_image, files.image)[1]
    label_faults, description = _check_labels(raw, converter, derived)
    faults += label_faults
    if description is not None and check_task.has_index:
        faults += _compare_segments(description, check_task.segments_info, raw)
    turned = not faults and bool(files.raw_labels) and disk.turns_alone(files.image, files.raw_labels[-1])
    return _CheckResult(tuple(dict.fromkeys(faults)), description, turned)


def _check_labels(
    raw: RawImage, converter: Converter, derived: tuple[np.ndarray, ...] | None
) -> tuple[list[Fault], Description | None]:
    """Compare the prepared labels with what the raw ones say.

    Args:
        derived: the arrays that the files must hold; () where there are no raw labels, None where these have a fault.
    """
    faults: list[Fault] = []
    description = None
    for position, (path, reader) in enumerate(zip(raw.files.prepared_labels, converter.readers)):
        if not path.is_file():
            if derived is not None:  # else the fault of the raw label has been reported, which prevents this file
                faults.append(as_fault(missing_label(raw, path)))
            continue
        stored, errors = _attempt(reader, path)
        faults += errors
        if stored is None:
            continue
        if derived:
            faults += _compare(stored, derived[position], path, raw)
        if position == len(converter.readers) - 1:
            description, errors = _attempt(converter.describe, stored, path, raw.split.taxonomy)
            faults += errors
    return faults, description


def _attempt(function, *arguments):
    """(result, []) or (None, [fault])."""
    try:
        return function(*arguments), []
    except UserError as error:
        return None, [as_fault(error)]


def _compare(stored: np.ndarray, derived: np.ndarray, path: Path, raw: RawImage) -> list[Fault]:
    command = f"{label_command(raw.root, raw.split)} --overwrite"
    if stored.shape != derived.shape:
        (height, width), (found_height, found_width) = derived.shape, stored.shape
        found = f"found {found_width} x {found_height} in {path}"
        return [Fault(FaultKind.SIZE, f"expected {width} x {height} pixels, {found}; run `{command}`")]
    differing = int(np.count_nonzero(stored != derived))
    if differing:
        message = f"expected what the raw labels say, found {differing} other pixels in {path}; run `{command}`"
        return [Fault(FaultKind.DISAGREE, message)]
    return []


def _compare_segments(description: Description, listed: list[SegmentInfo] | None, raw: RawImage) -> list[Fault]:
    path, index = raw.files.prepared_labels[-1], raw.root / raw.split.panoptic_json
    keys = ("id", "category_id", "area", "bbox", "iscrowd")
    if listed is not None:
        listed = sorted(({key: segment.get(key) for key in keys} for segment in listed), key=lambda s: s["id"])
    if listed == description.segments_info:
        return []
    found = "no entry" if listed is None else "others"
    command = label_command(raw.root, raw.split)
    message = f"expected the segments of {path} in {index}, found {found}; run `{command}`"
    return [Fault(FaultKind.DISAGREE, message)]


def _read_index(root: Path, split: Split, faults: list[Fault]) -> dict[str, list[SegmentInfo]] | None:
    """Image id -> segments of the panoptic JSON; None without a readable one. Faults are appended."""
    if split.panoptic_json is None:
        return None
    path = root / split.panoptic_json
    if not path.is_file():
        command = label_command(root, split)
        message = f"expected panoptic annotations, found nothing at {path}; run `{command}`"
        faults.append(Fault(FaultKind.MISSING, message))
        return None
    try:
        annotations = load_panoptic_json(path, split.taxonomy, info=split.panoptic_info)
        return {annotation.image_id: annotation.segments_info for annotation in annotations}
    except UserError as error:
        faults.append(as_fault(error))
        return None


def _check_index_names(root: Path, split: Split, listed: set[str], present: set[str]) -> list[Fault]:
    command = label_command(root, split)
    return [
        Fault(
            FaultKind.DISAGREE,
            f"expected only images that exist, found {stem} in {root / split.panoptic_json}; run `{command}`",
        )
        for stem in sorted(listed - present)
    ]


def _check_statistics(root: Path, split: Split, recomputed: ClassStatistics) -> list[Fault]:
    if split.statistics is None:
        return []
    path = root / split.statistics
    command = label_command(root, split)
    try:
        if not path.is_file():
            message = f"expected class statistics, found nothing at {path}; run `{command}`"
            raise FaultError(FaultKind.MISSING, message)
        if ClassStatistics.load(path, split.taxonomy.names).images != recomputed.images:
            message = f"expected the counts of the prepared labels, found others in {path}; run `{command}`"
            raise FaultError(FaultKind.DISAGREE, message)
    except UserError as error:
        return [as_fault(error)]
    return []
