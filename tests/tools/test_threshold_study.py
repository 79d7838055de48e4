"""The study of thresholds: what it trains, what it keeps, and what its table says of it."""

import threshold_study
from fabricated_run import fabricate_run

from gbw_panoptic import files


def results(folder, **scores):
    """Result files by rule: start of tau -> PQ."""
    folder.mkdir(exist_ok=True)
    for rule, values in scores.items():
        for tau, value in values.items():
            facts = {"rule": rule, "start": tau, "seed": 0, "cpu": "a", "scores": {"PQ": value}}
            files.write_json(folder / f"{rule}_{tau}.json", facts)


def test_runs_that_are_kept_are_not_repeated_and_all_have_one_start(tmp_path, run_tool, monkeypatch):
    runs = []

    def train(folder, config, options, *, flags, **_):
        runs.append((folder.name, options, flags))
        fabricate_run(folder, config="SEED: 0", scores={"student": 1})

    monkeypatch.setattr(threshold_study.study, "run_training", train)
    start, kept = tmp_path / "start.pth", tmp_path / "results"
    start.write_bytes(b"weights")
    results(kept, adaptive={0.9: 30.0})
    folders = ("--root", tmp_path, "--output", tmp_path / "out", "--results", kept)
    command = ("tools/threshold_study.py", *folders, "--start")
    assert run_tool(*command, start).returncode == 0
    assert [(name, flags) for name, _, flags in runs[:2]] == [("source_0.0", ("--eval-only",)), ("adaptive_0.0", ())]
    names = {name for name, *_ in runs}
    assert len(names) == len(runs) == 1 + 2 * 7 - 1 and "adaptive_0.9" not in names
    options = {name: dict(zip(given[::2], given[1::2])) for name, given, _ in runs}
    assert all(given["MODEL.WEIGHTS"] == str(start) for given in options.values())
    assert options["adaptive_0.7"]["SELF_TRAINING.ADAPTIVE_THRESHOLDS.START"] == "0.7"
    assert options["constant_0.7"]["SELF_TRAINING.SEGMENTS.MASK_CONFIDENCE_STUFF"] == "0.7"
    runs.clear()
    assert run_tool(*command, start).returncode == 0 and not runs
    start.write_bytes(b"other weights")
    refused = run_tool(*command, start)
    assert refused.returncode == 2 and "expected every run to start from" in refused.stderr.lower() and not runs
    assert run_tool(*command[:-1]).returncode == 2 and not runs  # nor is one trained that no run started from


def test_the_table_has_spread_and_collapses_of_the_runs_that_there_are(tmp_path, run_tool):
    results(tmp_path, source={0.0: 20.0}, adaptive={0.0: 21.0, 0.5: 22.0, 0.99: 23.0}, constant={0.0: 24.0, 0.99: 9.9})
    printed = run_tool("tools/threshold_study.py", "--results", tmp_path)
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in printed.stdout.splitlines() if "|" in line]
    found = {row[0]: row[1:] for row in rows}
    assert found["rule"] == ["0.0", "0.5", "0.6", "0.7", "0.8", "0.9", "0.99", "runs", "PQ", "collapses"]
    assert found["source"][-3:] == ["1", "20.0", ""]
    assert found["adaptive"] == ["21.0", "22.0", "", "", "", "", "23.0", "3", "22.0 ± 1.0", "0"]
    assert found["constant"][0] == "24.0" and found["constant"][6:] == ["9.9", "2", "16.9 ± 10.0", "1"]  # 9.97
    assert (tmp_path / "table.md").read_text() == printed.stdout


def test_a_start_that_is_missing_is_one_sentence(tmp_path, run_tool):
    folders = ("--root", tmp_path, "--results", tmp_path)
    refused = run_tool("tools/threshold_study.py", *folders, "--start", tmp_path / "no.pth")
    assert refused.returncode == 2 and "no.pth" in refused.stderr
