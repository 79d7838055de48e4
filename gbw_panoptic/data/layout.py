"""Where every data set lies under the root: the one place with folder and file names.

A *split* is one list of images with labels. Templates are relative to the root; ``{stem}`` is the name of one image
without suffixes and ``{city}`` the folder that Cityscapes sorts it into.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from ..errors import UserError
from .. import files

MANIFEST = "streets.json"  # written by the generator of Streets; its counts replace those of the real data sets


@dataclass(frozen=True)
class Download:
    """A folder that the user must provide and, in words, where it comes from."""

    folder: str
    source: str


@dataclass(frozen=True)
class Split:
    """One split of one data set.

    Attributes:
        image: template of the image file.
        raw_labels: templates of the label files as downloaded.
        prepared_labels: templates of the label files that ``datasets/prepare.py`` writes.
        panoptic_json: annotations of the prepared panoptic PNGs, which are the last of ``prepared_labels``;
            None for a semantic data set.
        statistics: class statistics; None where the split is no source.
        expected_images: in the real data set.
        downloads: what must be there before preparation.
    """

    dataset: str
    name: str
    image: str
    raw_labels: tuple[str, ...]
    prepared_labels: tuple[str, ...]
    panoptic_json: str | None
    statistics: str | None
    expected_images: int
    downloads: tuple[Download, ...]

    @property
    def image_root(self) -> str:
        return self.image.partition("/{")[0]

    @property
    def panoptic_root(self) -> str:
        return self.prepared_labels[-1].partition("/{")[0]

    @property
    def title(self) -> str:
        return f"{self.dataset} {self.name}"


@dataclass(frozen=True, order=True)
class ImageName:
    """What identifies one image of a split; ``city`` is empty where there are no such folders."""

    city: str
    stem: str


def _cityscapes_split(name: str, expected_images: int, statistics: str | None) -> Split:
    site = "register at cityscapes-dataset.com, download {} and unpack it in the folder cityscapes of the root"
    return Split(
        dataset="cityscapes",
        name=name,
        image=f"cityscapes/leftImg8bit/{name}/{{city}}/{{stem}}_leftImg8bit.png",
        raw_labels=tuple(
            f"cityscapes/gtFine/{name}/{{city}}/{{stem}}_gtFine_{kind}.png" for kind in ("labelIds", "instanceIds")
        ),
        prepared_labels=(
            f"cityscapes/gtFine/{name}/{{city}}/{{stem}}_gtFine_labelTrainIds.png",
            f"cityscapes/gtFine/cityscapes_panoptic_{name}/{{stem}}_gtFine_panoptic.png",
        ),
        panoptic_json=f"cityscapes/gtFine/cityscapes_panoptic_{name}.json",
        statistics=statistics,
        expected_images=expected_images,
        downloads=(
            Download(f"cityscapes/leftImg8bit/{name}", site.format("leftImg8bit_trainvaltest.zip")),
            Download(f"cityscapes/gtFine/{name}", site.format("gtFine_trainvaltest.zip")),
        ),
    )


_SYNTHIA_SITE = "download SYNTHIA-RAND-CITYSCAPES from synthia-dataset.net and unpack it in synthia/ of the root"
_GTA5_SITE = (
    "download all ten parts of the {} from the page of 'Playing for Data' (Richter et al., TU Darmstadt) "
    "and unpack them in the folder gta5 of the root"
)

SYNTHIA_TRAIN = Split(
    dataset="synthia",
    name="train",
    image="synthia/RAND_CITYSCAPES/RGB/{stem}.png",
    raw_labels=("synthia/RAND_CITYSCAPES/GT/LABELS/{stem}.png",),
    prepared_labels=("synthia/RAND_CITYSCAPES/panoptic_cityscapes/{stem}_panoptic.png",),
    panoptic_json="synthia/RAND_CITYSCAPES/panoptic_cityscapes.json",
    statistics="synthia/RAND_CITYSCAPES/class_statistics.json",
    expected_images=9400,
    downloads=(
        Download("synthia/RAND_CITYSCAPES/RGB", _SYNTHIA_SITE),
        Download("synthia/RAND_CITYSCAPES/GT/LABELS", _SYNTHIA_SITE),
    ),
)
GTA5_TRAIN = Split(
    dataset="gta5",
    name="train",
    image="gta5/images/{stem}.png",
    raw_labels=("gta5/labels/{stem}.png",),
    prepared_labels=("gta5/labelTrainIds/{stem}.png",),
    panoptic_json=None,
    statistics="gta5/class_statistics.json",
    expected_images=24966,
    downloads=(
        Download("gta5/images", _GTA5_SITE.format("images")),
        Download("gta5/labels", _GTA5_SITE.format("labels")),
    ),
)
CITYSCAPES_TRAIN = _cityscapes_split("train", 2975, "cityscapes/class_statistics_train.json")
CITYSCAPES_VAL = _cityscapes_split("val", 500, None)

#: Data set -> its splits.
SPLITS: dict[str, tuple[Split, ...]] = {
    "synthia": (SYNTHIA_TRAIN,),
    "cityscapes": (CITYSCAPES_TRAIN, CITYSCAPES_VAL),
    "gta5": (GTA5_TRAIN,),
}


def default_root() -> Path:
    """``$DETECTRON2_DATASETS``, or ./datasets where it is not set."""
    return Path(os.environ.get("DETECTRON2_DATASETS", "datasets")).expanduser()


def list_images(root: Path, template: str) -> list[ImageName]:
    """The images for which a file after ``template`` exists, in the order of their paths; [] without the folder."""
    folder, _, rest = template.partition("/{")
    suffix = template.partition("{stem}")[2]
    cities = _folders(root / folder) if rest.startswith("city}") else [""]
    folders = [(city, root / folder / city) for city in cities]
    names = [
        ImageName(city, file.removesuffix(suffix))
        for city, path in folders
        for file in _files(path)
        if file.endswith(suffix) and not file.startswith(".")
    ]
    return sorted(names, key=lambda name: (f"{name.city}/", name.stem))


def expected_images(root: Path, split: Split) -> int:
    """How many images the split should have: as published, or what the manifest of Streets says (0 = not generated)."""
    manifest = root / MANIFEST
    if not manifest.is_file():
        return split.expected_images
    try:
        splits = files.read_json(manifest)["datasets"].get(split.dataset, {})
        count = splits[split.name]["images"] if split.name in splits else 0
    except (AttributeError, KeyError, TypeError):
        count = None
    if type(count) is not int:
        raise UserError(
            f"expected the number of {split.title} images in {manifest}, found none; generate the data again "
            "with datasets/make_streets.py"
        )
    return count


def expected_splits(root: Path, dataset: str) -> list[Split]:
    """The splits of ``dataset`` that should have images below ``root``."""
    splits = [split for split in SPLITS[dataset] if expected_images(root, split)]
    if not splits:
        raise UserError(
            f"expected {dataset} among the generated data in {root}, found none in {MANIFEST}; "
            "generate it with datasets/make_streets.py --formats or choose another --root"
        )
    return splits


def prepare_command(root: Path, dataset: str) -> str:
    """The command that prepares ``dataset``."""
    return f"python datasets/prepare.py {dataset} --root {root}"


def download_source(root: Path, split: Split, folder: str) -> str:
    """Where ``folder`` comes from, in words."""
    if (root / MANIFEST).is_file():
        return f"this root holds generated data: run datasets/make_streets.py --root {root} again"
    return next(download.source for download in split.downloads if download.folder == folder)


def missing_download(root: Path, split: Split, folder: str, found: str, *, then_prepare: bool = True) -> UserError:
    """The error for a folder that the user must provide."""
    then = f", then run `{prepare_command(root, split.dataset)}`" if then_prepare else ""
    source = download_source(root, split, folder)
    return UserError(f"expected the {split.title} files in {root / folder}, found {found}; {source}{then}")


def _folders(path: Path) -> list[str]:
    return [entry.name for entry in os.scandir(path) if entry.is_dir()] if path.is_dir() else []


def _files(path: Path) -> list[str]:
    return [entry.name for entry in os.scandir(path) if entry.is_file()] if path.is_dir() else []
