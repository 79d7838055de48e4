"""The user's own data sets, described by a YAML file instead of Python (datasets/README.md explains it).

    my_streets:                                # -> my_streets_panoptic_train, my_streets_images_train, ...
      categories: {automobile: car, lane marking: road, mannequin: void}
      splits:
        train: {images: my/images, panoptic_json: my/panoptic.json, panoptic_root: my/panoptic}
        dashcam: {images: my/dashcam, count: 1200}
"""

import difflib
import os
import re
from pathlib import Path
from typing import Any, Mapping, Sequence

from ..errors import UserError
from ..taxonomy import CITYSCAPES
from .. import files
from .categories import VOID, CategoryMap
from .layout import CUSTOM_FILE, Download, Split, default_prepared, located
from .published import PUBLISHED

PREPARED = "custom"  # folder below the root for all that is made of the user's data sets
_VOID_WORD = "void"


class _Place:
    """A place in the file, for messages."""

    def __init__(self, path: Path, *keys: str) -> None:
        self.path = path
        self.keys = keys

    def __truediv__(self, key: str) -> "_Place":
        return _Place(self.path, *self.keys, key)

    def error(self, expected: str, found: Any, remedy: str = "see datasets/README.md") -> UserError:
        where = f" under {': '.join(self.keys)}" if self.keys else ""
        return UserError(f"expected {expected}{where} in {self.path}, found {found}; {remedy}")

    def mapping(self, value: Any, expected: str, known: Sequence[str] = ()) -> dict[str, Any]:
        """``value`` if it is a mapping of words that is not empty, with keys among ``known`` (any if that is empty)."""
        if not isinstance(value, dict) or not value:
            raise self.error(expected, repr(value))
        for key in value:
            if not isinstance(key, str):
                raise self.error("words as keys", repr(key), "put it in quotation marks")
            if known and key not in known:
                raise self.error(f"the keys {', '.join(known)}", repr(key), _nearest(key, known))
        return value


def load_custom(root: Path, custom: str | os.PathLike | None = None) -> dict[str, tuple[Split, ...]]:
    """Data set -> splits, as the file describes them; no other file is looked at.

    Args:
        custom: the file; by default ``custom.yaml`` below ``root``, without which there are no data sets.

    Raises:
        UserError: the file is missing or wrong.
    """
    path = Path(os.path.abspath(os.path.expanduser(custom) if custom else root / CUSTOM_FILE))
    if not custom and not path.is_file():
        return {}
    content = files.read_yaml(path)
    if content is None:  # all of it commented out
        return {}
    place = _Place(path)
    entries = place.mapping(content, "names of data sets, each with its splits")
    return {name: _data_set(name, entry, place / name) for name, entry in entries.items()}


def data_sets(
    root: Path, custom: str | os.PathLike | None = None, prepared: Path | None = None
) -> dict[str, tuple[Split, ...]]:
    """All that ``datasets/prepare.py`` knows: the published data sets, then the user's own.

    Args:
        prepared: where prepared files lie; by default ``$GBW_PREPARED`` or, where that is not set, below ``root``.
    """
    return all_located({**PUBLISHED, **load_custom(root, custom)}, prepared)


def all_located(known: Mapping[str, Sequence[Split]], prepared: Path | None = None) -> dict[str, tuple[Split, ...]]:
    """Data set -> splits, whose prepared files lie in ``prepared``, see :func:`data_sets`."""
    prepared = default_prepared() if prepared is None else prepared
    return {name: tuple(located(split, prepared) for split in splits) for name, splits in known.items()}


def find_data_set(
    root: Path, name: str, custom: str | os.PathLike | None = None, prepared: Path | None = None
) -> tuple[Split, ...]:
    """The splits of one data set; UserError if there is none of that name."""
    known = data_sets(root, custom, prepared)
    if name not in known:
        remedy = f"correct the name, or describe a data set of your own in {custom or root / CUSTOM_FILE}"
        raise UserError(f"expected a data set among {', '.join(known)}, found {name!r}; {remedy}")
    return known[name]


def _data_set(name: str, entry: Any, place: _Place) -> tuple[Split, ...]:
    _require_name(name, place)
    if name in PUBLISHED:
        raise place.error("a name of your own", f"that of a published data set, {name}", "choose another one")
    entry = place.mapping(entry, "splits and, for labels, categories", ("splits", "categories"))
    categories = CategoryMap((), origin=str(place.path))
    if "categories" in entry:
        classes = _classes(entry["categories"], place / "categories")
        categories = CategoryMap(classes, origin=str(place.path))
    splits = (place / "splits").mapping(entry.get("splits"), "at least one split")
    return tuple(_split(name, key, value, categories, place / "splits" / key) for key, value in splits.items())


def _classes(value: Any, place: _Place) -> tuple[tuple[str, str], ...]:
    known = (*CITYSCAPES.names, _VOID_WORD)
    for category, class_name in place.mapping(value, "your categories, each with a class").items():
        if class_name not in known:
            remedy = _nearest(class_name, known) if isinstance(class_name, str) else f"write {_VOID_WORD} for none"
            raise (place / category).error(f"one of {', '.join(known)}", repr(class_name), remedy)
    return tuple((category, VOID if name == _VOID_WORD else name) for category, name in value.items())


def _split(dataset: str, name: str, entry: Any, categories: CategoryMap, place: _Place) -> Split:
    _require_name(name, place)
    entry = place.mapping(entry, "images", ("images", "panoptic_json", "panoptic_root", "count"))
    labelled = "panoptic_json" in entry or "panoptic_root" in entry
    required = ("images", "panoptic_json", "panoptic_root") if labelled else ("images",)
    paths = {key: _path(entry.get(key), place / key) for key in required}
    count = entry.get("count")
    if count is not None and (type(count) is not int or count < 1):
        raise (place / "count").error("the number of images", repr(count))

    def download(key: str) -> Download:
        return Download(paths[key], f"correct `{key}` of {dataset}: {name} in {place.path}, or put the files there")

    common = {
        "dataset": dataset,
        "name": name,
        "image": f"{paths['images']}/{{file}}",
        "expected_images": count,
        "described_in": str(place.path),
    }
    if not labelled:
        return Split(format="images", downloads=(download("images"),), **common)
    prepared = f"{PREPARED}/{dataset}"
    return Split(
        format="coco_panoptic",
        raw_labels=(f"{paths['panoptic_root']}/{{label}}",),
        raw_json=paths["panoptic_json"],
        categories=categories,
        prepared_labels=(f"{prepared}/panoptic_{name}/{{stem}}.png",),
        panoptic_json=f"{prepared}/panoptic_{name}.json",
        statistics=f"{prepared}/class_statistics_{name}.json",
        downloads=(download("images"), download("panoptic_root")),
        **common,
    )


def _path(value: Any, place: _Place) -> str:
    """Absolute path of ``value``, which is relative to the folder of the file."""
    if not isinstance(value, str) or not value:
        raise place.error("a path", "nothing" if value is None else repr(value))
    if set(value) & set("{}\0"):
        raise place.error("a path without braces", repr(value), "rename the folder")
    return os.path.abspath(place.path.parent / os.path.expanduser(value))


def _require_name(name: str, place: _Place) -> None:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name):
        raise place.error("a name of letters, digits, _, - and .", repr(name), "rename it")


def _nearest(word: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(word, known, n=1)
    return f"did you mean {close[0]}?" if close else "see datasets/README.md"
