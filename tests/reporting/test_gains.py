"""Means, standard errors and paired gains, by hand and against NumPy."""

import numpy as np
import pytest

from gbw_panoptic.reporting.gains import column, gain, mean_with_gain, run_scores, score_table, spread


def test_spread_is_mean_and_standard_error():
    values = np.random.default_rng(0).normal(50, 10, 7)
    found = spread(values)
    assert found.mean == pytest.approx(values.mean()) and found.count == 7
    assert found.error == pytest.approx(values.std(ddof=1) / np.sqrt(7))
    assert str(spread([1.0, 3.0])) == "2.0 ± 1.0"
    assert str(spread([4.25])) == "4.2" and spread([4.25]).error is None


def test_gains_pair_runs_of_the_same_seed():
    """Seeds that shift both sides alike leave no error in the difference, however wide they spread."""
    baseline = {0: 10.0, 1: 50.0, 2: 90.0}
    found = gain({2: 92.0, 0: 12.0, 1: 52.0}, baseline)
    assert (found.mean, found.error, found.count, found.paired) == (2.0, 0.0, 3, True)
    found = gain({0: 11.0, 2: 93.0, 7: 1000.0}, baseline)  # seed 7 has no partner
    assert (found.mean, found.error, found.count) == (2.0, 1.0, 2)
    assert str(found) == "+2.0 ± 1.0" and str(gain({1: 49.0}, baseline)) == "-1.0"
    assert str(gain({1: 49.99}, baseline)) == "+0.0"


def test_gains_without_a_common_seed_say_so():
    found = gain({3: 6.0, 4: 8.0}, {0: 1.0, 1: 5.0})
    assert found.mean == 4.0 and found.error == pytest.approx(np.hypot(1, 2)) and not found.paired
    assert str(found) == "+4.0 ± 2.2 (unpaired)"
    assert str(gain({3: 6.0}, {0: 1.0, 1: 5.0})) == "+3.0 (unpaired)"


def test_a_cell_holds_the_mean_and_the_gain():
    baseline = {0: 1.0, 1: 3.0}
    assert mean_with_gain({0: 4.0, 1: 8.0}, baseline) == "6.0 (+4.0 ± 1.0)"
    assert mean_with_gain(baseline, baseline) == "2.0 ± 1.0"


def test_columns_are_those_that_a_result_file_holds():
    evaluation = {"scores": {"semantic": {"13": {"mIoU": 40.0, "mean_recall": 50.0, "fwIoU": 60.0}}}}
    assert run_scores(evaluation, "13") == {"mIoU": 40.0, "mean recall": 50.0}
    assert run_scores(evaluation, "16") == {}
    assert column({0: {"mIoU": 1.0}, 1: {}}, "mIoU") == {0: 1.0}


def test_table():
    rows = {
        ("base", "student"): {0: {"PQ": 1.0, "mIoU": 10.0}, 1: {"PQ": 3.0, "mIoU": 10.0}},
        ("ours", "teacher"): {0: {"PQ": 4.0}, 1: {"PQ": 6.0}},
    }
    table = score_table(rows, ["configuration", "model"], baseline=("base", "student"), gains=["PQ", "mIoU"])
    header, _, *lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.split("\n")]
    assert header == ["configuration", "model", "seeds", "PQ", "mIoU", "PQ gain", "mIoU gain"]
    assert lines[0] == ["base", "student", "2", "2.0 ± 1.0", "10.0 ± 0.0", "", ""]
    assert lines[1] == ["ours", "teacher", "2", "5.0 ± 1.0", "-", "+3.0 ± 0.0", "-"]
