"""The study's command where a run does not give what it should."""

import json
from types import SimpleNamespace

import pytest
import study

from gbw_panoptic.errors import UserError


@pytest.mark.parametrize(
    "status, words", [(1, "to end well, found exit status 1"), (0, "to leave an evaluation of its last")]
)
def test_a_run_without_a_result_is_one_sentence(tmp_path, monkeypatch, status, words):
    monkeypatch.setattr(study.subprocess, "call", lambda *arguments, **options: status)
    arguments = SimpleNamespace(model="teacher", folder="configs/streets", opts=[], root=str(tmp_path), jobs=1)
    with pytest.raises(UserError, match=words):
        study.train("source_only", 0, tmp_path, arguments)


def evaluation(data_set, value):
    return {"dataset": data_set, "scores": {"semantic": {"16": {"mIoU": value, "mean_recall": 1.0}}}}


def fake_runs(tmp_path, monkeypatch, *arguments):
    """Runs of a study whose trainings only say what they are given; scores are the number of the run."""
    runs = []
    monkeypatch.setattr(study, "run_training", lambda folder, config, options, **_: runs.append((folder, options)))

    def results(folder, model):
        number = next((i for i, run in enumerate(runs, start=1) if run[0] == folder), None)
        return {name: evaluation(name, number * factor) for name, factor in (("a", 1), ("b", 10))} if number else {}

    monkeypatch.setattr(study, "results", results)
    command = ["study.py", "--root", str(tmp_path), "--output", str(tmp_path / "out"), "--folder", "configs/demo"]
    monkeypatch.setattr(study.sys, "argv", [*command, *arguments])
    (tmp_path / "out").mkdir()
    study.main()
    out = tmp_path / "out"
    weights = [
        options[options.index("MODEL.WEIGHTS") + 1] if "MODEL.WEIGHTS" in options else None for _, options in runs
    ]
    return [folder.relative_to(out).as_posix() for folder, _ in runs], weights, out


def test_the_second_stage_starts_from_the_first_of_its_seed(tmp_path, monkeypatch):
    given = ("--first", "source_only", "--configs", "self_training", "--seeds", "3", "5")
    folders, weights, out = fake_runs(tmp_path, monkeypatch, *given)
    assert folders == [
        "first/source_only/seed3", "first/source_only/seed5", "self_training/seed3", "self_training/seed5",
    ]  # fmt: skip
    assert weights == [None, None, *(str(out / f"first/source_only/seed{seed}/model_final.pth") for seed in (3, 5))]


def test_rows_that_start_alone_come_first_and_the_first_stage_is_trained_once(tmp_path, monkeypatch):
    given = (
        "--first",
        "source_only_continued",
        "--alone",
        "source_only",
        "source_only_continued",
        "--configs",
        "self_training",
        "--seeds",
        "3",
    )
    folders, weights, out = fake_runs(tmp_path, monkeypatch, *given)
    assert folders == ["first/source_only_continued/seed3", "source_only/seed3", "self_training/seed3"]
    assert weights == [None, None, str(out / "first/source_only_continued/seed3/model_final.pth")]
    tables = (out / "study.md").read_text().split("b:")
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in tables[1].splitlines() if line.startswith("|")]
    assert rows[0] == ["configuration", "seeds", "mIoU", "mean recall", "mIoU gain"] and tables[0].startswith("a:")
    assert rows[2:] == [
        ["source_only", "1", "20.0", "1.0", ""], ["source_only_continued", "1", "10.0", "1.0", "-10.0"],
        ["self_training", "1", "30.0", "1.0", "+10.0"],
    ]  # fmt: skip
    assert json.loads((out / "study.json").read_text())["runs"]["source_only_continued"] == [
        {"mIoU": 1.0, "mean recall": 1.0}
    ]


def test_a_configuration_starts_alone_or_from_the_first_stage(tmp_path, monkeypatch, capsys):
    with pytest.raises(SystemExit):
        fake_runs(tmp_path, monkeypatch, "--alone", "source_only", "--configs", "source_only")
    assert "found source_only in both" in capsys.readouterr().err


def test_a_configuration_that_is_not_there_is_said_before_anything_is_trained(tmp_path, monkeypatch, capsys):
    with pytest.raises(SystemExit):
        fake_runs(tmp_path, monkeypatch, "--first", "source_only", "--configs", "self_trainin")
    assert (
        "expected a configuration of configs/demo, such as self_training, found self_trainin" in capsys.readouterr().err
    )
    assert not list((tmp_path / "out").iterdir())
