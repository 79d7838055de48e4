"""What there is to prepare: the images of a split, with all their files and what a raw JSON says about them."""

import hashlib
import json
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Mapping

from ... import files
from ...errors import UserError
from ...searching import Skipped, wanted_files
from ...taxonomy import CITYSCAPES
from ..categories import SegmentClass
from ..coco_panoptic import PanopticAnnotation, load_raw_panoptic_json
from ..image_names import ImageName, file_path, in_order, list_images, name_of_file, require_unique, template_folder
from ..layout import Split, label_command, missing_download, split_images
from .report import FaultError, FaultKind

_RULES = "1"  # of conversion; another number makes every label again


@dataclass(frozen=True)
class Files:
    """The files of one image.

    Attributes:
        dependencies: other files that the prepared ones are made from.
    """

    image: Path
    raw_labels: tuple[Path, ...]
    prepared_labels: tuple[Path, ...]
    dependencies: tuple[Path, ...] = ()


@dataclass(frozen=True)
class RawImage:
    """One image for a worker; everything that it needs.

    Attributes:
        segments: of a raw COCO-panoptic JSON, as it stands there.
        classes: what the category ids of ``segments`` mean.
    """

    root: Path
    split: Split
    name: ImageName
    segments: Any = None
    classes: Mapping[int, SegmentClass] | None = None

    @property
    def files(self) -> Files:
        split = self.split
        return Files(
            image=file_path(self.root, split.image, self.name),
            raw_labels=tuple(file_path(self.root, template, self.name) for template in split.raw_labels),
            prepared_labels=tuple(file_path(self.root, template, self.name) for template in split.prepared_labels),
            dependencies=tuple(self.root / path for path in (split.raw_json, split.described_in) if path),
        )

    def require_size(self, path: Path, found: tuple[int, ...]) -> None:
        """Raise a SIZE fault unless the label at ``path`` has the image's (H, W)."""
        size = files.read_image_size(self.files.image)
        if found != size:
            raise FaultError(
                FaultKind.SIZE,
                f"expected {size[1]} x {size[0]} pixels as in {self.files.image}, found {found[1]} x {found[0]} in "
                f"{path}; " + files.size_remedy(self.files.image, found, "unpack both again"),
            )

    def origin(self) -> str:
        """Digest of all that the prepared files are made from: label files, segments, classes and their ids.

        Raises:
            OSError: a label file cannot be read.
        """
        said = json.dumps(self.segments, sort_keys=True), sorted((self.classes or {}).items())
        parts = [
            _RULES,
            self.split.format,
            repr(said),
            *_other_meaning(self.split),
            *(files.sha256(path) for path in self.files.raw_labels),
        ]
        return hashlib.sha256("\n".join(parts).encode("utf-8", "surrogatepass")).hexdigest()


@dataclass(frozen=True)
class RawSplit:
    """All images of a split, in order.

    Attributes:
        void_categories: names of the categories of a raw JSON that become void.
        left_out: what the search for images left out, in one line.
        unmapped: how many categories there are, where void ones became void because nothing maps them.
    """

    images: list[RawImage]
    void_categories: tuple[str, ...] = ()
    left_out: str = ""
    unmapped: int = 0

    def count_images(self) -> int:
        """How many of the image files exist."""
        return sum(image.files.image.is_file() for image in self.images)


def list_raw(root: Path, split: Split, *, strict: bool = False) -> RawSplit:
    """All images that have a file of their own or a raw label.

    Args:
        strict: whether nothing may be left out.

    Raises:
        UserError: the images or the labels are absent altogether, or their JSON is unusable.
    """
    for template in (split.image, *split.raw_labels):
        _require_download(root, split, template)
    if split.raw_json is not None:
        return _list_annotated(root, split, strict)
    if split.id_table is not None:
        return _list_pairs(root, split, strict)
    templates = (split.image, *split.raw_labels, *(split.prepared_labels[:1] if split.labels_of else ()))
    names: set[ImageName] = set()
    skipped = Skipped()
    for template in templates:
        found = split_images(root, split, skipped) if template == split.image else list_images(root, template, skipped)
        if not found:
            raise _nothing(root, split, template, skipped)
        names.update(found)
    if strict:
        skipped.require_none()
    return RawSplit([RawImage(root, split, name) for name in in_order(names)], left_out=skipped.sentence())


def _list_annotated(root: Path, split: Split, strict: bool) -> RawSplit:
    path = root / split.raw_json
    annotations, categories = load_raw_panoptic_json(path)
    classes = split.categories.resolve(categories, path)
    images = [
        RawImage(root, split, name_of_file(_image_file(split, a), a.label_file), a.segments_info, classes)
        for a in annotations
    ]
    if not images:
        raise UserError(f"expected annotated images in {path}, found none; correct the file")
    require_unique([image.name for image in images], path)
    if not any(image.files.image.is_file() for image in images):
        raise missing_download(root, split, split.image_root, "none of the annotated images")
    void = tuple(c["name"] for c in categories if classes[c["id"]].contiguous is None)
    left_out = _left_out(root / split.image_root, {image.name.file for image in images}, split.only, strict)
    unmapped = len(categories) if void and not split.categories.classes else 0
    return RawSplit(sorted(images, key=lambda image: image.name.stem), void, left_out, unmapped)


def _list_pairs(root: Path, split: Split, strict: bool) -> RawSplit:
    """Images and files of ids with the same names; those without a partner are left out, and counted."""
    skipped = Skipped()
    folders = [root / template_folder(template) for template in (split.image, split.raw_labels[0])]
    images, labels = (
        {
            name.stem.removesuffix(suffix): name
            for name in list_images(root, template, skipped)
            if name.stem.endswith(suffix)
        }
        for template, suffix in zip((split.image, split.raw_labels[0]), split.suffixes)
    )
    pairs = [
        RawImage(root, split, replace(name, label=labels[key].file), classes=split.id_table.resolve())
        for key, name in images.items()
        if key in labels
    ]
    if not pairs:
        remedy = f"correct the folders, image_suffix or label_suffix in {split.described_in}"
        raise UserError(
            f"expected images in {folders[0]} and labels of the same names in {folders[1]}, found {len(images)} images "
            f"and {len(labels)} labels, but no pair{skipped.remark()}; "
            f"{remedy if split.described_in else 'unpack both again'}"
        )
    for found, partners, kind in (
        (images, labels, "images without a label"),
        (labels, images, "labels without an image"),
    ):
        for key in found.keys() - partners.keys():
            skipped.add(kind, found[key].file)
    if strict:
        skipped.require_none()
    return RawSplit(pairs, left_out=skipped.sentence())


def _image_file(split: Split, annotation: PanopticAnnotation) -> str:
    image, label = split.suffixes
    return annotation.label_file.removesuffix(label) + image if label else annotation.image_file


def _left_out(folder: Path, listed: set[str], only: str, strict: bool) -> str:
    """What a JSON does not list, which is no error, and what cannot be read, in one line."""
    skipped = Skipped()
    found = list(wanted_files(folder, files.IMAGE_SUFFIXES, skipped))
    if strict:
        skipped.require_none()
    for path in found:
        file = path.relative_to(folder).as_posix()
        if file not in listed and re.fullmatch(only or ".*", file):
            skipped.add("images that the JSON does not list", path)
    return skipped.sentence()


def _require_download(root: Path, split: Split, template: str) -> None:
    folder = _folder(split, template)
    if not (root / folder).is_dir():
        raise missing_download(root, split, folder, "nothing")


def _nothing(root: Path, split: Split, template: str, skipped: Skipped) -> UserError:
    if template in split.prepared_labels:
        return UserError(
            f"expected the labels of {split.title} in {root / template_folder(template)}, found none; "
            f"run `{label_command(root, split)}` first"
        )
    suffix = template.partition("{stem}")[2]
    found = f"no file named *{suffix}" if suffix else "no image"
    return missing_download(root, split, _folder(split, template), found + skipped.remark())


def _folder(split: Split, template: str) -> str:
    return next(d.folder for d in split.downloads if template.startswith(f"{d.folder}/"))


def _other_meaning(split: Split) -> list[str]:
    """What labels depend on beside their classes' numbers; nothing for Cityscapes' ids, whose digests stay what they
    were."""
    table, taxonomy = split.id_table, split.taxonomy
    numbering = [] if table is None else [repr((table.numbering, table.are_colors))]
    if taxonomy.same_classes(CITYSCAPES):
        return numbering
    return [*numbering, repr((taxonomy.label_names, taxonomy.label_dataset_ids, taxonomy.label_is_thing))]
