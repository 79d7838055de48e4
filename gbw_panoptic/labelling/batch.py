"""What a round asks humans: images, parts of them, classes, and where the answers go.

    <store>/batches/<round>/batch.json    all that a reader of answers must know
    <store>/batches/<round>/images/       copies, upright, under the names that answers use
    <store>/batches/<round>/<tool>/       what a tool takes (:mod:`.formats`)

Shape legend: H x W pixels.
"""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .. import files
from ..active.budget import RegionShape
from ..active.label_store import LabelStore
from ..active.units import PartUnit, asked_parts
from ..errors import UserError
from ..places import nearest
from ..taxonomy import Taxonomy

NAME = "batch.json"
_KEPT = (".png", ".jpg", ".jpeg")  # suffixes that every tool shows
_IMAGE = {"id": str, "file": str, "path": str, "height": int, "width": int, "parts": int}
_FORM = {
    "round": int, "taxonomy": {"name": str, "names": [str], "ids": [int], "things": [bool], "colors": [[int]],
                               "divisor": int},
    "region": files.Each(object), "with_instances": bool, "allowed": int, "facts": files.Each(object),
    "images": [_IMAGE],
}  # fmt: skip


@dataclass(frozen=True)
class AskedImage:
    """
    Attributes:
        file: name below ``images/``; its stem is what tools call the image.
        path: of the image itself, where the batch was made.
        parts: int32 [H, W], number of the part, from 1; 0 = not asked.
    """

    image_id: str
    file: str
    path: str
    parts: np.ndarray

    @property
    def size(self) -> tuple[int, int]:
        return self.parts.shape

    @property
    def count(self) -> int:
        """Of its parts."""
        return int(self.parts.max(initial=0))


@dataclass(frozen=True)
class Batch:
    """
    Attributes:
        folder: of ``batch.json``.
        allowed: what all rounds up to this one may cost, in steps of the budget's measure.
        facts: of the round, for the manifest.
        images: id -> image.
    """

    folder: Path
    number: int
    taxonomy: Taxonomy
    region: Mapping[str, Any]
    with_instances: bool
    allowed: int
    facts: Mapping[str, Any]
    images: Mapping[str, AskedImage]

    @property
    def unit(self) -> str:
        """One of ``active.units.UNITS``."""
        return self.region.get("unit") or ("region" if self.region["radius"] else "pixel")

    @property
    def void(self) -> int:
        """The label of pixels of no class."""
        return self.taxonomy.num_classes

    @property
    def names(self) -> tuple[str, ...]:
        """Of the labels: the classes, then void."""
        void = "void" if "void" not in self.taxonomy.names else "no class"
        return (*self.taxonomy.names, void)

    @property
    def colors(self) -> tuple[tuple[int, int, int], ...]:
        """RGB of the labels."""
        return (*self.taxonomy.colors, (0, 0, 0))

    @property
    def things(self) -> tuple[int, ...]:
        """Labels whose instances are told apart."""
        return self.taxonomy.thing_ids if self.with_instances else ()

    def label(self, name: Any, place: str | Path) -> int:
        """The label of that name.

        Raises:
            UserError: there is none.
        """
        if name not in self.names:
            raise UserError(
                f"expected one of the classes {', '.join(self.names)} in {place}, found {name!r}; "
                f"{nearest(str(name), self.names).replace('see datasets/README.md', 'rename it')}"
            )
        return self.names.index(name)

    def find(self, name: str) -> AskedImage | None:
        """The image that a tool calls so, with or without folder and suffix; None where it is not of this batch."""
        stem = Path(name.replace("\\", "/")).name
        by_name = {key: image for image in self.images.values() for key in (image.file, Path(image.file).stem)}
        return by_name.get(stem) or by_name.get(Path(stem).stem)


def write_batch(
    store: LabelStore, number: int, records: Sequence[Mapping], taxonomy: Taxonomy, *, allowed: int, facts: Mapping
) -> Batch:
    """The batch of a round that is planned, with its images. Written again, it is the same."""
    folder = store.folder / "batches" / str(number)
    planned = set(store.planned_images(number))
    (folder / "images").mkdir(parents=True, exist_ok=True)
    images = {}
    for record in (record for record in records if record["image_id"] in planned):
        path = record["file_name"]
        file = _copied(Path(path), record["image_id"], folder / "images")
        image_id, size = record["image_id"], files.read_image_size(path)
        images[image_id] = _asked(store, number, image_id, path, size, file)
    batch = Batch(folder, number, taxonomy, store.shape.header, store.with_instances, allowed, facts, images)
    files.write_json(folder / NAME, _plain(batch))
    return batch


def read_batch(folder: str | Path, number: int | None = None) -> tuple[Batch, LabelStore]:
    """The batch of a round, by default of the open one, and the store that it asks for.

    Args:
        folder: of the store.

    Raises:
        UserError: nothing has been asked there.
    """
    folder = Path(folder)
    rounds = sorted(int(p.parent.name) for p in folder.glob(f"batches/*/{NAME}") if p.parent.name.isdecimal())
    if not rounds or number not in (None, *rounds):
        raise UserError(
            f"expected a folder of bought labels with batches/{number or 1}/{NAME}, found none in {folder}; ask for "
            "labels with tools/acquire.py --for"
        )
    plain = _read(folder, rounds[-1] if number is None else number)
    taxonomy, region = _taxonomy(plain["taxonomy"]), plain["region"]
    shape = PartUnit(region["unit"], region.get("side", 0)) if "unit" in region else RegionShape(**region)
    store = LabelStore(folder, taxonomy.names, shape, with_instances=plain["with_instances"])
    if number is None and len(store.rounds) + 1 in rounds[:-1]:  # later ones have been undone
        plain = _read(folder, len(store.rounds) + 1)
    images = {
        e["id"]: _asked(store, plain["round"], e["id"], e["path"], (e["height"], e["width"]), e["file"])
        for e in plain["images"]
        if store.picks(plain["round"], e["id"]) is not None
    }
    facts = {"allowed": plain["allowed"], "facts": plain["facts"], "images": images}
    place = folder / "batches" / str(plain["round"])
    return Batch(place, plain["round"], taxonomy, region, plain["with_instances"], **facts), store


def _read(folder: Path, number: int) -> dict[str, Any]:
    path = folder / "batches" / str(number) / NAME
    return files.read_json(path, _FORM, remedy="write the batch again with tools/acquire.py --for")


def _asked(store: LabelStore, number: int, image_id: str, path: str, size: tuple[int, int], file: str) -> AskedImage:
    parts = asked_parts(store.shape_of(image_id, size), store.picks(number, image_id), size)
    return AskedImage(image_id, file, path, parts)


def _copied(path: Path, image_id: str, folder: Path) -> str:
    """The name of a copy: of the file itself, or of its pixels where a tool may not show it as this project sees it."""
    as_it_is = path.suffix.lower() in _KEPT and not files.is_turned(path)
    copy = folder / f"{image_id}{path.suffix if as_it_is else '.png'}"
    if copy.exists():
        return copy.name
    if as_it_is:
        with files.replacing(copy) as temporary:
            shutil.copyfile(path, temporary)
    else:
        files.write_png(copy, files.read_image(path))
    return copy.name


def _plain(batch: Batch) -> dict[str, Any]:
    taxonomy = batch.taxonomy
    return {
        "version": 1, "round": batch.number, "unit": batch.unit, "region": dict(batch.region),
        "taxonomy": {
            "name": taxonomy.name, "names": list(taxonomy.names), "ids": list(taxonomy.dataset_ids),
            "things": list(taxonomy.is_thing), "colors": [list(c) for c in taxonomy.colors],
            "divisor": taxonomy.label_divisor,
        },
        "with_instances": batch.with_instances, "allowed": batch.allowed, "facts": dict(batch.facts),
        "images": [
            {"id": i.image_id, "file": i.file, "path": i.path, "height": i.size[0], "width": i.size[1],
             "parts": i.count}
            for i in batch.images.values()
        ],
    }  # fmt: skip


def _taxonomy(plain: Mapping[str, Any]) -> Taxonomy:
    return Taxonomy(
        plain["name"], tuple(plain["names"]), tuple(plain["ids"]), tuple(plain["things"]),
        tuple(map(tuple, plain["colors"])), plain["divisor"],
    )  # fmt: skip
