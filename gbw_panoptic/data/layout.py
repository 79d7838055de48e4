"""How a data set lies on disk: splits, the templates of their files (:mod:`.image_names`), and what is found below a
root.

A *split* is one list of images, with labels or without. ``published`` and ``custom`` list the splits.
"""

import difflib
import os
import re
import shlex
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Iterable

from .. import files
from ..errors import UserError
from ..searching import Skipped
from ..taxonomy import CITYSCAPES, Taxonomy
from .categories import CategoryMap, IdTable
from .image_names import ImageName, folders_in, list_images, template_folder

MANIFEST = "streets.json"  # written by the generator of Streets; its counts replace those of the real data sets
CUSTOM_FILE = "custom.yaml"  # below the root: the user's own data sets, unless another file is named
PREPARED_VARIABLE = "GBW_PREPARED"  # where prepared files lie, if not below the root
_STREETS = ("synthia", "gta5", "cityscapes")  # what the generator writes


@dataclass(frozen=True)
class Download:
    """A folder that the user must provide and, in words, where it comes from."""

    folder: str
    source: str


@dataclass(frozen=True)
class Split:
    """One split of one data set.

    Attributes:
        format: how labels are made, a key of :data:`~gbw_panoptic.data.preparation.converters.CONVERTERS`.
        image: template of the image file.
        raw_labels: templates of the label files as downloaded.
        prepared_labels: templates of the label files that ``datasets/prepare.py`` writes.
        panoptic_json: annotations of the prepared panoptic PNGs, which are the last of ``prepared_labels``;
            None for a semantic data set and for images alone.
        statistics: class statistics; None where the split is no source.
        expected_images: in the real data set; None where nobody knows.
        downloads: what must be there before preparation.
        raw_json: COCO-panoptic annotations of the raw labels, which name the files.
        categories: what the categories of ``raw_json`` mean.
        id_table: what the values of the raw labels mean, where these are files of ids.
        suffixes: that the names of images and of raw labels end with, before which they are alike; of files of ids, and
            with ``raw_json`` where that names the labels alone.
        only: a regular expression for the paths of the split's images below the image folder, where others lie there,
            too.
        absent: classes that its labels never hold, where no table of their meaning says so.
        taxonomy: whose classes the prepared labels hold.
        taxonomy_file: what ``--taxonomy`` must name; "" = nothing.
        labels_of: the data set whose preparation makes the labels, where it is another one.
        group: splits that are either all there or not wanted; "" = must be there.
        alternative: the same split as another edition of the data set has it.
        described_in: absolute path of the YAML file that describes a data set of the user's own.
        prepared_in: absolute path of the folder that all prepared files lie in, if not below the root.
    """

    dataset: str
    name: str
    format: str
    image: str
    raw_labels: tuple[str, ...] = ()
    prepared_labels: tuple[str, ...] = ()
    panoptic_json: str | None = None
    statistics: str | None = None
    expected_images: int | None = None
    downloads: tuple[Download, ...] = ()
    raw_json: str | None = None
    categories: CategoryMap | None = None
    id_table: IdTable | None = None
    suffixes: tuple[str, str] = ("", "")
    only: str = ""
    absent: tuple[int, ...] = ()
    taxonomy: Taxonomy = CITYSCAPES
    taxonomy_file: str = ""
    labels_of: str = ""
    group: str = ""
    alternative: "Split | None" = None
    described_in: str = ""
    prepared_in: str = ""

    @property
    def image_root(self) -> str:
        return template_folder(self.image)

    @property
    def panoptic_root(self) -> str:
        return template_folder(self.prepared_labels[-1])

    @property
    def meaning(self) -> CategoryMap | IdTable | None:
        """What the numbers of the raw labels mean; None where these are a published data set's own."""
        return self.categories or self.id_table

    @property
    def panoptic_info(self) -> dict | None:
        """What ``panoptic_json``, or the statistics of semantic labels, say that they were made with."""
        return None if self.meaning is None else self.meaning.info

    @property
    def title(self) -> str:
        return f"{self.dataset} {self.name}"


def default_root() -> Path:
    """``$DETECTRON2_DATASETS``, or ./datasets where it is not set."""
    return Path(os.environ.get("DETECTRON2_DATASETS", "datasets")).expanduser()


def default_prepared() -> Path | None:
    """``$GBW_PREPARED``; None where it is not set: prepared files lie below the root."""
    folder = os.environ.get(PREPARED_VARIABLE)
    return Path(folder).expanduser() if folder else None


def located(split: Split, prepared: Path | None) -> Split:
    """The split with its prepared files below ``prepared``, for roots that cannot be written; None changes nothing.

    Raises:
        UserError: the path has braces, which templates give a meaning.
    """
    if prepared is None:
        return split
    folder = os.path.abspath(prepared)
    if set(folder) & set("{}"):
        raise UserError(
            f"expected a folder for prepared files without braces in its path, found {folder}; choose another "
            "--prepared"
        )
    return replace(
        split,
        prepared_labels=tuple(f"{folder}/{template}" for template in split.prepared_labels),
        panoptic_json=split.panoptic_json and f"{folder}/{split.panoptic_json}",
        statistics=split.statistics and f"{folder}/{split.statistics}",
        alternative=split.alternative and located(split.alternative, prepared),
        prepared_in=folder,
    )


def split_images(root: Path, split: Split, skipped: Skipped | None = None) -> list[ImageName]:
    """The images of ``split``; arguments and errors as those of :func:`list_images`."""
    names = list_images(root, split.image, skipped)
    return [name for name in names if re.fullmatch(split.only, name.file)] if split.only else names


def expected_images(root: Path, split: Split) -> int | None:
    """How many images the split should have: as published, or what the manifest of Streets says (0 = not generated)."""
    if not is_generated(root, split):
        return split.expected_images
    manifest = root / MANIFEST
    try:
        form = {"datasets": files.Each(files.Each(object))}
        splits = files.read_json(manifest, form)["datasets"].get(split.dataset, {})
        count = splits[split.name]["images"] if split.name in splits else 0
    except (AttributeError, KeyError, TypeError):
        count = None
    if type(count) is not int:
        raise UserError(
            f"expected the number of {split.title} images in {manifest}, found none; generate the data again "
            "with datasets/make_streets.py"
        )
    return count


def is_generated(root: Path, split: Split) -> bool:
    """Whether the split comes from the generator of Streets, so far as it has been generated."""
    return split.dataset in _STREETS and (root / MANIFEST).is_file()


def expected_splits(root: Path, splits: Iterable[Split]) -> list[Split]:
    """Those of one data set's ``splits`` that should have images below ``root``, in the edition that is there."""
    splits = list(splits)
    found = [split for split in splits if expected_images(root, split) != 0]
    if not found:
        dataset = splits[0].dataset
        raise UserError(
            f"expected {dataset} among the generated data in {root}, found none in {MANIFEST}; "
            "generate it with datasets/make_streets.py --formats or choose another --root"
        )
    groups = {split.group for split in found if split.group and split_images(root, split)}
    wanted = [split for split in found if not split.group or split.group in groups] or found
    return [_edition(root, split) for split in wanted]


def prepare_command(root: Path, split: Split) -> str:
    """The command that prepares the data set of ``split``."""
    is_default = split.described_in in ("", os.path.abspath(root / CUSTOM_FILE))
    custom = [] if is_default else ["--custom", split.described_in]
    taxonomy = ["--taxonomy", split.taxonomy_file] if split.taxonomy_file else []
    command = ["python", "datasets/prepare.py", split.dataset, "--root", str(root)]
    return shlex.join([*command, *custom, *taxonomy, *_prepared_option(split)])


def label_command(root: Path, split: Split) -> str:
    """The command that makes the labels of ``split``, which may be another data set's."""
    command = ["python", "datasets/prepare.py", split.labels_of, "--root", str(root), *_prepared_option(split)]
    return shlex.join(command) if split.labels_of else prepare_command(root, split)


def download_source(root: Path, split: Split, folder: str) -> str:
    """Where ``folder`` comes from, in words."""
    if is_generated(root, split):
        return f"this root holds generated data: run datasets/make_streets.py --root {root} again"
    return next(download.source for download in split.downloads if download.folder == folder)


def missing_download(root: Path, split: Split, folder: str, found: str, *, then_prepare: bool = True) -> UserError:
    """The error for a folder that the user must provide."""
    then = f", then run `{prepare_command(root, split)}`" if then_prepare else ""
    source, alike = download_source(root, split, folder), _alike(root, folder)
    beside = f" but {alike}, which has another name or is another edition" if alike else ""
    return UserError(f"expected the {split.title} files in {root / folder}, found {found}{beside}; {source}{then}")


def _alike(root: Path, folder: str) -> Path | None:
    """A folder whose name is like that of the first part of ``folder`` that is not there; other data sets' are not like
    it."""
    place = root
    for part in Path(folder).parts:
        if not (place / part).is_dir():
            names = set(folders_in(place)) - set(_STREETS if place == root else ())
            close = difflib.get_close_matches(part, sorted(names), n=1, cutoff=0.75)
            return place / close[0] if close else None
        place = place / part
    return None


def _prepared_option(split: Split) -> list[str]:
    return ["--prepared", split.prepared_in] if split.prepared_in else []


def _edition(root: Path, split: Split) -> Split:
    other = split.alternative
    if other is None or (root / split.raw_json).is_file() or not (root / other.raw_json).is_file():
        return split
    return other
