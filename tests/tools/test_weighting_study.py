"""The study of class weighting: tables by hand, runs that are kept and continued, valid configurations."""

import json
import re
import sys
import time
from pathlib import Path

import demo
import numpy as np
import pytest
import study
from studies.weighting import cells as design
import weighting_study
import yaml
from fabricated_run import CONFIG, fabricate_run
from scipy import stats

from gbw_panoptic.errors import UserError, explained
from gbw_panoptic.reporting.run_folder import RunFolder
from gbw_panoptic.taxonomy import CITYSCAPES
from gbw_panoptic.validation import validate
from studies.weighting import pictures as weighting_pictures
from studies.weighting import runs as weighting_runs
from studies.weighting import tables as weighting_tables
from studies.weighting.effects import Effect, effect_bars
from studies.weighting.results import Block, Cell, Difference, Results, adjusted, run_result

ROOT = Path(__file__).parents[2]
CELLS = list(dict.fromkeys(cell for blocks in design.TIERS.values() for block in blocks for cell in block.cells))
BLOCKS = [block for blocks in design.TIERS.values() for block in blocks]
VALUES = {"unweighted": (20.0, 22.0, 27.0), design.GBW: (23.0, 24.0, 31.0)}
PIXELS = dict(zip(CITYSCAPES.names, range(19, 0, -1)))


def config_of_student(max_iter):
    return CONFIG.replace("teacher", "student") + f"SOLVER: {{MAX_ITER: {max_iter}}}"


def result(weighting, seed, value, machine="a", precision="bfloat16"):
    cell = design.block("panoptic", design.CONVOLUTIONAL, "self_training", (weighting,)).cells[0]
    classes = {
        name: {"IoU": value, "recall": value + 1, "precision": value / 2, "pixels": 9, "source_pixels": pixels}
        for name, pixels in (("road", 75), ("train", 5), ("car", 20))
    }
    scores = {"mIoU": value, "rare recall": value / 2}
    kept = {
        "seed": seed,
        "model": "student",
        "iterations": 400,
        "device": "cpu",
        "machine": machine,
        "precision": precision,
    }
    return {**vars(cell), **kept, "scores": scores, "classes": classes, "pseudo_labels": {}, "quality": [], "gbw": {}}


def rows_of(page, title):
    """First column -> header -> cell, of all tables below a title."""
    found = {}
    for part in page.split(f"## {title}\n")[1].split("\n## ")[0].split("\n\n"):
        rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in part.splitlines() if line.startswith("|")]
        for cells in rows[2:]:
            found.setdefault(cells[0], {}).update(zip(rows[0], cells))
    return found


def first_table(results):
    page = weighting_tables.study_page(Results(results), BLOCKS, method=design.GBW)
    return page, rows_of(page, BLOCKS[0].title)


def by_hand():
    return [result(name, seed, value) for name, values in VALUES.items() for seed, value in enumerate(values)]


def test_table_by_hand():
    page, rows = first_table(reversed(by_hand()))
    base, ours = (np.array(VALUES[name]) for name in ("unweighted", design.GBW))
    assert rows["unweighted"]["mIoU"] == f"{base.mean():.1f} ± {base.std(ddof=1):.1f}"
    assert "mIoU, difference" not in rows["unweighted"] and "unweighted, paired by seed:" in page
    p = stats.ttest_1samp(ours - base, 0).pvalue
    error = (ours - base).std(ddof=1) / 3**0.5
    text = f"{(ours - base).mean():+.1f} ± {error:.1f} (p {p:.2g}"
    assert rows[design.GBW]["mIoU, difference"] == text + ")"
    assert rows[design.GBW]["rare recall, difference"].endswith(f"(p {p:.2g})")  # every score is tested
    assert set(rows["inverse frequency"].values()) == {"inverse frequency", ""}  # a cell that was not run
    summary = rows_of(page, f"{design.GBW} against unweighted")[BLOCKS[0].title]
    assert summary["mIoU"] == f"{text}, adjusted {p:.2g})"  # the only test of its column


def test_classes_by_hand():
    page = weighting_tables.class_page(Results(by_hand()), BLOCKS)
    rows = rows_of(page, f"{BLOCKS[0].title}: {design.GBW}")
    assert list(rows) == ["road", "car", "train"]  # from frequent to rare
    assert (rows["car"]["source share"], rows["car"]["recall"]) == ("20.00 %", "24.0 ± 3.6")
    p = f"(p {stats.ttest_1samp([3, 2, 4], 0).pvalue:.2g})"
    assert rows["train"]["recall, difference"] == f"+3.0 ± 0.6 {p}"
    assert rows["train"]["precision, difference"] == f"+1.5 ± 0.3 {p}"


def test_pseudo_labels_by_hand():
    """Means over the classes, and over the rarest of them; without a teacher there is no such table."""
    runs = by_hand()
    assert "The last teacher" not in weighting_tables.study_page(Results(runs), BLOCKS, method=design.GBW)
    for run in runs[:1]:
        run["pseudo_labels"] = {
            name: {"recall": recall, "precision": 80.0}
            for name, recall in (("road", 90.0), ("train", 0.0), ("car", 60.0))
        }
        run["quality"] = [0.2, 0.75]
    page = weighting_tables.study_page(Results(runs), BLOCKS, method=design.GBW)
    lines = page.split("The last teacher on the target images that it labels:\n\n")[1].split("\n\n")[0].splitlines()
    assert [cell.strip() for cell in lines[2].split("|")[1:-1]] == [
        "unweighted",
        "50.0",
        "80.0",
        "50.0",
        "80.0",
        "75.0",
    ]
    assert weighting_tables._pseudo_label_mean(runs[0], "recall", 2) == 30.0  # train, car


def test_differences_pair_seeds():
    """A seed that only one side has changes its mean but no difference."""
    results = [result("unweighted", 0, 10.0), result(design.GBW, 0, 14.0), result(design.GBW, 1, 90.0)]
    _, rows = first_table(results)
    assert rows[design.GBW]["mIoU, difference"] == "+4.0" and rows[design.GBW]["mIoU"].startswith("52.0 ±")


def test_machines_are_named_and_mixing_them_is_marked():
    one, _ = first_table([result("unweighted", 0, 1.0), result(design.GBW, 0, 2.0)])
    two, _ = first_table([result("unweighted", 0, 1.0), result("unweighted", 1, 2.0, machine="b", precision="float32")])
    assert "several machines" not in one and "\na, bfloat16\n" in one
    assert (
        "**Of several machines or precisions; the runs of a seed share the precision**: a, bfloat16; b, float32." in two
    )


def test_what_is_missing_by_hand():
    """A cell that two blocks share counts once; a seed beyond the plan does not count."""
    cells = [result(name, 0, 1.0) for name in ("a", "b", "c")]
    a, b, c = (Cell(*(cell[key] for key in ("task", "network", "strategy", "weighting"))) for cell in cells)
    planned = {Block("first", (a, b)): 3, Block("second", (a, c)): 2}
    runs = [result("a", 0, 1.0), result("b", 0, 1.0), result("b", 2, 1.0, precision="float32"), result("c", 5, 1.0)]
    page = weighting_runs.runs_page(Results(runs), planned)
    rows = rows_of(page, "Runs: 3 of 8")
    assert list(rows["first"].values()) == ["first", "bfloat16", "", "float32", "a: 1, 2; b: 1"]
    assert list(rows["second"].values()) == ["second", "bfloat16", "", "", "a: 1; c: 0, 1"]
    lines = [line.split("|") for line in page.split("## Every run\n\n")[1].splitlines()[2:]]
    assert [(line[2].strip(), line[3].strip(), line[4].strip()) for line in lines] == [
        ("a", "0", "bfloat16"), ("b", "0", "bfloat16"), ("b", "2", "float32"), ("c", "5", "bfloat16"),
    ]  # fmt: skip


def test_gains_over_the_source_alone_by_hand():
    """Paired by seed and weighting; a seed that has another precision on the other side is named."""
    runs = [result("a", 0, 30.0), result("a", 1, 32.0, precision="float32"), result("a", 2, 99.0), result("b", 0, 50.0)]
    runs += [{**result("a", seed, value), "strategy": "source_only"} for seed, value in ((0, 29.0), (1, 28.0))]
    cells = tuple(Cell("panoptic", design.CONVOLUTIONAL, "self_training", name) for name in ("a", "b"))
    page = weighting_runs.adaptation_page(Results(runs), [Block("one", cells)])
    rows = rows_of(page, "Against the source alone")
    (row,) = rows.values()  # b has no run on the source alone
    assert (row["weighting"], row["seeds"], row["mIoU"], row["seeds of two precisions"]) == (
        "a",
        "2",
        "+2.5 ± 1.5",
        "1",
    )


def test_adjusted_p_values_by_hand():
    """Benjamini and Hochberg: p times the number of tests over its rank, no smaller than a better one's."""
    tests = [Difference(None, p) for p in (0.01, None, 0.04, 0.03)]
    assert adjusted(tests) == [pytest.approx(0.03), None, pytest.approx(0.04), pytest.approx(0.04)]
    assert adjusted([]) == []


@pytest.mark.parametrize("results", [[], by_hand()], ids=["no runs", "some"])
def test_pictures_are_drawn(results):
    found = Results(results)
    for picture in (
        weighting_pictures.effects_plot(found, BLOCKS),
        weighting_pictures.class_plot(found, BLOCKS[0]),
        weighting_pictures.lambda_plot(found, {0.5: BLOCKS[0].cells[3], 5.0: BLOCKS[0].cells[0]}, BLOCKS[0].cells[0]),
    ):
        assert picture.startswith(b"\x89PNG")


def test_the_largest_effects_are_cut_and_written(monkeypatch):
    monkeypatch.setattr("studies.weighting.effects.png_bytes", lambda figure: figure)
    panels = {
        "small": {"row": {"x": Effect(2.0, 1.0)}},
        "large": {"row": {"x": Effect(-30.0, 3.0), "y": Effect(1.0, 0.5)}},
    }
    small, large = effect_bars(panels, widest=10.0).axes
    assert not small.texts and 3.0 <= small.get_xlim()[1] < 10.0
    assert [text.get_text() for text in large.texts] == ["-30.0"] and large.get_xlim()[0] == -10.0
    errors = [np.ptp(line) for bars in large.collections for line in (segment[:, 0] for segment in bars.get_segments())]
    assert sorted(errors) == [0.0, 1.0], "the bar that is cut has none: it would cross its number"


def test_settings_are_compared_on_the_seeds_that_all_of_them_have():
    cells = {cell.weighting: cell for cell in BLOCKS[0].cells}
    runs = [("unweighted", 0, 1.0), ("unweighted", 1, 2.0), (design.GBW, 1, 3.0), (design.GBW, 2, 9.0)]
    compared = (cells["unweighted"], cells[design.GBW], cells["inverse frequency"])
    values = weighting_pictures.on_common_seeds(Results(result(*run) for run in runs), compared, "mIoU")
    assert values == {cells["unweighted"]: [2.0], cells[design.GBW]: [3.0]}
    apart = Results([result("unweighted", 0, 1.0), result(design.GBW, 1, 3.0)])
    assert weighting_pictures.on_common_seeds(apart, compared, "mIoU") == {}


def test_weights_are_means_over_runs_and_tenths_of_the_iterations(tmp_path):
    fabricate_run(tmp_path, config=config_of_student(399), scores={"student": 1})
    lines = [json.loads(line) for line in (tmp_path / "metrics.json").read_text().splitlines()]
    for line in lines[:-1]:
        line.update(
            {"gbw/source/sem_seg/weight/road": line["iteration"] / 100, "gbw/source/sem_seg/gradient/road": 0.5}
        )
        line.update({"gbw/source/sem_seg/share/road": 1.0 if line["iteration"] > 50 else 0.0})
        line.update({f"gbw/target/alignment/{kind}/road": 2.0 for kind in ("weight", "gradient", "share")})
    (tmp_path / "metrics.json").write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = run_result(RunFolder.read(tmp_path), "16", source_pixels=PIXELS)["gbw"]
    assert sorted(found) == [
        "source/sem_seg",
        "target/alignment",
    ]  # the fabricated head "semantic" is none that is kept
    assert set(found["target/alignment"]["weight"]["road"]) == {2.0}
    kept = found["source/sem_seg"]
    assert len(kept["iterations"]) == 10 and kept["iterations"][:2] == [29, 69]
    assert kept["weight"]["road"][:3] == [None, pytest.approx(0.69, abs=0.101), pytest.approx(1.09, abs=0.101)]
    assert weighting_pictures.weights_plot(
        Results([{**result(design.GBW, seed, 1.0), "gbw": found} for seed in (0, 1)]), BLOCKS[0].cells[3]
    ).startswith(b"\x89PNG")


def test_weights_of_a_class_that_only_one_run_has_seen():
    place = {"iterations": [1, 2], "weight": {"road": [1.0, None]}, "gradient": {"road": [0.5, 0.5]}}
    more = {
        **place,
        "weight": {"road": [3.0, 4.0], "truck": [None, 2.0]},
        "gradient": {"road": [0.5, 0.5], "truck": [0.1, 0.1]},
    }
    runs = [{**result(design.GBW, seed, 1.0), "gbw": {"mixed/sem_seg": x}} for seed, x in enumerate((place, more))]
    mean = weighting_pictures._mean_over_runs([place, more], "weight", ["road", "truck"])
    np.testing.assert_array_equal(mean, [[2.0, np.nan], [4.0, 2.0]])
    assert weighting_pictures.weights_plot(Results(runs), BLOCKS[0].cells[3]).startswith(b"\x89PNG")


def test_weights_by_hand():
    def seen(weight):
        kinds = {
            "weight": weight,
            "gradient": {"road": [0.2, 0.1], "car": [1.0, 0.5]},
            "share": {"road": [0.8, 0.6], "car": [0.2, 0.4]},
        }
        return {"source/sem_seg": {"iterations": [1, 2], **kinds}}

    weights = ({"road": [0.5, 0.5], "car": [2.0, 1.0]}, {"road": [0.7, 0.9], "car": [2.0, None]})
    runs = [{**result(design.GBW, seed, 1.0), "gbw": seen(weight)} for seed, weight in enumerate(weights)]
    page = weighting_tables.class_page(Results([*by_hand()[:3], *runs]), BLOCKS)
    table = page.split("Weights of source/sem_seg:\n\n")[1]
    road, car = ([cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()[2:4])
    assert road[:6] == ["road", "0.20", "0.10", "0.60", "0.70", "70.00 %"] and car[:6] == [
        "car",
        "1.00",
        "0.50",
        "2.00",
        "1.00",
        "30.00 %",
    ]
    first = [0.8 * 0.5 / (0.8 * 0.5 + 0.2 * 2), 0.6 * 0.5 / (0.6 * 0.5 + 0.4 * 1)]
    second = [0.8 * 0.7 / (0.8 * 0.7 + 0.2 * 2), 1.0]
    assert road[6] == f"{100 * np.mean([first, second]):.2f} %"
    assert "share of pixels" in table and "share of segments" not in table
    runs = [{**run, "gbw": {"source/classification": of_pixels}} for run in runs for of_pixels in run["gbw"].values()]
    assert "share of segments" in weighting_tables.class_page(Results([*by_hand()[:3], *runs]), BLOCKS)


def test_every_cell_is_a_valid_configuration_of_its_own(make_cfg):
    seen = set()
    for cell in CELLS:
        cfg = make_cfg(f"{design.scale(cell)}/{design.config_file(cell).name}", *design.options(cell))
        validate(cfg)
        head = cfg.WEIGHTING["CLASSIFICATION" if cell.network == design.MASK2FORMER else "SEMANTIC"]
        assert (cfg.MODEL.TASK, head == "none") == (cell.task, cell.weighting in ("unweighted", "BLDA"))
        seen.add(cfg.dump().replace(cfg.OUTPUT_DIR, ""))
    assert len(seen) == len(CELLS)
    assert len({design.folder(cell) for cell in CELLS}) == len(CELLS)


def fake_training(folder, config_file, options):
    pairs = dict(zip(options[::2], options[1::2]))
    tests = pairs.get("DATASETS.TEST", "(cityscapes_uda_panoptic_val)").strip("()").replace("'", "").split(", ")
    config = yaml.safe_load(config_of_student(399))
    config["DATASETS"]["TEST"] = [name.strip(",") for name in tests]
    config["MODEL"]["DEVICE"] = "cpu"
    fabricate_run(folder, config=yaml.safe_dump(config), scores={"student": 1})
    file = folder / "inference" / "student.json"
    teacher = json.loads(file.read_text()) | {"model": "teacher", "dataset": "cityscapes_uda_panoptic_train"}
    (folder / "inference" / "teacher.json").write_text(json.dumps(teacher))


@pytest.fixture
def run_study(tmp_path, monkeypatch, write_statistics):
    """Calls the tool with fake trainings; gives what was trained and the commands that made the data."""
    trained, commands, starts = [], [], []

    def fake(folder, config_file, options, *, root, jobs):
        trained.append((Path(config_file).stem, folder.parent.name, options[options.index("SEED") + 1]))
        starts.append(options[options.index("MODEL.WEIGHTS") + 1] if "MODEL.WEIGHTS" in options else None)
        if len(trained) == run.failing:
            raise UserError("it went wrong")
        fake_training(folder, config_file, options)

    def run(*arguments):
        options = ["--output", str(tmp_path), "--results", str(tmp_path / "results"), *arguments]
        monkeypatch.setattr(sys, "argv", ["weighting_study.py", *options])
        weighting_study.main()

    monkeypatch.setattr(study, "run_training", fake)

    def call(*command, data=None, jobs=1):
        commands.append(command)
        if command[0] == "tools/tau_curve.py":
            scores = {tau: {"rare recall": 40 - 9 * float(tau), "rare precision": 50.0} for tau in ("0", "1")}
            target = Path(command[1], "tau", command[3], "teacher.json")
            target.parent.mkdir(parents=True)
            target.write_text(json.dumps({"prior": command[3], "scores": scores, "model": "teacher"}))

    monkeypatch.setattr(weighting_study, "call", call)
    for name in weighting_study.STATISTICS.values():
        for place in (tmp_path, tmp_path / "demo"):
            write_statistics(place / "datasets" / name / "class_statistics.json")
    run.trained, run.commands, run.starts, run.failing = trained, commands, starts, None
    return run


@pytest.fixture
def write_statistics():
    def write(path):
        path.parent.mkdir(parents=True)
        content = {"version": 1, "class_names": list(CITYSCAPES.names), "pixels": [5] * 19}
        path.write_text(json.dumps({**content, "images": {"0": {str(c): 5 for c in range(19)}}}))

    return write


def test_a_study_goes_on_where_it_was_stopped(tmp_path, run_study):
    run_study.failing = 4
    with pytest.raises(UserError, match="found 1 that did not \\(.*gbw_logits/seed0\\)"):
        run_study("--tiers", "1", "--seeds", "0", "1")
    assert len(list(tmp_path.glob("results/*/seed*.json"))) == 2 * 6 - 1  # the others have gone on
    run_study("--tiers", "1", "--seeds", "0", "1")
    assert len(run_study.trained) == 2 * 6 + 1 and len(set(run_study.trained)) == 2 * 6
    assert [command[0] for command in run_study.commands] == ["datasets/make_streets.py"] + ["datasets/prepare.py"] * 3
    assert ("--gap", "0.35") in zip(run_study.commands[0], run_study.commands[0][1:])
    assert not list(tmp_path.glob("runs/*/seed*"))
    cell = Cell("panoptic", design.CONVOLUTIONAL, "self_training", "GBW, pixel")
    row = json.loads((tmp_path / "results" / design.folder(cell) / "seed1.json").read_text())
    assert (row["weighting"], row["seed"], row["model"]) == ("GBW, pixel", 1, "student") and "torch" in row["machine"]
    assert row["scores"]["PQ"] > 0 and row["classes"]["road"]["source_pixels"] == 5
    assert set(row["pseudo_labels"]["road"]) == {"recall", "precision"}
    tables = (tmp_path / "results/tables.md").read_text()
    run_study("--rebuild")
    assert (tmp_path / "results/tables.md").read_text() == tables and "(p " not in tables  # two seeds: no test


def test_a_part_of_a_tier(run_study):
    run_study("--tiers", "1", "--seeds", "2", "--weightings", "unweighted", design.GBW)
    cells = [cell for cell in design.TIERS[1][0].cells if cell.weighting in ("unweighted", design.GBW)]
    assert run_study.trained == [("self_training", design.folder(cell), "2") for cell in cells] and len(cells) == 2


def test_the_repositorys_results_take_no_other_settings(monkeypatch, run_study):
    with pytest.raises(UserError, match="--results of its own with --opts"):
        run_study("--results", str(weighting_study.RESULTS), "--opts", "SOLVER.MAX_ITER", "4")
    assert not run_study.trained


@pytest.mark.parametrize(
    "content, words",
    [
        ("{", "damaged file .*in .*seed0.json; remove it"),
        ("[]", "expected a mapping"),
        ('{"task": 1}', "expected a text at task"),
    ],
)
def test_a_file_that_is_no_result_is_one_sentence(tmp_path, run_study, content, words):
    file = tmp_path / "results" / "cell" / "seed0.json"
    file.parent.mkdir(parents=True)
    file.write_text(content)
    with pytest.raises(UserError, match=words):
        run_study("--rebuild")


@pytest.mark.parametrize(
    "option, least, value",
    [("jobs", 1, "0"), ("jobs", 1, "-1"), ("jobs", 1, "two"), ("seeds", 0, "-1"), ("seeds", 0, "x")],
)
def test_no_jobs_and_no_seeds_are_one_sentence(run_study, capsys, option, least, value):
    with pytest.raises(SystemExit) as stopped:
        run_study(f"--{option}", value)
    assert stopped.value.code == 2
    assert f"--{option}: expected a whole number of at least {least}, found {value}" in capsys.readouterr().err


@pytest.mark.parametrize("opts, words", [
    (("SOLVER.NONSENSE", "3"), "found 'SOLVER.NONSENSE'"), (("SOLVER.MAX_ITER",), "exactly one value"),
    (("MODEL.SEM_SEG_HEAD.NUM_CLASSES", "7"), "NUM_CLASSES: expected 19"),
    (("SOLVER.MAX_ITER", "4", "SOLVER.AMP.ENABLED", "True"), "--opts: expected no key of SOLVER.AMP"),
])  # fmt: skip
def test_settings_that_no_run_takes_end_the_study_at_once(tmp_path, run_study, opts, words):
    with pytest.raises(UserError, match=words):
        run_study("--tiers", "1", "--opts", *opts)
    assert not run_study.trained and not run_study.commands and not (tmp_path / "results").exists()


def test_other_data_want_another_folder(run_study):
    run_study("--tiers", "1", "--seeds", "0", "--data", "source", "24")
    trained = len(run_study.trained)
    for other in ((), ("--data", "source", "25")):
        with pytest.raises(
            UserError,
            match="--data: expected data of .*'source': .*, found those of .*'source': '24'.* another --output",
        ):
            run_study("--tiers", "1", *other)
    run_study("--tiers", "1", "--seeds", "0", "1", "--data", "source", "24")
    assert len(run_study.trained) == 2 * trained > 0 and len(run_study.commands) == 4


@pytest.mark.parametrize("option", ["--output", "--results"])
def test_a_file_in_the_place_of_a_folder_is_one_sentence(tmp_path, run_study, option):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError) as error:
        run_study("--tiers", "1", option, str(tmp_path / "file"))
    assert f"expected to read and write {tmp_path / 'file'}, found: File exists" in str(explained(error.value))
    assert not run_study.trained and not run_study.commands


def test_tables_of_no_folder_are_one_sentence(tmp_path, run_study):
    with pytest.raises(UserError, match="expected the folder of a study's results at .*absent, found none"):
        run_study("--rebuild", "--results", str(tmp_path / "absent"))
    assert not (tmp_path / "absent").exists()


def test_a_gpu_that_is_not_there_is_no_cpu(tmp_path, run_study, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(UserError, match="--device cuda: expected a GPU that torch can use, found none"):
        run_study("--tiers", "1", "--device", "cuda")
    assert not run_study.trained and not run_study.commands and not (tmp_path / "results").exists()


def test_a_table_is_of_one_type_of_device(tmp_path, run_study, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("studies.weighting.plan.computes_bfloat16", lambda device: True)
    path = tmp_path / "results" / design.folder(BLOCKS[0].cells[0]) / "seed0.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(result("unweighted", 0, 1.0)))
    with pytest.raises(
        UserError, match="--device: expected cpu, where the results of 'panoptic.* come from, found cuda"
    ):
        run_study("--tiers", "1", "--seeds", "0", "--device", "cuda")
    assert not run_study.trained and not run_study.commands


def test_a_pair_of_runs_is_of_one_precision(tmp_path, run_study, monkeypatch, capsys):
    """A seed whose reference was made in another precision waits; other seeds take the one that the device is fast
    in."""
    monkeypatch.setattr("studies.weighting.plan.computes_bfloat16", lambda device: False)
    path = tmp_path / "results" / design.folder(BLOCKS[0].cells[0]) / "seed0.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(result("unweighted", 0, 1.0)))
    arguments = ("--tiers", "1", "--seeds", "0", "1", "--weightings", "unweighted", design.GBW)
    run_study(*arguments)
    folders = [design.folder(cell) for cell in (BLOCKS[0].cells[0], BLOCKS[0].cells[3])]
    assert run_study.trained == [("self_training", folder, "1") for folder in folders]
    assert "1 run(s) left for another machine: this one computes in float32" in capsys.readouterr().out
    assert json.loads(path.with_name("seed1.json").read_text())["precision"] == "float32"
    run_study(*arguments, "--precision", "bfloat16")
    assert run_study.trained[2:] == [("self_training", folders[1], "0")]
    assert "run(s) left" not in capsys.readouterr().out
    assert json.loads((tmp_path / "results" / folders[1] / "seed0.json").read_text())["precision"] == "bfloat16"


def test_the_second_edition_is_of_two_stages_and_over_tau(tmp_path, run_study):
    run_study("--tiers", "5", "--seeds", "0", "--jobs", "2", "--precision", "float32")
    assert [config for config, *_ in run_study.trained] == ["source_only"] + ["self_training"] * len(design.SECOND)
    assert run_study.starts[0] is None  # ImageNet's, by its configuration
    assert set(run_study.starts[1:]) == {str(tmp_path / "runs/float32/first/source_only/seed0/model_final.pth")}
    assert ("--reach", "25") in zip(run_study.commands[0], run_study.commands[0][1:]) and str(
        tmp_path / "demo/datasets"
    ) in run_study.commands[0]
    curves = [command[3] for command in run_study.commands if command[0] == "tools/tau_curve.py"]
    assert sorted(curves) == ["frequencies"] * 2 + ["weights"] * 6
    tables = (tmp_path / "results/second/tables.md").read_text()
    rows = rows_of(tables, f"Over tau: {design.TIERS[5][0].title}")
    assert (rows[design.SCALE_FREE]["tau"], rows[design.SCALE_FREE]["rare recall"]) == (
        "1",
        "31.0",
    )  # the last of its rows
    assert not (tmp_path / "results/tables.md").exists()  # of the first edition, which has no run here
    assert (tmp_path / "results/second/tau.png").read_bytes().startswith(b"\x89PNG")
    run_study("--tiers", "5", "--seeds", "0", "--precision", "float32")
    assert len(run_study.trained) == 1 + len(design.SECOND)


def test_the_second_editions_data_are_the_demos():
    flags = dict(zip(demo.DATA[::2], demo.DATA[1::2]))
    assert flags == {f"--{name}": value for name, value in design.DATA["demo"].items()} | {"--seed": "0"}


def test_both_cells_of_a_seed_share_their_first_teacher(tmp_path, run_study):
    run_study("--tiers", "3", "--seeds", "0", "--jobs", "2")
    configs = [config for config, *_ in run_study.trained]
    assert configs.count("source_only_mask2former") == 1 and configs.count("self_training_mask2former") == 2


def test_a_network_may_be_chosen(run_study):
    run_study(
        "--tiers",
        "2",
        "3",
        "--seeds",
        "1",
        "--networks",
        design.TRANSFORMER,
        design.MASK2FORMER,
        "--weightings",
        design.GBW,
    )
    found = [config for config, *_ in run_study.trained]
    assert found == ["source_only_mask2former", "self_training_mit_b0", "self_training_mask2former"]
    with pytest.raises(UserError, match="a cell of all that .* name, found none"):
        run_study("--tiers", "1", "--networks", design.MASK2FORMER)


def test_a_first_teacher_trains_ahead_of_the_seed_before(run_study):
    """So two jobs always have something to do: while a teacher trains, its seed's other runs and those of the seed
    before."""
    run_study("--tiers", "3", "--weightings", design.GBW)
    teacher, transformer, mask2former = "source_only_mask2former", "self_training_mit_b0", "self_training_mask2former"
    expected = [(teacher, "0"), (teacher, "1"), (transformer, "0"), (mask2former, "0"), (teacher, "2")]
    expected += [(config, seed) for seed in "12" for config in (transformer, mask2former)]
    assert [(config, seed) for config, _, seed in run_study.trained] == expected


@pytest.mark.parametrize(
    "error", [KeyboardInterrupt(), OSError(28, "No space left on device")], ids=["Ctrl-C", "full disk"]
)
def test_what_ends_the_study_begins_no_further_run(run_study, monkeypatch, error):
    begun = []

    def fake(*arguments, **options):
        begun.append(arguments)
        time.sleep(0.1)
        raise error

    monkeypatch.setattr(study, "run_training", fake)
    with pytest.raises(type(error)):
        run_study("--tiers", "1", "2")
    assert 1 <= len(begun) < 20  # of 114, one after the other


def test_what_a_failed_teacher_should_have_taught_is_repeated_alone(run_study):
    run_study.failing = 1
    with pytest.raises(UserError, match="found 2 that did not .*mask2former.*/seed0, .*mask2former.*/seed0"):
        run_study("--tiers", "3", "--seeds", "0")
    run_study.trained.clear()
    run_study.failing = None
    run_study("--tiers", "3", "--seeds", "0")
    assert [config for config, *_ in run_study.trained] == [
        "source_only_mask2former",
        *["self_training_mask2former"] * 2,
    ]


def test_estimates_and_their_alarms_are_kept(tmp_path):
    fabricate_run(
        tmp_path,
        config=config_of_student(399).replace("MODEL: student", "MODEL: student, UNSUPERVISED: true"),
        scores={"student": 1},
    )
    lines = [
        {"iteration": i, "student/panoptic/16/PQ": 40.0, "student/semantic/16/mIoU": 50.0,
         "unsupervised/student/view_mIoU": 60.0, "unsupervised/student/confidence": 80.0,
         "unsupervised/student/shares/road": share, "unsupervised/student/shares/car": 100 - share}
        for i, share in ((199, 50.0), (299, 99.5), (399, 99.6))
    ]  # fmt: skip
    (tmp_path / "metrics.json").write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = run_result(RunFolder.read(tmp_path), "16", source_pixels={name: 1 for name in PIXELS})
    assert [one["iteration"] for one in found["evaluations"]] == [199, 299, 399]
    assert found["evaluations"][0]["estimates"]["view_mIoU"] == 60.0
    signs = [(alarm["model"], alarm["iteration"], alarm["sign"].split(" (")[0]) for alarm in found["alarms"]]
    assert ("student", 299, "it predicts road for 100 % of the pixels") in signs and (
        "student",
        299,
        "car dies",
    ) in signs
    assert {iteration for _, iteration, _ in signs} == {299}  # each once


def test_a_run_that_has_not_ended_is_an_error(tmp_path):
    fabricate_run(tmp_path, config=config_of_student(999), scores={"student": 1})
    with pytest.raises(UserError, match="last iteration"):
        run_result(RunFolder.read(tmp_path), "16", source_pixels=PIXELS)


def test_the_tables_in_docs_are_those_of_the_results(tmp_path):
    folder = weighting_study.RESULTS
    results = weighting_study.read_results(folder)
    for path in folder.glob("*/seed*.json"):
        (tmp_path / path.parent.name).mkdir(exist_ok=True)
        (tmp_path / path.parent.name / path.name).write_bytes(path.read_bytes())
    weighting_study.write_pages(tmp_path)
    for name in ("tables.md", "classes.md", "runs.md") if results else ():
        assert (folder / name).read_text() == (tmp_path / name).read_text()
    for found in results:
        cell = Cell(*(found[key] for key in ("task", "network", "strategy", "weighting")))
        assert cell in CELLS and (folder / design.folder(cell) / f"seed{found['seed']}.json").is_file()
    made, planned = re.search(r"## Runs: (\d+) of (\d+)", (folder / "runs.md").read_text()).groups()
    assert f"**{made} of the {planned} runs have been made" in (ROOT / "docs" / "study.md").read_text()
