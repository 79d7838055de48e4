"""Prepare a data set: convert what is not yet converted, then write the indices over all images.

The indices (panoptic JSON, class statistics) are derived from the prepared label files and written last, so a run that
was killed at any moment only goes on: files that are there are complete, indices that are there cover all files.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path

from ...errors import UserError
from ...taxonomy import CITYSCAPES
from ... import files as disk
from ..coco_panoptic import save_panoptic_json
from ..layout import ImageName, Split, expected_images, expected_splits, list_images, missing_download
from ..statistics import ClassStatistics
from .converters import CONVERTERS, Description, Files
from .faults import Fault, FaultError, FaultKind, as_fault
from .parallel import ordered_map
from .report import SplitReport

_MAX_FAULTS = 20  # a data set that may not have any is given up then: it is of the wrong kind


@dataclass(frozen=True)
class Task:
    """One image for a worker; everything that it needs."""

    root: Path
    split: Split
    name: ImageName
    overwrite: bool = False

    @property
    def files(self) -> Files:
        def path(template: str) -> Path:
            return self.root / template.format(stem=self.name.stem, city=self.name.city)

        return Files(
            image=path(self.split.image),
            raw_labels=tuple(path(template) for template in self.split.raw_labels),
            prepared_labels=tuple(path(template) for template in self.split.prepared_labels),
        )


def prepare(dataset: str, root: Path, *, workers: int, overwrite: bool = False) -> list[SplitReport]:
    """Prepare every split of ``dataset`` below ``root``.

    Args:
        dataset: a key of :data:`~gbw_panoptic.data.layout.SPLITS`.
        workers: number of processes.
        overwrite: convert again what is there.

    Raises:
        UserError: nothing to prepare: the message says what is missing and where to get it.
    """
    splits = expected_splits(root, dataset)
    for split in splits:  # all that is missing is said before hours of work
        require_downloads(root, split)
    return [_prepare_split(root, split, workers, overwrite) for split in splits]


def require_downloads(root: Path, split: Split) -> list[ImageName]:
    """All names that an image or a raw label has; UserError if the images or the labels are absent altogether."""
    names: set[ImageName] = set()
    for template in (split.image, *split.raw_labels):
        folder = next(d.folder for d in split.downloads if template.startswith(f"{d.folder}/"))
        found = list_images(root, template)
        if not found:
            state = f"no file named *{template.partition('{stem}')[2]}" if (root / folder).is_dir() else "nothing"
            raise missing_download(root, split, folder, state)
        names.update(found)
    return sorted(names, key=lambda name: (f"{name.city}/", name.stem))


def require_pair(files: Files) -> None:
    """Raise a MISSING fault unless image and raw labels exist."""
    for path in (files.image, *files.raw_labels):
        if not path.is_file():
            raise FaultError(
                FaultKind.MISSING, f"expected an image with its labels, found nothing at {path}; unpack it again"
            )


def _prepare_split(root: Path, split: Split, workers: int, overwrite: bool) -> SplitReport:
    names = require_downloads(root, split)
    may_skip = CONVERTERS[split.dataset].may_skip
    for folder in {(root / t.format(stem="", city="")).parent for t in split.prepared_labels}:
        _make_clean_folder(folder)
    described: dict[ImageName, Description] = {}
    faults: list[Fault] = []
    tasks = [Task(root, split, name, overwrite) for name in names]
    results = ordered_map(_prepare_image, tasks, workers=workers, title=f"preparing {split.title}")
    for name, result in zip(names, results):
        if isinstance(result, Description):
            described[name] = result
        else:
            faults.append(result)
        if sum(fault.kind not in may_skip for fault in faults) >= _MAX_FAULTS:
            break
    results.close()
    complete = bool(described) and all(fault.kind in may_skip for fault in faults)
    statistics = _statistics(described)
    if complete:
        _write_indices(root, split, described, statistics)
    return SplitReport(
        split=split,
        expected=expected_images(root, split),
        images=len(list_images(root, split.image)),
        prepared=len(described),
        statistics=statistics if described else None,
        faults=tuple(faults),
        skipped=complete,
    )


def _prepare_image(task: Task) -> Description | Fault:
    converter, files = CONVERTERS[task.split.dataset], task.files
    try:
        if task.overwrite or not _is_finished(files):
            require_pair(files)
            converter.write(files, converter.derive(files))
        return converter.describe(converter.readers[-1](files.prepared_labels[-1]))
    except UserError as error:
        return as_fault(error)


def _is_finished(files: Files) -> bool:
    """Whether the prepared files exist and are no older than what they were made from."""
    inputs = [path for path in files.raw_labels if path.is_file()]
    if not files.image.is_file() or len(inputs) < len(files.raw_labels):
        return False
    if not all(path.is_file() for path in files.prepared_labels):
        return False
    newest_input = max(path.stat().st_mtime_ns for path in inputs)
    return min(path.stat().st_mtime_ns for path in files.prepared_labels) >= newest_input


def _make_clean_folder(folder: Path) -> None:
    """Create ``folder``; remove the temporary files that a killed run left in it and in its city folders."""
    folder.mkdir(parents=True, exist_ok=True)
    for pattern in (f".*{disk.TEMPORARY_SUFFIX}", f"*/.*{disk.TEMPORARY_SUFFIX}"):
        for path in folder.glob(pattern):
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def _statistics(described: dict[ImageName, Description]) -> ClassStatistics:
    return ClassStatistics(CITYSCAPES.names, {name.stem: found.pixels for name, found in described.items()})


def _write_indices(
    root: Path, split: Split, described: dict[ImageName, Description], statistics: ClassStatistics
) -> None:
    if split.panoptic_json is not None:
        images, annotations = [], []
        for name, found in described.items():
            image_file = Path(split.image.format(stem=name.stem, city=name.city)).name
            label_file = Path(split.prepared_labels[-1].format(stem=name.stem, city=name.city)).name
            height, width = found.size
            images.append({"id": name.stem, "file_name": image_file, "width": width, "height": height})
            annotations.append(
                {"image_id": name.stem, "file_name": label_file, "segments_info": found.segments_info}
            )
        save_panoptic_json(root / split.panoptic_json, images, annotations, CITYSCAPES)
    if split.statistics is not None:
        statistics.save(root / split.statistics)
