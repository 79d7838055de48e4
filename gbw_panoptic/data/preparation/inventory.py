"""A quick look at which data sets are there: counts files, decodes none."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Sequence

from ...errors import UserError
from ..custom import all_located, data_sets
from ..image_names import list_images
from ..layout import (
    Split,
    default_root,
    download_source,
    expected_images,
    expected_splits,
    label_command,
    prepare_command,
    split_images,
)
from ..published import PUBLISHED
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


def status(
    root: str | Path | None = None, custom: str | Path | None = None, taxonomy: str | Path | None = None
) -> list[DatasetStatus]:
    """The state of every data set below ``root`` (default: ``$DETECTRON2_DATASETS`` or ./datasets).

    Args:
        custom, taxonomy: description of the user's own data sets, and their classes, see
            :func:`gbw_panoptic.data.custom.load_custom`.
    """
    root = default_root() if root is None else Path(root)
    try:
        known, problem = data_sets(root, custom, taxonomy=taxonomy), []
    except UserError as error:
        detail, _, remedy = str(error).rpartition("; ")
        known, problem = all_located(PUBLISHED), [DatasetStatus("custom", "incomplete", detail, remedy)]
    return [_dataset_status(root, name, splits) for name, splits in known.items()] + problem


def _dataset_status(root: Path, dataset: str, all_splits: Sequence[Split]) -> DatasetStatus:
    try:
        splits = [_split_status(root, split) for split in expected_splits(root, all_splits)]
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
    images, expected = len(split_images(root, split)), expected_images(root, split)
    of_expected = "" if expected is None else f" of {expected}"
    detail = f"{split.name}: {images}{of_expected} images"
    downloads = [download_source(root, split, download.folder) for download in split.downloads]
    if not split.prepared_labels:
        whole = images > 0 if expected is None else images == expected
        return ("complete", detail, []) if whole else ("incomplete" if images else "missing", detail, downloads)
    prepared = min(len(list_images(root, template)) for template in split.prepared_labels)
    raw = min((len(list_images(root, template)) for template in split.raw_labels), default=images)
    detail += f", {prepared} prepared labels"
    indexed = _indexed_images(root, split, default=images)
    if images and expected in (None, images) and indexed is not None and prepared >= indexed:
        return "complete", detail, []
    # A JSON may name some of the images only; without one, each image has a label.
    unlabelled = not raw if split.raw_json else raw < images and prepared < images
    if images < (expected or 1) or unlabelled:
        state: State = "missing" if images == raw == 0 else "incomplete"
        commands = dict.fromkeys((label_command(root, split), prepare_command(root, split)))
        return state, detail, [*downloads, *(f"run `{command}`" for command in commands)]
    return "raw" if prepared == 0 else "incomplete", detail, [f"run `{label_command(root, split)}`"]


def _indexed_images(root: Path, split: Split, default: int) -> int | None:
    """How many prepared labels the indices speak of; None without indices."""
    indices = [root / path for path in (split.panoptic_json, split.statistics) if path is not None]
    if not all(path.is_file() for path in indices):
        return None
    return default if split.statistics is None else len(ClassStatistics.load(root / split.statistics).images)
