"""Taxonomies from files, and the colours of classes that have none."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import yaml

from gbw_panoptic.errors import UserError
from gbw_panoptic.taxonomy import CITYSCAPES, LabelUnion, Protocol, Taxonomy, read_taxonomy
from gbw_panoptic.taxonomy.colors import completed

CLASSES = [
    {"name": "floor", "thing": False},
    {"name": "chair", "thing": True, "id": 7, "color": [1, 2, 3]},
    {"name": "sofa", "thing": True, "id": 9},
    {"name": "wall", "thing": False, "id": 12},
]


def write(path: Path, content) -> Path:
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content, sort_keys=False))
    return path


def test_cityscapes_is_what_cityscapes_scripts_say():
    from cityscapesscripts.helpers.labels import labels

    evaluated = sorted((label for label in labels if not label.ignoreInEval), key=lambda label: label.trainId)
    assert CITYSCAPES.names == tuple(label.name for label in evaluated)
    assert CITYSCAPES.dataset_ids == tuple(label.id for label in evaluated)
    assert CITYSCAPES.is_thing == tuple(label.hasInstances for label in evaluated)
    assert CITYSCAPES.colors == tuple(label.color for label in evaluated)
    others = {label.id for label in labels if label.ignoreInEval and label.id >= 0}
    assert others <= set(CITYSCAPES.void_ids) and others | {34} == set(CITYSCAPES.void_ids)  # 34: GTA5's licence plates
    assert (CITYSCAPES.ignore_label, CITYSCAPES.label_dtype, CITYSCAPES.rare) == (255, np.uint8, None)
    assert read_taxonomy("cityscapes") is CITYSCAPES


def test_what_is_shipped_stays_one_object_however_many_files_are_read(tmp_path):
    for number in range(10):
        (tmp_path / f"{number}.yaml").write_text("classes: [{name: a, thing: false}]")
        read_taxonomy(tmp_path / f"{number}.yaml")
    assert read_taxonomy("cityscapes") is CITYSCAPES


def test_all_that_a_file_may_say(tmp_path):
    content = {
        "name": "rooms",
        "classes": CLASSES,
        "unions": {"seat": ["sofa", "chair"], "surface": ["floor", "wall"]},
        "protocols": {
            "all": {},
            "things": {"classes": ["chair", "sofa"], "others": "void"},
            "no wall": {"without": ["wall"], "others": "stays", "tasks": ["semantic"]},
            "coarse": {"groups": {"seat": ["chair", "sofa"]}},
        },
        "rare": ["sofa"],
        "void_ids": [0, 255],
    }
    rooms = read_taxonomy(write(tmp_path / "r.yaml", content))
    assert (rooms.name, rooms.names, rooms.dataset_ids) == ("rooms", ("floor", "chair", "sofa", "wall"), (1, 7, 9, 12))
    assert rooms.is_thing == (False, True, True, False) and rooms.colors[1] == (1, 2, 3)
    assert rooms.unions == (LabelUnion("seat", 256, (1, 2)), LabelUnion("surface", 257, (0, 3)))
    assert (rooms.num_labels, rooms.thing_ids, rooms.thing_labels) == (6, (1, 2), (1, 2, 4))
    assert [rooms.classes_of(label) for label in (3, 4)] == [(3,), (1, 2)]
    assert rooms.contiguous_id[256] == 4 and [c["id"] for c in rooms.categories()] == [1, 7, 9, 12, 256, 257]
    assert dict(rooms.protocols) == {
        "all": Protocol("all", (0, 1, 2, 3)),
        "things": Protocol("things", (1, 2), (0, 3)),
        "no wall": Protocol("no wall", (0, 1, 2), (), ("semantic",)),
        "coarse": Protocol("coarse", (0, 1, 2, 3), groups=(("seat", (1, 2)),)),
    }
    assert rooms.rare == ("sofa",) and rooms.void_ids == (0, 255)
    assert pickle.loads(pickle.dumps(rooms)) == rooms and hash(rooms)


def test_a_file_may_build_on_another(tmp_path):
    write(tmp_path / "rooms.yaml", {"classes": CLASSES})
    more = {
        "base": "rooms.yaml",
        "unions": {"seat": ["chair", "sofa"]},
        "protocols": {"x": {"classes": ["wall"], "others": "void"}},
    }
    more = read_taxonomy(write(tmp_path / "more.yaml", more))
    assert (more.name, [union.name for union in more.unions], list(more.protocols)) == ("rooms", ["seat"], ["x"])
    fifteen = {
        "base": "cityscapes",
        "protocols": {"15": {"without": ["rider", "train", "motorcycle", "bicycle"], "others": "stays"}},
    }
    fifteen = read_taxonomy(write(tmp_path / "fifteen.yaml", fifteen))
    assert (
        list(fifteen.protocols) == ["19", "16", "16-ignore", "13", "15"]
        and len(fifteen.protocols["15"].class_ids) == 15
    )
    assert fifteen.same_classes(CITYSCAPES) and not more.same_classes(CITYSCAPES)
    write(tmp_path / "circle.yaml", {"base": "circle.yaml"})
    with pytest.raises(UserError, match="expected taxonomies whose bases end, found a circle"):
        read_taxonomy(tmp_path / "circle.yaml")


def test_a_changed_base_is_read_again(tmp_path):
    base, more = write(tmp_path / "base.yaml", {"classes": CLASSES}), write(tmp_path / "more.yaml", "base: base.yaml")
    middle = write(tmp_path / "middle.yaml", "base: more.yaml")
    assert read_taxonomy(middle).names == ("floor", "chair", "sofa", "wall")
    write(base, {"classes": CLASSES[:2]})
    assert read_taxonomy(middle).names == read_taxonomy(more).names == ("floor", "chair")


@pytest.mark.parametrize("whole", [True, False], ids=["COCO's JSON", "a list of categories"])
def test_categories_of_a_json(tmp_path, whole):
    categories = [{"id": 3, "name": "car", "isthing": 1, "color": [9, 9, 9]}, {"id": 200, "name": "rug", "isthing": 0}]
    path = tmp_path / "panoptic.json"
    path.write_text(json.dumps({"categories": categories, "images": []} if whole else categories))
    found = read_taxonomy(path)
    assert (found.name, found.names, found.dataset_ids, found.is_thing) == (
        "panoptic",
        ("car", "rug"),
        (3, 200),
        (True, False),
    )
    assert found.colors[0] == (9, 9, 9) and list(found.protocols) == ["all"]


def test_more_classes_than_bytes_tell_apart():
    def taxonomy(count: int, unions: int = 0) -> Taxonomy:
        ids = tuple(range(1, count + 1))
        of_unions = tuple(LabelUnion(f"u{i}", count + 1 + i, (0, 1)) for i in range(unions))
        return Taxonomy(
            "many", tuple(f"c{i}" for i in ids), ids, (True,) * count, ((0, 0, 0),) * count, unions=of_unions
        )

    for many, ignored, dtype in (
        (taxonomy(254), 255, np.uint8),
        (taxonomy(255), 65535, np.uint16),
        (taxonomy(254, 1), 65535, np.uint16),
    ):
        assert (many.ignore_label, many.label_dtype) == (ignored, dtype)


BAD = {
    "no classes": ("name: x", "expected a list of classes, each with name and thing under classes in .*, found None"),
    "a list": ("[1]", "expected the classes of a taxonomy in"),
    "misspelt key": ("clases: [1]", "found 'clases'; did you mean classes\\?"),
    "no thing": (
        "classes: [{name: a}]",
        "expected true or false under classes: 1: thing in .*, found None; say whether a has",
    ),
    "a name that is a number": ("classes: [{name: 3, thing: true}]", "under classes: 1: name in .*, found 3"),
    "a class called void": ("classes: [{name: void, thing: true}]", "a name other than void"),
    "id 0": ("classes: [{name: a, thing: true, id: 0}]", "expected an id in 1..999 under classes: 1: id"),
    "a large id": ("classes: [{name: a, thing: true, id: 1000}]", "expected an id in 1..999"),
    "equal ids": (
        "classes: [{name: a, thing: true, id: 2}, {name: b, thing: true}]",
        "expected different ids .*, found 2 twice",
    ),
    "equal names": (
        "classes: [{name: a, thing: true}, {name: a, thing: true}]",
        "expected different names .*'a' twice",
    ),
    "a colour of two": ("classes: [{name: a, thing: true, color: [1, 2]}]", "three integers in 0..255"),
    "a void class": (
        "{base: cityscapes, void_ids: [0, 7]}",
        "expected ids that no class has under void_ids in .*, found 7 of road; leave it out",
    ),
    "a union without a name": (
        "{base: cityscapes, unions: {' ': [car, bus]}}",
        "expected a name that no class has .*, found ' '",
    ),
    "a protocol called common": (
        "{base: cityscapes, protocols: {common: {}}}",
        "expected a name of your own under protocols: common in .*, found common, the level",
    ),
    "a group called as another class": (
        "{base: cityscapes, protocols: {p: {groups: {car: [truck, bus]}}}}",
        "no class outside the group has .*, found 'car'",
    ),
    "base and classes": ("{base: cityscapes, classes: []}", "no `classes` beside `base`"),
    "no such base": (
        "base: nowhere",
        "expected a taxonomy at .*nowhere, found nothing; give a YAML or JSON file, or one of .*cityscapes",
    ),
    "an unknown class": (
        "{base: cityscapes, protocols: {x: {classes: [cars], others: void}}}",
        "found 'cars'; did you mean car\\?",
    ),
    "others unsaid": (
        "{base: cityscapes, protocols: {x: {classes: [car]}}}",
        "one of stays, void under protocols: x: others",
    ),
    "both lists": (
        "{base: cityscapes, protocols: {x: {classes: [car], without: [bus], others: void}}}",
        "either `classes` or",
    ),
    "a union of one": (
        "{base: cityscapes, unions: {v: [car]}}",
        "two or more classes, all of them things or all of them stuff",
    ),
    "a mixed union": ("{base: cityscapes, unions: {v: [car, road]}}", "all of them things or all of them stuff"),
    "a union called car": ("{base: cityscapes, unions: {car: [bus, truck]}}", "a name that no class has"),
    "a class in two groups": (
        "{base: cityscapes, protocols: {x: {groups: {a: [car, bus], b: [car, truck]}}}}",
        "'car' in two",
    ),
    "an unknown rare class": ("{base: cityscapes, rare: [cars]}", "found 'cars'"),
    "too many rare classes": ("{base: cityscapes, rare: 20}", "how many of the 19"),
    "ids as words": ("{base: cityscapes, void_ids: [a]}", "expected a list of ids under void_ids"),
}


@pytest.mark.parametrize("fault", BAD)
def test_bad_files_are_refused_in_one_sentence(tmp_path, fault):
    text, message = BAD[fault]
    with pytest.raises(UserError, match=message) as raised:
        read_taxonomy(write(tmp_path / "bad.yaml", text))
    assert "\n" not in str(raised.value) and "; " in str(raised.value)


@pytest.mark.parametrize("value", [{}, [], [{"id": 1}], {"categories": [{"id": 1, "name": "a", "isthing": "1"}]}])
def test_a_json_without_categories_is_refused(tmp_path, value):
    path = tmp_path / "x.json"
    path.write_text(json.dumps(value))
    with pytest.raises(UserError, match="expected .*categories"):
        read_taxonomy(path)


def test_chosen_colours_are_apart_for_all_kinds_of_colour_vision():
    for count in (1, 5, 12):
        colors = completed([None] * count)
        assert len(set(colors)) == count and completed([None] * count) == colors
        assert (
            _nearest([*colors, (0, 0, 0), (255, 255, 255)]) > 15
        )  # two colours that are 2.3 apart are just told apart
    assert len(set(completed([None] * 300))) == 300
    some = completed([(10, 20, 30), None, (200, 0, 0), None])
    assert (some[0], some[2]) == ((10, 20, 30), (200, 0, 0)) and _nearest(some) > 15


def _nearest(colors) -> float:
    """The least distance of two colours in OpenCV's L*a*b*, an oracle for normal vision."""
    import cv2

    lab = cv2.cvtColor(np.array([colors], np.float32) / 255, cv2.COLOR_RGB2LAB)[0]
    distances = np.linalg.norm(lab[:, None] - lab, axis=-1)
    return float(distances[~np.eye(len(lab), dtype=bool)].min())
