"""The study of active learning: its table by hand, its runs, that it can be stopped, and the table in docs."""

import json
import sys
from argparse import Namespace
from pathlib import Path

import active_study
import numpy as np
import pytest
import study
from fabricated_run import CONFIG, fabricate_run

from gbw_panoptic.errors import UserError
from studies.active.tables import run_result, study_plot, study_table

ROOT = Path(__file__).parents[2]
IOU = {"RIPU": ((40, 0), (44, 2), (50, 1)), "CBDA (both)": ((41, 3), (43, 5), (54, 1))}


def runs(method, budget, imbalance):
    return [
        {"method": method, "budget": budget, "seed": seed, "mIoU": sum(pair) / 2,
         "IoU": dict(zip(("road", "rider"), pair)),
         "imbalance": imbalance and imbalance + seed / 100, "bought": {}}
        for seed, pair in enumerate(IOU[method])
    ]  # fmt: skip


RESULTS = {
    "protocol": "16",
    "runs": [
        *runs("CBDA (both)", 10, 0.2), *runs("RIPU", 10, 0.4), *runs("RIPU", 5, 0.5),
        *({**run, "method": "source only"} for run in runs("RIPU", None, None)),
    ],
}  # fmt: skip


def cells(method, budget):
    lines = [
        [cell.strip() for cell in line.split("|")[1:-1]] for line in study_table(RESULTS, reference="RIPU").splitlines()
    ]
    (row,) = [line for line in lines if line[:2] == [budget, method]]
    return row


def test_table_by_hand():
    ours, base = (np.array([sum(pair) / 2 for pair in IOU[name]]) for name in ("CBDA (both)", "RIPU"))
    worst = np.array([3, 5, 1]), np.array([0, 2, 1])
    assert cells("RIPU", "10 %") == ["10 %", "RIPU", "3", f"{base.mean():.1f} ± {base.std(ddof=1):.1f}", "",
                                     "1.0 ± 1.0", "",
                                     f"{base.mean():.1f} ± {base.std(ddof=1):.1f}", "0.410 ± 0.010", ""]  # fmt: skip
    row = cells("CBDA (both)", "10 %")
    difference, lower = ours - base, worst[0] - worst[1]
    assert row[3] == f"{ours.mean():.1f} ± {ours.std(ddof=1):.1f}"
    assert row[4] == f"{difference.mean():+.1f} ± {difference.std(ddof=1) / 3**0.5:.1f}"
    assert row[6] == f"{lower.mean():+.1f} ± {lower.std(ddof=1) / 3**0.5:.1f}" and row[9] == "-0.200 ± 0.000"
    assert cells("source only", "-")[8] == "-"
    assert study_plot(RESULTS).startswith(b"\x89PNG")


def test_units_over_clicks_have_panoptic_quality_and_what_they_took():
    more = {"clicks": 290, "PQ": 20.0, "PQ things": 10.0}
    counted = [{**run, **more, "method": name} for name in ("region", "click") for run in runs("RIPU", 300, 0.4)]
    table = study_table({"measure": "clicks", "protocol": "16", "runs": counted}, reference="region")
    header, *_ = ([cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines())
    assert header[-3:] == ["PQ", "PQ things", "clicks"] and "| 300 clicks | click " in table
    assert "20.0 ± 0.0" in table and "290 ± 0" in table
    assert study_plot({"measure": "clicks", "protocol": "16", "runs": counted}).startswith(b"\x89PNG")
    arguments = Namespace(seeds=[0], clicks=[300.0], units=["region", "click"], budgets=[5])
    planned = {run.folder: run.options for run in active_study.plan(arguments, Path("out"))}
    assert len(planned) == 2 + 2 * 4 and planned["click_class_balance_300/seed0"][2:8] == (
        "ACTIVE.UNIT", "click", "ACTIVE.BUDGET", "300 clicks", "ACTIVE.CLASS_BALANCE", "True",
    )  # fmt: skip


@pytest.fixture
def call(tmp_path, monkeypatch):
    """The tool with trainings that take no time; gives the options of each of them."""
    trained = []

    def fake(folder, config_file, options, *, root, jobs):
        trained.append((folder.relative_to(tmp_path), dict(zip(options[::2], options[1::2]))))
        if len(trained) == 7:
            (folder / "half").mkdir(parents=True)
            raise UserError("stopped")
        fabricate_run(
            folder, config=CONFIG.replace("teacher", "student") + "SOLVER: {MAX_ITER: 399}", scores={"student": 1}
        )
        (folder / "model_final.pth").write_bytes(b"weights")
        if "ACTIVE.BUDGET" in options:
            (folder / "active").mkdir()
            classes = {"road": 6, "rider": 2}
            rounds = [{"classes": classes, "imbalance": 0.5}, {"classes": classes, "imbalance": 0.25}]
            (folder / "active" / "manifest.json").write_text(json.dumps({"rounds": rounds}))

    def run(*arguments):
        monkeypatch.setattr(study, "run_training", fake)
        monkeypatch.setattr(sys, "argv", ["active_study.py", "--output", str(tmp_path), *map(str, arguments)])
        active_study.main()
        return json.loads((tmp_path / "results.json").read_text())

    return trained, run


def test_a_study_goes_on_where_it_was_stopped_and_keeps_no_weights_but_the_starts(call, tmp_path):
    trained, run = call
    arguments = ("--root", "data", "--seeds", 0, 1, "--budgets", 5, 20)
    with pytest.raises(UserError, match="expected finished runs in .*, found none"):
        run(*arguments, "--collect")
    with pytest.raises(UserError, match="stopped"):
        run(*arguments)
    assert 0 < len(run(*arguments, "--collect")["runs"]) < 20
    results = run(*arguments)
    assert len(results["runs"]) == 2 * (2 + 2 * 4) and len({str(folder) for folder, _ in trained}) == 2 + 20
    assert len(trained) == 2 + 20 + 1  # the one that was stopped is the only one that ran twice
    assert {str(p.relative_to(tmp_path).parent) for p in tmp_path.rglob("*.pth")} == {"start/seed0", "start/seed1"}
    options = dict((str(folder), values) for folder, values in trained)
    both = options["CBDA_both_20/seed1"]
    assert both["ACTIVE.BUDGET"] == "20%" and both["ACTIVE.CLASS_BALANCE"] == both["ACTIVE.DYNAMIC_BUDGET"] == "True"
    assert both["MODEL.WEIGHTS"] == str(tmp_path / "start" / "seed1" / "model_final.pth") and both["SEED"] == "1"
    assert options["all_target_labels/seed0"]["ACTIVE.BUDGET"] == "100%"
    row = next(run for run in results["runs"] if run["budget"] == 20)
    assert row["bought"] == {"road": 12, "rider": 4} and row["imbalance"] == 0.25 and len(row["IoU"]) == 16
    table = (tmp_path / "study.md").read_text()
    again = tmp_path / "again"
    active_study.write(results, again)
    assert (again / "study.md").read_text() == table and (again / "study.png").stat().st_size > 1000


def test_a_run_that_has_not_ended_has_no_result(tmp_path):
    fabricate_run(
        tmp_path / "run", config=CONFIG.replace("teacher", "student") + "SOLVER: {MAX_ITER: 999}", scores={"student": 1}
    )
    assert run_result(tmp_path / "run", method="RIPU", budget=5, seed=0, protocol="16") is None


@pytest.mark.parametrize("path", sorted(ROOT.glob("docs/results/active*.json")), ids=lambda p: p.name)
def test_the_table_in_docs_is_that_of_its_results(path):
    table = study_table(json.loads(path.read_text()), reference="RIPU")
    assert table in (ROOT / "docs" / "active_study.md").read_text()
