"""Points and matching: against masks sampled one by one, every assignment tried, and at the edges."""

from itertools import permutations

import pytest
import torch
import torch.nn.functional as F

from gbw_panoptic.modeling.masks import matching as segment_matching
from gbw_panoptic.modeling.masks.matching import CostWeights, match, pair_costs
from gbw_panoptic.modeling.masks.points import (
    TargetMaps,
    at_points,
    draw_candidates,
    masks_at_points,
    nearest_at_points,
)
from gbw_panoptic.structures.segments import SegmentTargets

WEIGHTS = CostWeights(classification=2.0, mask=5.0, dice=5.0)
SIZE = (12, 16)


def targets_of(ids, classes, valid=None, confidence=None) -> SegmentTargets:
    masks = ids == torch.arange(len(classes)).view(-1, 1, 1)
    valid = torch.ones_like(ids, dtype=torch.bool) if valid is None else valid
    confidence = torch.ones(ids.shape) if confidence is None else confidence
    return SegmentTargets(masks, torch.tensor(classes, dtype=torch.int64), valid, torch.ones(len(classes)), confidence)


def random_targets(seed, segments=3, size=SIZE) -> SegmentTargets:
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randint(-1, segments, (3, 4), generator=generator)
    ids = coarse.repeat_interleave(4, 0).repeat_interleave(4, 1)[: size[0], : size[1]]
    return targets_of(ids, torch.randint(0, 4, (segments,), generator=generator).tolist())


def random_output(seed, batch=2, sets=2, queries=5, classes=4):
    generator = torch.Generator().manual_seed(seed)
    class_logits = [torch.randn(batch, queries, classes + 1, generator=generator) for _ in range(sets)]
    return class_logits, [4 * torch.randn(batch, queries, 3, 4, generator=generator) for _ in range(sets)]


def test_masks_read_from_a_map_of_ids_equal_masks_that_are_sampled():
    targets = random_targets(0)
    maps = TargetMaps([targets], (16, 16), min_confidence=0.0)  # padded by four rows
    points = torch.rand(500, 2, generator=torch.Generator().manual_seed(1))
    points[:4] = torch.tensor([[0.0, 0.0], [1.0, 1.0], [0.0, 1.0], [0.5, 0.001]])
    found = masks_at_points(maps.ids[0], 3, points)
    padded = F.pad(targets.masks.float(), (0, 0, 0, 4))
    torch.testing.assert_close(found, at_points(padded, points), atol=1e-5, rtol=1e-5)


def test_padding_void_and_doubt_do_not_count():
    valid, confidence = torch.ones(SIZE, dtype=torch.bool), torch.ones(SIZE)
    valid[:, 8:], confidence[:6] = False, 0.5
    targets = targets_of(torch.zeros(SIZE, dtype=torch.int64), [1], valid, confidence)
    maps = TargetMaps([targets], (16, 16), min_confidence=0.8)
    assert torch.equal(maps.counts[0, :12], valid) and not maps.counts[0, 12:].any()
    assert torch.equal(maps.trusted[0, :12], valid & (confidence >= 0.8))
    candidates = draw_candidates(maps, 0, 1, num_points=400, oversample=3.0, importance=0.75)
    chosen = candidates.chosen(at_points(torch.randn(3, 4, 4), candidates.points), 400)
    points, counts = candidates.points[chosen], candidates.counts[chosen]
    row, column = (points[..., 1] * 16).long(), (points[..., 0] * 16).long()
    expected = (row >= 6) & (row < 12) & (column < 8)
    assert torch.equal(counts, expected) and all(len(x.unique()) == 400 for x in chosen)
    assert (
        0.1 < counts[:, 300:].float().mean() < 0.3
    )  # of the uniform quarter, too, only those of this region (3 / 16) count


def test_uncertain_points_have_the_smallest_logits_among_the_candidates():
    ramp = torch.linspace(-10, 10, 32).view(1, 1, 32).expand(2, 8, 32)
    maps = TargetMaps([targets_of(torch.zeros(32, 128, dtype=torch.int64), [1])], (32, 128), min_confidence=0.0)
    candidates = draw_candidates(maps, 0, 1, num_points=1000, oversample=4.0, importance=0.75)
    assert candidates.points.shape == (4250, 2) and candidates.counts.all() and (candidates.targets[0] > 0).all()
    logits = at_points(torch.cat((ramp[:1], ramp[1:].roll(8, dims=2))), candidates.points)
    chosen = candidates.chosen(logits, 1000)
    magnitude = logits.abs().gather(1, chosen)
    # 750 of 4000 uniform candidates: 3 / 16 of the width, on either side of the zero; of each mask those at its own
    # zero
    assert magnitude[0, :750].max() == pytest.approx(10 * 3 / 16, abs=0.6) and magnitude[1, :750].max() < 3
    assert not torch.equal(chosen[0, :750].sort().values, chosen[1, :750].sort().values)
    assert magnitude[0, 750:].max() > 8 and torch.equal(chosen[0, 750:], chosen[1, 750:])  # the rest is uniform


def test_nearest_points_at_the_border():
    points = torch.tensor([[0.0, 0.0], [1.0, 1.0], [0.34, 0.49], [0.99, 0.51]])
    assert nearest_at_points(torch.arange(6).view(2, 3), points).tolist() == [0, 5, 1, 5]


def test_costs_are_those_of_the_formulas():
    generator = torch.Generator().manual_seed(0)
    class_logits, logits = torch.randn(3, 5, generator=generator), 3 * torch.randn(3, 40, generator=generator)
    targets = torch.rand(2, 40, generator=generator)
    counts = (torch.rand(40, generator=generator) > 0.3).float()
    classes = torch.tensor([3, 0])
    found = pair_costs(class_logits, logits, classes, targets, counts, WEIGHTS)
    kept = counts.bool()
    for q in range(3):
        for s in range(2):
            z, t = logits[q, kept], targets[s, kept]
            cross_entropy = F.binary_cross_entropy_with_logits(z, t)
            dice = 1 - (2 * (z.sigmoid() * t).sum() + 1) / (z.sigmoid().sum() + t.sum() + 1)
            expected = -2 * class_logits[q].softmax(0)[classes[s]] + 5 * cross_entropy + 5 * dice
            torch.testing.assert_close(found[q, s], expected)


@pytest.mark.parametrize("seed", range(3))
def test_matching_is_the_best_of_all_assignments(seed, monkeypatch):
    targets = [random_targets(seed), random_targets(seed + 10, segments=2)]
    class_logits, mask_logits = random_output(seed, queries=4)
    costs = []
    monkeypatch.setattr(segment_matching, "pair_costs", lambda *args: costs.append(pair_costs(*args)) or costs[-1])
    maps = TargetMaps(targets, SIZE, min_confidence=0.0)
    matches = match(class_logits, mask_logits, [x.classes for x in targets], maps, num_points=200, weights=WEIGHTS)
    assert len(matches) == 2 and len(costs) == 4
    for index, of_set in enumerate(matches):
        for image, target in enumerate(targets):
            cost = costs[2 * image + index]  # sets within images
            segments = range(len(target.classes))
            best = min(sum(cost[q, s] for s, q in zip(segments, p)) for p in permutations(range(4), len(segments)))
            mine = of_set.images == image
            assert sorted(of_set.segments[mine].tolist()) == list(segments)
            torch.testing.assert_close(cost[of_set.queries[mine], of_set.segments[mine]].sum(), best)


def test_matching_is_a_function_of_the_seed():
    targets = [random_targets(3), random_targets(4)]
    output = random_output(5)
    maps = TargetMaps(targets, SIZE, min_confidence=0.0)

    def matched(seed):
        torch.manual_seed(seed)
        found = match(*output, [x.classes for x in targets], maps, num_points=3, weights=WEIGHTS)
        return [tuple(vars(x).values()) for x in found]

    for first, second in zip(matched(0), matched(0)):
        assert all(torch.equal(a, b) for a, b in zip(first, second))
    assert any(not torch.equal(a, b) for s in range(1, 9) for x, y in zip(matched(0), matched(s)) for a, b in zip(x, y))


def test_costs_that_are_not_finite_are_taken_last():
    class_logits, mask_logits = random_output(0, batch=1, sets=1, queries=3)
    mask_logits[0][0, 1] = float("nan")
    maps = TargetMaps([random_targets(0, segments=2)], SIZE, min_confidence=0.0)
    found = match(class_logits, mask_logits, [torch.tensor([0, 1])], maps, num_points=50, weights=WEIGHTS)
    assert sorted(found[0].queries.tolist()) == [0, 2]


@pytest.mark.parametrize("segments, pairs", [(0, 0), (3, 3), (9, 5)])
def test_every_number_of_segments_can_be_matched(segments, pairs):
    empty = targets_of(torch.full(SIZE, -1), [])
    ids = torch.arange(SIZE[0] * SIZE[1]).view(SIZE) % segments if segments else torch.full(SIZE, -1)
    targets = [empty, targets_of(ids, [0] * segments)]
    class_logits, mask_logits = random_output(1)
    found = match(class_logits, mask_logits, [x.classes for x in targets], TargetMaps(targets, SIZE, min_confidence=0.0),
                  num_points=50, weights=WEIGHTS)  # fmt: skip
    for of_set in found:
        assert len(of_set.queries) == len(set(of_set.queries.tolist())) == len(set(of_set.segments.tolist())) == pairs
        assert (of_set.images == 1).all() and of_set.images.dtype == torch.int64
