"""The demo's steps and its last lines; the commands themselves have tests of their own."""

from pathlib import Path
from types import SimpleNamespace

import demo
import pytest

from gbw_panoptic.errors import UserError


def _result(pq: float) -> dict:
    panoptic = {"PQ": pq, "PQ_things": pq / 2, "PQ_stuff": 2 * pq}
    return {"scores": {"panoptic": {"16": panoptic}, "semantic": {"16": {"mIoU": 40.0, "rare_recall": 9.0}}}}


def test_the_second_stage_starts_from_the_first_and_the_report_compares_both(tmp_path):
    steps = dict(demo.training_steps(tmp_path, seed=3))
    first, second, report = steps.values()
    assert "MODEL.WEIGHTS" not in first and "--resume" not in first + second
    assert second[second.index("MODEL.WEIGHTS") + 1] == str(tmp_path / "source_only" / "model_final.pth")
    assert all(command[command.index("SEED") + 1] == "3" for command in (first, second))
    assert report == ["tools/report.py", str(tmp_path / "adapted"), "--before", str(tmp_path / "source_only")]
    assert all((demo.ROOT / command[0]).is_file() for command in steps.values())


def test_a_stage_that_was_begun_is_resumed(tmp_path):
    (tmp_path / "source_only").mkdir()
    (tmp_path / "source_only" / "last_checkpoint").write_text("model_0000399.pth")
    first, second, _ = dict(demo.training_steps(tmp_path, seed=0)).values()
    assert "--resume" in first and "--resume" not in second


def test_the_last_lines_hold_both_stages_scores(tmp_path, monkeypatch):
    results = {"source_only": _result(20.0), "adapted": _result(33.0)}
    monkeypatch.setattr(demo.RunFolder, "read", lambda path: SimpleNamespace(headline=lambda: results[Path(path).name]))
    rows = {line.split("|")[1].strip(): line for line in demo.summary(tmp_path).splitlines()}
    assert "20.0" in rows["panoptic quality (PQ)"] and "33.0" in rows["panoptic quality (PQ)"]
    assert "10.0" in rows["PQ of things"] and "16.5" in rows["PQ of things"]
    assert set(demo.SCORES) <= set(rows)


def test_a_step_that_fails_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(demo.subprocess, "call", lambda *arguments, **options: 7)
    with pytest.raises(UserError, match=r"Expected step 1 \(Generate\) to end well, found exit status 7"):
        demo.run(["datasets/make_streets.py"], "step 1 (Generate)", tmp_path)
