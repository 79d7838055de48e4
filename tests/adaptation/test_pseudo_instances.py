"""A teacher's instances: numbering, scores, targets, weights."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch._subclasses import FakeTensorMode

from gbw_panoptic.adaptation.mean_teacher.feature_distance import dominated_cells, mean_distance
from gbw_panoptic.adaptation.mean_teacher.pseudo_instances import (
    PseudoInstances,
    instance_scores,
    instances_from_panoptic,
    target_instances,
)
from gbw_panoptic.adaptation.mean_teacher.pseudo_labels import SELECTIONS, PseudoLabeller, Selection
from gbw_panoptic.data.targets import panoptic_deeplab_targets
from gbw_panoptic.modeling import PostProcessing
from gbw_panoptic.structures.instances import scores_of_map as ranked_scores

H, W = 24, 32
IGNORE = 255


def test_instances_equal_a_loop():
    rng = np.random.default_rng(0)
    values = np.array([-1, 0, 3000, 11001, 11002, 13001, 18007, 13000, 11999])
    panoptic = torch.from_numpy(rng.choice(values, (20, 30)))
    ids, classes = instances_from_panoptic(panoptic, label_divisor=1000, thing_ids=(11, 13, 18), max_instances=10)
    assert (ids[(panoptic < 11000) | (panoptic % 1000 == 0)] == 0).all()
    things = sorted(v for v in values.tolist() if v >= 11000 and v % 1000)
    for number, value in enumerate(things, start=1):
        assert torch.equal(ids == number, panoptic == value)
        assert classes[number - 1] == value // 1000
    assert ids.max() == len(things) and (classes[len(things) :] == 0).all()


def test_a_data_set_of_stuff_alone_has_no_instance():
    panoptic = torch.tensor([[-1, 0], [1000, 3000]])
    ids, classes = instances_from_panoptic(panoptic, label_divisor=1000, thing_ids=(), max_instances=0)
    assert ids.tolist() == [[0, 0], [0, 0]] and ids.dtype == classes.dtype == torch.int64 and len(classes) == 0


def test_no_instance():
    panoptic = torch.full((3, 3), -1)
    ids, classes = instances_from_panoptic(panoptic, label_divisor=1000, thing_ids=(11,), max_instances=4)
    assert ids.sum() == 0 and classes.shape == (4,)


def scene():
    """Two instances of class 2 (a thing) on class 0, as a teacher of 3 classes would predict them."""
    ids = torch.zeros(H, W, dtype=torch.int64)
    ids[3:9, 4:11], ids[12:22, 15:30] = 1, 2
    target = panoptic_deeplab_targets(
        ids.numpy() + 1,
        [dict(id=1, category_id=0, iscrowd=0), *(dict(id=k, category_id=2, iscrowd=0) for k in (2, 3))],
        thing_ids=(2,), ignore_label=IGNORE, sigma=2,
    )  # fmt: skip
    logits = torch.zeros(3, H, W)
    logits.scatter_(0, torch.where(ids > 0, 2, 0)[None], 4.0)
    return ids, target, logits


def test_scores_are_class_probability_times_heat_at_the_centre():
    ids, target, logits = scene()
    logits[2, 12:22, 15:30] = torch.linspace(-1, 5, 150).view(10, 15)
    heat = torch.zeros(1, H, W)
    centers = {1: ((3 + 8) // 2, 7), 2: ((12 + 21) // 2, 22)}  # rounded down, as Detectron2 does
    heat[0, centers[1][0], centers[1][1]], heat[0, centers[2][0], centers[2][1]] = 0.6, 1.7  # a heatmap may exceed 1
    scores = instance_scores(ids, torch.tensor([2, 2, 0]), logits, heat)
    probability = logits.softmax(0)[2]
    expected = [probability[ids == 1].mean() * 0.6, probability[ids == 2].mean(), 0.0]
    torch.testing.assert_close(scores, torch.tensor(expected))


def test_scores_are_those_that_average_precision_ranks():
    """One number for one instance, wherever its centroid lies between pixels."""
    rng = np.random.default_rng(3)
    ids = torch.from_numpy(rng.integers(0, 4, (H, W)))
    classes = torch.tensor([1, 2, 2])
    logits, heat = torch.from_numpy(rng.normal(size=(3, H, W))).float(), torch.from_numpy(rng.random((1, H, W))).float()
    panoptic = torch.where(ids > 0, torch.tensor([0, 1, 2, 2])[ids] * 1000 + ids, -1)
    values, expected = ranked_scores(panoptic, logits, heat, thing_ids=(1, 2), label_divisor=1000)
    assert values.tolist() == [1001, 2002, 2003]
    assert torch.equal(instance_scores(ids, classes, logits, heat), expected)


def test_targets_of_the_teachers_instances_are_those_of_the_same_labels():
    ids, expected, _ = scene()
    instances = PseudoInstances(ids, torch.tensor([2, 2, 0]), torch.tensor([1.0, 0.5, 1.0]), torch.full((H, W), 0.8))
    found = target_instances(instances, sigma=2, ignore_label=IGNORE)
    for key in ("center", "center_classes", "offset", "instance_ids"):
        assert torch.equal(found[key], expected[key]), key
    assert found["center_weights"].shape == found["offset_weights"].shape == (1, H, W)
    assert found["offset_weights"][0].unique().tolist() == pytest.approx([0, 0.4, 0.8])
    assert torch.equal(found["offset_weights"][0] > 0, ids > 0)
    assert found["center_weights"][0][3 + 3, 4 + 3] == pytest.approx(0.8)
    assert found["center_weights"][0][17, 22] == pytest.approx(0.4)
    assert found["center_weights"][0][0, 31] == pytest.approx(0.8)  # no centre there, says the teacher


def test_kept_instances_have_a_pixel_that_counts():
    ids, _, _ = scene()
    weights = torch.ones(H, W)
    make = lambda: PseudoInstances(ids, torch.tensor([2, 2, 0]), torch.ones(3), weights).num_kept()  # noqa: E731
    assert make() == 2
    weights[ids == 1] = 0
    assert make() == 1
    weights[:] = 0
    assert make() == 0 and PseudoInstances.none(weights).num_kept() == 0


def labelled(logits, center, offset, quality="pixel", valid=True):
    dense = SimpleNamespace(sem_seg=logits[None], center=center[None], offset=offset[None])
    post_processing = PostProcessing((2,), 1000, stuff_area=1, threshold=0.1, nms_kernel=3, top_k=7)
    teacher = SimpleNamespace(predict=lambda samples, instances: dense, post_processing=post_processing)
    labeller = PseudoLabeller(Selection("quality", 0.9, "image", 66.0, 0.9), True, quality, IGNORE)
    sample = {"image": torch.zeros(3, H, W), "valid_mask": torch.full((H, W), valid)}
    (result,), health = labeller(teacher, [sample], with_instances=True)
    return result["instances"], health


@pytest.mark.parametrize("quality", ["pixel", "score"])
def test_perfect_predictions_give_back_their_instances(quality):
    ids, target, logits = scene()
    instances, health = labelled(logits, target["center"][None], target["offset"], quality)
    assert torch.equal(instances.ids, ids) and instances.classes[:2].tolist() == [2, 2] and len(instances.classes) == 7
    assert health["pseudo_labels/kept_instances"] == 2
    probability = float(logits.softmax(0)[2].max())
    heat = [float(target["center"][row, column]) for row, column in ((5, 7), (16, 22))]  # centroids, rounded down
    expected = [1.0, 1.0] if quality == "pixel" else [probability * h for h in heat]
    assert instances.weights[:2].tolist() == pytest.approx(expected)
    assert (instances.pixel_weights == 1).all()


def test_no_centre_and_nothing_valid_are_no_instances():
    _, target, logits = scene()
    instances, health = labelled(logits, torch.zeros(1, H, W), target["offset"], "score")
    assert instances.ids.sum() == 0 and health["pseudo_labels/kept_instances"] == 0
    assert torch.isfinite(instances.weights).all()
    keys = target_instances(instances, sigma=2, ignore_label=IGNORE)
    assert keys["center"].max() == 0 and keys["offset_weights"].max() == 0 and (keys["center_classes"] == IGNORE).all()
    _, health = labelled(logits, target["center"][None], target["offset"], valid=False)
    assert health["pseudo_labels/kept_instances"] == 0


def test_no_value_is_read_on_the_host():
    """A fake tensor has no values: any .item(), bool() or nonzero() would raise. (The teacher's post-processing does
    wait.)"""
    with FakeTensorMode():
        logits, valid = torch.randn(2, 3, H, W), torch.ones(2, H, W, dtype=torch.bool)
        for rule in SELECTIONS:
            pseudo = Selection(rule, 0.9, "batch", 66.0, 0.9)(logits, valid)
        ids, classes = instances_from_panoptic(
            torch.zeros(H, W, dtype=torch.int64), label_divisor=1000, thing_ids=(2,), max_instances=7
        )
        weights = instance_scores(ids, classes, logits[0], torch.zeros(1, H, W))
        instances = PseudoInstances(ids, classes, weights, pseudo.weights[0] * pseudo.kept[0])
        assert instances.num_kept().shape == ()
        keys = target_instances(instances, sigma=2, ignore_label=IGNORE)
        cells = dominated_cells(pseudo.labels, (1, 2), stride=4, size=(6, 8), min_share=0.75, ignore_label=IGNORE)
        features = torch.randn(2, 5, 6, 8, requires_grad=True)
        mean_distance(features, torch.randn(2, 5, 6, 8), cells).backward()
        assert keys["center"].shape == (H, W) and features.grad.shape == features.shape
