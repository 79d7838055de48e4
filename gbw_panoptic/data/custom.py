"""The user's own data sets, described by a YAML file instead of Python (datasets/README.md explains it).

my_streets:                                # -> my_streets_panoptic_train, my_streets_images_train, ...
  categories: {automobile: car, lane marking: road, mannequin: void}
  splits:
    train: {images: my/images, panoptic_json: my/panoptic.json, panoptic_root: my/panoptic}
    dashcam: {images: my/dashcam, count: 1200}
my_engine:                                 # -> my_engine_sem_train
  ids: {0: void, 1: road, 2: car}
  splits:
    train: {images: engine/images, labels: engine/ids}
"""

import os
import re
from pathlib import Path
from typing import Any, Mapping, Sequence

from .. import files
from ..errors import UserError
from ..places import Place, nearest
from ..taxonomy import CITYSCAPES, Taxonomy, read_taxonomy
from .categories import NUMBERINGS, VOID, CategoryMap, IdTable
from .layout import CUSTOM_FILE, Download, Split, default_prepared, located
from .published import PUBLISHED

PREPARED = "custom"  # folder below the root for all that is made of the user's data sets
_VOID_WORD = "void"
#: Kind of labels -> the keys of a split that say where they are.
_LABEL_KINDS = {"panoptic_json": ("panoptic_json", "panoptic_root"), "labels": ("labels",), "instances": ("instances",)}
_SPLIT_KEYS = (
    "images", "count", "panoptic_json", "panoptic_root", "labels", "instances", "ids", "numbering", "image_suffix",
    "label_suffix",
)  # fmt: skip


def load_custom(
    root: Path, custom: str | os.PathLike | None = None, taxonomy: str | os.PathLike | None = None
) -> dict[str, tuple[Split, ...]]:
    """Data set -> splits, as the file describes them; no other file is looked at.

    Args:
        custom: the file; by default ``custom.yaml`` below ``root``, without which there are no data sets.
        taxonomy: name or file of the classes that it names; by default, Cityscapes'.

    Raises:
        UserError: the file is missing or wrong.
    """
    path = Path(os.path.abspath(os.path.expanduser(custom) if custom else root / CUSTOM_FILE))
    if not custom and not path.is_file():
        return {}
    content = files.read_yaml(path)
    if content is None:  # all of it commented out
        return {}
    place = Place(path)
    entries = place.mapping(content, "names of data sets, each with its splits")
    space = read_taxonomy(taxonomy or CITYSCAPES.name)
    common = {
        "described_in": str(path),
        "taxonomy": space,
        "taxonomy_file": "" if space is CITYSCAPES else str(taxonomy),
    }
    return {name: _data_set(name, entry, common, place / name) for name, entry in entries.items()}


def data_sets(
    root: Path,
    custom: str | os.PathLike | None = None,
    prepared: Path | None = None,
    taxonomy: str | os.PathLike | None = None,
) -> dict[str, tuple[Split, ...]]:
    """All that ``datasets/prepare.py`` knows: the published data sets, then the user's own.

    Args:
        prepared: where prepared files lie; by default ``$GBW_PREPARED`` or, where that is not set, below ``root``.
        taxonomy: name or file of the classes of those; by default, Cityscapes'.
    """
    return all_located({**PUBLISHED, **load_custom(root, custom, taxonomy)}, prepared)


def all_located(known: Mapping[str, Sequence[Split]], prepared: Path | None = None) -> dict[str, tuple[Split, ...]]:
    """Data set -> splits, whose prepared files lie in ``prepared``, see :func:`data_sets`."""
    prepared = default_prepared() if prepared is None else prepared
    return {name: tuple(located(split, prepared) for split in splits) for name, splits in known.items()}


def find_data_set(
    root: Path,
    name: str,
    custom: str | os.PathLike | None = None,
    prepared: Path | None = None,
    taxonomy: str | os.PathLike | None = None,
) -> tuple[Split, ...]:
    """The splits of one data set; UserError if there is none of that name."""
    known = data_sets(root, custom, prepared, taxonomy)
    if name not in known:
        remedy = f"correct the name, or describe a data set of your own in {custom or root / CUSTOM_FILE}"
        raise UserError(f"expected a data set among {', '.join(known)}, found {name!r}; {remedy}")
    return known[name]


def _data_set(name: str, entry: Any, common: dict[str, Any], place: Place) -> tuple[Split, ...]:
    _require_name(name, place)
    if name in PUBLISHED:
        raise place.error("a name of your own", f"that of a published data set, {name}", "choose another one")
    entry = place.mapping(entry, "splits and, for labels, categories or ids", ("splits", "categories", "ids"))
    origin, taxonomy = str(place.path), common["taxonomy"]
    categories = CategoryMap((), origin, taxonomy=taxonomy)
    if "categories" in entry:
        categories = CategoryMap(
            _classes(entry["categories"], taxonomy, place / "categories"), origin, taxonomy=taxonomy
        )
    common = {"dataset": name, **common}
    splits = (place / "splits").mapping(entry.get("splits"), "at least one split")
    return tuple(
        _split(key, value, common, categories, entry.get("ids"), place / "splits" / key)
        for key, value in splits.items()
    )


def _classes(value: Any, taxonomy: Taxonomy, place: Place) -> tuple[tuple[str, str], ...]:
    entries = place.mapping(value, "your categories, each with a class")
    return tuple((category, _class(name, taxonomy, place / category)) for category, name in entries.items())


def _class(name: Any, taxonomy: Taxonomy, place: Place) -> str:
    """The class or union that the file names, or ``VOID``."""
    known = (*taxonomy.label_names, _VOID_WORD)
    if name not in known:
        remedy = nearest(name, known) if isinstance(name, str) else f"write {_VOID_WORD} for none"
        raise place.error(f"one of {', '.join(known)}", repr(name), remedy)
    return VOID if name == _VOID_WORD else name


def _split(name: str, entry: Any, common: dict[str, Any], categories: CategoryMap, ids: Any, place: Place) -> Split:
    _require_name(name, place)
    entry = place.mapping(entry, "images", _SPLIT_KEYS)
    kinds = [kind for kind, keys in _LABEL_KINDS.items() if not entry.keys().isdisjoint(keys)]
    if len(kinds) > 1:
        raise place.error("one kind of labels", " and ".join(kinds), "drop all but one")
    paths = {key: _path(entry.get(key), place / key) for key in ("images", *(_LABEL_KINDS[kinds[0]] if kinds else ()))}
    count = entry.get("count")
    if count is not None and (type(count) is not int or count < 1):
        raise (place / "count").error("the number of images", repr(count))
    remedy = f"of {common['dataset']}: {name} in {place.path}, or put the files there"
    common = {
        **common,
        "name": name,
        "image": f"{paths['images']}/{{file}}",
        "expected_images": count,
        "downloads": tuple(
            Download(paths[key], f"correct `{key}` {remedy}") for key in paths if key != "panoptic_json"
        ),
    }
    if not kinds:
        return Split(format="images", **common)
    common["statistics"] = f"{PREPARED}/{common['dataset']}/class_statistics_{name}.json"
    if kinds == ["panoptic_json"]:
        raw = {"raw_json": paths["panoptic_json"], "raw_labels": (f"{paths['panoptic_root']}/{{label}}",)}
        return Split(format="coco_panoptic", categories=categories, **raw, **_panoptic(common), **common)
    labels = {
        "raw_labels": (f"{paths[kinds[0]]}/{{label}}",),
        "suffixes": tuple(_suffix(entry.get(key, ""), place / key) for key in ("image_suffix", "label_suffix")),
        "id_table": _id_table(entry, ids, kinds[0], common["taxonomy"], place),
    }
    if kinds == ["instances"]:
        return Split(format="instance_ids", **labels, **_panoptic(common), **common)
    return Split(
        format="ids",
        prepared_labels=(f"{PREPARED}/{common['dataset']}/labels_{name}/{{stem}}.png",),
        **labels,
        **common,
    )


def _panoptic(common: dict[str, Any]) -> dict[str, Any]:
    """Where the panoptic labels of a split go."""
    folder = f"{PREPARED}/{common['dataset']}/panoptic_{common['name']}"
    return {"prepared_labels": (f"{folder}/{{stem}}.png",), "panoptic_json": f"{folder}.json"}


def _id_table(entry: dict[str, Any], ids: Any, kind: str, taxonomy: Taxonomy, place: Place) -> IdTable:
    """Of a split's own ``ids``, or of those that all splits of the data set share."""
    numbering = entry.get("numbering", "cityscapes") if kind == "instances" else ""
    if kind == "instances":
        (place / "numbering").one_of(numbering, tuple(NUMBERINGS))
    value, place = entry.get("ids", ids), place / "ids"
    if value == "class_ids":
        table = {
            **dict.fromkeys(taxonomy.void_ids, VOID),
            **dict(zip(taxonomy.label_dataset_ids, taxonomy.label_names)),
        }
        return IdTable(tuple(table.items()), taxonomy, numbering)
    if value == "train_ids":
        table = {**dict(enumerate(taxonomy.names)), taxonomy.ignore_label: VOID}
        return IdTable(tuple(table.items()), taxonomy, numbering)
    if not isinstance(value, dict) or not value:
        raise place.error("class_ids, train_ids, or each id with a class", repr(value))
    are_colors = all(isinstance(key, str) for key in value)
    parsed = {_id(key, place, are_colors): _class(name, taxonomy, place / key) for key, name in value.items()}
    if len(parsed) < len(value):
        raise place.error("each colour once", "one twice", "drop one of them")
    return IdTable(tuple(parsed.items()), taxonomy, numbering, are_colors)


def _id(key: Any, place: Place, is_color: bool) -> int:
    """An id >= 0, or that of a colour that is written as "red, green, blue"."""
    if is_color:
        parts = [part.strip() for part in key.split(",")]
        if len(parts) == 3 and all(re.fullmatch(r"\d{1,3}", part) and int(part) < 256 for part in parts):
            return sum(int(part) << 8 * i for i, part in enumerate(parts))
    elif type(key) is int and 0 <= key < 1 << 24:
        return key
    raise place.error('ids from 0 on, or colours such as "128, 64, 128"', repr(key), "write all of them alike")


def _suffix(value: Any, place: Place) -> str:
    if not isinstance(value, str) or "/" in value:
        raise place.error("the end of a file's name, without its suffix", repr(value))
    return value


def _path(value: Any, place: Place) -> str:
    """Absolute path of ``value``, which is relative to the folder of the file."""
    if not isinstance(value, str) or not value:
        raise place.error("a path", "nothing" if value is None else repr(value))
    if set(value) & set("{}\0"):
        raise place.error("a path without braces", repr(value), "rename the folder")
    return os.path.abspath(place.path.parent / os.path.expanduser(value))


def _require_name(name: str, place: Place) -> None:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name):
        raise place.error("a name of letters, digits, _, - and .", repr(name), "rename it")
