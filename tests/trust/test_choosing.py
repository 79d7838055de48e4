"""The choice among candidates, and signs of collapse, on numbers whose answers are known."""

import json
import logging
import re
from types import SimpleNamespace

import numpy as np
import pytest
from detectron2.utils.events import EventStorage

from gbw_panoptic.engine.hooks import CollapseWatch
from gbw_panoptic.errors import UserError
from gbw_panoptic.structures import metric_names
from gbw_panoptic.trust.choosing import rank
from gbw_panoptic.trust.collapse import Snapshot, signs
from gbw_panoptic.trust.estimation import Estimation
from gbw_panoptic.trust.seen import Reference

REFERENCE = Reference(("road", "car"), 1000, np.array([0.7, 0.3]))
SOURCE = {"road": 0.3, "building": 0.3, "sky": 0.25, "car": 0.1, "person": 0.05}


def candidate(accuracies, iteration: int = 0, images=None, model: str = "student") -> Estimation:
    """Whose views agree on a share of each image's 100 road pixels; the rest is car in one, road in the other."""
    right = np.array(accuracies, float)
    rows = np.stack(
        [np.stack([right, np.full_like(right, 100), right], 1), np.stack([0 * right, 0 * right, 100 - right], 1)], 1
    )
    confidence = np.stack([np.stack([right, np.full_like(right, 100)], 1), np.zeros((len(right), 2))], 1)
    names = images or [str(i) for i in range(len(right))]
    return Estimation(
        model, iteration, names, REFERENCE, {"view_mIoU": rows, "confidence": confidence, "entropy": confidence}
    )


def test_clear_choices_are_sure_and_close_ones_are_not():
    rng = np.random.default_rng(0)
    hard = rng.uniform(20, 90, 40)
    best, near, bad = candidate(hard + 5), candidate(hard + 4.9 + rng.normal(0, 3, 40)), candidate(hard - 20)
    choices = rank([bad, near, best], "confidence")
    assert choices[-1].index == 0 and choices[-1].first == 0 and choices[-1].behind[0] > 15
    assert choices[0].behind == (0, 0) and 0.3 < max(c.first for c in choices) < 0.95
    mean, error = (hard - 20).mean(), hard.std() / np.sqrt(40)
    assert choices[-1].value == pytest.approx(mean)
    assert choices[-1].high - choices[-1].low == pytest.approx(2 * 1.645 * error, rel=0.15)
    apart = rank([best, bad], "confidence")[1].behind  # images are drawn alike: their difference does not vary
    assert apart == pytest.approx((25, 25))
    assert rank([best, bad], "entropy")[0].index == 1  # less is better


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(UserError, match="found none; train or evaluate with TEST.UNSUPERVISED"):
        rank([], "view_mIoU")
    with pytest.raises(
        UserError,
        match="--by: expected an estimator that every candidate has, view_mIoU, confidence, entropy, found 'PQ'",
    ):
        rank([candidate([1, 2])], "PQ")
    with pytest.raises(UserError, match="same images"):
        rank([candidate([1, 2]), candidate([1, 2], images=["a", "b"])], "view_mIoU")


def test_the_tool_ranks_checkpoints_and_runs(tmp_path, run_tool):
    for run, offset in (("one", 0), ("two", 20)):
        for iteration, accuracy in ((99, 50), (199, 60), (200, 30)):
            candidate(np.full(6, accuracy + offset), iteration).save(tmp_path / run)
        (tmp_path / run / "config.yaml").write_text("SOLVER: {MAX_ITER: 200}\n")
        (tmp_path / run / "model_0000199.pth").touch(), (tmp_path / run / "model_final.pth").touch()
    done = run_tool("tools/choose.py", tmp_path / "one", tmp_path / "two")
    rows = [line for line in done.stdout.splitlines() if line.startswith("|")][2:]
    assert done.returncode == 0 and len(rows) == 6 and "two/model_0000199.pth" in rows[0] and "100 %" in rows[0]
    assert " - " in rows[1]  # iteration 99 of "two", whose checkpoint is gone
    last = run_tool("tools/choose.py", tmp_path / "one", tmp_path / "two", "--last", "--by", "confidence").stdout
    assert (
        re.search(r"\| 199 .*two/model_final.pth", last.splitlines()[2])  # as log.txt counts, not as metrics.json
        and len([line for line in last.splitlines() if line.startswith("|")]) == 4
    )
    assert (
        "expected estimates of the teacher"
        in run_tool("tools/choose.py", tmp_path / "one", "--model", "teacher").stderr
    )
    assert "found nothing at" in run_tool("tools/choose.py", tmp_path / "three").stderr


def snapshot(iteration: int, confidence=70.0, views=50.0, teacher=80.0, information=None, **shares) -> Snapshot:
    return Snapshot(iteration, {**SOURCE, **shares}, confidence, views, teacher, information)


@pytest.mark.parametrize(
    "before, now, words",
    [
        ([], snapshot(1, road=0.95, building=0.02, sky=0.02, car=0.01, person=0.0), "predicts road for 95 %"),
        ([], snapshot(1, confidence=None), "not finite"),
        ([snapshot(1)], snapshot(2, person=0.0001, road=0.35), "person dies .5.0 % of the pixels before, 0.01 % now"),
        ([snapshot(1)], snapshot(2, road=0.75, building=0.2, sky=0.02, car=0.02, person=0.01), "class shares drift"),
        (
            [snapshot(1), snapshot(2, teacher=60.0)],
            snapshot(3, teacher=58.0),
            "student and teacher part .mIoU 80 before, 58 now",
        ),
        (
            [snapshot(1)],
            snapshot(2, confidence=75.0, views=35.0),
            "confidence rises .70 to 75 %. while two views agree less",
        ),
        (
            [snapshot(1, information=40.0), snapshot(2, information=44.0)],
            snapshot(3, information=39.9),
            "predictions differ less over the image .information 44 % before, 40 % now",
        ),
    ],
)
def test_signs_of_collapse(before, now, words):
    (sign,) = [s for s in signs([*before, now], SOURCE) if words.split(" ")[0] in s]
    assert re.search(words, sign)


def test_sound_histories_have_none():
    rng = np.random.default_rng(0)
    for _ in range(50):
        views = 30 + 25 * (1 - np.exp(-np.arange(12) / 4)) + rng.normal(0, 1.5, 12)
        history = []
        for i in range(12):
            jitter = {name: share * np.exp(rng.normal(0, 0.3)) for name, share in SOURCE.items()}
            total = sum(jitter.values())
            history.append(
                Snapshot(
                    i,
                    {n: s / total for n, s in jitter.items()},
                    60 + 2 * i + rng.normal(),
                    views[i],
                    70 + rng.normal(0, 4),
                    40 + i + rng.normal(0, 0.5),
                )
            )
            assert signs(history, SOURCE) == []


def test_the_hook_speaks_once_and_a_resumed_run_remembers(tmp_path, caplog):
    metrics = tmp_path / "metrics.json"
    watch = CollapseWatch(SOURCE, str(metrics))

    def log(storage, iteration, shares, **values):
        storage.iter = iteration
        named = {
            **{f"shares/{name}": 100 * share for name, share in shares.items()},
            "view_mIoU": 50.0,
            "confidence": 70.0,
            **values,
        }
        storage.put_scalars(
            **{metric_names.estimate("teacher", name): value for name, value in named.items()}, smoothing_hint=False
        )

    with EventStorage(0) as storage, caplog.at_level(logging.WARNING, "gbw_panoptic"):
        watch.trainer = SimpleNamespace(storage=storage, start_iter=0)
        watch.before_train()
        log(storage, 9, SOURCE)
        watch.after_step(), watch.after_step()
        assert not caplog.records
        log(storage, 19, {**SOURCE, "person": 0.0})
        watch.after_step(), watch.after_step()
        log(storage, 29, {**SOURCE, "person": 0.0})
        watch.after_step(), watch.after_train()
        (line,) = [record.getMessage() for record in caplog.records]
        assert line.startswith("The teacher may be collapsing at iteration 19: person dies") and "\n" not in line
    sound = {
        metric_names.estimate("student", name): v
        for name, v in {"shares/person": 5.0, "view_mIoU": 50.0, "confidence": 70.0}.items()
    }
    metrics.write_text(json.dumps({"iteration": 9, **sound}) + "\n")
    caplog.clear()
    with EventStorage(10) as storage, caplog.at_level(logging.WARNING, "gbw_panoptic"):
        resumed = CollapseWatch({"person": 0.05}, str(metrics))
        resumed.trainer = SimpleNamespace(storage=storage, start_iter=10)
        resumed.before_train()
        storage.put_scalars(**{**sound, "unsupervised/student/shares/person": 0.0}, smoothing_hint=False)
        resumed.after_step()
    assert "person dies" in caplog.text
