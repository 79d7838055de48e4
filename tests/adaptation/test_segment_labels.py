"""A teacher's segments as targets of a mask model: mask-wide loss scaling, small segments, ignored borders, the log."""

from types import SimpleNamespace

import pytest
import torch
from torch._subclasses import FakeTensorMode

from gbw_panoptic.adaptation.mean_teacher.segment_labels import (
    MaskScaling,
    SegmentLabeller,
    areas_and_weights,
    segment_map,
)
from gbw_panoptic.adaptation.mean_teacher.segment_self_training import paste_segments
from gbw_panoptic.structures.segments import SegmentMap

THINGS, NUM_CLASSES = (2, 3), 4


def random_map(seed, *, size=(17, 23), segments=6):
    """Random ids, some of which may be absent; confidence is largest where a pixel's own segment is."""
    torch.manual_seed(seed)
    ids = torch.randint(0, segments + 1, size)
    classes = torch.cat((torch.arange(2), torch.randint(2, NUM_CLASSES, (max(segments - 2, 0),))))[:segments]
    own = torch.where(ids > 0, 0.9 + 0.1 * torch.rand(size), 0)
    return SegmentMap(ids, classes, own, torch.maximum(own, torch.rand(size)), torch.rand(size) > 0.1)


def scaling(**changes):
    return MaskScaling(
        **{"thing_ids": THINGS, "num_classes": NUM_CLASSES, "things": 0.95, "stuff": 0.97, "min_area": 25, **changes}
    )


def naive_weight(segments, number, taus):
    """lambda as written in the paper: one pixel after the other."""
    sure = area = 0
    for y in range(segments.ids.shape[0]):
        for x in range(segments.ids.shape[1]):
            if segments.ids[y, x] == number:
                area += 1
                sure += bool(segments.own_confidence[y, x] > taus[int(segments.classes[number - 1])])
    return area, sure / area if area else 0.0


@pytest.mark.parametrize("seed", range(4))
def test_weights_are_the_share_of_sure_pixels_with_a_threshold_of_things_and_of_stuff(seed):
    segments = random_map(seed)
    taus = torch.tensor([0.97, 0.97, 0.95, 0.95])
    assert torch.equal(scaling().thresholds(torch.device("cpu")), taus)
    areas, weights = areas_and_weights(segments, taus)
    for number in range(1, 7):
        area, weight = naive_weight(segments, number, taus)
        assert areas[number - 1] == area
        assert weights[number - 1].item() == pytest.approx(weight, abs=1e-6)


def test_thing_ids_may_be_any():
    thresholds = scaling(thing_ids=(0,), things=0.5, stuff=0.25).thresholds(torch.device("cpu"))
    assert thresholds.tolist() == [0.5, 0.25, 0.25, 0.25]


@pytest.mark.parametrize("seed", range(3))
def test_targets_are_the_segments_above_the_smallest_area(seed):
    segments = random_map(seed, size=(12, 14))
    min_area = int(areas_and_weights(segments, torch.zeros(NUM_CLASSES))[0].sort().values[2])
    (targets,) = scaling(min_area=min_area)([segments])
    kept = [n for n in range(1, 7) if (segments.ids == n).sum() > min_area]
    assert 0 < len(kept) < 6 and len(targets.masks) == len(kept)
    for index, number in enumerate(kept):
        assert torch.equal(targets.masks[index], segments.ids == number)
        assert targets.classes[index] == segments.classes[number - 1]
        assert targets.weights[index].item() == pytest.approx(
            naive_weight(segments, number, [0.97, 0.97, 0.95, 0.95])[1]
        )
    assert (targets.masks.sum(dim=0) <= 1).all()
    assert torch.equal(targets.valid, segments.valid) and torch.equal(targets.confidence, segments.confidence)


def test_numbering_of_instances_does_not_matter():
    segments = random_map(0)
    order = torch.randperm(6)
    table = torch.cat((torch.zeros(1, dtype=torch.int64), order + 1))
    classes = torch.empty(6, dtype=torch.int64).index_copy(0, order, segments.classes)
    other = SegmentMap(table[segments.ids], classes, segments.own_confidence, segments.confidence, segments.valid)
    (one,), (two,) = scaling()([segments]), scaling()([other])
    key = [
        (mask.flatten().int().argmax().item(), c.item(), w.item())
        for mask, c, w in zip(one.masks, one.classes, one.weights)
    ]
    again = [
        (mask.flatten().int().argmax().item(), c.item(), w.item())
        for mask, c, w in zip(two.masks, two.classes, two.weights)
    ]
    assert sorted(key) == sorted(again)


def test_a_batch_of_different_sizes_odd_ones_and_an_image_without_segments():
    empty = random_map(1, size=(5, 9), segments=0)
    maps = [random_map(0), empty, random_map(2, size=(31, 7))]
    targets = scaling(min_area=0)(maps)
    assert [t.masks.shape[1:] for t in targets] == [m.ids.shape for m in maps]
    assert len(targets[1].masks) == len(targets[1].classes) == len(targets[1].weights) == 0
    assert targets[1].masks.shape == (0, 5, 9)
    for together, alone in zip(targets, maps):
        (single,) = scaling(min_area=0)([alone])
        assert torch.equal(together.masks, single.masks) and torch.equal(together.weights, single.weights)
    assert scaling()([]) == []


def test_thresholds_of_zero_turn_the_scaling_off():
    (targets,) = scaling(things=0.0, stuff=0.0, min_area=0)([random_map(0)])
    assert len(targets.weights) == 6 and (targets.weights == 1).all()


def found(segments):
    return SimpleNamespace(
        ids=segments.ids,
        classes=segments.classes,
        confidence=segments.confidence,
        region_confidence=segments.own_confidence,
    )


def test_ignored_borders_belong_to_no_segment_and_are_in_no_weight():
    segments = random_map(0)
    valid = torch.ones_like(segments.valid)
    valid[-4:] = False
    cut = segment_map(found(segments), valid)
    assert torch.equal(cut.ids[:-4], segments.ids[:-4]) and not cut.ids[-4:].any() and not cut.own_confidence[-4:].any()
    top = segment_map(found(SegmentMap(*(x[:-4] if x.ndim == 2 else x for x in vars(segments).values()))), valid[:-4])
    taus = torch.full((NUM_CLASSES,), 0.95)
    for one, two in zip(areas_and_weights(cut, taus), areas_and_weights(top, taus)):
        assert torch.equal(one, two)


def test_no_value_is_read_on_the_host_but_how_many_segments_are_kept():
    """A fake tensor has no values: any .item(), bool() or nonzero() would raise."""
    with FakeTensorMode():
        segments = segment_map(found(random_map(0)), torch.ones(17, 23, dtype=torch.bool))
        pasted = paste_segments(torch.ones(17, 23, dtype=torch.int64), torch.tensor([0]), segments, thing_ids=THINGS)
        health = SegmentLabeller(scaling()).health([segments, pasted])
        assert all(value.shape == () for value in health.values())


class Teacher:
    """Gives fabricated segments, one map an image."""

    def __init__(self, maps):
        self.maps = maps

    def predict(self, samples):
        return [found(segments) for segments in self.maps[: len(samples)]]

    def post_processing(self, prediction, image):
        return prediction[image]


def test_the_labeller_labels_a_batch_and_says_how_good_the_labels_are():
    maps = [random_map(0), random_map(1)]
    samples = [{"image": torch.rand(3, 17, 23), "valid_mask": segments.valid} for segments in maps]
    labelled, health = SegmentLabeller(scaling())(Teacher(maps), samples, with_instances=True)
    targets = scaling()([sample["segment_map"] for sample in labelled])
    weights = torch.cat([t.weights for t in targets])
    assert health["pseudo_labels/quality"].item() == pytest.approx(weights.mean().item())
    assert health["pseudo_labels/kept_segments"] == len(weights) / 2
    valid = torch.cat([m.valid.flatten() for m in maps])
    confidence = torch.cat([m.confidence.flatten() for m in maps])
    torch.testing.assert_close(health["pseudo_labels/confidence"], confidence[valid].mean())
    in_segments = torch.cat([((m.ids > 0) & m.valid).flatten() for m in maps]).float().mean()
    torch.testing.assert_close(health["pseudo_labels/kept_pixels"], in_segments)
    assert all(torch.equal(a["image"], b["image"]) for a, b in zip(labelled, samples))


def test_no_segment_at_all_is_zero_in_the_log():
    maps = [random_map(0, segments=0)]
    samples = [{"image": torch.rand(3, 17, 23), "valid_mask": torch.zeros(17, 23, dtype=torch.bool)}]
    _, health = SegmentLabeller(scaling())(Teacher(maps), samples, with_instances=False)
    assert {float(value) for value in health.values()} == {0.0}
