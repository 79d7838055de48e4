"""Segment mix against a naive loop over pixels and segments."""

import numpy as np
import pytest
import torch

from gbw_panoptic.adaptation.mean_teacher.segment_labels import MaskScaling
from gbw_panoptic.adaptation.mean_teacher.segment_self_training import choose_segments, paste_segments, select_segments
from gbw_panoptic.structures.segments import SegmentMap, SegmentTargets

THINGS, NUM_CLASSES = (2, 3), 5


def source_targets(seed, *, size=(15, 18), classes=(0, 1, 2, 2, 3)):
    """Disjoint random segments; some pixels are void."""
    torch.manual_seed(seed)
    ids = torch.randint(0, len(classes) + 1, size)
    return SegmentTargets(
        masks=ids == torch.arange(1, len(classes) + 1).view(-1, 1, 1),
        classes=torch.tensor(classes, dtype=torch.int64),
        valid=ids > 0,
        weights=torch.ones(len(classes)),
        confidence=torch.ones(size),
    )


def target_map(seed, *, size=(15, 18), classes=(1, 2, 4)):
    torch.manual_seed(100 + seed)
    ids = torch.randint(0, len(classes) + 1, size)
    own = torch.where(ids > 0, torch.rand(size), 0)
    valid = torch.rand(size) > 0.2
    ids, own = torch.where(valid, ids, 0), torch.where(valid, own, 0)
    return SegmentMap(ids, torch.tensor(classes, dtype=torch.int64), own, torch.maximum(own, torch.rand(size)), valid)


def mix(source, chosen, target):
    ids = (source.masks * torch.arange(1, len(source.classes) + 1).view(-1, 1, 1)).sum(dim=0)
    pasted, classes = select_segments(ids, source.classes, torch.as_tensor(chosen, dtype=torch.int64))
    return paste_segments(pasted, classes, target, thing_ids=THINGS)


def naive_mix(source, chosen, target):
    """{(class, pixels)} of the mixed segments, made of Python sets; lists of P by pixel beside them."""
    segments, confidence = [], {}
    covered = {tuple(p) for k in chosen for p in source.masks[k].nonzero().tolist()}
    for number, c in enumerate(target.classes.tolist(), start=1):
        pixels = {tuple(p) for p in (target.ids == number).nonzero().tolist()} - covered
        segments.append([c, pixels])
        confidence.update({p: float(target.own_confidence[p]) for p in pixels})
    for k in chosen:
        c, pixels = int(source.classes[k]), {tuple(p) for p in source.masks[k].nonzero().tolist()}
        confidence.update({p: 1.0 for p in pixels})
        partner = [s for s in segments if s[0] == c and c not in THINGS]
        if partner:
            partner[0][1] |= pixels
        else:
            segments.append([c, pixels])
    return segments, confidence


@pytest.mark.parametrize("seed", range(6))
def test_mixed_segments_are_those_of_a_naive_loop(seed):
    source, target = source_targets(seed), target_map(seed)
    chosen = choose_segments(5, np.random.default_rng(seed)).tolist()
    mixed = mix(source, chosen, target)
    (targets,) = MaskScaling(THINGS, NUM_CLASSES, things=0.5, stuff=0.6, min_area=10)([mixed])
    expected, confidence = naive_mix(source, chosen, target)
    expected = [(c, pixels) for c, pixels in expected if len(pixels) > 10]
    found = [(int(c), {tuple(p) for p in mask.nonzero().tolist()}) for c, mask in zip(targets.classes, targets.masks)]
    assert sorted(found, key=lambda s: (s[0], min(s[1]))) == sorted(expected, key=lambda s: (s[0], min(s[1])))
    for (c, pixels), weight in zip(found, targets.weights.tolist()):
        tau = 0.5 if c in THINGS else 0.6
        assert weight == pytest.approx(sum(confidence[p] > tau for p in pixels) / len(pixels), abs=1e-6)


def test_half_of_the_segments_is_drawn_and_the_seed_decides_which():
    for number in (0, 1, 2, 5, 8):
        draws = [choose_segments(number, np.random.default_rng((3, 7, place))) for place in range(20)]
        assert all(len(set(draw.tolist())) == len(draw) == (number + 1) // 2 for draw in draws)
        assert all(draw.tolist() == sorted(draw.tolist()) for draw in draws)
        again = [choose_segments(number, np.random.default_rng((3, 7, place))) for place in range(20)]
        assert all(torch.equal(a, b) for a, b in zip(draws, again))
        if number > 1:
            assert len({tuple(draw.tolist()) for draw in draws}) > 1
            assert set(torch.cat(draws).tolist()) == set(range(number))


def test_pasted_pixels_are_certain_and_valid_and_the_rest_stays():
    source, target = source_targets(0), target_map(0)
    mixed = mix(source, [1, 3], target)
    pasted = source.masks[[1, 3]].any(dim=0)
    assert (
        (mixed.confidence[pasted] == 1).all()
        and (mixed.own_confidence[pasted] == 1).all()
        and mixed.valid[pasted].all()
    )
    for name in ("ids", "confidence", "own_confidence", "valid"):
        assert torch.equal(getattr(mixed, name)[~pasted], getattr(target, name)[~pasted]), name


def test_stuff_is_one_segment_and_instances_stay_apart():
    source, target = source_targets(1, classes=(1, 2, 2)), target_map(1)
    (targets,) = MaskScaling(THINGS, NUM_CLASSES, things=0.0, stuff=0.0, min_area=0)([mix(source, [0, 1, 2], target)])
    assert sorted(targets.classes.tolist()) == [1, 2, 2, 2, 4]
    stuff = targets.masks[targets.classes.tolist().index(1)]
    pasted = source.masks.any(dim=0)
    assert torch.equal(stuff, source.masks[0] | ((target.ids == 1) & ~pasted))


def test_a_segment_that_is_covered_wholly_vanishes():
    target = target_map(2)
    source = source_targets(2, classes=(3,))
    covering = SegmentTargets(
        torch.ones_like(source.masks), source.classes, source.valid, source.weights, source.confidence
    )
    (targets,) = MaskScaling(THINGS, NUM_CLASSES, things=0.99, stuff=0.99, min_area=25)([mix(covering, [0], target)])
    assert targets.classes.tolist() == [3] and targets.masks.all() and targets.weights.tolist() == [1.0]
    assert targets.valid.all()


@pytest.mark.parametrize("chosen", [[], [0]])
def test_nothing_to_paste_or_nothing_below(chosen):
    source, target = source_targets(3, classes=(1,)), target_map(3, classes=())
    mixed = mix(source, chosen, target)
    (targets,) = MaskScaling(THINGS, NUM_CLASSES, things=0.5, stuff=0.5, min_area=0)([mixed])
    assert targets.classes.tolist() == [1] * len(chosen)
    if chosen:
        assert torch.equal(targets.masks[0], source.masks[0])
    else:
        assert all(torch.equal(getattr(mixed, name), value) for name, value in vars(target).items())


def test_an_empty_source_changes_nothing():
    source, target = source_targets(0, classes=()), target_map(0)
    mixed = mix(source, choose_segments(0, np.random.default_rng(0)), target)
    assert torch.equal(mixed.ids, target.ids) and torch.equal(mixed.classes, target.classes)
