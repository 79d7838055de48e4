"""A quick look at which data sets are there: counts files, decodes none."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ...errors import UserError
from ..layout import (
    SPLITS,
    Split,
    default_root,
    download_source,
    expected_images,
    expected_splits,
    list_images,
    prepare_command,
)
from ..statistics import ClassStatistics

State = Literal["complete", "raw", "incomplete", "missing"]


@dataclass(frozen=True)
class DatasetStatus:
    """State of one data set.

    Attributes:
        state: ``complete`` (prepared, every image there), ``raw`` (downloaded, to be prepared), ``incomplete`` or
            ``missing``.
        detail: the counts, in words.
        remedy: what to do; empty when complete.
    """

    name: str
    state: State
    detail: str
    remedy: str


def status(root: str | Path | None = None) -> list[DatasetStatus]:
    """The state of every data set below ``root`` (default: ``$DETECTRON2_DATASETS`` or ./datasets)."""
    root = default_root() if root is None else Path(root)
    return [_dataset_status(root, name) for name in SPLITS]


def _dataset_status(root: Path, dataset: str) -> DatasetStatus:
    try:
        splits = [_split_status(root, split) for split in expected_splits(root, dataset)]
    except UserError as error:  # a manifest or an index that is damaged, or a data set that was not generated
        detail, _, remedy = str(error).rpartition("; ")
        return DatasetStatus(dataset, "incomplete" if (root / dataset).is_dir() else "missing", detail, remedy)
    states = {state for state, _, _ in splits}
    state = states.pop() if len(states) == 1 else "incomplete"
    details = "; ".join(detail for _, detail, _ in splits)
    remedies = dict.fromkeys(remedy for _, _, remedies in splits for remedy in remedies)
    return DatasetStatus(dataset, state, details, "; ".join(remedies))


def _split_status(root: Path, split: Split) -> tuple[State, str, list[str]]:
    """State, detail and remedies."""
    images = len(list_images(root, split.image))
    raw = min(len(list_images(root, template)) for template in split.raw_labels)
    prepared = min(len(list_images(root, template)) for template in split.prepared_labels)
    expected = expected_images(root, split)
    indexed = _indexed_images(root, split, default=images)
    detail = f"{split.name}: {images} of {expected} images, {prepared} prepared labels"
    command = f"run `{prepare_command(root, split.dataset)}`"
    if indexed is not None and images == expected and prepared >= indexed:
        return "complete", detail, []
    if images < expected or (raw < images and prepared < images):
        state: State = "missing" if images == raw == 0 else "incomplete"
        sources = [download_source(root, split, download.folder) for download in split.downloads]
        return state, detail, [*sources, command]
    return "raw" if prepared == 0 else "incomplete", detail, [command]


def _indexed_images(root: Path, split: Split, default: int) -> int | None:
    """How many prepared labels the indices speak of; None without indices."""
    indices = [root / path for path in (split.panoptic_json, split.statistics) if path is not None]
    if not all(path.is_file() for path in indices):
        return None
    return default if split.statistics is None else len(ClassStatistics.load(root / split.statistics).images)
