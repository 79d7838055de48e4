"""Which pseudo labels are learnt from, against NumPy and by hand."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from gbw_panoptic.adaptation.mean_teacher.pseudo_labels import (
    PseudoLabeller,
    Selection,
    class_thresholds,
    image_quality,
)
from gbw_panoptic.structures.predictions import DensePrediction

IGNORE = 255


def logits_of(probability):
    """[B, 2, H, W] logits whose first class has the given probabilities [B, H, W]."""
    p = torch.as_tensor(probability)
    return torch.stack((p, 1 - p), dim=1).log()


def select(logits, rule="quality", threshold=0.9, quality="image", percentile=66.0, maximum=0.9, valid=None):
    valid = torch.ones(logits[:, 0].shape, dtype=torch.bool) if valid is None else valid
    return Selection(rule, threshold, quality, percentile, maximum)(logits, valid)


# image 0: 3 of 4 pixels reach 0.9; image 1: none (0.8 is class 1's 0.2)
TWO = logits_of([[[0.95, 0.9, 0.05, 0.6]], [[0.8, 0.7, 0.5, 0.6]]])


def test_quality_by_hand():
    pseudo = select(TWO)
    assert pseudo.labels[0, 0].tolist() == [0, 0, 1, 0] and pseudo.kept.all()
    assert pseudo.quality.tolist() == pseudo.weights.flatten().tolist() == [0.75, 0.0]
    assert select(TWO, quality="batch").weights.flatten().tolist() == [0.375, 0.375]


def test_quality_counts_ignored_borders_and_keeps_none_of_them():
    valid = torch.ones(2, 1, 4, dtype=torch.bool)
    valid[0, 0, :2] = False
    pseudo = select(TWO, valid=valid)
    assert pseudo.quality.tolist() == [0.75, 0.0] and torch.equal(pseudo.kept, valid)


def test_threshold_keeps_confident_pixels_at_full_weight():
    pseudo = select(TWO, "threshold")
    assert pseudo.kept[:, 0].tolist() == [[True, True, True, False], [False] * 4]
    assert pseudo.weights.flatten().tolist() == [1.0, 1.0]
    assert not select(TWO, "threshold", threshold=1.0).kept.any()


@pytest.mark.parametrize("percentile", [0.0, 33.0, 66.0, 99.9, 100.0])
@pytest.mark.parametrize("maximum", [1.0, 0.6])
def test_class_thresholds_equal_numpy(percentile, maximum):
    rng = np.random.default_rng(0)
    confidence = np.round(rng.random((2, 30, 40)), 2).astype(np.float32)  # with many ties
    labels = rng.choice([0, 1, 1, 1, 3, 5, 7, 255, -1], (2, 30, 40))
    labels[0, 0, 0], labels[labels == 5] = 5, 3  # one pixel of class 5
    labels[0, 0, 0] = 5
    found = class_thresholds(
        torch.from_numpy(confidence), torch.from_numpy(labels), num_classes=6, percentile=percentile, maximum=maximum
    )
    for c in range(6):
        values = confidence[labels == c]
        expected = min(np.quantile(values, percentile / 100, method="lower"), maximum) if len(values) else maximum
        assert found[c] == np.float32(expected), c


def test_class_percentile_keeps_rare_classes_that_a_common_threshold_drops():
    probability = torch.full((1, 10, 10), 0.95)
    probability[0, 0, :3] = torch.tensor([0.45, 0.4, 0.35])  # class 1 with 0.55, 0.6, 0.65
    pseudo = select(logits_of(probability), "class_percentile")
    assert pseudo.kept[0, 0, :3].tolist() == [False, True, True]  # rank floor(0.66 * 2) = 1
    assert pseudo.kept.sum() == 97 + 2 and pseudo.weights.flatten().tolist() == [1.0]  # 0.95 is above the cap
    assert not select(logits_of(probability), "threshold").kept[0, 0, :3].any()


def test_percentiles_are_of_valid_pixels():
    valid = torch.ones(1, 1, 4, dtype=torch.bool)
    logits = logits_of([[[0.8, 0.7, 0.6, 0.55]]])
    assert select(logits, "class_percentile").kept[0, 0].tolist() == [True, True, True, False]
    valid[..., 0] = False
    assert select(logits, "class_percentile", valid=valid).kept[0, 0].tolist() == [False, True, True, False]
    assert not select(logits, "class_percentile", valid=torch.zeros_like(valid)).kept.any()


@pytest.mark.parametrize("rule", ["quality", "threshold", "class_percentile"])
def test_a_single_class_and_certainty(rule):
    logits = torch.zeros(1, 3, 4, 5)
    logits[:, 1] = 100.0  # probability 1 exactly
    pseudo = select(logits, rule)
    assert (pseudo.labels == 1).all() and pseudo.kept.all() and pseudo.weights.flatten().tolist() == [1.0]


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match="Expected quality"):
        image_quality(torch.zeros(1, 1, 1), threshold=0.5, scope="class")
    with pytest.raises(ValueError, match="Expected the rule"):
        select(TWO, "hard")


class Teacher:
    """Predicts what it is told."""

    def __init__(self, logits):
        self.dense = SimpleNamespace(sem_seg=logits, center=None, offset=None)

    def predict(self, samples, *, instances):
        self.asked_for_instances = instances
        return self.dense


def samples(count, valid=True):
    shape = (1, 4)
    return [{"image": torch.full((3, *shape), i), "valid_mask": torch.full(shape, valid)} for i in range(count)]


def test_labelled_samples_and_their_log():
    labeller = PseudoLabeller(Selection("threshold", 0.9, "image", 66.0, 0.9), False, "pixel", IGNORE)
    labelled, health = labeller(Teacher(TWO), samples(2), with_instances=False)
    assert labelled[0]["sem_seg"].tolist() == [[0, 0, 1, IGNORE]] and (labelled[1]["sem_seg"] == IGNORE).all()
    assert labelled[0]["sem_seg_weights"].tolist() == [[1, 1, 1, 0]] and labelled[1]["image"].unique() == 1
    assert set(labelled[0]) == {"image", "sem_seg", "sem_seg_weights"}
    values = {name.split("/")[1]: round(float(value), 4) for name, value in health.items()}
    assert values == {"quality": 0.375, "confidence": round((0.95 + 0.9 + 0.95 + 0.6 + 0.8 + 0.7 + 0.5 + 0.6) / 8, 4),
                      "kept_pixels": 0.375}  # fmt: skip


def test_a_teachers_decision_is_corrected_before_it_labels():
    class Corrected(Teacher):
        def decision_bias(self, tau):
            return tau * torch.tensor([0.0, 3.0]).view(-1, 1, 1)

    rule = Selection("threshold", 0.5, "image", 66.0, 0.9)
    found = {}
    for tau in (0.0, 1.0):
        teacher = Corrected(TWO)
        teacher.dense = DensePrediction(sem_seg=TWO)
        labelled, _ = PseudoLabeller(rule, False, "pixel", IGNORE, tau)(teacher, samples(2), with_instances=False)
        found[tau] = torch.stack([sample["sem_seg"] for sample in labelled])
    assert torch.equal(found[0.0], TWO.argmax(1)) and torch.equal(
        found[1.0], (TWO + torch.tensor([0.0, 3.0]).view(-1, 1, 1)).argmax(1)
    )
    assert not torch.equal(found[0.0], found[1.0])


def test_ignored_borders_have_no_label_and_no_weight():
    labeller = PseudoLabeller(Selection("quality", 0.5, "image", 66.0, 0.9), False, "pixel", IGNORE)
    teacher = Teacher(TWO)
    labelled, health = labeller(teacher, samples(2, valid=False), with_instances=True)
    assert not teacher.asked_for_instances  # nothing is learnt from them: the teacher need not find any
    assert all((s["sem_seg"] == IGNORE).all() and s["sem_seg_weights"].sum() == 0 for s in labelled)
    assert health["pseudo_labels/kept_pixels"] == 0 and "pseudo_labels/kept_instances" not in health
    assert labelled[0]["instances"].ids.sum() == 0 and labelled[0]["instances"].pixel_weights.sum() == 0


def test_bought_labels_stand_in_place_of_the_teachers_and_count_fully(monkeypatch):
    labeller = PseudoLabeller(Selection("quality", 0.9, "image", 66.0, 0.9), False, "pixel", IGNORE)
    bought = [torch.tensor([[IGNORE, 1, 1, 0]]), torch.tensor([[0, 1, IGNORE, IGNORE]])]
    given = [{**sample, "sem_seg": labels} for sample, labels in zip(samples(2), bought)]
    kept = []
    monkeypatch.setattr(PseudoLabeller, "_instances", lambda *arguments: kept.append(arguments[-1]) or {})
    labelled, _ = labeller(Teacher(TWO), given, with_instances=True)
    assert [sample["sem_seg"].tolist() for sample in labelled] == [[[0, 1, 1, 0]], [[0, 1, 0, 0]]]
    assert [sample["sem_seg_weights"].tolist() for sample in labelled] == [[[0.75, 1, 1, 1]], [[1, 1, 0, 0]]]
    assert kept[0].tolist() == [[0.75, 0, 0.75, 0.75]]  # contradicted: the teacher's instance there is wrong
