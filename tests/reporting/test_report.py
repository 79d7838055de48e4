"""The report of finished, running and broken runs."""

import json
import multiprocessing
import os
import re
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
import yaml
from fabricated_run import CONFIG, fabricate_run, scores_of
from hypothesis import HealthCheck, given, settings, strategies as st
from PIL import Image

from gbw_panoptic.errors import UserError
from gbw_panoptic.reporting import write_report as write_both
from gbw_panoptic.reporting.report import write_report
from gbw_panoptic.reporting.run_folder import RunFolder, class_scalars, read_metrics
from gbw_panoptic.taxonomy import CITYSCAPES


@pytest.fixture
def run(tmp_path) -> Path:
    """A finished run's OUTPUT_DIR."""
    return fabricate_run(tmp_path / "my run", scores={"student": 0, "teacher": 1})


def links(report: Path) -> list[Path]:
    return [report.parent / unquote(link) for link in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", report.read_text())]


def test_finished_run(run):
    report = Path(write_report(run))
    assert report == run / "report.md"
    text = report.read_text()
    teacher = scores_of(1, ("16", "13"))
    assert f"**PQ {teacher['panoptic']['16']['PQ']:.1f}" in text  # the model named in the configuration
    assert "protocol `16`, teacher, iteration 399; N = 16 classes averaged: road" in text
    assert f"{scores_of(0, ('13',))['semantic']['13']['mIoU']:.1f}" in text  # the student in the table
    assert "k = 3: road, sidewalk, building" in text
    assert "SelfTrainingTrainer" in text and "truck" not in text.split("## Class weights")[0]
    pictures = {path.relative_to(run).as_posix() for path in links(report)}
    assert pictures == {
        "report/classes.png", "report/confusion.png", "report/losses.png", "report/weights_source_semantic.png",
        "inference/panels/teacher/frankfurt 0.png",
    }  # fmt: skip
    for path in links(report):
        Image.open(path).load()


def test_losses_are_losses_only(run):
    with open(run / "metrics.json", "a") as file:
        file.write('{"iteration": 399, "pseudo_labels/loss_ratio": 0.5, "mixed/loss_center": 1.0}\n')
    assert list(RunFolder.read(run).losses()) == ["mixed/loss_center", "source/loss_sem_seg", "total_loss"]


def test_panoptic_quality_is_split_into_things_and_stuff(run, no_drawing):
    text = Path(write_report(run)).read_text()
    scores = scores_of(1, ("16",))["panoptic"]["16"]
    assert f"PQ things {scores['PQ_things']:.1f}, PQ stuff {scores['PQ_stuff']:.1f}" in text
    header, _, *rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in text.split("### Panoptic (percent)")[1].split("###")[0].strip().splitlines()
    ]
    assert header[3:] == ["PQ", "SQ", "RQ", "N", "PQ things", "N things", "PQ stuff", "N stuff"]
    teacher = next(row for row in rows if row[2] == "teacher")
    assert [teacher[header.index(f"N {part}")] for part in ("things", "stuff")] == ["6", "10"]


def test_average_precision_has_a_table(run, no_drawing):
    path = run / "inference" / "teacher.json"
    result = json.loads(path.read_text())
    result["scores"]["instance"] = {"16": {"AP": 12.3, "AP50": 34.5, "N": 6, "per_class": {}}}
    path.write_text(json.dumps(result))
    section = Path(write_report(run)).read_text().split("### Instance (percent)")[1].split("###")[0]
    assert "AP50" in section and "12.3" in section and "34.5" in section


def test_nothing_absolute_and_nothing_temporary_is_left(run, no_drawing):
    text = Path(write_report(run)).read_text()
    assert str(run.parent) not in text
    assert not [path for path in run.rglob("*") if path.name.endswith(".tmp")]


def test_running_job(run, no_drawing):
    with open(run / "metrics.json", "a") as file:
        file.write('{"iteration": 419, "total_lo')
    for path in (run / "inference").glob("*.json"):
        path.unlink()
    text = Path(write_report(run)).read_text()
    assert "No evaluation yet" in text and "report/losses.png" in text
    assert re.search(r"last logged iteration\s*\| 399", text)


def test_empty_folder_names_what_is_missing(tmp_path):
    text = Path(write_report(tmp_path)).read_text()
    for missing in ("config.yaml", "metrics.json", "inference/", "panels", "class weights"):
        assert missing in text


def test_damaged_files_are_skipped(run, no_drawing):
    (run / "inference" / "student.json").write_text('{"model": ')
    (run / "config.yaml").write_text("a: [")
    text = Path(write_report(run)).read_text()
    assert (
        "config.yaml is missing or damaged" in text
        and "| teacher |" in text.replace("  ", "")
        and "student" not in text
    )


def test_a_damaged_file_is_warned_of_once(run, no_drawing, caplog):
    (run / "inference" / "student.json").write_text('{"model": ')
    write_both(run)
    assert len([r for r in caplog.records if "student.json" in r.getMessage()]) == 1


def test_what_a_killed_report_left_goes_with_the_next_one(run, no_drawing):
    ended = multiprocessing.Process(target=int)
    ended.start(), ended.join()
    (run / "report").mkdir()
    left = [run / f".report.md.{ended.pid}.tmp", run / "report" / f".losses.png.{ended.pid}.tmp"]
    written = run / f".report.html.{os.getppid()}.tmp"
    for path in (*left, written):
        path.touch()
    write_report(run)
    assert not any(path.exists() for path in left) and written.exists()


def test_evaluation_apart_from_training(run, no_drawing):
    content = json.loads((run / "inference" / "teacher.json").read_text())
    (run / "inference" / "teacher.json").write_text(json.dumps({**content, "iteration": -1}))
    assert "teacher, iteration not recorded" in Path(write_report(run)).read_text()


def test_oracle_best_is_set_apart(run, no_drawing):
    assert "nothing to choose from" in Path(write_report(run)).read_text()
    with open(run / "metrics.json", "a") as file:
        file.write('{"iteration": 199, "teacher/panoptic/16/PQ": 77.25, "student/panoptic/16/PQ": 3.0}\n')
    text = Path(write_report(run)).read_text()
    before, section = text.split("## oracle_best: chosen with target labels, not a result of adaptation")
    section = section.split("\n## ")[0]
    assert re.search(r"\| teacher +\| +77.2 \| +41.5 \| +35.8 \| 199 +\|", section)
    assert "student" not in section  # evaluated once in this log
    assert "77.2" not in before and "report/scores.png" in before


def test_destination_and_protocol(run, tmp_path):
    report = Path(write_report(run, destination=tmp_path / "elsewhere", protocol="13"))
    assert report == tmp_path / "elsewhere" / "report.md" and not (run / "report.md").exists()
    assert report.read_text().split("\n")[2].startswith(f"**mIoU {scores_of(1, ('13',))['semantic']['13']['mIoU']:.1f}")
    for path in links(report):
        Image.open(path).load()
    with pytest.raises(UserError, match="was evaluated by, 16, 13, found '19'"):
        write_report(run, protocol="19")


def test_result_of_a_run_that_goes_on(run, no_drawing):
    (run / "config.yaml").write_text(CONFIG + "SOLVER: {MAX_ITER: 800}\n")
    assert "teacher, iteration 399 (unfinished)" in Path(write_report(run)).read_text()
    assert not RunFolder.read(run).is_finished


def test_no_folder(tmp_path):
    with pytest.raises(UserError, match="absent"):
        write_report(tmp_path / "absent")


def test_metrics_are_merged_by_iteration(tmp_path):
    path = tmp_path / "metrics.json"
    lines = ['{"iteration": 9, "a": 1}', "", "broken", "[1]", '{"a": 3}', '{"iteration": 4, "a": 5}']
    path.write_text("\n".join([*lines, '{"iteration": 9, "b": 2}', '{"iteration": 19, "a"']))
    assert read_metrics(path) == [{"iteration": 4, "a": 5}, {"iteration": 9, "a": 1, "b": 2}]
    assert read_metrics(tmp_path / "absent") == []


def test_class_weights_keep_gaps(run):
    iterations, names, weights = RunFolder.read(run).class_weights()["source/semantic"]
    assert weights.shape == (len(iterations), 19) and set(names) == set(CITYSCAPES.names)
    assert iterations == list(range(19, 400, 20))
    column = names.index("sky")
    assert np.isnan(weights[:, column]).mean() == pytest.approx(0.2, abs=0.02)
    assert np.nanmax(weights[:, column]) == pytest.approx(0.5 + CITYSCAPES.names.index("sky") / 19)


def test_absent_classes_have_no_weight_and_the_order_is_the_taxonomys():
    def line(iteration, place, **shares):
        weights = {f"gbw/{place}/weight/{name}": 2.0 if share else 1.0 for name, share in shares.items()}
        return {"iteration": iteration, **weights, **{f"gbw/{place}/share/{name}": s for name, s in shares.items()}}

    lines = [
        line(0, "mixed/sem_seg", building=0.5, wall=0.0),
        line(0, "source/sem_seg", building=0.0, car=0.0, road=0.9, zebra=0.1),
        line(20, "source/sem_seg", building=0.2, car=0.0, road=0.0, zebra=0.8),
    ]
    found = class_scalars(lines, "weight")
    assert list(found) == ["source/sem_seg", "mixed/sem_seg"]  # the source first
    iterations, names, values = found["source/sem_seg"]
    assert iterations == [0, 20] and names == ["road", "building", "zebra"]  # no car; what the taxonomy lacks is last
    np.testing.assert_array_equal(values, [[2, np.nan, 2], [np.nan, 2, 2]])
    assert class_scalars(lines, "share")["mixed/sem_seg"][1:] == (["building"], [[0.5]])
    assert class_scalars(lines, "gradient") == {} and class_scalars([], "weight") == {}


def test_bought_labels_have_a_section(run, no_drawing):
    assert "Bought labels" not in Path(write_report(run)).read_text()
    folder = run / "active"
    (folder / "overlays" / "2").mkdir(parents=True)
    for name in ("classes.png", "overlays/2/a b.png"):
        Image.new("RGB", (8, 8)).save(folder / name)
    entry = {"cost": 30, "pixels": 31, "allowed": 40, "void": 1, "classes": {"road": 30, "rider": 0}, "imbalance": 0.25}
    rounds = [{"round": number, **entry} for number in (1, 2)]
    (folder / "manifest.json").write_text(json.dumps({"rounds": rounds}))
    report = Path(write_report(run))
    section = report.read_text().split("## Bought labels")[1].split("\n## ")[0]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in section.splitlines() if line.startswith("| 2")]
    assert rows == [["2", "31", "60", "40", "1", "1", "0.250"]]
    assert {path.name for path in links(report)} >= {"classes.png", "a b.png"}
    (folder / "manifest.json").write_text("{")
    assert "Bought labels" not in Path(write_report(run)).read_text()


def places(value) -> list[tuple]:
    """Every container and key below ``value``."""
    found = []
    for key in list(value) if isinstance(value, dict) else range(min(2, len(value))) if isinstance(value, list) else ():
        found.append((value, key))
        found += places(value[key])
    return found


ANYTHING = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**66), 2**66), st.floats(), st.text(max_size=3), st.just([]), st.just({}),
    st.just([[1], "a"]),
    st.just({"a": 1}), st.just(["19"]), st.just("teacher"),
)  # fmt: skip


@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_run_folder_of_any_values_is_reported_or_refused(run, no_drawing, data):
    """One value anywhere in config.yaml, a result file or metrics.json replaced by anything, or removed."""
    names = ("config.yaml", "inference/student.json", "inference/teacher.json", "metrics.json")
    path = run / data.draw(st.sampled_from(names))
    before = path.read_text()
    lines = before.splitlines() if path.name == "metrics.json" else [before]
    chosen = data.draw(st.integers(0, len(lines) - 1))
    value = yaml.safe_load(lines[chosen]) if path.name == "config.yaml" else json.loads(lines[chosen])
    holder, key = data.draw(st.sampled_from(places(value)))
    if data.draw(st.booleans()):
        holder[key] = data.draw(ANYTHING)
    else:
        del holder[key]
    lines[chosen] = json.dumps(value)
    path.write_text("\n".join(lines) + "\n")
    try:
        text = Path(write_report(run)).read_text()
    except UserError as error:
        assert "\n" not in str(error)
    else:
        assert "# my run" in text
    finally:
        path.write_text(before)


@pytest.mark.parametrize(
    "name, content",
    [
        ("config.yaml", "a: &a [*a]"), ("config.yaml", "- " * 5000), ("config.yaml", "1: 2"),
        ("config.yaml", "DATASETS: {TEST: 3}"),
        ("config.yaml", "SEED: 2020-13-45"), ("config.yaml", b"\xff\xfe\x00"), ("metrics.json", "[" * 99999),
        ("metrics.json", b"\xff\n\0"),
        ("metrics.json", '{"iteration": 1' + "0" * 400 + "}"), ("metrics.json", '{"iteration": true, "total_loss": '
                                                                                '"a"}'),
        ("metrics.json", '{"iteration": 1, "total_loss": 1' + "0" * 400 + "}"),
        ("metrics.json", '{"iteration": 3, "total_loss": NaN}'),
        ("inference/teacher.json", "[" * 99999), ("inference/teacher.json", '{"scores": 3}'),
        ("inference/teacher.json", '{"scores": {}}'),
        ("inference/teacher.json", '{"scores": {"semantic": {"19": []}}, "model": [], "dataset": {}}'),
        ("inference/teacher.json", ""),
    ],
)  # fmt: skip
def test_a_damaged_file_counts_as_missing_and_is_named(run, no_drawing, caplog, name, content):
    (run / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    text = Path(write_report(run)).read_text()
    assert "# my run" in text
    if name != "metrics.json":
        told = [record.getMessage() for record in caplog.records if "counts as missing" in record.getMessage()]
        assert len(told) >= 1 and str(run / name) in told[0] and "\n" not in told[0]


def test_what_is_no_file_among_the_pictures_is_left_out(run, no_drawing):
    """A named pipe would have the report wait for ever; a link in a circle has nothing behind it."""
    (picture,) = (run / "inference" / "panels" / "teacher").glob("*.png")
    os.mkfifo(picture.with_name("pipe.png"))
    picture.with_name("loop.png").symlink_to("loop.png")
    text = Path(write_report(run)).read_text()
    assert "pipe.png" not in text and "loop.png" not in text
