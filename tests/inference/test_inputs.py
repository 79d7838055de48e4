"""What stands for which files, and names that never collide."""

import os
from pathlib import Path

import pytest

from gbw_panoptic.errors import UserError
from gbw_panoptic.inference.inputs import Input, find_inputs
from gbw_panoptic.names import unique_names
from gbw_panoptic.searching import Skipped


@pytest.fixture
def tree(tmp_path, monkeypatch):
    hidden = ("a/.hidden.png", "a/.cache/3.png")
    for name in ("a/1.png", "a/2.JPG", "a/notes.txt", *hidden, "b/1.png", "b/drive.MP4", "out/overlay/1.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def found(*patterns):
    inputs, problems = find_inputs(patterns, Path("out"))
    return [str(item.path.relative_to(Path.cwd())) for item in inputs], problems


def test_folders_globs_and_files(tree):
    assert found("a") == (["a/1.png", "a/2.JPG"], [])
    assert found(".") == (["a/1.png", "a/2.JPG", "b/1.png", "b/drive.MP4"], [])  # neither hidden files nor own results
    assert found("*/1.png") == (["a/1.png", "b/1.png"], [])
    assert found("**/*.MP4", "a") == (["b/drive.MP4", "a/1.png", "a/2.JPG"], [])
    assert found("[ab]") == found("a", "b")  # a glob over folders
    assert found("a/1.png", str(tree / "a" / "1.png"), "a") == (["a/1.png", "a/2.JPG"], [])  # each once
    assert found("a/notes.txt") == (["a/notes.txt"], [])  # named: taken, and refused when it is read


def test_a_file_whose_name_looks_like_a_glob(tree):
    (tree / "a" / "x[1].png").touch()
    assert found("a/x[1].png") == (["a/x[1].png"], [])


def test_a_glob_below_a_folder_whose_name_looks_like_one(tree):
    (tree / "data[1]").mkdir()
    (tree / "data[1]" / "7.png").touch()
    assert found("data[1]") == found("data[1]/*.png") == found("data[1]/7.*") == (["data[1]/7.png"], [])


def test_links_are_followed_and_end(tree):
    (tree / "elsewhere").mkdir()
    (tree / "elsewhere" / "4.png").touch()
    (tree / "a" / "0linked").symlink_to(tree / "elsewhere")
    (tree / "elsewhere" / "again").symlink_to(tree / "a")  # a cycle
    (tree / "a" / "loop").symlink_to("loop")
    assert found("a") == (["a/0linked/4.png", "a/1.png", "a/2.JPG"], [])
    (tree / "b" / "0a").symlink_to(tree / "a")  # each folder once
    assert found(".")[0] == ["a/0linked/4.png", "a/1.png", "a/2.JPG", "b/1.png", "b/drive.MP4"]
    (tree / "a" / "results").symlink_to(tree / "out")
    assert "out/overlay/1.png" not in found("a")[0] and "a/results/overlay/1.png" not in found("a")[0]


def test_a_glob_of_any_depth_ends_in_circles_of_links(tree):
    """Of the standard library's ``**``, three links to folders above make more paths than there is time for."""
    for number in range(3):
        (tree / "a" / f"up{number}").symlink_to("..")
        (tree / "b" / f"self{number}").symlink_to(".")
    (tree / "elsewhere" / "x[1]").mkdir(parents=True)
    (tree / "elsewhere" / "x[1]" / "4.png").touch()
    (tree / "b" / "linked").symlink_to(tree / "elsewhere")
    everything = ["a/1.png", "b/1.png", "b/linked/x[1]/4.png"]
    assert found("**/*.png") == found("./**/**/*.png") == (everything, [])
    assert found(f"{tree}/**/*.png") == (everything, []) and found("b/**/*.png") == (everything[1:], [])
    assert found("a/**") == found("a") and set(found("a/**/1.*")[0]) <= set(found("a")[0])


def test_what_is_left_out_is_counted_in_one_line(tree, monkeypatch):
    for name in ("x.heic", "y.HEIC", "z.gif"):
        (tree / "a" / name).touch()
    walk = os.walk

    def locked(folder, followlinks, onerror):
        onerror(PermissionError(13, "Permission denied", str(tree / "a" / "locked")))
        yield from walk(folder, followlinks=followlinks, onerror=onerror)

    monkeypatch.setattr(os, "walk", locked)
    skipped = Skipped()
    inputs, _ = find_inputs(["a"], Path("out"), skipped)
    assert len(inputs) == 2 and skipped
    assert skipped.sentence() == (
        f"left out: 1 folders that cannot be entered (first: {tree / 'a' / 'locked'}); "
        "2 files of the format .heic, which is not read (first: a/x.heic); 1 files of the format .gif, which is not "
        "read (first: a/z.gif)"
    )
    with pytest.raises(UserError, match="^--strict: expected to read everything, but left out: 1 folders"):
        skipped.require_none()


def test_paths_that_the_system_refuses_are_found_out_when_their_turn_comes(tree):
    (tree / "loop.png").symlink_to("loop.png")
    long = "x" * 300 + ".png"
    inputs, problems = find_inputs(["loop.png", long, "a"], Path("out"))
    assert not problems and [item.path.name[:4] for item in inputs] == ["loop", "xxxx", "1.pn", "2.JP"]


def test_patterns_without_files_are_named(tree):
    (tree / "empty").mkdir()
    paths, problems = found("empty", "nothing/*.png", "b", "absent.png")
    assert paths == ["b/1.png", "b/drive.MP4", "absent.png"]  # the last is found out when its turn comes
    assert len(problems) == 2 and "empty" in problems[0] and "nothing/*.png" in problems[1]


def test_names():
    def names(*paths):
        return list(unique_names([Path(path) for path in paths]).values())

    assert names("/x/a.png", "/y/b.png") == ["a", "b"]
    assert names("/cam0/1.png", "/cam1/1.png", "/cam1/2.png") == ["cam0_1", "cam1_1", "2"]
    assert names("/d/1.png", "/d/1.jpg") == ["d_1_png", "d_1_jpg"]
    assert names("/x/d/1.png", "/y/d/1.png") == ["x_d_1_png", "y_d_1_png"]
    assert len(set(names("/a_b/1.png", "/c/a_b_1.png", "/b/1.png"))) == 3
    assert names("/d/A.png", "/e/a.png") == ["d_A", "e_a"]  # one file for many disks
    assert names() == []


def test_names_that_cannot_differ_have_a_digest():
    paths = [Path(path) for path in ("/a/b_c/1.png", "/a_b/c/1.png", "/q/b_c/1.png", "/r/c/1.png")]
    names = unique_names(paths)
    assert len(set(names.values())) == 4 and sum("~" in name for name in names.values()) >= 1
    assert unique_names(paths[::-1]) == names


def test_videos_are_told_by_their_suffix():
    assert Input(Path("/a/x.MOV"), "x").is_video and not Input(Path("/a/x.png"), "x").is_video
