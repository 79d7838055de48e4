"""Files that would run code, fetch something or reach outside of their folder are refused, and nothing of theirs
happens."""

import ast
import io
import json
import os
import pickle
import socket
from pathlib import Path

import numpy as np
import pytest
import torch

from gbw_panoptic import files
from gbw_panoptic.active.budget import RegionShape
from gbw_panoptic.active.label_store import LabelStore
from gbw_panoptic.data.coco_panoptic import load_raw_panoptic_json
from gbw_panoptic.engine.checkpoint import read_checkpoint
from gbw_panoptic.engine.setup import load_config
from gbw_panoptic.errors import UserError

ROOT = Path(__file__).parents[1]


class Payload:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = str(folder)

    def __reduce__(self):
        return os.mkdir, (self.folder,)


@pytest.fixture
def planted(tmp_path) -> Path:
    """What a payload would make."""
    return tmp_path / "planted"


@pytest.mark.parametrize("suffix", [".pth", ".pkl", ".pt", ".npy"])
@pytest.mark.parametrize("writer", [pickle.dump, torch.save], ids=["pickle", "torch"])
def test_a_checkpoint_under_any_name(tmp_path, planted, suffix, writer):
    path = tmp_path / f"weights{suffix}"
    with open(path, "wb") as file:
        writer({"model": Payload(planted)}, file)
    with pytest.raises(UserError, match="nothing was executed|could run code and was not read"):
        read_checkpoint(str(path))
    assert not planted.exists()


def as_array(payload) -> bytes:
    data = io.BytesIO()
    np.save(data, np.array([payload], dtype=object), allow_pickle=True)
    return data.getvalue()


def as_archive(payload) -> bytes:
    data = io.BytesIO()
    np.savez(data, np.array([payload], dtype=object))
    return data.getvalue()


@pytest.mark.parametrize("write", [pickle.dumps, as_array, as_archive], ids=["pickle", "npy", "npz"])
def test_picks_in_a_label_store(tmp_path, planted, write):
    path = tmp_path / "picks" / "1" / "a.npy"
    path.parent.mkdir(parents=True)
    path.write_bytes(write(Payload(planted)))
    with pytest.raises(UserError, match=r"a\.npy.*take another folder"):
        LabelStore(tmp_path, ("road",), RegionShape(1, 2)).picks(1, "a")
    assert not planted.exists()


@pytest.mark.parametrize("place", ["the file", "its base"])
def test_a_configuration_with_python_in_it(tmp_path, planted, place):
    evil, leaf = tmp_path / "evil.yaml", tmp_path / "leaf.yaml"
    evil.write_text(f"SEED: !!python/object/apply:os.mkdir ['{planted}']\n")
    leaf.write_text("_BASE_: evil.yaml\nSEED: 1\n")
    with pytest.raises(UserError, match="expected YAML of plain values.*evil.yaml") as error:
        load_config(str(evil if place == "the file" else leaf), [])
    assert not planted.exists() and "\n" not in str(error.value)


@pytest.mark.parametrize(
    "text, words",
    [
        ("_BASE_: https://example.org/base.yaml\n", "expected a local file as _BASE_"),
        ("_BASE_: [base.yaml, 3]\n", "expected a local file as _BASE_|expected a readable file"),
        ("_BASE_: nowhere.yaml\n", "expected a readable file at .*nowhere.yaml"),
        ("_BASE_: config.yaml\n", "found a circle at"),
        ("_BASE_: ./config.yaml\n", "found a circle at"),
        ("", "expected data, found an empty file"),
        ("- a\n- b\n", "expected sections and keys in .*found list"),
        ("SOLVER: 3\n", "SOLVER: expected a section of keys"),
    ],
)
def test_other_configurations_that_are_none(tmp_path, monkeypatch, text, words):
    monkeypatch.setattr(socket, "socket", lambda *a, **k: pytest.fail("the network was asked"))
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=f"(?i){words}"):
        load_config(str(path), [])


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "a/../../b.png", "C:\\b.png", "..\\b.png"])
@pytest.mark.parametrize("key", ["images", "annotations"])
def test_file_names_in_a_json_stay_in_their_folder(tmp_path, key, name):
    value = {
        "images": [{"id": 1, "file_name": "a.png"}],
        "annotations": [{"image_id": 1, "file_name": "a.png", "segments_info": []}],
        "categories": [],
    }
    value[key][0]["file_name"] = name
    (tmp_path / "p.json").write_text(json.dumps(value))
    with pytest.raises(UserError, match="which leaves its folder"):
        load_raw_panoptic_json(tmp_path / "p.json")


def test_weights_are_local_files(tmp_path, monkeypatch):
    monkeypatch.setattr(socket, "socket", lambda *a, **k: pytest.fail("the network was asked"))
    for name in ("https://example.org/w.pth", "detectron2://ImageNetPretrained/MSRA/R-50.pkl", "s3://bucket/w.pth"):
        with pytest.raises(UserError, match="Expected a weights file at"):
            read_checkpoint(name)


UNSAFE_CALLS = (
    "pickle.load",
    "pickle.loads",
    "pickle.Unpickler",
    "yaml.unsafe_load",
    "yaml.full_load",
    "eval",
    "exec",
    "os.system",
)


def test_no_code_of_ours_unpickles_or_loads_yaml_with_objects():
    """Rules that a reader cannot see at a glance, over every source file."""
    for path in [
        *(ROOT / "gbw_panoptic").rglob("*.py"),
        *(ROOT / "tools").rglob("*.py"),
        *(ROOT / "datasets").glob("*.py"),
    ]:
        for call in (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)):
            name, options = ast.unparse(call.func), {k.arg: ast.unparse(k.value) for k in call.keywords}
            assert name not in UNSAFE_CALLS, f"{path.name}:{call.lineno}: {name}"
            assert "True" not in (options.get("allow_pickle"), options.get("allow_unsafe")), (
                f"{path.name}:{call.lineno}"
            )
            if name in ("torch.load", "np.load"):
                assert "weights_only" in options or "allow_pickle" in options, f"{path.name}:{call.lineno}"


def test_a_symbolic_link_is_followed_but_a_name_cannot_make_one(tmp_path):
    """Links in a data folder are the user's own doing; data sets are often linked."""
    real = tmp_path / "elsewhere.png"
    files.write_png(real, np.zeros((2, 2), np.uint8))
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "link.png").symlink_to(real)
    assert files.read_label(folder / files.safe_file_name("link.png")).shape == (2, 2)
