"""The study of class weighting: tables by hand, runs that are kept and continued, valid configurations."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import study
import weighting_study
from fabricated_run import CONFIG, fabricate_run
from scipy import stats

from gbw_panoptic.errors import UserError
from gbw_panoptic.evaluation.run_folder import RunFolder
from gbw_panoptic.evaluation.weighting_study import run_result, study_page, study_plot
from gbw_panoptic.validation import validate

ROOT = Path(__file__).parents[2]
CELLS = [vars(cell) for tier in (1, 2, 3) for cell in weighting_study.cells(tier)]
VALUES = {"unweighted": (20.0, 22.0, 27.0), "GBW, logits": (23.0, 24.0, 31.0)}


def of_student(max_iter):
    return CONFIG.replace("teacher", "student") + f"SOLVER: {{MAX_ITER: {max_iter}}}"


def result(weighting, seed, value):
    row = {"task": "panoptic", "network": "convolutional", "strategy": "self_training", "weighting": weighting}
    return {**row, "seed": seed, "scores": {"mIoU": value, "rare recall": value / 2}}


def rows_of(page):
    lines = page.split("### ")[1].splitlines()
    return {cells[0]: cells for line in lines[2:] if (cells := [cell.strip() for cell in line.split("|")[1:-1]])}


def test_table_by_hand():
    results = [result(name, seed, value) for name, values in VALUES.items() for seed, value in enumerate(values)]
    rows = rows_of(study_page(reversed(results), CELLS))
    title = rows["weighting"]
    base, ours = np.array(VALUES["unweighted"]), np.array(VALUES["GBW, logits"])
    mean, difference = title.index("mIoU"), title.index("mIoU, difference")
    assert rows["unweighted"][mean] == f"{base.mean():.1f} ± {base.std(ddof=1):.1f}"
    assert rows["unweighted"][difference] == ""
    p = stats.ttest_1samp(ours - base, 0).pvalue
    error = (ours - base).std(ddof=1) / 3**0.5
    assert rows["GBW, logits"][difference] == f"{(ours - base).mean():+.1f} ± {error:.1f} (p {p:.2g})"
    assert rows["inverse frequency"][1:] == [""] * (len(title) - 1)  # a cell that was not run
    assert study_plot(results, CELLS).startswith(b"\x89PNG") and study_plot([], CELLS).startswith(b"\x89PNG")


def test_differences_pair_seeds():
    """A seed that only one side has changes its mean but no difference."""
    results = [result("unweighted", 0, 10.0), result("GBW, logits", 0, 14.0), result("GBW, logits", 1, 90.0)]
    rows = rows_of(study_page(results, CELLS))
    assert rows["GBW, logits"][rows["weighting"].index("mIoU, difference")] == "+4.0"
    assert rows["GBW, logits"][rows["weighting"].index("mIoU")].startswith("52.0 ±")


def test_every_cell_is_a_valid_configuration_of_its_own(make_cfg):
    seen = set()
    for cell in CELLS:
        cell = weighting_study.Cell(**cell)
        cfg = make_cfg(f"study/{cell.strategy}.yaml", *cell.options)
        validate(cfg)
        assert (cfg.MODEL.TASK, cfg.WEIGHTING.SEMANTIC == "none") == (cell.task, cell.weighting == "unweighted")
        seen.add((cell.strategy, cfg.dump().replace(cfg.OUTPUT_DIR, "")))
    assert len(seen) == len(CELLS)


def test_a_study_goes_on_where_it_was_stopped(tmp_path, monkeypatch):
    trained = []

    def fake(folder, config_file, options, *, root, jobs):
        trained.append((Path(config_file).stem, folder.parent.name, options[options.index("SEED") + 1]))
        if len(trained) == 4:
            raise UserError("stopped")
        fabricate_run(folder, config=of_student(399), scores={"student": 1})

    def run(*arguments):
        options = ["--output", str(tmp_path), "--results", str(tmp_path / "results"), *arguments]
        monkeypatch.setattr(sys, "argv", ["weighting_study.py", *options])
        weighting_study.main()

    commands = []
    monkeypatch.setattr(study, "run_training", fake)
    monkeypatch.setattr(weighting_study, "call", lambda *command: commands.append(command))
    with pytest.raises(UserError, match="stopped"):
        run("--tiers", "1", "--seeds", "0", "1")
    kept = len(list(tmp_path.glob("results/*/seed*.json")))
    run("--tiers", "1", "--seeds", "0", "1")
    assert kept >= 3 and len(trained) == 2 * 6 + 1 and len(set(trained)) == 2 * 6
    assert [command[0] for command in commands] == ["datasets/make_streets.py"] + ["datasets/prepare.py"] * 3
    assert ("--gap", "0.35") in zip(commands[0], commands[0][1:])
    assert not list(tmp_path.glob("runs/*/seed*"))
    row = json.loads((tmp_path / "results/panoptic_convolutional_self_training_GBW_pixel/seed1.json").read_text())
    assert (row["weighting"], row["seed"], row["model"]) == ("GBW, pixel", 1, "student")
    assert row["scores"]["PQ"] > 0 and set(row["classes"]["road"]) == {"IoU", "recall", "precision", "pixels"}
    tables = (tmp_path / "results/tables.md").read_text()
    run("--rebuild")
    assert (tmp_path / "results/tables.md").read_text() == tables and "(p " not in tables  # two seeds: no test


def test_a_run_that_has_not_ended_is_an_error(tmp_path):
    fabricate_run(tmp_path, config=of_student(999), scores={"student": 1})
    with pytest.raises(UserError, match="last iteration"):
        run_result(RunFolder.read(tmp_path), "16")


def test_the_tables_in_docs_are_those_of_the_results():
    folder = ROOT / "docs" / "results" / "weighting"
    results = weighting_study.read_results(folder)
    if results:
        assert (folder / "tables.md").read_text() == study_page(results, CELLS) + "\n"
    assert all((folder / weighting_study.Cell(**{key: r[key] for key in CELLS[0]}).folder).is_dir() for r in results)
