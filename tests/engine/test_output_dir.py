"""Two runs and one OUTPUT_DIR: nothing of a run changes before a command is accepted, and no report mixes two of
them."""

import hashlib
import itertools
import json
import os
from pathlib import Path

import pytest
import torch
import train_net
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_runs import TINY

from gbw_panoptic.engine import output_dir
from gbw_panoptic.engine.hooks import append_metrics, has_evaluation, truncate_metrics
from gbw_panoptic.engine.output_dir import Purpose, claimed, clear
from gbw_panoptic.errors import UserError

SMALL = [str(word) for word in (*TINY, "SOLVER.WARMUP_ITERS", 1, "DATALOADER.NUM_WORKERS", 0)]
SMALL = SMALL[: SMALL.index("DATASETS.TEST")] + SMALL[SMALL.index("DATASETS.TEST") + 2 :]
RUN = {
    "config.yaml": "MODEL: {WEIGHTS: ''}", "log.txt": "old", "metrics.json": '{"iteration": 1}\n',
    "last_checkpoint": "model_final.pth",
    "model_final.pth": "weights", "model_0000099.pth": "weights", "inference/student.json": "{}", "report/a.png": "",
    "report.md": "",
    "events.out.tfevents.1": "",
}  # fmt: skip
OTHERS = {"notes.md": "the user's", "stdout.txt": "a study's", "active/manifest.json": "{}", "best.pth": "the user's"}


def fill(folder: Path, contents: dict[str, str]) -> None:
    for name, text in contents.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def contents(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*")) if path.is_file()
    }  # fmt: skip


def train(config, output, *words):
    flags = list(itertools.takewhile(lambda word: word.startswith("--"), words))
    options = [*SMALL, *map(str, words[len(flags) :]), "OUTPUT_DIR", str(output)]
    train_net.main(
        train_net.parse(
            ["--config-file", str(Path(train_net.__file__).parents[1] / "configs" / config), *flags, *options]
        )
    )


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes")
@pytest.mark.parametrize("name", ["log.txt", "metrics.json", ".lock"])
def test_a_pipe_where_a_run_writes_is_refused(tmp_path, name):
    os.mkfifo(tmp_path / name)
    for purpose in (Purpose(), Purpose(resume=True), Purpose(eval_only=True), Purpose(overwrite=True)):
        with (
            pytest.raises(UserError, match="expected to write a file at .*, found a device or a pipe"),
            claimed(str(tmp_path), purpose),
        ):
            pass


@pytest.mark.parametrize("name", ["last_checkpoint", "model_final.pth", "model_0000099.pth", "inference/student.json"])
def test_an_occupied_folder_is_refused_with_both_commands(tmp_path, monkeypatch, name):
    fill(tmp_path, {name: "x"})
    monkeypatch.setattr(output_dir.sys, "argv", ["tools/train_net.py", "--config-file", "a b.yaml"])
    with pytest.raises(UserError) as refused, claimed(str(tmp_path), Purpose()):
        pass
    for words in (f"found {tmp_path / name}", "`python tools/train_net.py --resume --config-file 'a b.yaml'`",
                  "`python tools/train_net.py --overwrite --config-file 'a b.yaml'`, or give another "
                  "OUTPUT_DIR"):  # fmt: skip
        assert words in str(refused.value)
    assert contents(tmp_path).keys() == {name}


def test_overwriting_removes_the_old_run_s_files_only(tmp_path):
    fill(tmp_path, {**RUN, **OTHERS})
    purpose = Purpose(overwrite=True)
    with claimed(str(tmp_path), purpose):
        clear(str(tmp_path), purpose)
    assert contents(tmp_path).keys() == OTHERS.keys()
    clear(str(tmp_path), Purpose(overwrite=True, buys_labels=True))
    assert not (tmp_path / "active").exists()


def test_bought_labels_make_a_folder_occupied_for_a_run_that_buys(tmp_path):
    fill(tmp_path, {"active/manifest.json": "{}"})
    with claimed(str(tmp_path), Purpose()):  # trains on labels of tools/acquire.py
        pass
    with pytest.raises(UserError, match="found .*manifest.json"), claimed(str(tmp_path), Purpose(buys_labels=True)):
        pass


@pytest.mark.parametrize("purpose", [Purpose(resume=True), Purpose(eval_only=True, resume=True)])
def test_a_run_that_is_continued_or_evaluated_keeps_its_files(tmp_path, purpose):
    fill(tmp_path, RUN)
    before = contents(tmp_path)
    with claimed(str(tmp_path), purpose):
        clear(str(tmp_path), purpose)
        assert contents(tmp_path).keys() - before.keys() == {".lock"}
    assert contents(tmp_path) == before


def test_what_a_killed_run_without_a_checkpoint_left_goes(tmp_path):
    fill(tmp_path, {"metrics.json": '{"iteration": 19}\n', "log.txt": "old", "events.out.tfevents.1": ""})
    with claimed(str(tmp_path), Purpose()):
        clear(str(tmp_path), Purpose())
    assert not contents(tmp_path)


def test_weights_that_overwriting_would_delete_are_refused(tmp_path):
    fill(tmp_path, {**RUN, **OTHERS})
    inside = Purpose(overwrite=True, weights=str(tmp_path / "model_final.pth"))
    with (
        pytest.raises(UserError, match="--overwrite: expected MODEL.WEIGHTS that it does not delete"),
        claimed(str(tmp_path), inside),
    ):
        pass
    with claimed(str(tmp_path), Purpose(overwrite=True, weights=str(tmp_path / "best.pth"))):
        pass
    with (
        pytest.raises(UserError, match="either --resume or --overwrite"),
        claimed(str(tmp_path), Purpose(overwrite=True, resume=True)),
    ):
        pass


def test_an_evaluation_of_another_model_does_not_mix_with_a_run(tmp_path):
    fill(tmp_path / "run", RUN)
    fill(tmp_path, {"other.pth": "weights"})
    run = str(tmp_path / "run")
    with claimed(run, Purpose(eval_only=True, weights=str(tmp_path / "run" / "model_0000099.pth"))):
        pass
    other = Purpose(eval_only=True, weights=str(tmp_path / "other.pth"))
    with (
        pytest.raises(UserError, match="--eval-only: expected an OUTPUT_DIR without another model"),
        claimed(run, other),
    ):
        pass
    fill(
        tmp_path / "scores",
        {"config.yaml": f"MODEL: {{WEIGHTS: {tmp_path / 'other.pth'}}}", "inference/student.json": "{}"},
    )
    with claimed(str(tmp_path / "scores"), other):  # another data set, say
        pass
    with pytest.raises(UserError, match="without another model"):
        with claimed(
            str(tmp_path / "scores"), Purpose(eval_only=True, weights=str(tmp_path / "run" / "model_final.pth"))
        ):
            pass


def test_two_runs_at_once_are_refused_whatever_they_want(tmp_path):
    fill(tmp_path, RUN)
    with claimed(str(tmp_path), Purpose(resume=True)):
        for purpose in (Purpose(), Purpose(resume=True), Purpose(overwrite=True), Purpose(eval_only=True, resume=True)):
            with pytest.raises(UserError, match="expected one run at a time in .*give another OUTPUT_DIR"):
                with claimed(str(tmp_path), purpose):
                    pass


@settings(max_examples=60, deadline=None)
@given(
    there=st.sets(st.sampled_from(sorted({**RUN, **OTHERS}))),
    resume=st.booleans(), eval_only=st.booleans(), overwrite=st.booleans(), buys=st.booleans(),
)  # fmt: skip
def test_any_two_runs(tmp_path_factory, there, resume, eval_only, overwrite, buys):
    """A refused command changes nothing; one that is not leaves a new run no trace of the old one, and never a user's
    file less."""
    folder = tmp_path_factory.mktemp("run")
    fill(folder, {name: {**RUN, **OTHERS}[name] for name in there})
    before = contents(folder)
    purpose = Purpose(resume=resume, eval_only=eval_only, overwrite=overwrite, buys_labels=buys)
    try:
        with claimed(str(folder), purpose):
            clear(str(folder), purpose)
    except UserError:
        assert contents(folder) == before
        return
    left = contents(folder)
    kept = {name for name in before if name in OTHERS and not (name.startswith("active") and overwrite and buys)}
    if resume or (eval_only and not overwrite):
        assert left == before
    else:
        assert left.keys() == kept
        assert overwrite or not {name for name in before if name.startswith(("model", "last", "inference"))}


def test_case_10_two_runs_in_one_folder(streets, tmp_path, monkeypatch):
    """A run with a teacher, then another without one into its folder: refused, and the first one is untouched."""
    monkeypatch.setattr("gbw_panoptic.engine.logs._Terminal.emit", lambda *arguments: None)
    monkeypatch.setattr("gbw_panoptic.engine.setup.collect_env_info", lambda: "a GPU")  # asks many commands
    report, run = train_net.write_report, tmp_path / "run"
    monkeypatch.setattr(train_net, "write_report", lambda folder: fill(run, {"report.md": "of the first run"}))
    train("quick/self_training.yaml", run, "MODEL.WEIGHTS", "", "SOLVER.MAX_ITER", 2, "TEST.EVAL_PERIOD", 1)
    before = contents(run)
    assert {
        "config.yaml",
        "environment.txt",
        "log.txt",
        "metrics.json",
        "report.md",
    } <= before.keys() and ".lock" not in before
    log = (run / "log.txt").read_text()
    assert "\x1b" not in log and len(log.splitlines()) <= 60
    iterations = [json.loads(line) for line in (run / "metrics.json").read_text().splitlines()]
    assert [line["iteration"] for line in iterations if "teacher/panoptic/16/PQ" in line] == [0, 2]  # none is lost

    other = ("quick/source_only.yaml", run)
    settings = ("MODEL.WEIGHTS", "", "SOLVER.MAX_ITER", 1, "SEED", 7)
    with pytest.raises(UserError, match="expected a folder without an earlier run"):
        train(*other, *settings)
    with pytest.raises(UserError, match="SEED|--resume"):  # another trainer: its config.yaml would relabel the run
        train(*other, "--resume", *settings)
    with pytest.raises(UserError, match="GBW.LAMBDA"):
        train(*other, "--overwrite", *settings, "GBW.LAMBDA", -1)
    (tmp_path / "garbage.pth").write_bytes(b"not a checkpoint")  # noticed when everything is built
    with pytest.raises(UserError, match="garbage.pth"):
        train(*other, "--overwrite", *settings[2:], "MODEL.WEIGHTS", str(tmp_path / "garbage.pth"))
    assert contents(run) == before

    train("quick/self_training.yaml", run, "--eval-only", "--resume", "MODEL.WEIGHTS", "", "TEST.PROTOCOLS", "('19',)")
    after = contents(run)
    assert after["config.yaml"] == before["config.yaml"] and "evaluation.yaml" in after
    assert json.loads((run / "inference" / "student.json").read_text())["protocols"] == ["19"]

    monkeypatch.setattr(train_net, "write_report", report)
    train(*other, "--overwrite", *settings)
    assert not (run / "inference" / "teacher.json").exists() and "teacher" not in (run / "metrics.json").read_text()
    assert "self-training" not in (run / "report.md").read_text().lower()
    assert torch.load(run / "model_final.pth", weights_only=True)["iteration"] == 0


def test_scores_of_a_made_up_evaluation_are_found_and_survive_a_resume(tmp_path):
    path = tmp_path / "metrics.json"
    lines = [{"iteration": 3, "total_loss": 1.0}, {"iteration": 4, "student/semantic/16/mIoU": 2.0}]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert (
        has_evaluation(str(path), 4)
        and not has_evaluation(str(path), 3)
        and not has_evaluation(str(tmp_path / "none"), 3)
    )
    truncate_metrics(str(path), 3)  # a finished run that goes on: its final scores stay
    assert len(path.read_text().splitlines()) == 2
    truncate_metrics(str(path), 2)
    assert path.read_text() == ""
    append_metrics(str(path), 5, {"student": {"panoptic": {"16": {"PQ": 7.0}}}})
    assert json.loads(path.read_text()) == {"iteration": 5, "student/panoptic/16/PQ": 7.0}
