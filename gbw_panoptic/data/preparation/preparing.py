"""Prepare a data set: convert what is not yet converted, then write the indices over all images.

The indices (panoptic JSON, class statistics) are derived from the prepared label files and written last, so a run that
was killed at any moment only goes on: files that are there are complete, indices that are there cover all files.
"""

import enum
import os
from dataclasses import replace
from functools import partial
from pathlib import Path

from ... import files as disk
from ...errors import UserError
from ..coco_panoptic import save_panoptic_json
from ..custom import find_data_set
from ..image_names import ImageName, file_path
from ..layout import Split, expected_images, expected_splits, label_command
from ..statistics import ClassStatistics
from .converters import CONVERTERS, Description
from .parallel import ordered_map
from .report import Fault, FaultError, FaultKind, SplitReport, as_fault
from .sources import Files, RawImage, RawSplit, list_raw

_MAX_FAULTS = 20  # a data set that may not have any is given up then: it is of the wrong kind


def prepare(
    dataset: str,
    root: Path,
    *,
    workers: int,
    overwrite: bool = False,
    custom: str | os.PathLike | None = None,
    prepared: Path | None = None,
    taxonomy: str | os.PathLike | None = None,
    strict: bool = False,
) -> list[SplitReport]:
    """Prepare every split of ``dataset`` below ``root``.

    Args:
        dataset: a published data set or one of the user's own.
        workers: number of processes.
        overwrite: convert again what is there.
        custom: the file that describes those, see :func:`gbw_panoptic.data.custom.load_custom`.
        prepared: folder for all that is written; by default ``$GBW_PREPARED`` or, where that is not set, ``root``.
        taxonomy: name or file of the classes of data sets of the user's own; by default, Cityscapes'.
        strict: whether a file or a folder that is left out is an error.

    Raises:
        UserError: nothing to prepare: the message says what is missing and where to get it.
    """
    splits = expected_splits(root, find_data_set(root, dataset, custom, prepared, taxonomy))
    # all that is missing is said before hours of work
    found = [(split, list_raw(root, split, strict=strict)) for split in splits]
    return [_prepare_split(root, split, raw, workers, overwrite) for split, raw in found]


def require_pair(files: Files) -> None:
    """Raise a MISSING fault unless image and raw labels exist."""
    for path in (files.image, *files.raw_labels):
        if not path.is_file():
            expected = "an image with its labels" if files.raw_labels else "an image"
            raise FaultError(FaultKind.MISSING, f"expected {expected}, found nothing at {path}; unpack it again")


def missing_label(raw: RawImage, path: Path) -> FaultError:
    """The fault of a prepared label that is not there."""
    command = label_command(raw.root, raw.split)
    return FaultError(FaultKind.MISSING, f"expected a prepared label, found nothing at {path}; run `{command}`")


def require_same_size(files: Files) -> None:
    """Raise a SIZE fault unless image and prepared labels agree, by their headers."""
    size = disk.read_image_size(files.image)
    for path in files.prepared_labels:
        found = disk.read_image_size(path)
        if found != size:
            raise FaultError(
                FaultKind.SIZE,
                f"expected {found[1]} x {found[0]} pixels as in {path}, found {size[1]} x {size[0]} in {files.image}; "
                + disk.size_remedy(files.image, found, "unpack it again"),
            )


def _prepare_split(root: Path, split: Split, raw: RawSplit, workers: int, overwrite: bool) -> SplitReport:
    converter = CONVERTERS[split.format]
    if converter.write is not None:
        for folder in {file_path(root, template, ImageName("", "")).parent for template in split.prepared_labels}:
            _make_clean_folder(folder)
    described: dict[ImageName, Description] = {}
    faults: list[Fault] = []
    prepare_image = partial(_prepare_image, overwrite=overwrite)
    results = ordered_map(prepare_image, raw.images, workers=workers, title=f"preparing {split.title}")
    for image, result in zip(raw.images, results):
        if isinstance(result, Description):
            described[image.name] = result
        else:
            faults.append(result)
        if sum(fault.kind not in converter.may_skip for fault in faults) >= _MAX_FAULTS:
            break
    results.close()
    complete = bool(described) and all(fault.kind in converter.may_skip for fault in faults)
    statistics = None
    if converter.write is not None and described:
        statistics = ClassStatistics(
            split.taxonomy.names, {name.stem: found.pixels for name, found in described.items()}
        )
        if complete:
            _write_indices(root, split, described, statistics)
    return SplitReport(
        split=split,
        expected=expected_images(root, split),
        images=raw.count_images(),
        prepared=len(described),
        statistics=statistics,
        faults=tuple(faults),
        skipped=complete,
        void_categories=raw.void_categories,
        unmapped=raw.unmapped,
        void_share=_void_share(described) if raw.void_categories and split.described_in else None,
        left_out=raw.left_out,
        by_times=sum(found.by_times for found in described.values()),
        turned=tuple(name.stem for name, found in described.items() if found.turned),
    )


def _void_share(described: dict[ImageName, Description]) -> float:
    """Share of the pixels that are of no segment of a class or a union."""
    labelled = sum(segment["area"] for found in described.values() for segment in found.segments_info or ())
    return 1 - labelled / max(sum(height * width for height, width in (found.size for found in described.values())), 1)


def _prepare_image(raw: RawImage, *, overwrite: bool) -> Description | Fault:
    converter, files = CONVERTERS[raw.split.format], raw.files
    try:
        if converter.derive is None or converter.write is None:
            return _look_at(raw)
        state = _State.ABSENT if overwrite else _state(raw)
        if state is _State.ABSENT:
            require_pair(files)
            origin = raw.origin()
            for path in files.prepared_labels:
                path.parent.mkdir(parents=True, exist_ok=True)
            converter.write(files, converter.derive(raw), origin)
        path = files.prepared_labels[-1]
        described = converter.describe(converter.readers[-1](path), path, raw.split.taxonomy)
        return replace(
            described, by_times=state is _State.NEWER, turned=disk.turns_alone(files.image, files.raw_labels[-1])
        )
    except UserError as error:
        return as_fault(error)


def _look_at(raw: RawImage) -> Description:
    """Nothing is to be made: look whether the image is there and has the size of the labels, if there are any."""
    require_pair(raw.files)
    for path in raw.files.prepared_labels:
        if not path.is_file():
            raise missing_label(raw, path)
    require_same_size(raw.files)
    return Description(None, {}, disk.read_image_size(raw.files.image))


class _State(enum.Enum):
    """Of the prepared files of an image; ABSENT stands for outdated, too."""

    ABSENT = enum.auto()
    MADE = enum.auto()  # from what is there now, as they say themselves
    NEWER = enum.auto()  # of an earlier version, which said nothing; no older than what they were made from


def _state(raw: RawImage) -> _State:
    files = raw.files
    inputs = [path for path in (*files.raw_labels, *files.dependencies) if path.is_file()]
    if not files.image.is_file() or len(inputs) < len(files.raw_labels) + len(files.dependencies):
        return _State.ABSENT
    if not all(path.is_file() for path in files.prepared_labels):
        return _State.ABSENT
    notes = {disk.read_note(path) for path in files.prepared_labels}
    if notes != {""}:
        return _State.MADE if notes == {raw.origin()} else _State.ABSENT
    newest_input = max(path.stat().st_mtime_ns for path in inputs)
    newer = min(path.stat().st_mtime_ns for path in files.prepared_labels) >= newest_input
    return _State.NEWER if newer else _State.ABSENT


def _make_clean_folder(folder: Path) -> None:
    """Create ``folder``; remove the temporary files that a killed run left in it and in its city folders."""
    folder.mkdir(parents=True, exist_ok=True)
    disk.clear_temporaries(folder)


def _write_indices(
    root: Path, split: Split, described: dict[ImageName, Description], statistics: ClassStatistics
) -> None:
    if split.panoptic_json is not None:
        images, annotations = [], []
        for name, found in described.items():
            image_file = name.file or file_path(root, split.image, name).name
            label_file = file_path(root, split.prepared_labels[-1], name).name
            height, width = found.size
            images.append({"id": name.stem, "file_name": image_file, "width": width, "height": height})
            annotations.append({"image_id": name.stem, "file_name": label_file, "segments_info": found.segments_info})
        save_panoptic_json(root / split.panoptic_json, images, annotations, split.taxonomy, info=split.panoptic_info)
    if split.statistics is not None:
        info = split.panoptic_info if split.panoptic_json is None else None
        statistics.save(root / split.statistics, info=info)
