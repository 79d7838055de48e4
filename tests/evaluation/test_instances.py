"""Average precision of instances against cityscapesScripts' own route over files, and by hand."""

from copy import copy
from pathlib import Path

import numpy as np
import pytest
from cityscapesscripts.evaluation import evalInstanceLevelSemanticLabeling as official
from PIL import Image

from gbw_panoptic.errors import UserError
from gbw_panoptic.evaluation.instances import InstanceAveragePrecision
from gbw_panoptic.evaluation.matching import count_overlaps
from gbw_panoptic.taxonomy import CITYSCAPES, PROTOCOLS

THINGS = CITYSCAPES.thing_ids
(CAR,) = CITYSCAPES.ids("car")


def random_image(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, dict[int, float]]:
    """(truth, prediction, scores by value) in Cityscapes' ids: of stuff, a group or void, or id * 1000 + number."""

    def rectangles(ids: np.ndarray, count: int, first_number: int) -> None:
        for number in range(first_number, first_number + count):
            top, left = rng.integers(0, 50), rng.integers(0, 90)
            category = CITYSCAPES.dataset_ids[rng.choice(THINGS[:5])]
            ids[top : top + rng.integers(4, 30), left : left + rng.integers(4, 40)] = category * 1000 + number

    truth = np.full((64, 128), 7)
    truth[:20, 60:] = 4  # void
    rectangles(truth, 9, 0)
    truth[40:, 100:] = 26  # a group of cars
    predicted = np.roll(truth, rng.integers(-3, 4, 2), (0, 1))
    predicted[predicted < 1000] = 7
    rectangles(predicted, 5, 50)
    for value in np.unique(predicted[predicted >= 1000]):
        if rng.random() < 0.15:
            predicted[predicted == value] = 7 if rng.random() < 0.5 else 24 * 1000 + 100 + value % 100
    scores = {int(v): float(rng.choice([0.25, 0.5, rng.random()])) for v in np.unique(predicted) if v >= 1000}
    return truth, predicted, scores


def add(
    precision: InstanceAveragePrecision, truth: np.ndarray, predicted: np.ndarray, scores: dict[int, float]
) -> None:
    truth = np.where(truth == 4, 0, truth)

    def segments(ids: np.ndarray) -> list[dict]:
        values = [v for v in np.unique(ids).tolist() if v]
        classes = {v: CITYSCAPES.contiguous_id[v if v < 1000 else v // 1000] for v in values}
        return [
            {"id": v, "category_id": c, "iscrowd": int(CITYSCAPES.is_thing[c] and v < 1000)} for v, c in classes.items()
        ]

    precision.add(count_overlaps(predicted, segments(predicted), truth, segments(truth)), scores)


def official_scores(folder: Path, images, monkeypatch) -> dict:
    """The scores of cityscapesScripts, from files."""
    monkeypatch.setattr(np, "in1d", np.isin, raising=False)  # NumPy 2.4 has it no more
    monkeypatch.setattr(official, "writeDict2JSON", lambda *arguments: None)  # nor can JSON hold its counts
    lists = [], []
    for i, (truth, predicted, scores) in enumerate(images):
        lists[1].append(str(folder / f"a_{i:06d}_000019_gtFine_instanceIds.png"))
        Image.fromarray(truth.astype(np.uint16)).save(lists[1][-1])
        lines = []
        for value, score in scores.items():
            Image.fromarray(((predicted == value) * 255).astype(np.uint8)).save(folder / f"{i}_{value}.png")
            lines.append(f"{i}_{value}.png {value // 1000} {score!r}")
        lists[0].append(str(folder / f"{i}.txt"))
        Path(lists[0][-1]).write_text("\n".join(lines))
    arguments = copy(official.args)
    arguments.quiet, arguments.JSONOutput = True, False
    arguments.predictionPath, arguments.gtInstancesFile = str(folder), str(folder / "gtInstances.json")
    return official.evaluateImgLists(*lists, arguments)["averages"]


@pytest.mark.parametrize("seed", range(4))
def test_equals_cityscapesscripts(tmp_path, monkeypatch, seed):
    rng = np.random.default_rng(seed)
    images = [random_image(rng) for _ in range(5)]
    expected = official_scores(tmp_path, images, monkeypatch)
    precision = InstanceAveragePrecision(CITYSCAPES)
    for image in images:
        add(precision, *image)
    found = precision.compute()
    assert 1 < 100 * expected["allAp"] < 99
    assert found["AP"] == pytest.approx(100 * expected["allAp"], abs=1e-9)
    assert found["AP50"] == pytest.approx(100 * expected["allAp50%"], abs=1e-9)
    for c in THINGS:
        theirs = expected["classes"][CITYSCAPES.names[c]]
        if c in found["per_class"]:
            assert found["per_class"][c]["AP"] == pytest.approx(100 * theirs["ap"], abs=1e-9)
            assert found["per_class"][c]["AP50"] == pytest.approx(100 * theirs["ap50%"], abs=1e-9)
        else:
            assert np.isnan(theirs["ap"])
    assert found["n"] == len(found["per_class"]) >= 4


def row(*parts: tuple[int, int]) -> np.ndarray:
    """Values by columns of 10 pixels each: (value, columns) pairs."""
    return np.concatenate([np.full((10, columns), value) for value, columns in parts], axis=1)


def test_by_hand():
    """Two cars of 200 pixels. The surest prediction is no car (precision 0 at recall 0), then one car is found (1/2 at
    1/2), the other never. cityscapesScripts takes the mean of the ends of a step: AP = 1/2 * (0 + 1/2) / 2 at every
    threshold."""
    truth = row((26000, 20), (26001, 20), (7, 20))
    predicted = row((26005, 20), (7, 20), (26006, 20))
    precision = InstanceAveragePrecision(CITYSCAPES)
    add(precision, truth, predicted, {26005: 0.5, 26006: 0.9})
    found = precision.compute()
    assert (found["AP"], found["AP50"], found["n"]) == (pytest.approx(12.5), pytest.approx(12.5), 1)
    assert found["per_class"] == {CAR: {"AP": pytest.approx(12.5), "AP50": pytest.approx(12.5)}}


def test_thresholds_by_hand():
    """IoU 14 / 20 = 0.7: a hit at 0.5, 0.55, 0.6 and 0.65 of ten thresholds."""
    precision = InstanceAveragePrecision(CITYSCAPES)
    add(precision, row((26000, 20)), row((26000, 14), (7, 6)), {26000: 0.9})
    assert (precision.compute()["AP"], precision.compute()["AP50"]) == (pytest.approx(40), pytest.approx(100))


def test_protocols():
    """A truck predicted as a car: an error of cars, AP (0 + 1/2) / 2, unless the ground truth of trucks is void."""
    truth, predicted = row((26000, 20), (27000, 20)), row((26000, 20), (26001, 20))
    precision = InstanceAveragePrecision(CITYSCAPES)
    add(precision, truth, predicted, {26000: 0.5, 26001: 0.9})
    scores = {
        name: precision.compute(PROTOCOLS[name].class_ids, void_ids=PROTOCOLS[name].void_ids)
        for name in ("19", "16", "16-ignore")
    }
    assert {name: (s["AP"], s["n"]) for name, s in scores.items()} == {
        "19": (pytest.approx(25 / 2), 2), "16": (pytest.approx(25), 1), "16-ignore": (pytest.approx(100), 1),
    }  # fmt: skip


def test_ground_truth_as_prediction_scores_100():
    rng = np.random.default_rng(1)
    precision = InstanceAveragePrecision(CITYSCAPES)
    for _ in range(3):
        truth, _, _ = random_image(rng)
        add(precision, truth, np.where(truth < 1000, 7, truth), {int(v): 1.0 for v in np.unique(truth) if v >= 1000})
    found = precision.compute()
    assert found["AP"] == found["AP50"] == 100 and found["n"] >= 4


def test_shards_merge():
    rng = np.random.default_rng(2)
    joint, first, second = (InstanceAveragePrecision(CITYSCAPES) for _ in range(3))
    for i in range(4):
        image = random_image(rng)
        add(joint, *image)
        add((first, second)[i % 2], *image)
    first.add_state(second.state())
    assert first.compute()["AP"] == pytest.approx(joint.compute()["AP"]) and 0 < joint.compute()["AP"] < 100


def test_nothing_to_average():
    assert InstanceAveragePrecision(CITYSCAPES).compute() == {"AP": 0, "AP50": 0, "n": 0, "per_class": {}}


def test_an_instance_without_score():
    with pytest.raises(UserError, match=r"\[26001\].*TEST.INSTANCE_AP"):
        add(InstanceAveragePrecision(CITYSCAPES), row((7, 20)), row((26001, 20)), {26000: 1.0})
