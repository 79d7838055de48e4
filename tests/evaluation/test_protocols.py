"""Each protocol on one row of pixels, by hand, through the evaluator."""

import numpy as np
import pytest
import torch

from gbw_panoptic import files
from gbw_panoptic.evaluation.evaluators import DomainAdaptationEvaluator
from gbw_panoptic.taxonomy import CITYSCAPES, PROTOCOLS

ROAD, WALL, CAR, TRUCK = CITYSCAPES.ids("road", "wall", "car", "truck")


def scores_of(tmp_path, truth: np.ndarray, predicted: np.ndarray) -> dict:
    """Task -> protocol -> metric for one image; maps hold contiguous id * 1000 + instance number, -1 = void."""
    files.write_panoptic(tmp_path / "truth.png", truth + 1)
    segments = [{"id": int(v) + 1, "category_id": int(v) // 1000, "iscrowd": 0} for v in np.unique(truth) if v >= 0]
    record = {"file_name": "a.png", "pan_seg_file_name": str(tmp_path / "truth.png"), "segments_info": segments}
    evaluator = DomainAdaptationEvaluator([record], CITYSCAPES, protocols=PROTOCOLS.values())
    labels = torch.from_numpy(np.where(predicted < 0, 0, predicted // 1000))
    logits = torch.nn.functional.one_hot(labels, CITYSCAPES.num_classes).permute(2, 0, 1).float()
    evaluator.process([record], [{"sem_seg": logits, "panoptic_seg": (torch.from_numpy(predicted), None)}])
    return evaluator.evaluate()


@pytest.fixture
def results(tmp_path) -> dict:
    """8 pixels of road, 2 of wall that are predicted as road, a car of 4, a truck of 6 that is predicted as a car."""
    truth = np.repeat([ROAD * 1000, WALL * 1000, CAR * 1000 + 1, TRUCK * 1000 + 1], [8, 2, 4, 6])[None]
    predicted = np.repeat([ROAD * 1000, CAR * 1000 + 1, CAR * 1000 + 2], [10, 4, 6])[None]
    return scores_of(tmp_path, truth, predicted)


# road: IoU 8 / (8 + 2), PQ 80. wall: missed. car: one of two found, PQ = 1 / (1 + 1/2). truck: missed.
# Where trucks are void, the car on the truck lies on void and is excused.
@pytest.mark.parametrize(
    "protocol, count, average, car",
    [
        ("19", 4, (80 + 0 + 200 / 3 + 0) / 4, 200 / 3),
        ("16", 3, (80 + 0 + 200 / 3) / 3, 200 / 3),
        ("16-ignore", 3, (80 + 0 + 100) / 3, 100),
    ],
)
def test_panoptic(results, protocol, count, average, car):
    found = results["panoptic"][protocol]
    assert (found["N"], found["PQ"], found["PQ/car"]) == (count, pytest.approx(average), pytest.approx(car))
    assert ("PQ/truck" in found) == (protocol == "19")


# IoU of pixels: road 8 / (8 + 2), wall 0, car 4 / (4 + 6 of the truck), truck 0. In 13 the wall's own IoU does not
# count, but its pixels remain errors of the road.
@pytest.mark.parametrize(
    "protocol, count, average",
    [
        ("19", 4, (80 + 0 + 40 + 0) / 4),
        ("16", 3, (80 + 0 + 40) / 3),
        ("16-ignore", 3, (80 + 0 + 100) / 3),
        ("13", 2, (80 + 40) / 2),
    ],
)
def test_semantic(results, protocol, count, average):
    found = results["semantic"][protocol]
    assert (found["N"], found["mIoU"]) == (count, pytest.approx(average))


def test_13_is_not_a_panoptic_protocol(results):
    assert "13" not in results["panoptic"]


def test_a_perfect_model_of_16_classes_has_84_percent_of_19(tmp_path):
    """What SYNTHIA cannot teach costs 3 of 19 classes, and nothing among the 16 when it is left unpredicted."""
    truth = np.array([[1000 * c + thing for c, thing in enumerate(CITYSCAPES.is_thing)]]).repeat(4, axis=0)
    absent = np.isin(truth // 1000, CITYSCAPES.ids("terrain", "truck", "train"))
    panoptic = scores_of(tmp_path, truth, np.where(absent, -1, truth))["panoptic"]
    assert [panoptic[name]["PQ"] for name in ("16", "16-ignore")] == pytest.approx([100, 100])
    assert panoptic["19"]["PQ"] == pytest.approx(100 * 16 / 19) and panoptic["19"]["N"] == 19


def test_class_sets():
    assert [len(PROTOCOLS[name].class_ids) for name in ("19", "16", "16-ignore", "13")] == [19, 16, 16, 13]
    assert PROTOCOLS["16"].class_ids == PROTOCOLS["16-ignore"].class_ids and not PROTOCOLS["16"].void_ids
    assert set(PROTOCOLS["16-ignore"].void_ids) == set(PROTOCOLS["19"].class_ids) - set(PROTOCOLS["16"].class_ids)
    not_in_13 = set(PROTOCOLS["16"].class_ids) - set(PROTOCOLS["13"].class_ids)
    assert not_in_13 == set(CITYSCAPES.ids("wall", "fence", "pole"))
