"""Names of results: whatever the system takes as the name of a file has a result of its own."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gbw_panoptic import files
from gbw_panoptic.inference.inputs import find_inputs
from gbw_panoptic.names import is_text, legal_name, printable, unique_names

PROPERTY = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
#: Any bytes but the separator and the end; hidden files are left out.
STEMS = st.one_of(
    st.binary(min_size=1, max_size=240), st.text(min_size=1, max_size=70).map(lambda t: t.encode("utf-8", "replace")),
    st.sampled_from([b"a" * 250, "ü".encode() * 120, b"con", b"a b", b"%s", b"[1]", b"*", b"~", b"\\", b"\n"]),
).map(lambda name: name.translate(None, b"/\0")).filter(lambda name: name and not name.startswith(b"."))  # fmt: skip


@PROPERTY
@given(st.lists(STEMS, min_size=1, max_size=6), st.sampled_from([b".png", b".JPG", b".webp"]))
def test_any_file_is_found_and_has_a_result_of_its_own(tmp_path_factory, stems, suffix):
    root = tmp_path_factory.mktemp("names")
    for number, stem in enumerate(stems):  # some of them equal, in two folders
        folder = os.path.join(os.fsencode(root), b"in", b"%d" % (number % 2))
        os.makedirs(folder, exist_ok=True)
        with open(os.path.join(folder, stem + suffix), "wb"):
            pass
    present = [path for path in (root / "in").rglob("*") if path.is_file()]
    inputs, problems = find_inputs([str(root / "in")], root / "out")
    assert not problems and {item.path for item in inputs} == set(present)
    (root / "out").mkdir()
    for item in inputs:
        assert is_text(item.name) and "/" not in item.name and is_text(printable(item.path))
        files.write_png(root / "out" / f"{item.name}_labelIds.png", np.zeros((1, 1), np.uint8))
    assert len(list((root / "out").iterdir())) == len(inputs)


@PROPERTY
@given(
    st.sets(
        st.tuples(st.sampled_from("ab"), st.sampled_from("cD"), st.sampled_from(["x.png", "X.png", "x.jpg", "y.png"])),
        min_size=1,
    )
)
def test_names_are_unique_on_disks_that_ignore_case(paths):
    names = unique_names([Path("/", *parts) for parts in paths])
    assert len({name.casefold() for name in names.values()}) == len(paths)


@given(st.text(max_size=400))
def test_a_legal_name_stays_as_it_is_when_it_is_legal(text):
    name = legal_name(text.encode("utf-8", "replace").decode().replace("\0", ""))
    assert len(name.encode()) <= 180 and legal_name(name) == name


def test_what_killed_writers_left_is_cleared_and_what_others_write_stays(tmp_path):
    ended = subprocess.Popen([sys.executable, "-I", "-S", "-c", ""])  # nobody asks how: a zombie
    os.waitid(os.P_PID, ended.pid, os.WEXITED | os.WNOWAIT)
    (tmp_path / f".zombie.png.{ended.pid}.tmp").touch()
    names = [
        ".a.png.99999999.tmp",
        ".drive.99999998.tmp.mp4",
        f".b.png.{os.getpid()}.tmp",
        ".hidden",
        "c.tmp",
        ".d.txt.tmp",
    ]
    for name in names:
        (tmp_path / name).touch()
    (tmp_path / "drive").mkdir()  # maps of a video's frames
    (tmp_path / "drive" / ".000001.png.99999999.tmp").touch()
    files.clear_temporaries(tmp_path, below=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*names[2:], "drive"]) and any(
        (tmp_path / "drive").iterdir()
    )
    files.clear_temporaries(tmp_path)
    assert not any((tmp_path / "drive").iterdir())
    ended.wait()
