"""The study's command where a run does not give what it should."""

from types import SimpleNamespace

import pytest
import study

from gbw_panoptic.errors import UserError


@pytest.mark.parametrize("status, words", [(1, "to end well, found exit status 1"), (0, "to leave an evaluation of its last")])
def test_a_run_without_a_result_is_one_sentence(tmp_path, monkeypatch, status, words):
    monkeypatch.setattr(study.subprocess, "call", lambda *arguments, **options: status)
    arguments = SimpleNamespace(model="teacher", folder="configs/streets", opts=[], root=str(tmp_path), jobs=1)
    with pytest.raises(UserError, match=words):
        study.train("source_only", 0, tmp_path, arguments)


def test_the_second_stage_starts_from_the_first_of_its_seed(tmp_path, monkeypatch):
    runs = []
    (tmp_path / "out").mkdir()
    monkeypatch.setattr(study, "run_training", lambda folder, config, options, **_: runs.append((folder, config, options)))
    monkeypatch.setattr(study, "headline", lambda folder, model: {"scores": {}} if any(r[0] == folder for r in runs) else None)
    monkeypatch.setattr(study.sys, "argv", [
        "study.py", "--root", str(tmp_path), "--output", str(tmp_path / "out"), "--folder", "configs/demo",
        "--first", "source_only", "--configs", "self_training", "--seeds", "3", "5",
    ])  # fmt: skip
    study.main()
    out = tmp_path / "out"
    weights = [options[options.index("MODEL.WEIGHTS") + 1] if "MODEL.WEIGHTS" in options else None for *_, options in runs]
    assert [folder.relative_to(out).as_posix() for folder, *_ in runs] == [
        "first/source_only/seed3", "first/source_only/seed5", "self_training/seed3", "self_training/seed5",
    ]  # fmt: skip
    assert weights == [None, None, *(str(out / f"first/source_only/seed{seed}/model_final.pth") for seed in (3, 5))]
