"""Taxonomies from files: YAML as datasets/README.md describes it, or the categories of a COCO-panoptic JSON."""

import os
from collections.abc import Sequence
from dataclasses import replace
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from ..coco_format import is_thing
from ..documents import read_json, read_yaml
from ..errors import UserError
from ..places import Place
from .colors import completed
from .model import COMMON, LabelUnion, Protocol, Taxonomy

#: Where the taxonomies lie that are a part of the package, to be named without path or suffix.
SHIPPED = Path(__file__).parent
_KEYS = ("name", "base", "classes", "unions", "void_ids", "protocols", "rare")
_CLASS_KEYS = ("name", "id", "thing", "color")
_PROTOCOL_KEYS = ("classes", "without", "others", "tasks", "groups")
_TASKS = ("panoptic", "semantic")
_MAX_ID = 999  # panoptic ids are id * 1000 + instance number


def read_taxonomy(name: str | os.PathLike, _derived: tuple[Path, ...] = ()) -> Taxonomy:
    """The taxonomy of a file.

    Args:
        name: of one that the package ships, such as ``cityscapes``; or the path of a YAML file, or of a JSON file with
            COCO's categories.

    Raises:
        UserError: the file is missing or wrong.
    """
    shipped = SHIPPED / f"{name}.yaml"
    if os.path.basename(name) == str(name) and shipped.is_file():
        return _shipped(shipped)
    path = Path(os.path.abspath(os.path.expanduser(name)))
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in SHIPPED.glob("*.yaml")))
        raise UserError(f"expected a taxonomy at {path}, found nothing; give a YAML or JSON file, or one of {known}")
    if path in _derived:
        raise UserError(
            f"expected taxonomies whose bases end, found a circle at {path}; correct one of "
            f"{', '.join(map(str, _derived))}"
        )
    found = path.stat()
    return _read(path, _derived, found.st_mtime_ns, found.st_size)


@cache
def _shipped(path: Path) -> Taxonomy:
    """One object as long as the process lives, however many files it reads beside."""
    return _read(path, ())


def _read(path: Path, derived: tuple[Path, ...], *stamp: int) -> Taxonomy:
    """Remembered as long as the file has the same ``stamp`` and its base is the same: a run asks for its taxonomy
    several times."""
    content, place = _content(path, *stamp), Place(path)
    base = _base(content, place, (*derived, path)) if isinstance(content, dict) and "base" in content else None
    return _taxonomy(path, base, *stamp)


@lru_cache(maxsize=8)
def _content(path: Path, *stamp: int) -> Any:
    """What the file holds, which nobody may change."""
    if path.suffix == ".json":
        return read_json(path, remedy="give COCO-panoptic JSON or a YAML file")
    return read_yaml(path)


@lru_cache(maxsize=8)
def _taxonomy(path: Path, base: Taxonomy | None, *stamp: int) -> Taxonomy:
    content = _content(path, *stamp)
    return _from_categories(content, path) if path.suffix == ".json" else _from_yaml(content, Place(path), base)


def _from_yaml(content: Any, place: Place, base: Taxonomy | None) -> Taxonomy:
    content = place.mapping(content, "the classes of a taxonomy", _KEYS)
    taxonomy = base or _classes(content, place)
    if "void_ids" in content:
        taxonomy = replace(taxonomy, void_ids=_void_ids(content["void_ids"], taxonomy, place / "void_ids"))
    unions = _unions(content.get("unions"), taxonomy, place / "unions")
    protocols = {protocol.name: protocol for protocol in taxonomy.protocol_list}
    for name, entry in _optional_mapping(content, "protocols", place).items():
        protocols[name] = _protocol(name, entry, taxonomy, place / "protocols" / name)
    return replace(
        taxonomy,
        protocol_list=tuple(protocols.values()),
        unions=unions,
        rare=_rare(content["rare"], taxonomy.names, place / "rare") if "rare" in content else taxonomy.rare,
    )


def _base(content: dict[str, Any], place: Place, derived: tuple[Path, ...]) -> Taxonomy:
    for key in ("classes", "name"):
        if key in content:
            raise place.error(
                f"no `{key}` beside `base`, whose classes they are", repr(content[key]), "drop one of the two"
            )
    if not isinstance(content["base"], str):
        raise (place / "base").error("the name or the path of a taxonomy", repr(content["base"]))
    beside = place.path.parent / content["base"]
    return read_taxonomy(beside if beside.is_file() else content["base"], derived)


def _classes(content: dict[str, Any], place: Place) -> Taxonomy:
    name, place = content.get("name", place.path.stem), place / "classes"
    if not isinstance(name, str) or not name:
        raise place.error("a word as name", repr(name))
    entries = content.get("classes")
    if not isinstance(entries, list) or not entries:
        raise place.error("a list of classes, each with name and thing", repr(entries))
    parsed = [_class(entry, number, place / number) for number, entry in enumerate(entries, start=1)]
    names, ids, things, colors = zip(*parsed)
    for what, values in (("names", names), ("ids", ids)):
        twice = next((value for value in values if values.count(value) > 1), None)
        if twice is not None:
            raise place.error(f"different {what}", f"{twice!r} twice", "change one of them")
    return Taxonomy(name, names, ids, things, completed(colors))


def _class(entry: Any, number: int, place: Place) -> tuple[str, int, bool, tuple | None]:
    """Name, id, thing and colour; ``number`` from 1 is the id of a class that has none."""
    entry = place.mapping(entry, "name and thing of a class", _CLASS_KEYS)
    name, thing, color = entry.get("name"), entry.get("thing"), entry.get("color")
    if not isinstance(name, str) or not name.strip() or name == "void":
        raise (place / "name").error(
            "a name other than void", repr(name), "put it in quotation marks, if it looks like something else"
        )
    if type(thing) is not bool:
        raise (place / "thing").error(
            "true or false", repr(thing), f"say whether {name} has instances that are counted"
        )
    if color is not None and not _is_color(color):
        raise (place / "color").error("three integers in 0..255", repr(color), "correct it, or leave it out")
    return name, _id(entry.get("id", number), place / "id"), thing, None if color is None else tuple(color)


def _is_color(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 3 and all(type(c) is int and 0 <= c <= 255 for c in value)


def _id(value: Any, place: Place) -> int:
    if type(value) is not int or not 0 < value <= _MAX_ID:
        raise place.error(
            f"an id in 1..{_MAX_ID}", repr(value), "choose one: data sets are mapped by the names of their categories"
        )
    return value


def _unions(value: Any, taxonomy: Taxonomy, place: Place) -> tuple[LabelUnion, ...]:
    """Those of the base, then those of the file: name -> classes; the ids follow the largest one."""
    unions = list(taxonomy.unions)
    entries = place.mapping(value, "names, each with a list of classes") if value is not None else {}
    for name, members in entries.items():
        where = place / name
        if not name.strip() or name == "void" or name in taxonomy.names or name in (union.name for union in unions):
            raise where.error("a name that no class has", repr(name), "choose another one")
        members = _alike(members, taxonomy, where)
        largest = max((*taxonomy.dataset_ids, *taxonomy.void_ids, *(union.dataset_id for union in unions)))
        unions.append(LabelUnion(name, _id(largest + 1, where), tuple(sorted(taxonomy.ids(*members)))))
    return tuple(unions)


def _protocol(name: str, entry: Any, taxonomy: Taxonomy, place: Place) -> Protocol:
    """``classes`` are averaged, or all but those ``without``; the ground truth of the others stays or becomes void.
    Classes of one of the ``groups`` are not told apart."""
    names = taxonomy.names
    if name == COMMON:
        raise place.error("a name of your own", f"{name}, the level at which unions are scored", "choose another one")
    entry = place.mapping(entry, "what the protocol averages", _PROTOCOL_KEYS) if entry else {}
    if "classes" in entry and "without" in entry:
        raise place.error("either `classes` or `without`", "both", "drop one of them")
    chosen = set(names)
    if "classes" in entry:
        chosen = set((place / "classes").names(entry["classes"], names))
    elif "without" in entry:
        chosen -= set((place / "without").names(entry["without"], names))
    if not chosen:
        raise place.error("a class to average", "none", "leave one in")
    partial = len(chosen) < len(names)
    others = (place / "others").one_of(entry.get("others"), ("stays", "void")) if partial else "stays"
    tasks = (place / "tasks").names(entry["tasks"], _TASKS, "a list of tasks") if "tasks" in entry else _TASKS
    voids = tuple(i for i, n in enumerate(names) if n not in chosen) if others == "void" else ()
    groups = _groups(entry.get("groups"), taxonomy, place / "groups")
    return Protocol(name, tuple(i for i, n in enumerate(names) if n in chosen), voids, tasks, groups)


def _groups(value: Any, taxonomy: Taxonomy, place: Place) -> tuple[tuple[str, tuple[int, ...]], ...]:
    entries = place.mapping(value, "names, each with a list of classes") if value is not None else {}
    groups = {name: taxonomy.ids(*_alike(members, taxonomy, place / name)) for name, members in entries.items()}
    grouped = [member for members in groups.values() for member in members]
    for name, members in groups.items():
        if name in taxonomy.names and taxonomy.names.index(name) not in members:
            raise (place / name).error("a name that no class outside the group has", repr(name), "choose another one")
    if len(set(grouped)) < len(grouped):
        raise place.error("each class in one group", f"{taxonomy.names[max(grouped, key=grouped.count)]!r} in two")
    return tuple((name, tuple(sorted(members))) for name, members in groups.items())


def _alike(value: Any, taxonomy: Taxonomy, place: Place) -> tuple[str, ...]:
    """Two or more classes, all of them things or all of them stuff."""
    members = place.names(value, taxonomy.names)
    if len(members) < 2 or len({taxonomy.is_thing[c] for c in taxonomy.ids(*members)}) > 1:
        raise place.error("two or more classes, all of them things or all of them stuff", ", ".join(members))
    return members


def _rare(value: Any, names: Sequence[str], place: Place) -> tuple[str, ...] | int:
    if isinstance(value, list):
        return place.names(value, names)
    if type(value) is not int or not 0 < value <= len(names):
        raise place.error(f"a list of classes, or how many of the {len(names)}", repr(value))
    return value


def _void_ids(value: Any, taxonomy: Taxonomy, place: Place) -> tuple[int, ...]:
    if not isinstance(value, list) or not all(type(i) is int and i >= 0 for i in value):
        raise place.error("a list of ids", repr(value))
    taken = next((i for i in value if i in taxonomy.contiguous_id), None)
    if taken is not None:
        name = taxonomy.label_names[taxonomy.contiguous_id[taken]]
        raise place.error("ids that no class has", f"{taken} of {name}", "leave it out, or change the id of the class")
    return tuple(value)


def _optional_mapping(content: dict[str, Any], key: str, place: Place) -> dict[str, Any]:
    return (place / key).mapping(content[key], "names") if content.get(key) else {}


def _from_categories(value: Any, path: Path) -> Taxonomy:
    """The categories of a COCO-panoptic JSON, or a list of such categories alone."""
    categories = value.get("categories") if isinstance(value, dict) else value
    place = Place(path, "categories")
    if not isinstance(categories, list) or not categories or not all(isinstance(c, dict) for c in categories):
        raise place.error(
            "a list of categories with name, id and isthing", "something else", "give COCO-panoptic JSON or a YAML file"
        )
    try:
        classes = [
            {"name": c["name"], "id": c["id"], "thing": is_thing(c), "color": c.get("color")} for c in categories
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise place.error("categories with name, id and isthing", f"a fault ({error})", "correct the file") from None
    return _classes({"classes": classes}, Place(path))
