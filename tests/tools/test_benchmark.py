"""Every benchmark runs at a small size, and both of its sides do the same; times are not asserted."""

import json
import sys
import time

import benchmark
import numpy as np
import pytest
from benchmarks import scenes
from benchmarks.timing import Comparison, alternate

from gbw_panoptic.errors import UserError


@pytest.mark.parametrize(
    "options",
    [
        ["targets", "--instances", "5"],
        ["postprocess", "--centers", "12"],
        ["pq", "--images", "2", "--things", "9"],
        ["acquire", "--budget", "20"],
    ],
    ids=lambda options: options[0],
)
def test_small_runs(options, capsys):
    arguments = benchmark.parse([*options, "--size", "96", "192", "--repeats", "2"])
    comparisons = list(benchmark.load(arguments.benchmark).main(arguments))
    assert comparisons
    for comparison in comparisons:
        assert comparison.equal and str(comparison).endswith("outputs equal")
        assert len(comparison.ours_seconds) == len(comparison.reference_seconds) == 2 and comparison.ratio > 0


def test_loader_at_a_small_size():
    options = ["loader", "--size", "64", "128", "--crop", "48", "64", "--images", "3", "--repeats", "1"]
    plain, rare, cached = benchmark.load("loader").main(benchmark.parse(options))
    assert plain.ratio > 0 < rare.ratio and cached.ratio > 0 and "48x64 crop of 64x128" in plain.name


def test_inference_at_a_small_size():
    options = ["inference", "--size", "96", "192", "--things", "9", "--centers", "20", "--repeats", "1"]
    comparisons = list(benchmark.load("inference").main(benchmark.parse(options)))
    assert [c.reference_seconds for c in comparisons] == [(0.15,), (0.3,), (0.14,), (0.5,)]
    assert all(c.ratio > 0 for c in comparisons) and "20 centres" in comparisons[-1].name


def test_both_optimizers_update_alike():
    arguments = benchmark.parse(["optimizer", "--configs", "study/self_training", "--repeats", "2"])
    (comparison,) = benchmark.load("optimizer").main(arguments)
    assert comparison.equal and comparison.ratio > 0 and "0.6 M parameters" in comparison.name


def run_tool(monkeypatch, *options) -> None:
    monkeypatch.setattr(sys, "argv", ["benchmark.py", *map(str, options)])
    benchmark.main()


@pytest.mark.slow
def test_masks_at_a_small_size():
    options = ["masks", "--size", "64", "128", "--batch", "1", "--points", "64", "--repeats", "1"]
    comparisons = list(benchmark.load("masks").main(benchmark.parse(options)))
    assert [c.reference for c in comparisons] == ["transformers", "unweighted"] * 2
    assert all(c.ratio > 0 and c.note.count(" MB") == 2 for c in comparisons)


@pytest.mark.slow
def test_memory_at_a_small_size():
    options = ["memory", "--configs", "quick/source_only", "--images", "2", "--repeats", "2"]
    (comparison,) = benchmark.load("memory").main(benchmark.parse(options))
    assert len(comparison.ours_seconds) == len(comparison.reference_seconds) == 2 and comparison.ratio > 0
    assert comparison.note.startswith("page faults of the last step ")


def test_memory_of_no_configuration_is_one_sentence():
    with pytest.raises(UserError, match="expected a YAML file, found nothing at .*no/such.yaml"):
        list(benchmark.load("memory").main(benchmark.parse(["memory", "--configs", "no/such"])))


def test_command_prints_and_writes_all_numbers(tmp_path, monkeypatch, capsys):
    small = ("--size", 64, 128, "--instances", 2, "--repeats", 1)
    run_tool(monkeypatch, "targets", *small, "--json", tmp_path / "out.json")
    printed = capsys.readouterr().out
    written = json.loads((tmp_path / "out.json").read_text())
    assert written["environment"]["numpy"] == np.__version__ and f"numpy {np.__version__}" in printed
    assert written["arguments"]["instances"] == 2
    (comparison,) = written["comparisons"]
    assert comparison["ratio"] == comparison["reference_median"] / comparison["ours_median"]
    assert f"{comparison['ratio']:.2f}" in printed


def test_help_lists_every_module(monkeypatch, capsys):
    names = benchmark.benchmark_names()
    assert {"loader", "postprocess", "pq", "targets"} <= set(names) and "timing" not in names
    with pytest.raises(SystemExit):
        run_tool(monkeypatch, "--help")
    listed = capsys.readouterr().out
    assert all(name in listed for name in names)


def test_sides_run_by_turns_after_one_run_that_does_not_count():
    calls = []
    seconds = alternate({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, repeats=3)
    assert calls == ["a", "b"] * 4 and [len(seconds[name]) for name in "ab"] == [3, 3]


def test_cpu_time_does_not_count_waiting():
    ways = {"sleep": lambda: time.sleep(0.05), "nothing": lambda: None}
    assert min(alternate(ways, repeats=1)["sleep"]) >= 0.05 > max(alternate(ways, repeats=1, clock="cpu")["sleep"])


def test_ratio_is_of_medians():
    comparison = Comparison("x", "theirs", "ours", (4.0, 100.0, 6.0), (2.0, 1.0, 50.0), goal=2)
    assert comparison.ratio == 3 and comparison.as_json()["ratio"] == 3
    assert "3.00  (goal: at least 2)" in str(comparison) and "6000.00 ms" in str(comparison)
    assert comparison.as_row() == "| x | theirs 6000 ms | ours 2000 ms | **3** | 2 |  |"


@pytest.mark.parametrize("things", [3, 25])
def test_scenes_show_what_was_asked_for(things):
    truth = scenes.street((128, 256), things=things, seed=0)
    instances = [v for v in np.unique(truth) if v >= 0 and v % 1000]
    assert len(instances) == things and (truth >= 0).mean() > 0.5
    predicted = scenes.imperfect(truth, seed=0)
    assert 0.3 < (predicted == truth).mean() < 1
    ids, segments = scenes.with_segments(truth)
    assert sum(s["area"] for s in segments) == (ids > 0).sum() and {s["id"] for s in segments} <= set(np.unique(ids))


@pytest.mark.slow
def test_growth_at_a_small_size():
    options = ["--classes", "5", "10", "--instances", "3", "6", "--queries", "5", "10", "--size", "96", "192"]
    small = ["--loss-size", "32", "64", "--points", "64", "--repeats", "1"]
    comparisons = list(benchmark.load("growth").main(benchmark.parse(["growth", *options, *small])))
    assert [c.note.partition(";")[0] for c in comparisons] == [
        *["2.0 times as many classes"] * 3, "2.0 times as many instances", "2.0 times as many centres",
        "2.0 times as many queries", "2.0 times as many segments", "2.0 times as many queries",
        *["4.0 times as many pixels"] * 2,
    ]  # fmt: skip
    assert all(c.ratio > 0 for c in comparisons) and sum(" MB" in c.note for c in comparisons) == 7


@pytest.mark.slow
def test_precision_and_self_training_at_a_small_size():
    options = ["--configs", "study/source_only", "--size", "64", "128", "--repeats", "1"]
    (precision,) = benchmark.load("precision").main(benchmark.parse(["precision", *options]))
    options = ["--configs", "streets/self_training", "--images", "2", "--repeats", "1"]
    (step,) = benchmark.load("self_training").main(benchmark.parse(["self_training", *options]))
    assert precision.ratio > 0 and precision.ours == "bfloat16, channels last" and 0 < step.ratio and step.goal > 0.9


@pytest.mark.slow
def test_peers_at_a_small_size():
    options = ["peers", "--size", "64", "128", "--batch", "2", "--points", "64", "--repeats", "1"]
    deeplab, masks = benchmark.load("peers").main(benchmark.parse(options))
    assert (deeplab.reference, masks.reference) == ("Detectron2", "transformers")
    assert all(c.ratio > 0 and c.note.count(" MB") == 2 for c in (deeplab, masks))
