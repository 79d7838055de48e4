"""What stands for which files, and names that never collide."""

from pathlib import Path

import pytest

from gbw_panoptic.errors import UserError
from gbw_panoptic.inference.inputs import Input, find_inputs, unique_names


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
    assert names() == []


def test_names_that_cannot_differ_are_refused():
    with pytest.raises(UserError, match="rename one"):
        unique_names([Path(path) for path in ("/a/b_c/1.png", "/a_b/c/1.png", "/q/b_c/1.png", "/r/c/1.png")])


def test_videos_are_told_by_their_suffix():
    assert Input(Path("/a/x.MOV"), "x").is_video and not Input(Path("/a/x.png"), "x").is_video
