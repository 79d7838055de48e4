"""The heat maps of a run's class weights, and what the tool says where there are none."""

import json
import sys
from pathlib import Path

import plot_weights
import pytest

from gbw_panoptic.errors import UserError
from gbw_panoptic.taxonomy import CITYSCAPES

PLACES = ("source/sem_seg", "source/center", "mixed/sem_seg")


def metrics_lines(iterations=range(0, 100, 20), places=PLACES) -> list[dict]:
    lines = []
    for iteration in iterations:
        line = {"iteration": iteration, "total_loss": 1.0}
        for place in places:
            for c, name in enumerate(CITYSCAPES.names):
                present = (c + iteration // 20) % 4 > 0 and name != "train"
                line[f"gbw/{place}/weight/{name}"] = 0.2 * c if present else 1.0
                line[f"gbw/{place}/gradient/{name}"] = 0.05 * c * present
                line[f"gbw/{place}/share/{name}"] = present / (c + 1)
        lines.append(line)
    return lines


@pytest.fixture
def run(tmp_path) -> Path:
    """OUTPUT_DIR of a running job: its last line is being written, and it was resumed after iteration 40."""
    folder = tmp_path / "run"
    folder.mkdir()
    lines = [json.dumps(line, sort_keys=True) for line in metrics_lines([0, 20, 40, 60]) + metrics_lines([60, 80])]
    (folder / "metrics.json").write_text("\n".join(lines) + '\n{"gbw/mixed/sem_seg/weight/bus": 0.3, "iterat')
    return folder


def plot(monkeypatch, *arguments) -> None:
    monkeypatch.setattr(sys, "argv", ["plot_weights.py", *map(str, arguments)])
    plot_weights.main()


def test_running_job_by_folder_and_by_file(run, monkeypatch, capsys, tmp_path):
    plot(monkeypatch, run, "--kind", "weight")
    plot(monkeypatch, run / "metrics.json", "--kind", "weight", "--output", tmp_path / "new folder" / "plot.png")
    assert (run / "class_weights.png").read_bytes() == (tmp_path / "new folder" / "plot.png").read_bytes()
    said = capsys.readouterr().out
    assert "source/sem_seg, source/center, mixed/sem_seg, up to iteration 80" in said
    assert not list(run.glob(".*"))


def test_what_is_chosen_is_what_is_drawn(run, monkeypatch, capsys):
    drawn = []
    monkeypatch.setattr(plot_weights, "class_heat_maps", lambda rows: drawn.append(rows) or b"")
    plot(monkeypatch, run, "--head", "sem_seg", "--kind", "share", "weight")
    assert [[(m.place, m.kind) for m in row] for row in drawn[0]] == [
        [("source/sem_seg", "share"), ("source/sem_seg", "weight")],
        [("mixed/sem_seg", "share"), ("mixed/sem_seg", "weight")],
    ]
    (share, weight), _ = drawn[0]
    assert share.iterations == [0, 20, 40, 60, 80]
    assert share.names == weight.names == [name for name in CITYSCAPES.names if name != "train"]  # it never occurred
    plot(monkeypatch, run, "--branch", "source", "--head", "center", "--by-share")
    ((weight, gradient, share),) = drawn[1]
    bus = CITYSCAPES.names.index("bus")
    for heat_map, value in ((weight, 0.2 * bus), (gradient, 0.05 * bus), (share, 1 / (bus + 1))):
        assert heat_map.names[:2] == ["road", "sidewalk"]  # shares fall with the class id
        column = heat_map.values[:, heat_map.names.index("bus")]  # blank where (15 + step) % 4 is 0
        assert column.tolist() == pytest.approx([value, float("nan"), value, value, value], nan_ok=True)


@pytest.mark.parametrize(
    "options, message",
    [
        (["--head", "semantic"], "--head to be one of sem_seg, center in .*found semantic"),
        (["--branch", "target"], "--branch to be one of source, mixed in .*found target"),
        (["--branch", "mixed", "--head", "center"], "source/center, mixed/sem_seg, found mixed/center"),
        (["--output", "plot.pdf"], "ends in .png, found plot.pdf"),
    ],
)
def test_unknown_names_are_answered_with_what_there_is(run, monkeypatch, options, message):
    with pytest.raises(UserError, match=message):
        plot(monkeypatch, run, *options)


def test_a_run_without_class_weighting(run, monkeypatch):
    (run / "metrics.json").write_text('{"iteration": 19, "total_loss": 1.0}\n')
    with pytest.raises(UserError, match="class weights .* found none; train with WEIGHTING"):
        plot(monkeypatch, run)


def test_no_metrics_is_one_sentence_and_exit_code_2(run_tool, tmp_path):
    done = run_tool("tools/plot_weights.py", tmp_path)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("error: expected a run's metrics.json, found nothing at")
    assert done.stderr.count("\n") == 1


def test_a_place_that_cannot_be_written_to(run, monkeypatch):
    (run / "file").touch()
    with pytest.raises(UserError, match="to be able to write"):
        plot(monkeypatch, run, "--output", run / "file" / "plot.png")


def test_metrics_that_lack_a_kind_or_a_class(tmp_path, monkeypatch, capsys):
    line = {
        "iteration": 1,
        "gbw/source/sem_seg/weight/car": 1.5,
        "gbw/source/sem_seg/weight/sky": 0.5,
        "gbw/source/sem_seg/share/sky": 0.9,
    }
    (tmp_path / "metrics.json").write_text(json.dumps(line))
    monkeypatch.setattr(sys, "argv", ["plot_weights.py", str(tmp_path), "--kind", "weight", "share"])
    plot_weights.main()
    assert "up to iteration 1" in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", ["plot_weights.py", str(tmp_path)])
    with pytest.raises(
        UserError, match="expected a gradient for each class of source/sem_seg in .*metrics.json, found none"
    ):
        plot_weights.main()
