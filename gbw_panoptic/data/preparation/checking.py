"""Check a data set: read every file, raw and prepared, and report all faults. Writes nothing."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...errors import UserError
from ...taxonomy import CITYSCAPES
from ... import files as disk
from ..coco_panoptic import load_panoptic_json
from ..layout import ImageName, Split, expected_images, expected_splits, list_images, prepare_command
from ..statistics import ClassStatistics
from .converters import CONVERTERS, Description
from .faults import Fault, FaultError, FaultKind, as_fault
from .parallel import ordered_map
from .preparing import Task, require_downloads, require_pair
from .report import SplitReport


@dataclass(frozen=True)
class _CheckTask:
    task: Task
    segments_info: list[dict] | None  # of the panoptic JSON; None = not listed there


@dataclass(frozen=True)
class _CheckResult:
    faults: tuple[Fault, ...]
    description: Description | None


def check(dataset: str, root: Path, *, workers: int) -> list[SplitReport]:
    """Read every file of ``dataset`` below ``root`` and compare raw labels, prepared labels, indices and counts."""
    names = {split: require_downloads(root, split) for split in expected_splits(root, dataset)}
    return [_check_split(root, split, names[split], workers) for split in names]


def _check_split(root: Path, split: Split, names: list[ImageName], workers: int) -> SplitReport:
    faults: list[Fault] = []
    segments = _read_index(root, split, faults)
    tasks = [_CheckTask(Task(root, split, name), segments.get(name.stem)) for name in names]
    pixels: dict[str, dict[int, int]] = {}
    results = ordered_map(_check_image, tasks, workers=workers, title=f"checking {split.title}")
    for name, result in zip(names, results):
        faults += result.faults
        if result.description is not None:
            pixels[name.stem] = result.description.pixels
    faults += _check_index_names(root, split, set(segments), {name.stem for name in names})
    statistics = ClassStatistics(CITYSCAPES.names, pixels)
    faults += _check_statistics(root, split, statistics)
    expected, images = expected_images(root, split), len(list_images(root, split.image))
    if images != expected:
        folder = root / split.image_root
        message = f"expected {expected} images in {folder}, found {images}; unpack or generate the data set again"
        faults.append(Fault(FaultKind.COUNT, message))
    return SplitReport(split, expected, images, len(pixels), statistics if pixels else None, tuple(faults))


def _check_image(check_task: _CheckTask) -> _CheckResult:
    task = check_task.task
    files, converter = task.files, CONVERTERS[task.split.dataset]
    faults: list[Fault] = []
    derived: tuple[np.ndarray, ...] | None = None
    try:
        require_pair(files)
        derived = converter.derive(files)
    except UserError as error:
        faults.append(as_fault(error))
    if files.image.is_file():
        faults += _attempt(disk.read_image, files.image)[1]
    description = None
    for position, (path, reader) in enumerate(zip(files.prepared_labels, converter.readers)):
        if not path.is_file():
            if derived is not None:  # else the fault of the raw label has been reported, which prevents this file
                faults.append(_missing(path, task))
            continue
        stored, errors = _attempt(reader, path)
        faults += errors
        if stored is None:
            continue
        if derived is not None:
            faults += _compare(stored, derived[position], path, task)
        if position == len(files.prepared_labels) - 1:
            description, errors = _attempt(converter.describe, stored)
            faults += errors
    if description is not None and task.split.panoptic_json is not None:
        faults += _compare_segments(description, check_task.segments_info, task)
    return _CheckResult(tuple(dict.fromkeys(faults)), description)


def _attempt(function, argument):
    """(result, []) or (None, [fault])."""
    try:
        return function(argument), []
    except UserError as error:
        return None, [as_fault(error)]


def _missing(path: Path, task: Task) -> Fault:
    command = prepare_command(task.root, task.split.dataset)
    return Fault(FaultKind.MISSING, f"expected a prepared label, found nothing at {path}; run `{command}`")


def _compare(stored: np.ndarray, derived: np.ndarray, path: Path, task: Task) -> list[Fault]:
    command = f"{prepare_command(task.root, task.split.dataset)} --overwrite"
    if stored.shape != derived.shape:
        (height, width), (found_height, found_width) = derived.shape, stored.shape
        found = f"found {found_width} x {found_height} in {path}"
        return [Fault(FaultKind.SIZE, f"expected {width} x {height} pixels, {found}; run `{command}`")]
    differing = int(np.count_nonzero(stored != derived))
    if differing:
        message = f"expected what the raw labels say, found {differing} other pixels in {path}; run `{command}`"
        return [Fault(FaultKind.DISAGREE, message)]
    return []


def _compare_segments(description: Description, listed: list[dict] | None, task: Task) -> list[Fault]:
    path, index = task.files.prepared_labels[-1], task.root / task.split.panoptic_json
    if not index.is_file():
        return []  # said once, by the index itself
    keys = ("id", "category_id", "area", "bbox", "iscrowd")
    if listed is not None:
        listed = sorted(({key: segment.get(key) for key in keys} for segment in listed), key=lambda s: s["id"])
    if listed == description.segments_info:
        return []
    found = "no entry" if listed is None else "others"
    command = prepare_command(task.root, task.split.dataset)
    message = f"expected the segments of {path} in {index}, found {found}; run `{command}`"
    return [Fault(FaultKind.DISAGREE, message)]


def _read_index(root: Path, split: Split, faults: list[Fault]) -> dict[str, list[dict]]:
    """Image id -> segments of the panoptic JSON; faults are appended."""
    if split.panoptic_json is None:
        return {}
    path = root / split.panoptic_json
    if not path.is_file():
        command = prepare_command(root, split.dataset)
        message = f"expected panoptic annotations, found nothing at {path}; run `{command}`"
        faults.append(Fault(FaultKind.MISSING, message))
        return {}
    try:
        return {a.image_id: a.segments_info for a in load_panoptic_json(path, CITYSCAPES)}
    except UserError as error:
        faults.append(as_fault(error))
        return {}


def _check_index_names(root: Path, split: Split, listed: set[str], present: set[str]) -> list[Fault]:
    command = prepare_command(root, split.dataset)
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
    command = prepare_command(root, split.dataset)
    try:
        if not path.is_file():
            message = f"expected class statistics, found nothing at {path}; run `{command}`"
            raise FaultError(FaultKind.MISSING, message)
        if ClassStatistics.load(path, CITYSCAPES.names).images != recomputed.images:
            message = f"expected the counts of the prepared labels, found others in {path}; run `{command}`"
            raise FaultError(FaultKind.DISAGREE, message)
    except UserError as error:
        return [as_fault(error)]
    return []
