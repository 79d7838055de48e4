"""The first moment of every tool: outside the environment, with wrong arguments, before anything heavy is imported."""

import argparse
import ast
import os
import subprocess
import sys
from pathlib import Path

import _environment
import merge_checkpoints
import pytest
import setup_env
import train_net
from detectron2.engine import default_argument_parser

from gbw_panoptic import cli
from gbw_panoptic.config_files import check_config_file, listing
from gbw_panoptic.engine.merging import SCHEDULES
from gbw_panoptic.errors import UserError

ROOT = Path(__file__).parents[2]
SCRIPTS = [
    p for folder in ("tools", "datasets") for p in sorted((ROOT / folder).glob("*.py")) if "__main__" in p.read_text()
]
TOOLS = [path for path in SCRIPTS if path.name != "setup_env.py"]  # which makes the environment
EARLY = ("train_net", "predict", "report", "browse_data", "acquire", "merge_checkpoints")


def command(*words, cwd=ROOT, options=()):
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    return subprocess.run([sys.executable, *options, *words], cwd=cwd, env=environment, capture_output=True, text=True)


def test_tools_are_found():
    assert len(TOOLS) > 12 and ROOT / "datasets" / "prepare.py" in TOOLS


@pytest.mark.parametrize("path", TOOLS, ids=lambda p: p.name)
def test_outside_the_environment_one_sentence_names_the_command_that_works(path):
    done = command(str(path.relative_to(ROOT)), "--list", "a b", options=["-S"])  # without site-packages
    assert done.returncode == 2 and done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith(
        "error: expected the environment of this project, found a Python without torch and torchvision and"
    )
    assert line.endswith(f".venv/bin/python {path.relative_to(ROOT)} --list 'a b'`")


def test_another_program_may_run_train_net_by_its_path(tmp_path):
    program = "import runpy, sys; sys.argv[1:] = ['--list']; runpy.run_path('tools/train_net.py', run_name='__main__')"
    (tmp_path / "program.py").write_text(program)
    done = command(str(tmp_path / "program.py"))
    assert done.returncode == 0 and "configs/quick/source_only.yaml" in done.stdout, done.stderr


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda p: p.name)
def test_an_old_python_can_read_the_tool_far_enough_to_say_so(path):
    assert ast.parse(path.read_text(), feature_version=(3, 8)).body


def test_the_set_up_comes_first_where_there_is_none(tmp_path, monkeypatch):
    monkeypatch.setattr(_environment, "ROOT", str(tmp_path))
    monkeypatch.setattr(_environment, "PACKAGES", ("torch", "no_such_package"))
    monkeypatch.chdir(tmp_path)
    sentence = _environment.problem("/usr/bin/python3", ["tools/x.py"])
    assert (
        "found a Python without no_such_package at /usr/bin/python3; run `make setup && .venv/bin/python tools/x.py`"
        in sentence
    )
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / "setup.json").touch()
    assert _environment.problem("python3", ["tools/x.py"]).endswith("run `.venv/bin/python tools/x.py`")
    monkeypatch.setattr(_environment, "OLDEST", (99, 0))
    assert f"found Python {sys.version_info[0]}.{sys.version_info[1]} at" in _environment.problem(
        "python3", ["tools/x.py"]
    )


def test_every_dependency_is_looked_for():
    import tomllib

    dependencies = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    everywhere = [line for line in dependencies if ";" not in line]  # those of some platforms can be done without
    assert len(_environment.PACKAGES) == len(everywhere) + 1  # and Detectron2
    assert _environment.problem(sys.executable, ["x"]) is None


@pytest.mark.parametrize("option", ["-O", "-OO"])
def test_without_assertions_nothing_starts(option):
    done = command("tools/train_net.py", "--list", options=[option])
    assert done.returncode == 2 and f"with its assertions, which Detectron2 needs, found {option}; leave" in done.stderr


@pytest.mark.parametrize("name", EARLY)
def test_help_and_usage_errors_do_not_wait_for_torch(name):
    for words, status in ((["--help"], 0), (["--no-such-flag"], 2)):
        done = command(f"tools/{name}.py", *words, options=["-X", "importtime"])
        assert done.returncode == status and "usage:" in done.stdout + done.stderr
        imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
        assert "argparse" in imported and not imported & {"torch", "numpy", "detectron2", "cv2", "yaml"}


def test_list_and_a_wrong_name_do_not_wait_either(tmp_path):
    done = command("tools/train_net.py", "--list", options=["-X", "importtime"])
    assert (
        done.returncode == 0
        and "configs/streets/self_training_gbw.yaml" in done.stdout
        and "| torch\n" not in done.stderr
    )
    done = command(
        "tools/train_net.py", "--config-file", "configs/streets/self_trainin.yaml", options=["-X", "importtime"]
    )
    assert done.returncode == 2 and "| torch\n" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith(
        "error: --config-file: expected a YAML file, found nothing at configs/streets"
    )


def test_train_net_has_the_flags_of_detectron2(monkeypatch):
    def flags(parser):
        keys = ("option_strings", "dest", "nargs", "const", "default", "type", "choices", "required")
        return [(type(a), *(getattr(a, key) for key in keys)) for a in parser._actions]

    taken = []
    monkeypatch.setattr(
        argparse.ArgumentParser,
        "parse_args",
        lambda self, words: taken.append(self) or argparse.Namespace(config_file="x"),
    )
    train_net.parse([])
    theirs, ours = flags(default_argument_parser()), flags(taken[0])
    assert [flag for flag in ours if flag in theirs] == theirs
    assert {flag[2] for flag in ours if flag not in theirs} <= {"dry_run", "imports", "list", "overwrite"}


def test_train_net_without_arguments_prints_its_usage(capsys):
    for words in ([], ["--resume"], ["SOLVER.MAX_ITER", "3"]):
        with pytest.raises(SystemExit) as stop:
            train_net.parse(words)
        error = capsys.readouterr().err
        assert (
            stop.value.code == 2 and error.startswith("usage: ") and "expected --config-file FILE, found none" in error
        )


def test_merging_knows_its_schedules_before_they_are_imported():
    assert {*merge_checkpoints.SCHEDULES} == {*SCHEDULES, "uniform"}


@pytest.mark.parametrize(
    "meant, found",
    [
        ("configs/streets/self_trainin.yaml", "configs/streets/self_training.yaml"),
        ("configs/streets/self_training", "configs/streets/self_training.yaml"),
        ("configs/street/self_training_gbw.yaml", "configs/streets/self_training_gbw.yaml"),
        ("self_training_gbw.yaml", "configs/quick/self_training_gbw.yaml"),
        ("configs/streets/Self_Training_GBW.yaml", "configs/streets/self_training_gbw.yaml"),
    ],
)
def test_a_wrong_name_suggests_those_of_the_right_folder(monkeypatch, meant, found):
    monkeypatch.chdir(ROOT)
    with pytest.raises(UserError, match=f"found nothing at {meant}; did you mean .*{found}"):
        check_config_file(meant)


def test_a_name_like_no_other_points_to_the_list(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="found nothing at zzz; tools/train_net.py --list names those"):
        check_config_file("zzz")
    with pytest.raises(UserError, match="found a folder at"):
        check_config_file(str(tmp_path))


def test_every_listed_configuration_exists_and_says_what_it_is(monkeypatch):
    monkeypatch.chdir(ROOT)
    rows = list(listing())
    assert len(rows) > 40 and all(os.path.isfile(path) and first for path, first in rows)


def test_the_set_up_asks_for_nothing_and_leaves_other_checkouts_alone(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(setup_env.Environment, "make", lambda self: pytest.fail("a set-up began"))
    for words, status in ((["--help"], 0), (["--no-such-flag"], 2)):
        monkeypatch.setattr(sys, "argv", ["setup_env.py", *words])
        with pytest.raises(SystemExit) as stop:
            setup_env.main()
        assert stop.value.code == status
    other, own = tmp_path / "other", tmp_path / "own"
    (other / "tools").mkdir(parents=True), (other / ".venv").mkdir(), own.mkdir()
    (other / "tools" / "setup_env.py").touch()
    (own / ".venv").symlink_to(other / ".venv")
    with pytest.raises(setup_env.SetupError, match=f"found a link to that of {other}; remove the link"):
        setup_env.check_folder(own / ".venv")


def test_an_error_before_the_imports_is_a_sentence(capsys):
    with pytest.raises(SystemExit) as stop:
        cli.run(lambda: check_config_file("nothing"))
    assert stop.value.code == 2 and capsys.readouterr().err.startswith("error: --config-file: ")
