"""Readers of JSON and YAML: whatever a file holds, a value of the asked form or one sentence, soon."""

import json
import os
import random
import re
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gbw_panoptic import documents, files
from gbw_panoptic.active.budget import RegionShape
from gbw_panoptic.active.label_store import LabelStore
from gbw_panoptic.data.coco_panoptic import load_raw_panoptic_json
from gbw_panoptic.data.custom import load_custom
from gbw_panoptic.data.statistics import ClassStatistics
from gbw_panoptic.documents import parse_json
from gbw_panoptic.engine.setup import load_config
from gbw_panoptic.errors import UserError
from gbw_panoptic.evaluation.saved import read_annotations, read_categories
from gbw_panoptic.forms import Each, Maybe, misfit
from gbw_panoptic.taxonomy import CITYSCAPES

FUZZ = settings(
    max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{chr(98 + i)}: &{chr(98 + i)} [{', '.join([f'*{chr(97 + i)}'] * 10)}]\n" for i in range(20)
)
EVIL_YAML = {
    "a bomb of aliases": BOMB,
    "a bomb of merged keys": "a: &a {x: 1}\n" + "".join(f"{chr(98 + i)}: &{chr(98 + i)} "
                                                        f"{{<<: [{', '.join([f'*{chr(97 + i)}'] * 9)}]}}\n" for i in range(12)),
    "an alias of itself": "a: &a [*a]",
    "deep lists": "a: " + "[" * 100_000 + "]" * 100_000,
    "deep rows": "- " * 20_000,
    "a megabyte": "a: " + "x" * 2_000_000,
    "deep mappings": "{a: " * 5000 + "1" + "}" * 5000,
    "a long integer": "a: " + "9" * 5000,
    "half of a surrogate pair": 'a: "\\ud800"',
    "a list as a key": "? [1, 2]\n: 3",
    "a mapping as a key": "? {a: 1}\n: 3",
    "two documents": "a: 1\n---\nb: 2",
    "an unknown anchor": "a: *b",
    "a tag": "a: !!python/name:os.system ''",
    "binary that is none": "a: !!binary '='",
    "Latin-1": "a: caf\xe9".encode("latin-1"),
    "a date that is none": "2020-13-45: 2020-13-45",
    "nothing": "",
    "a null byte": "a: \0",
    "sets": "!!set {a, b}",
    "ordered": "!!omap [a: 1]",
    "a list that is called a mapping": "a: !!map [1]",
    "a word that is called true or false": "a: !!bool x",
    "a word that is called a number": "a: !!int x",
}  # fmt: skip
EVIL_JSON = {
    "deep lists": "[" * 100_000,
    "deep lists that end": "[" * 900 + "]" * 900,
    "deep mappings that end": '{"a":' * 500 + "1" + "}" * 500,
    "a long integer": '{"a": ' + "9" * 5000 + "}",
    "an integer beyond 64 bits": '{"a": ' + "9" * 30 + "}",
    "infinity": '{"a": 1e999}',
    "NaN": '{"a": NaN}',
    "minus infinity": '{"a": -Infinity}',
    "half of a surrogate pair": '{"a": "\\ud800"}',
    "half of a pair as a key": '{"\\uDfff": 1}',
    "a key twice": '{"a": 1, "b": 2, "a": 3}',
    "Latin-1": '{"a": "caf\xe9"}'.encode("latin-1"),
    "half a file": '{"a": [1, 2',
    "another thing": "hello",
    "nothing": "",
}


def told(action) -> str | None:
    try:
        action()
    except UserError as error:
        assert "\n" not in str(error) and len(str(error)) < 600
        return str(error)
    return None


def write(path, content) -> None:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())


@pytest.mark.parametrize("name", EVIL_YAML)
def test_yaml_is_read_or_refused_soon(tmp_path, name):
    path, start = tmp_path / "custom.yaml", time.process_time()
    write(path, EVIL_YAML[name])
    text = told(lambda: files.read_yaml(path))
    assert (text is None) == (name in ("a date that is none", "binary that is none", "sets", "ordered"))
    assert text is None or str(path) in text
    for reader in (lambda: load_custom(tmp_path), lambda: load_config(str(path), [])):
        assert told(reader)
    assert time.process_time() - start < 20


def test_another_encoding_is_named(tmp_path):
    for name, evil, read in (("a.yaml", EVIL_YAML, files.read_yaml), ("a.json", EVIL_JSON, files.read_json)):
        write(tmp_path / name, evil["Latin-1"])
        assert re.search(
            r"found:? bytes of another encoding \(from byte \d+\), not UTF-8,", told(lambda: read(tmp_path / name))
        )


def test_aliases_of_a_run_s_own_config_are_read(tmp_path):
    """PyYAML writes a list that occurs twice as an alias."""
    path, shared = tmp_path / "config.yaml", [1, 2]
    path.write_text("a: &id001\n- 1\n- 2\nb: *id001\n")
    assert files.read_yaml(path) == {"a": shared, "b": shared}


@pytest.mark.parametrize("name", EVIL_JSON)
def test_json_is_refused_in_one_sentence(tmp_path, name):
    path = tmp_path / "some.json"
    write(path, EVIL_JSON[name])
    for reader in (
        files.read_json,
        ClassStatistics.load,
        load_raw_panoptic_json,
        read_categories,
        lambda p: read_annotations(p, tmp_path),
    ):
        assert str(path) in told(lambda: reader(path))


def test_sound_json_is_the_library_s(tmp_path):
    """Against the standard library, numbers at the bounds and pairs of surrogates among them."""
    rng = random.Random(0)
    texts = ["", "ä", "\U0001f600", "[[[[", "12345678901234567890123.png", "1e999"]

    def make(depth: int):
        kind = rng.randrange(6 if depth < 6 else 4)
        simple = (
            rng.choice(texts),
            rng.choice([0, -1, 2**63 - 1, -(2**63)]),
            rng.random() * 10.0 ** rng.randrange(-200, 200),
            None,
        )
        if kind < 4:
            return simple[kind]
        inner = [make(depth + 1) for _ in range(rng.randrange(4))]
        return inner if kind == 4 else {f"{i}{rng.choice(texts)}": one for i, one in enumerate(inner)}

    for ascii_only in (True, False):
        for _ in range(200):
            data = json.dumps(make(0), ensure_ascii=ascii_only).encode()
            assert parse_json(data) == json.loads(data)
    assert parse_json(b'"' + b"[" * 500 + b'"') == "[" * 500


@pytest.mark.parametrize(
    "value, form, wrong",
    [
        (1, int, None), (True, int, ("an integer", "True")), (1, float, None), ("1", float, ("a number", "'1'")),
        ([1, "a"], [int], ("an integer at [1]", "'a'")), ({"a": 1}, {"a": int, "b?": str}, None),
        ({}, {"a": int}, ("the key a", "none")), ({"a": {"b": None}}, {"a": {"b": int}}, ("an integer at a.b", "None")),
        ({"a": None}, {"a": Maybe(int)}, None), ({"x": 1, "y": []}, Each(int), ("an integer at y", "[]")),
        ([], Each(int), ("a mapping", "[]")), (3, object, None), ({"a": 1}, [int], ("a list", "{'a': 1}")),
    ],
)  # fmt: skip
def test_forms(value, form, wrong):
    assert misfit(value, form) == wrong


def test_a_pipe_among_the_inputs_does_not_wait(tmp_path):
    os.mkfifo(tmp_path / "pipe.json")
    assert "found something else" in told(lambda: files.read_json(tmp_path / "pipe.json"))
    assert "found a folder" in told(lambda: files.read_yaml(tmp_path))
    assert told(lambda: documents.read_bytes("a\0b")) is not None


JSON_VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(), st.text(max_size=4)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(
        ["id", "name", "isthing", "image_id", "file_name", "segments_info", "category_id", "images", "a", "0"]), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


@FUZZ
@given(st.data())
def test_documents_of_any_values_are_taken_or_refused(tmp_path, data):
    """A sound document of each reader with one or two of its values replaced by anything."""
    sound = {
        "images": [{"id": "a", "file_name": "a.png"}], "categories": [{"id": 7, "name": "road", "isthing": 0}],
        "annotations": [{"image_id": "a", "file_name": "a.png", "segments_info": [{"id": 1, "category_id": 7, "iscrowd": 0}]}],
    }  # fmt: skip
    statistics = {"version": 1, "class_names": ["a", "b"], "pixels": [3, 0], "images": {"x": {"0": 3}}}
    rounds = {"version": 1, "class_names": ["a", "b"], "with_instances": False,
              "region": {"radius": 1, "bar_radius": 2}, "rounds": [
        {"round": 1, "cost": 3, "pixels": 3, "void": 0, "imbalance": 0.5, "classes": {"a": 3, "b": 0}}]}  # fmt: skip
    readers = (
        (sound, load_raw_panoptic_json), (sound, read_categories), (sound, lambda path: read_annotations(path, tmp_path)),
        (statistics, ClassStatistics.load), (rounds, lambda path: spent_in(path.parent)),
    )  # fmt: skip
    document, reader = data.draw(st.sampled_from(readers))
    document = json.loads(json.dumps(document))
    for _ in range(data.draw(st.integers(1, 2))):
        holder, key = data.draw(st.sampled_from(places(document)))
        holder[key] = data.draw(JSON_VALUES)
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps(document))
    sentence = told(lambda: reader(path))
    assert sentence is None or "\n" not in sentence


def spent_in(folder) -> int:
    store = LabelStore(folder, ("a", "b"), RegionShape(1, 2))
    assert len(store.class_counts()) == 2
    return store.spent


def places(value) -> list[tuple]:
    """Every container and key below ``value``."""
    found = []
    for key in list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        found.append((value, key))
        found += places(value[key])
    return found


YAML_VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text("abc~/{}[]: .é", max_size=6),
              st.sampled_from(["car", "void", "~nobody/x"])),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.one_of(st.integers(0, 3), st.sampled_from(
        ["images", "panoptic_json", "panoptic_root", "count", "splits", "categories", "train"])), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


@FUZZ
@given(
    st.dictionaries(st.one_of(st.integers(0, 3), st.sampled_from(["mine", "synthia", "a b"])), YAML_VALUES, max_size=2)
)
def test_descriptions_of_data_sets_are_taken_or_refused(tmp_path, content):
    (tmp_path / "custom.yaml").write_text(json.dumps({str(key): value for key, value in content.items()}))
    sentence = told(lambda: load_custom(tmp_path))
    assert sentence is None or "\n" not in sentence


def test_statistics_of_other_classes_are_refused(tmp_path):
    ClassStatistics(("a", "b"), {"x": {0: 3}}).save(tmp_path / "s.json")
    assert ClassStatistics.load(tmp_path / "s.json", ("a", "b")).pixels.tolist() == [3, 0]
    assert "expected statistics of the 19 classes" in told(
        lambda: ClassStatistics.load(tmp_path / "s.json", CITYSCAPES.names)
    )
