"""Which runs belong together, and what may not be compared."""

import json
import shutil

import numpy as np
import pytest
from fabricated_run import CONFIG, fabricate_run

from gbw_panoptic.errors import UserError
from gbw_panoptic.reporting.run_groups import differing_keys, gather, progress

BASE = CONFIG.replace("SelfTrainingTrainer", "SourceOnlyTrainer").replace("teacher", "student")


def config(text: str, seed: int, **values: object) -> str:
    lines = "".join(f"{key}: {json.dumps(value)}\n" for key, value in values.items())
    return f"{text}SEED: {seed}\nOUTPUT_DIR: somewhere/{seed}\nSOLVER: {{MAX_ITER: 399}}\n{lines}"


@pytest.fixture
def study(tmp_path):
    """Two configurations with seeds 0 and 1, in the folders of tools/study.py."""
    for seed in (0, 1):
        fabricate_run(tmp_path / f"base/seed{seed}", config=config(BASE, seed), scores={"student": seed})
        models = {"student": 10 + seed, "teacher": 20 + seed}
        fabricate_run(tmp_path / f"ours/seed{seed}", config=config(CONFIG, seed), scores=models)
    return tmp_path


def runs_of(study):
    return sorted(study.glob("*/seed*"))


def change(run, **entries):
    """Changes a run's result files."""
    for path in (run / "inference").glob("*.json"):
        path.write_text(json.dumps({**json.loads(path.read_text()), **entries}))


def test_runs_that_differ_in_the_seed_are_one_group(study):
    comparison = gather(runs_of(study))
    assert [(group.name, sorted(group.runs)) for group in comparison.groups] == [("base", [0, 1]), ("ours", [0, 1])]
    assert (comparison.dataset, comparison.protocol) == ("cityscapes_uda_panoptic_val", "16")
    assert sorted(comparison.labels.values()) == ["base/seed0", "base/seed1", "ours/seed0", "ours/seed1"]
    assert not comparison.unfinished
    assert differing_keys(comparison.groups) == {
        "TRAINER.NAME": ["SourceOnlyTrainer", "SelfTrainingTrainer"],
        "TEST.MODEL": ["student", "teacher"],
    }


def test_the_baseline_comes_first_and_need_not_be_among_the_runs(study):
    base, ours = sorted(study.glob("base/*")), sorted(study.glob("ours/*"))
    assert [g.name for g in gather([*base, *ours], baseline=ours).groups] == ["ours", "base"]
    comparison = gather(ours, baseline=base[:1])
    assert [(g.name, sorted(g.runs)) for g in comparison.groups] == [("base", [0]), ("ours", [0, 1])]
    with pytest.raises(UserError, match="a baseline of one configuration, found several: base, ours"):
        gather([*base, *ours], baseline=[base[0], ours[0]])


def test_another_setting_is_another_group_also_where_the_folder_is_the_same(study):
    fabricate_run(study / "ours/seed2", config=config(CONFIG, 2, GBW={"LAMBDA": 0.1}), scores={"teacher": 5})
    groups = gather([*runs_of(study)]).groups
    assert [group.name for group in groups] == ["base", "ours/seed0", "ours/seed2"]
    assert differing_keys(groups)["GBW.LAMBDA"] == [None, None, 0.1]


@pytest.mark.parametrize(
    "names, expected",
    [
        (("gbw_s1", "gbw_s2"), "gbw"),
        (("gbw/seed0", "gbw/seed1"), "gbw"),
        (("gbw/seed0",), "gbw"),
        (("gbw-seed=1", "gbw-seed=2"), "gbw"),
        (("1", "2"), "1"),
        (("run7",), "run7"),
    ],
)
def test_names_of_groups(tmp_path, names, expected):
    runs = [
        fabricate_run(tmp_path / name, config=config(CONFIG, s), scores={"teacher": s}) for s, name in enumerate(names)
    ]
    assert [group.name for group in gather(runs).groups] == [expected]


def test_bookkeeping_does_not_part_runs(study):
    text = config(BASE, 2, DATALOADER={"NUM_WORKERS": 8}, TRACKING={"WANDB": True, "MLFLOW": True, "PROJECT": "p"})
    fabricate_run(study / "base/seed2", config=text, scores={"student": 3})
    assert sorted(gather(runs_of(study)).groups[0].runs) == [0, 1, 2]


def test_unfinished_runs_are_left_out(study):
    change(study / "ours/seed1", iteration=199)
    shutil.rmtree(study / "base/seed1/inference")
    comparison = gather(runs_of(study))
    assert [sorted(group.runs) for group in comparison.groups] == [[0], [0]]
    states = {comparison.labels[run.path]: progress(run) for run in comparison.unfinished}
    assert states == {
        "base/seed1": "iteration 399 of 399, not evaluated",
        "ours/seed1": "iteration 399 of 399, evaluated at iteration 199",
    }


def test_a_missing_teacher_is_unfinished_but_an_evaluation_apart_is_not(study):
    (study / "ours/seed1/inference/teacher.json").unlink()
    assert len(gather(runs_of(study)).unfinished) == 1
    change(study / "ours/seed1", iteration=-1)  # --eval-only of a checkpoint without a teacher
    assert not gather(runs_of(study)).unfinished


def test_an_unfinished_baseline_is_refused(study):
    for seed in (0, 1):
        change(study / f"base/seed{seed}", iteration=10)
    with pytest.raises(
        UserError, match=r"a finished run as the baseline, found \S+base/seed0 \(iteration 399 of 399, eval"
    ):
        gather(runs_of(study))


def test_what_may_not_be_compared(study):
    runs = runs_of(study)
    with pytest.raises(UserError, match="by protocol 19, found 16, 13 in .*choose a --protocol"):
        gather(runs, protocol="19")
    change(study / "ours/seed0", images=50)
    with pytest.raises(UserError, match="same images, found 50 of .* and 100 in the baseline"):
        gather(runs)
    change(study / "ours/seed0", images=100, dataset="foggy")
    with pytest.raises(
        UserError, match="cityscapes_uda_panoptic_val, the baseline's data set, found .*ours/seed0 on foggy"
    ):
        gather(runs)


def test_what_is_no_run(study, tmp_path):
    with pytest.raises(UserError, match="found nothing at .*absent"):
        gather([study / "base/seed0", study / "absent"])
    with pytest.raises(UserError, match="metrics.json or inference/.*found neither in .*base: pass"):
        gather([study / "base/seed0", study / "base"])
    (study / "base/seed1/config.yaml").unlink()
    with pytest.raises(UserError, match="expected config.yaml in .*base/seed1"):
        gather(runs_of(study))


def test_a_seed_twice(study):
    shutil.copytree(study / "base/seed1", study / "base/again")
    with pytest.raises(UserError, match="found seed 1 twice, .*base/again and .*base/seed1: leave one out"):
        gather([*sorted(study.glob("base/*")), *study.glob("ours/*")])
    assert len(gather([study / "base/seed1", study / "base/../base/seed1"]).groups[0].runs) == 1  # the same folder


def test_class_weights_are_averaged_over_seeds_where_a_class_occurs(study):
    def line(iteration, **weights):
        return json.dumps({"iteration": iteration, **{f"gbw/source/sem_seg/weight/{k}": v for k, v in weights.items()}})

    (study / "ours/seed0/metrics.json").write_text(line(0, road=1.0, car=2.0) + "\n" + line(20, road=3.0))
    (study / "ours/seed1/metrics.json").write_text(line(0, road=2.0, sky=4.0) + "\n" + line(20, road=5.0, sky=1.0))
    iterations, names, values = gather(runs_of(study)).groups[1].class_weights()["source/sem_seg"]
    assert iterations == [0, 20] and names == ["road", "sky", "car"]
    np.testing.assert_array_equal(values, [[1.5, 4.0, 2.0], [4.0, 1.0, np.nan]])
    (study / "ours/seed1/metrics.json").write_text(
        line(7, road=9.0)
    )  # logged at other iterations: the first seed alone
    np.testing.assert_array_equal(
        gather(runs_of(study)).groups[1].class_weights()["source/sem_seg"][2], [[1, 2], [3, np.nan]]
    )
