"""Semantic metrics against cityscapesScripts' pixel-level evaluator and by hand."""

from types import SimpleNamespace

import numpy as np
import pytest
from cityscapesscripts.evaluation import evalPixelLevelSemanticLabeling as official
from PIL import Image

from gbw_panoptic.errors import UserError
from gbw_panoptic.evaluation.semantic import SemanticConfusion, rarest_classes
from gbw_panoptic.taxonomy import CITYSCAPES, PROTOCOLS


def test_equals_cityscapesscripts(tmp_path):
    rng = np.random.default_rng(0)
    table = CITYSCAPES.contiguous_table()
    arguments = SimpleNamespace(evalInstLevelScore=False, evalPixelAccuracy=False, evalLabels=[])
    matrix = official.generateMatrix(arguments)
    confusion = SemanticConfusion(CITYSCAPES.num_classes)
    for _ in range(8):
        truth = rng.integers(0, 34, (33, 47)).astype(np.uint8)  # all Cityscapes ids, ignored ones included
        truth[truth == 31] = 26  # no train in the truth
        predicted = np.where(rng.random(truth.shape) < 0.6, truth, rng.permutation(truth.ravel()).reshape(truth.shape))
        for name, labels in (("truth", truth), ("predicted", predicted.astype(np.uint8))):
            Image.fromarray(labels).save(tmp_path / f"{name}.png")
        official.evaluatePair(str(tmp_path / "predicted.png"), str(tmp_path / "truth.png"), matrix, {}, {}, arguments)
        confusion.update(table[predicted], table[truth])
    expected = {
        i: 100 * official.getIouScoreForLabel(d, matrix, arguments) for i, d in enumerate(CITYSCAPES.dataset_ids)
    }
    scores = confusion.compute()
    for i, iou in expected.items():
        assert scores["per_class"][i]["IoU"] == pytest.approx(0 if np.isnan(iou) else iou, abs=1e-9)
    assert np.isnan(list(expected.values())).sum() == 1 and scores["n"] == 18
    assert scores["mIoU"] == pytest.approx(np.nanmean(list(expected.values())), abs=1e-9)


def test_hand_computed():
    truth = np.array([[0, 0, 0, 0, 1, 1, 2, 255]])
    predicted = np.array([[0, 0, 1, 255, 1, 1, 0, 1]])
    # class 0: TP 2, FP 1 (true 2), FN 2: IoU 2/5, recall 2/4, precision 2/3
    # class 1: TP 2, FP 1 (true 0; the ignored pixel does not count), FN 0: IoU 2/3, recall 1, precision 2/3
    # class 2: FN 1, never predicted: all 0. Class 3 does not occur.
    confusion = SemanticConfusion(4)
    confusion.update(predicted, truth)
    scores = confusion.compute(rare_ids=(2, 0))
    expected = {
        "mIoU": (2 / 5 + 2 / 3 + 0) / 3, "mean_recall": (1 / 2 + 1 + 0) / 3, "mean_precision": (2 / 3 + 2 / 3 + 0) / 3,
        "fwIoU": (4 * 2 / 5 + 2 * 2 / 3) / 7, "rare_recall": 1 / 4, "rare_precision": 1 / 3, "rare_IoU": 1 / 5,
    }  # fmt: skip
    assert {key: scores[key] for key in expected} == pytest.approx(
        {key: 100 * value for key, value in expected.items()}
    )
    assert scores["n"] == 3
    assert scores["per_class"][0] == pytest.approx(
        {"IoU": 40, "precision": 200 / 3, "recall": 50, "tp": 2, "fp": 1, "fn": 2}
    )
    assert confusion.matrix.tolist() == [[2, 1, 0, 0, 1], [0, 2, 0, 0, 0], [1, 0, 0, 0, 0], [0] * 5]


def test_protocols_differ_on_classes_the_source_lacks():
    terrain, truck, car, road, pole = CITYSCAPES.ids("terrain", "truck", "car", "road", "pole")
    truth = np.array([[truck, truck, car, car, road, road, pole, pole]])
    predicted = np.array([[car, car, car, car, road, road, pole, road]])
    confusion = SemanticConfusion(CITYSCAPES.num_classes)
    confusion.update(predicted, truth)

    def score(name: str) -> tuple[float, int]:
        protocol = PROTOCOLS[name]
        scores = confusion.compute(protocol.class_ids, void_ids=protocol.void_ids)
        return pytest.approx(scores["mIoU"]), scores["n"]

    # car 2/4, or 2/2 where truck is void; road 2/3; pole 1/2; truck 0
    assert score("19") == (100 * (1 / 2 + 2 / 3 + 1 / 2 + 0) / 4, 4)
    assert score("16") == (100 * (1 / 2 + 2 / 3 + 1 / 2) / 3, 3)
    assert score("16-ignore") == (100 * (1 + 2 / 3 + 1 / 2) / 3, 3)
    assert score("13") == (100 * (1 / 2 + 2 / 3) / 2, 2)
    assert confusion.matrix[terrain].sum() == 0


def test_merge_equals_joint_and_nothing_scores_zero():
    rng = np.random.default_rng(1)
    maps = rng.integers(0, 6, (4, 2, 9, 7))
    joint, left, right = (SemanticConfusion(5) for _ in range(3))
    assert joint.compute(rare_ids=(1,))["rare_recall"] == joint.compute()["mIoU"] == joint.compute()["n"] == 0
    for i, (predicted, truth) in enumerate(maps):
        joint.update(predicted, truth)
        (left if i % 2 else right).update(predicted, truth)
    left.merge(right)
    np.testing.assert_array_equal(joint.matrix, left.matrix)
    assert joint.matrix.sum() == (maps[:, 1] < 5).sum()


def test_truth_as_prediction_scores_100():
    truth = np.random.default_rng(2).integers(0, 19, (31, 17)).astype(np.uint8)
    confusion = SemanticConfusion(19)
    confusion.update(truth, truth)
    scores = confusion.compute()
    assert [scores[key] for key in ("mIoU", "mean_recall", "mean_precision")] == [100, 100, 100]
    assert scores["fwIoU"] == pytest.approx(100)


def test_all_ignored_and_wrong_size():
    confusion = SemanticConfusion(3)
    confusion.update(np.zeros((2, 2), int), np.full((2, 2), 255))
    assert confusion.matrix.sum() == 0
    with pytest.raises(UserError, match=r"size \(2, 2\), found \(2, 3\)"):
        confusion.update(np.zeros((2, 3), int), np.zeros((2, 2), int))


def test_rarest_classes():
    assert rarest_classes([5, 0, 3, 9, 1], range(5), 2) == (4, 2)  # class 1 is not labelled by the source
    assert rarest_classes([5, 0, 3, 9, 1], (0, 3), 5) == (0, 3)
