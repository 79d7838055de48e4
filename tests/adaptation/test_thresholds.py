"""Thresholds of classes that follow a teacher: against a reference as the paper writes them, over micro-batches and
ranks."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from test_segment_labels import NUM_CLASSES, Teacher, random_map, scaling
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensor, FakeTensorMode
from two_ranks import on_two_ranks

from gbw_panoptic.adaptation.mean_teacher.pseudo_labels import Selection
from gbw_panoptic.adaptation.mean_teacher.segment_labels import SegmentLabeller, areas_and_weights
from gbw_panoptic.adaptation.mean_teacher.thresholds import ClassThresholds, group_quantiles

DECAY, MIN_AREA = 0.8, 25


def reference(batches, start=0.0):
    """MC-PanDA++, equation 5: tau of every class after each batch of (confidence, ids, classes), one image an entry."""
    tau, history = np.full(NUM_CLASSES, start), []
    for batch in batches:
        largest = {}
        for confidence, ids, classes in batch:
            for number, k in enumerate(classes, start=1):
                values = confidence[ids == number]
                if len(values) > MIN_AREA:
                    largest[k] = max(largest.get(k, 0.0), np.quantile(values, 0.75))
        for k, delta in largest.items():
            tau[k] = DECAY * tau[k] + (1 - DECAY) * delta
        history.append(tau.copy())
    return history


def arrays(maps):
    return [(x.own_confidence.double().numpy(), x.ids.numpy(), x.classes.tolist()) for x in maps]


def adaptive(start=0.0, **changes):
    return scaling(
        min_area=MIN_AREA, adaptive=ClassThresholds(NUM_CLASSES, start=start, decay=DECAY, names=("a", "b")), **changes
    )


def batches(number=6):
    """Of two images; in some, classes are missing."""
    return [[random_map(10 * b + i, segments=(6, 3, 1, 0)[(b + i) % 4]) for i in range(2)] for b in range(number)]


@pytest.mark.parametrize("start", [0.0, 0.5, 0.99])
def test_thresholds_and_weights_equal_the_reference(start):
    rule, maps = adaptive(start), batches()
    labeller, tau = SegmentLabeller(rule), rule.adaptive
    for of_batch, expected in zip(maps, reference([arrays(x) for x in maps], start)):
        tau.begin()
        samples = [
            {"image": torch.rand(3, 17, 23), "valid_mask": torch.ones(17, 23, dtype=torch.bool)} for _ in of_batch
        ]
        labelled, health = labeller(Teacher(of_batch), samples, with_instances=True)
        np.testing.assert_allclose(
            tau.current(), expected, atol=1e-6
        )  # the batch's own update comes before its weights
        for targets, segments in zip(rule([x["segment_map"] for x in labelled]), of_batch):
            areas, weights = areas_and_weights(segments, torch.tensor(expected, dtype=torch.float32))
            torch.testing.assert_close(targets.weights, weights[areas > MIN_AREA])
        assert health["pseudo_labels/threshold/b"] == tau.current()[1]
        tau.commit()
        np.testing.assert_allclose(tau.values, expected, atol=1e-6)
    present = [
        {k for _, ids, classes in arrays(x) for n, k in enumerate(classes, 1) if (ids == n).sum() > MIN_AREA}
        for x in maps
    ]
    assert tau.updates.tolist() == [sum(k in found for found in present) for k in range(NUM_CLASSES)]


def test_micro_batches_are_one_update_and_a_step_that_is_not_taken_is_none():
    whole, parts = adaptive(), adaptive()
    first, second = batches(2)
    whole.see([*first, *second])
    for micro in (first, second):
        parts.see(micro)
    assert torch.equal(whole.adaptive.current(), parts.adaptive.current())
    parts.adaptive.begin()
    assert not parts.adaptive.current().any() and not parts.adaptive.updates.any()


def test_the_state_is_thresholds_and_counts():
    rule, other = adaptive(), adaptive(0.7)
    rule.see(batches(1)[0])
    rule.adaptive.commit()
    other.adaptive.load_state_dict(rule.adaptive.state_dict())
    assert set(rule.adaptive.state_dict()) == {"values", "updates"}
    assert torch.equal(other.adaptive.current(), rule.adaptive.values) and rule.adaptive.values.any()


def _of_rank(rank):
    rule = adaptive()
    rule.see([batches(1)[0][rank]])
    rule.adaptive.commit()
    return rule.adaptive.values


def test_two_ranks_equal_one(tmp_path):
    rule = adaptive()
    rule.see(batches(1)[0])
    rule.adaptive.commit()
    for found in on_two_ranks(_of_rank, tmp_path, start_method="fork"):
        assert torch.equal(found, rule.adaptive.values)


@given(st.integers(0, 2**31), st.integers(1, 60), st.floats(0, 1))
def test_quantiles_of_groups_are_numpys(seed, size, share):
    generator = np.random.default_rng(seed)
    values, groups = generator.random(size, dtype=np.float32), generator.integers(-1, 5, size)
    linear, lower = (
        group_quantiles(torch.tensor(values), torch.tensor(groups), 4, share, lower=only) for only in (False, True)
    )
    for group in range(4):
        members = values[groups == group]
        if len(members) == 0:
            assert linear[group] == lower[group] == -1
            continue
        assert linear[group].item() == pytest.approx(np.quantile(members.astype(np.float64), share), abs=1e-6)
        assert lower[group].item() in members and lower[group] <= linear[group] + 1e-6


def test_nothing_is_read_on_the_host():
    """A fake tensor has no values: any .item(), bool() or nonzero() would raise."""
    with FakeTensorMode():
        rule = adaptive()
        rule.see([random_map(0)])
        rule.adaptive.commit()
        found = rule.adaptive.values
        assert isinstance(found, FakeTensor) and found.shape == (NUM_CLASSES,)
        with pytest.raises(DataDependentOutputException):  # so reading one would have been noticed
            found[0].item()


@pytest.mark.parametrize("quality", ["class", "image"])
def test_labels_of_pixels_have_the_same_owner(quality):
    """A class's pixels in an image are what a mask is for segments; q is their share that is sure, or that of all
    pixels."""
    torch.manual_seed(0)
    logits, valid = 3 * torch.randn(2, NUM_CLASSES, 9, 11), torch.rand(2, 9, 11) > 0.2
    tau = ClassThresholds(NUM_CLASSES, start=0.3, decay=DECAY)
    pseudo = Selection("quality", 0.9, quality, 66.0, 0.9, adaptive=tau)(logits, valid)
    confidence, labels = logits.softmax(dim=1).max(dim=1)
    expected = np.full(NUM_CLASSES, 0.3)
    for k in range(NUM_CLASSES):
        regions = [confidence[b][(labels[b] == k) & valid[b]] for b in range(2)]
        largest = max(np.quantile(x.double(), 0.75) for x in regions if len(x))
        expected[k] = DECAY * expected[k] + (1 - DECAY) * largest
    np.testing.assert_allclose(tau.current(), expected, atol=1e-6)
    sure = confidence >= tau.current()[labels]
    for b in range(2):
        for k in range(NUM_CLASSES):
            region = (labels[b] == k) & valid[b]
            share = sure[b][region].float().mean() if quality == "class" else sure[b].float().mean()
            torch.testing.assert_close(pseudo.weights[b].expand(9, 11)[region], share.expand(int(region.sum())))
    assert torch.equal(pseudo.kept, valid)
