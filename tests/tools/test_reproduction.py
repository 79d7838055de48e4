"""The reproduction kit: published figures beside a user's own, two stages, what is missing."""

import json
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import pytest
import reproduce
import study
from fabricated_run import CONFIG, fabricate_run
from studies.reproduction.rows import ROWS

from gbw_panoptic.errors import UserError
from gbw_panoptic.validation import validate
from studies.reproduction.tables import reproduction_overview, reproduction_page

ROOT = Path(__file__).parents[2]
BENCHMARKS = [row.benchmark for row in ROWS.values()]
TWO_STAGES = "mc_panda_synthia_to_cityscapes"
#: Streets, two iterations, small networks; weights are random.
SMALL = (
    "MODEL.DEVICE", "cpu", "MODEL.WEIGHTS", "", "SOLVER.IMS_PER_BATCH", "1", "SOLVER.MAX_ITER", "2", "INPUT.CROP.SIZE",
    "(64, 128)",
    "INPUT.MIN_SIZE_TRAIN", "(128,)", "INPUT.TARGET.MIN_SIZE_TRAIN", "(128,)", "INPUT.MIN_SIZE_TEST", "64",
    "DATALOADER.NUM_WORKERS",
    "0", "MODEL.MIT.VARIANT", "b0", "MODEL.SWIN.VARIANT", "t", "MODEL.VIT.VARIANT", "dinov2_tiny",
    "MODEL.MASK2FORMER.NUM_POINTS", "64", "TEST.NUM_PANELS", "0",
    "MODEL.MASK2FORMER.ENCODER_LAYERS", "1", "MODEL.MASK2FORMER.DECODER_LAYERS", "1",
)  # fmt: skip


def cells_of(page, title):
    lines = page.split(f"## {title}\n")[1].split("\n## ")[0].splitlines()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line.startswith("|")]
    return {cells[0]: dict(zip(rows[0][1:], cells[1:])) for cells in rows[2:]}


def test_without_runs_our_cells_are_empty_and_published_figures_stand():
    page = reproduction_page(BENCHMARKS, [])
    for benchmark in BENCHMARKS:
        cells = cells_of(page, benchmark.title)
        assert not any(text for method in ("ours, unweighted", "ours, GBW") for text in cells[method].values())
        published = cells[f"published: {benchmark.published[0].source}"]
        assert float(published[benchmark.columns[0]]) == benchmark.published[0].scores[benchmark.columns[0]]


def test_the_overview_has_one_row_for_every_published_figure():
    results = [{"row": TWO_STAGES, "method": "GBW", "seed": seed, "scores": {"PQ": 40.0 + seed}} for seed in (0, 2)]
    lines = reproduction_overview(BENCHMARKS, results).splitlines()[2:]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
    assert len(rows) == sum(len(benchmark.published) for benchmark in BENCHMARKS) == 21
    own = [row for row in rows if row[0] == f"`{TWO_STAGES}`"]
    assert [row[-2:] for row in own] == [["", "41.0 ± 1.4"], ["", ""]] and [row[4] for row in own] == ["47.4", "48.5"]
    assert not any(row[-1] or row[-2] for row in rows if row not in own)


def test_own_runs_by_hand():
    values = {"unweighted": (40.0, 42.0), "GBW": (41.0, 45.0)}
    results = [
        {"row": TWO_STAGES, "method": method, "seed": seed, "scores": {"PQ": pq, "SQ": 70.0, "RQ": 50.0}}
        for method, pair in values.items()
        for seed, pq in enumerate(pair)
    ]
    cells = cells_of(reproduction_page(BENCHMARKS, results), ROWS[TWO_STAGES].benchmark.title)
    assert cells["ours, unweighted"] == {
        "seeds": "2",
        "PQ": "41.0 ± 1.4",
        "SQ": "70.0 ± 0.0",
        "RQ": "50.0 ± 0.0",
        "gain in PQ": "",
    }
    assert (cells["ours, GBW"]["PQ"], cells["ours, GBW"]["gain in PQ"]) == ("43.0 ± 2.8", "+2.0 ± 1.0")


@pytest.mark.parametrize("name", ROWS)
def test_every_benchmark_is_a_valid_configuration(make_cfg, tmp_path, name):
    row = ROWS[name]
    (tmp_path / "teacher.pth").touch()
    stage_two = [
        *row.options,
        *(("SELF_TRAINING.SEGMENTS.TEACHER_WEIGHTS", tmp_path / "teacher.pth") if row.stage_one else ()),
    ]
    plain, weighted = (make_cfg(row.configs[method], *stage_two) for method in ("unweighted", "GBW"))
    for cfg in (plain, weighted):
        validate(cfg)
        assert row.benchmark.protocol in cfg.TEST.PROTOCOLS
    assert (plain.SOLVER.MAX_ITER, plain.DATASETS) == (weighted.SOLVER.MAX_ITER, weighted.DATASETS)
    assert plain.WEIGHTING != weighted.WEIGHTING
    if row.stage_one:
        first = make_cfg(row.stage_one.config, *row.stage_one.options)
        validate(first)
        assert first.DATASETS.TARGET == () and first.DATASETS.TRAIN == plain.DATASETS.TRAIN
        # its weights are to fit the teacher of the second stage
        assert (first.MODEL.MASK2FORMER, first.MODEL.SWIN) == (plain.MODEL.MASK2FORMER, plain.MODEL.SWIN)


@pytest.fixture
def call(tmp_path, monkeypatch):
    """Calls the tool in this process."""

    def run(*arguments):
        monkeypatch.setattr(
            sys, "argv", ["reproduce.py", "--output", str(tmp_path), "--weights", str(tmp_path), *arguments]
        )
        reproduce.main()

    return run


def test_both_methods_share_the_first_stage_and_nothing_is_trained_twice(call, tmp_path, monkeypatch):
    trained = []

    def fake(folder, config_file, options, *, root, jobs, flags):
        pairs = dict(zip(options[::2], options[1::2]))
        trained.append((folder.name, pairs.get("SELF_TRAINING.SEGMENTS.TEACHER_WEIGHTS"), pairs["SEED"], flags))
        config = CONFIG.replace("teacher", "student") + "SOLVER: {MAX_ITER: 399}"
        fabricate_run(folder, config=config.replace("MODEL: {", "MODEL: {DEVICE: cpu, "), scores={"student": 1})

    monkeypatch.setattr(study, "run_training", fake)
    monkeypatch.setattr(reproduce, "missing", lambda row, arguments: None)
    (tmp_path / ROWS[TWO_STAGES].weights).touch()
    for _ in range(2):
        call(TWO_STAGES, "--seeds", "3", "--num-gpus", "2")
    flags = ("--num-gpus", "2")
    teacher = str(tmp_path / "runs" / TWO_STAGES / "stage_one_seed3" / "model_final.pth")
    assert trained == [
        ("stage_one_seed3", None, "3", flags), ("unweighted_seed3", teacher, "3", flags),
        ("GBW_seed3", teacher, "3", flags)
    ]  # fmt: skip
    cells = cells_of((tmp_path / "results" / "tables.md").read_text(), ROWS[TWO_STAGES].benchmark.title)
    kept = json.loads((tmp_path / "results" / TWO_STAGES / "GBW_seed3.json").read_text())
    assert float(cells["ours, GBW"]["PQ"]) == pytest.approx(kept["scores"]["PQ"], abs=0.051)


def test_overrides_of_self_training_are_not_the_first_stages():
    opts = ["SELF_TRAINING.SEGMENTS.BURN_IN_ITERS", "1", "SOLVER.MAX_ITER", "2"]
    arguments = Namespace(opts=opts, num_gpus=2)
    assert reproduce.without_teacher(arguments) == Namespace(opts=opts[2:], num_gpus=2) and arguments.opts == opts


@pytest.mark.parametrize(
    "arguments, words",
    [
        ([], "Expected some of the benchmarks daformer_.*, found none; name them, or give --list"),
        (["edaps"], "found edaps; name them"),
        (
            ["--check", TWO_STAGES],
            f"{TWO_STAGES}: --weights: expected swin_base.*pth in .*, found nothing; docs/backbones.md",
        ),
    ],
)
def test_what_is_missing_is_one_sentence(call, arguments, words):
    with pytest.raises(UserError, match=words):
        call(*arguments)


def test_missing_data_sets_are_named_before_anything_is_trained(call, tmp_path, monkeypatch):
    (tmp_path / ROWS["edaps_synthia_to_vistas"].weights).touch()
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path / "nowhere"))
    with pytest.raises(UserError, match="edaps_synthia_to_vistas: .*nowhere.*python datasets/prepare.py synthia"):
        call("edaps_synthia_to_vistas")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["daformer_gta5_to_cityscapes", TWO_STAGES])
def test_a_benchmark_runs_on_streets_from_the_first_stage_to_the_table(streets_root, tmp_path, name):
    (tmp_path / ROWS[name].weights).touch()
    burn_in = ("SELF_TRAINING.SEGMENTS.BURN_IN_ITERS", "1") if ROWS[name].stage_one else ()
    command = [
        sys.executable, "tools/reproduce.py", name, "--weights", tmp_path, "--output", tmp_path, "--seeds", "0",
        "--opts", *SMALL, *burn_in
    ]  # fmt: skip
    environment = {"DETECTRON2_DATASETS": str(streets_root), "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(list(map(str, command)), cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr + (next(iter(tmp_path.glob("runs/*/*/stdout.txt"))).read_text()[-2000:])
    cells = cells_of((tmp_path / "results" / "tables.md").read_text(), ROWS[name].benchmark.title)
    assert cells["ours, unweighted"]["seeds"] == cells["ours, GBW"]["seeds"] == "1"


def test_the_table_in_docs_holds_published_figures_and_no_run_of_ours():
    text = (ROOT / "docs" / "reproduction.md").read_text()
    assert reproduction_overview(BENCHMARKS, []) in text and "**We have run none of them.**" in text
    assert all(benchmark.differences in " ".join(text.split()) for benchmark in BENCHMARKS)
