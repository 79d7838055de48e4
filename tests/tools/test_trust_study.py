"""The evidence for estimates without labels: correlations and regrets of points whose answers are known, and the
tool."""

import json
import shutil
import math

import numpy as np
import pytest
from fabricated_run import CONFIG, fabricate_run
from scipy.stats import spearmanr
from studies.trust.alarms import Watched, alarm_report, logged_alarms
from studies.trust.evidence import ELSEWHERE, LAST, SOURCE, Point, evidence_table, regret, rows, spearman

from gbw_panoptic.reporting import report


def point(cell: str, seed: int, iteration: int, quality: float, rng, strategy: str = "A") -> Point:
    """``view_PQ`` ranks as labels do, ``confidence`` the other way round, ``entropy`` by chance."""
    estimates = {"view_PQ": quality + 3, "confidence": -quality, "entropy": rng.random(), "source_PQ": float(iteration)}
    return Point(strategy, cell, f"{cell}/{seed}", seed, iteration, estimates, {"PQ": quality, "mIoU": 2 * quality})


@pytest.fixture
def points() -> list[Point]:
    """Two strategies of two cells with two seeds; quality peaks in the middle of each run."""
    rng = np.random.default_rng(0)
    return [
        point(f"{strategy}{cell}", seed, iteration, 10 * cell + seed + bonus, rng, strategy)
        for strategy in "AB" for cell in (1, 2) for seed in (0, 1) for iteration,
        bonus in ((100, 0.2), (200, 0.5), (300, 0.0))
    ]  # fmt: skip


def test_correlation_is_that_of_scipy(points):
    for name in ("view_PQ", "confidence", "entropy", "source_PQ"):
        expected = spearmanr([p.estimates[name] for p in points], [p.scores["PQ"] for p in points]).statistic
        assert spearman(points, name, "PQ") == pytest.approx(expected)
    assert math.isnan(spearman(points[:2], "view_PQ", "PQ"))


def test_regret_by_hand(points):
    run = points[:3]  # PQ 10.2, 10.5, 10.0
    assert regret(run, "view_PQ", "PQ") == 0 and regret(run, LAST, "PQ") == pytest.approx(0.5)
    assert regret(run, "confidence", "PQ") == pytest.approx(0.5) and math.isnan(regret(run, "view_mIoU", "PQ"))


def test_rows_and_what_is_chosen_in_other_cells(points):
    found = {row.name: row.values for row in rows(points)}
    assert set(found) == {"view_PQ", "confidence", "entropy", ELSEWHERE, SOURCE, LAST}
    assert found["view_PQ"]["rank correlation with PQ"] == pytest.approx((1, 1, 1))
    assert found["confidence"]["rank correlation with mIoU"] == pytest.approx((-1, -1, -1))
    assert found[ELSEWHERE] == found["view_PQ"]
    assert found[LAST]["PQ lost by the checkpoint"] == pytest.approx((0.5, 0.5, 0.5))
    assert found[SOURCE]["PQ lost by the checkpoint"][0] == pytest.approx(0.5)
    assert found[LAST]["PQ lost by the configuration"][0] == pytest.approx(20 - np.mean([10, 20]))
    assert found["view_PQ"]["PQ lost by the configuration"][0] == 0
    assert found["confidence"]["PQ lost by the configuration"][0] == pytest.approx(10)


def test_the_tool_and_the_report_read_what_runs_have_logged(tmp_path, run_tool, monkeypatch):
    monkeypatch.setattr(report.plots, "class_bars", lambda *_, **__: b"")
    for seed in (1, 2):
        run = fabricate_run(tmp_path / f"gbw_seed{seed}", config=f"SEED: {seed}\n{CONFIG}", scores={"teacher": seed})
        lines = [
            {"iteration": i, "teacher/panoptic/16/PQ": 40 + v, "teacher/semantic/16/mIoU": 50 + v,
             "unsupervised/teacher/view_PQ": 60.5 + v, "unsupervised/teacher/entropy": 9.0 - v,
             "unsupervised/teacher/view_PQ/car": 1.0}
            for i, v in ((449, 1.0), (499, 2.0), (549, 0.5))
        ]  # fmt: skip
        (run / "metrics.json").write_text("".join(json.dumps(line) + "\n" for line in lines))
    done = run_tool(
        "tools/trust_study.py", tmp_path / "gbw_seed1", tmp_path / "gbw_seed2", "--output", tmp_path / "evidence.md"
    )
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "evidence.md").read_text()
    assert text == done.stdout and text.startswith("6 evaluations of 2 runs in 1 cells.")
    assert "view_PQ" in text and "1.00 (1.00 to 1.00)" in text and ELSEWHERE not in text
    run_tool("tools/report.py", tmp_path / "gbw_seed1")
    markdown, page = ((tmp_path / "gbw_seed1" / name).read_text() for name in ("report.md", "report.html"))
    section = markdown[markdown.index("## Estimates without target labels") :]
    assert (
        "oracle: PQ" in section
        and "| teacher | 499 " in " ".join(section.split())
        and "62.5" in section
        and "42.0" in section
    )
    assert "Estimates without target labels" in page and "oracle: PQ" in page
    shutil.rmtree(tmp_path / "gbw_seed1" / "inference")
    run_tool("tools/report.py", tmp_path / "gbw_seed1")
    for name in ("report.md", "report.html"):  # without labels nothing is said of an oracle
        text = (tmp_path / "gbw_seed1" / name).read_text()
        assert "estimates without them stand below" in text and "oracle" not in text and "62.5" in text
    bare = fabricate_run(tmp_path / "bare", scores={"teacher": 1})
    assert (
        "expected evaluations with labels and with TEST.UNSUPERVISED" in run_tool("tools/trust_study.py", bare).stderr
    )


def test_the_tool_reads_what_the_study_of_class_weighting_keeps(tmp_path, run_tool, points):
    """The same points, as folders of runs or as result files: the same table."""
    for run in sorted({p.run for p in points if p.strategy == "A"}):
        cell, seed = run.split("/")
        of_run = [p for p in points if p.run == run]
        kept = [{"iteration": p.iteration, "estimates": p.estimates, "scores": p.scores} for p in of_run]
        alarms = [{"model": "teacher", "iteration": 200, "sign": "car dies"}] if run == "A1/0" else []
        result = {"strategy": "A", "network": "n", "weighting": cell, "seed": int(seed), "evaluations": kept}
        if seed == "0":
            result["alarms"] = alarms
        (tmp_path / f"{cell}_{seed}.json").write_text(json.dumps(result))
    done = run_tool("tools/trust_study.py", *sorted(tmp_path.glob("*.json")))
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("12 evaluations of 4 runs in 2 cells.")
    _, evidence, alarms, warned = done.stdout.strip().split("\n\n")
    assert evidence == evidence_table(rows([p for p in points if p.strategy == "A"]))
    assert alarms.startswith(
        "Alarms are known of 2 runs. The score of 2 never fell by 5 points: 1 of them had a warning."
    )
    assert "car dies" in warned and "| 200 " in warned
    (tmp_path / "old.json").write_text(json.dumps({key: result[key] for key in result if key != "evaluations"}))
    assert "expected the key evaluations" in run_tool("tools/trust_study.py", tmp_path / "old.json").stderr


def test_a_score_falls_below_its_best_and_a_warning_is_early_late_or_missing(tmp_path):
    scores = {1: 10.0, 2: 14.0, 3: 9.0, 4: 8.9, 5: 2.0}  # 9.0 is 5 below the best, 8.9 more
    runs = [
        Watched("early", "PQ", scores, [(3, "car dies"), (5, "it predicts road for 99 % of the pixels")]),
        Watched("at once", "PQ", scores, [(4, "car dies")]),
        Watched("late", "PQ", scores, [(5, "car dies")]),
        Watched("sound", "PQ", {1: 10.0, 2: 6.0}, []),
        Watched("false", "PQ", {1: 10.0, 2: 12.0}, [(2, "car dies")]),
    ]
    assert [run.fallen for run in runs] == [4, 4, 4, None, None]
    text = alarm_report(runs)
    assert text.startswith(
        "Alarms are known of 5 runs. The score of 2 never fell by 5 points: 1 of them had a warning. It fell in 3: the "
        "warning came at an earlier evaluation in 1, at that one in 1."
    )
    rows = [line for line in text.splitlines() if line.startswith("| ")][1:]
    assert [row.split("|")[1].strip() for row in rows] == ["early", "at once", "late", "false"]
    log = "x The teacher may be collapsing at iteration 49: car dies; wall dies; look at its pictures, and see docs.\n"
    (tmp_path / "log.txt").write_text(log + log.replace("49", "99"))
    assert logged_alarms(tmp_path) == [(i, sign) for i in (49, 99) for sign in ("car dies", "wall dies")]
    assert logged_alarms(tmp_path / "none") == []
