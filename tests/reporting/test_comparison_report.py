"""The page over several runs: numbers are those of the result files, pictures exist, the oracle is kept apart."""

import json
import re
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
from fabricated_run import CONFIG, fabricate_run, scores_of
from PIL import Image

from gbw_panoptic.reporting.comparison_report import write_gathered
from gbw_panoptic.reporting.run_groups import gather

BASE = CONFIG.replace("SelfTrainingTrainer", "SourceOnlyTrainer").replace("teacher", "student")
PROTOCOLS = ("16", "13")


def config(text: str, seed: int) -> str:
    return f"{text}SEED: {seed}\nSOLVER: {{MAX_ITER: 399}}\n"


@pytest.fixture
def study(tmp_path) -> Path:
    """base and gbw with seeds 0 and 1; scores are scores_of(seed) and, by gbw's teacher, scores_of(20 + seed)."""
    for seed in (0, 1):
        fabricate_run(tmp_path / f"base/seed{seed}", config=config(BASE, seed), scores={"student": seed})
        models = {"student": 10 + seed, "teacher": 20 + seed}
        fabricate_run(tmp_path / f"gbw/seed{seed}", config=config(CONFIG, seed), scores=models)
    return tmp_path


def metric(seeds: tuple[int, int], task: str, name: str, protocol: str = "16") -> np.ndarray:
    return np.array([scores_of(seed, PROTOCOLS)[task][protocol][name] for seed in seeds])


def mean_and_error(values: np.ndarray, sign: str = "") -> str:
    return f"{values.mean():{sign}.1f} ± {values.std(ddof=1) / np.sqrt(len(values)):.1f}"


def cells(text: str, *first: str) -> list[str]:
    """The row of the first table that starts with the given cells."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]
    return next(row for row in rows if tuple(row[: len(first)]) == first)


def test_numbers_sections_and_pictures(study):
    path = Path(write_gathered(gather(sorted(study.glob("*/*"))), study / "out"))
    text = path.read_text()
    assert path == study / "out/report.md" and text.startswith("# gbw against base\n")
    ours, base = metric((20, 21), "panoptic", "PQ"), metric((0, 1), "panoptic", "PQ")
    assert cells(text, "gbw", "teacher", "2")[3] == mean_and_error(ours)
    assert mean_and_error(ours - base, "+") in cells(text, "gbw", "teacher", "2")
    recall = metric((20, 21), "semantic", "mean_recall") - metric((0, 1), "semantic", "mean_recall")
    assert cells(text, "gbw", "teacher", "2")[-1] == mean_and_error(recall, "+")
    thirteen = text.split("### 13\n")[1]
    assert mean_and_error(metric((10, 11), "semantic", "mIoU", "13")) in cells(thirteen, "gbw", "student")
    car = [
        [scores_of(s, PROTOCOLS)["panoptic"]["16"]["per_class"]["car"]["PQ"] for s in pair]
        for pair in ((0, 1), (20, 21))
    ]
    found = cells(text.split("### PQ\n")[1], "car")
    assert found[1] == mean_and_error(np.array(car[0]))
    assert found[2] == f"{np.mean(car[1]):.1f} ({mean_and_error(np.subtract(car[1], car[0]), '+')})"
    assert cells(text, "`TRAINER.NAME`")[1:] == ["SourceOnlyTrainer", "SelfTrainingTrainer"]
    assert cells(text, "gbw", "1", "teacher", "399")[-1] == "`gbw/seed1`"
    links = [path.parent / unquote(link) for link in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", text)]
    assert {link.name for link in links} == {
        "classes_PQ_0.png", "classes_IoU_0.png", "classes_recall_0.png", "confusion_0.png", "confusion_1.png",
        "losses.png", "weights_0_source_semantic.png", "weights_1_source_semantic.png",
    }  # fmt: skip
    for link in links:
        Image.open(link).load()
    assert str(study) not in text


def test_unfinished_runs_and_older_result_files_are_named(study, no_drawing):
    result = study / "gbw/seed1/inference/teacher.json"
    result.write_text(json.dumps({**json.loads(result.read_text()), "iteration": 199}))
    result = study / "gbw/seed0/inference/teacher.json"
    content = json.loads(result.read_text())
    del content["confusion"]
    result.write_text(json.dumps(content))
    text = Path(write_gathered(gather(sorted(study.glob("*/*"))), study / "out")).read_text()
    assert "left out: `gbw/seed1` (iteration 399 of 399, evaluated at iteration 199)." in text
    assert (
        cells(text, "gbw", "teacher", "1")[3] == f"{metric((20, 21), 'panoptic', 'PQ')[0]:.1f}"
    )  # seed 0 alone: no error
    assert "A result file of gbw holds no confusion matrix" in text and "confusion_0.png" in text


def test_oracle_best_is_in_its_own_section_only(study, no_drawing):
    for seed, best in ((0, 88.125), (1, 99.125)):
        with open(study / f"gbw/seed{seed}/metrics.json", "a") as file:
            file.write(json.dumps({"iteration": 19 + 20 * seed, "teacher/panoptic/16/PQ": best}) + "\n")
    text = Path(write_gathered(gather(sorted(study.glob("*/*"))), study / "out")).read_text()
    before, section = text.split("## oracle_best: chosen with target labels, not a result of adaptation")
    assert cells(section, "gbw", "teacher")[2:] == ["93.6 ± 5.5", "41.5 ± 0.0", "52.1 ± 5.5", "19, 39"]
    assert "base" not in section  # evaluated once
    assert not re.search(r"\b(93\.6|88\.1|99\.1)\b", before)


def test_semantic_results_alone(study, no_drawing):
    for result in study.glob("*/*/inference/*.json"):
        content = json.loads(result.read_text())
        del content["scores"]["panoptic"]
        result.write_text(json.dumps(content))
    text = Path(write_gathered(gather(sorted(study.glob("*/*")), protocol="13"), study / "out")).read_text()
    assert "protocol `13`" in text and "PQ" not in text
    assert cells(text, "gbw", "teacher", "2")[3] == mean_and_error(metric((20, 21), "semantic", "mIoU", "13"))


def test_a_semantic_run_beside_panoptic_ones(study, no_drawing):
    for result in study.glob("gbw/*/inference/*.json"):
        content = json.loads(result.read_text())
        del content["scores"]["panoptic"]
        result.write_text(json.dumps(content))
    text = Path(write_gathered(gather(sorted(study.glob("*/*"))), study / "out")).read_text()
    row = cells(text, "gbw", "teacher", "2")
    assert row[3] == "-"  # no PQ
    ious = metric((20, 21), "semantic", "mIoU"), metric((0, 1), "semantic", "mIoU")
    assert mean_and_error(ious[0]) in row and mean_and_error(ious[0] - ious[1], "+") in row


def test_a_class_without_truth_that_one_run_predicts(study, no_drawing):
    for seed, predicted in ((0, 7), (1, 0)):
        for result in study.glob(f"*/seed{seed}/inference/*.json"):
            content = json.loads(result.read_text())
            content["scores"]["panoptic"]["16"]["per_class"]["bus"].update(tp=0, fn=0, fp=predicted)
            result.write_text(json.dumps(content))
    text = Path(write_gathered(gather(sorted(study.glob("*/*"))), study / "out")).read_text()
    assert "N = 15 classes averaged: road, " in text and "; in some runs also bus." in text


def test_one_configuration(study, no_drawing):
    text = Path(write_gathered(gather(sorted(study.glob("gbw/*"))), study / "out")).read_text()
    assert text.startswith("# gbw\n") and "## What differs" not in text and "gain" not in text
    assert cells(text, "gbw", "teacher", "2")[3] == mean_and_error(metric((20, 21), "panoptic", "PQ"))
