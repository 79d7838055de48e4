"""Mask2Former's losses against transformers' (same points), loops, autograd, and at the edges."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch._subclasses import FakeTensorMode
from test_segment_matching import SIZE, WEIGHTS, random_output, random_targets, targets_of
from two_ranks import on_two_ranks

from gbw_panoptic.losses.masks import AtChosenPoints, mask_losses
from gbw_panoptic.modeling.masks import criterion as segment_criterion
from gbw_panoptic.modeling.masks import matching as segment_matching
from gbw_panoptic.modeling.masks.criterion import WEIGHTED, SegmentCriterion
from gbw_panoptic.modeling.masks.head import MaskHeadOutput
from gbw_panoptic.structures.segments import SegmentTargets
from gbw_panoptic.weighting import ClassWeighting, GradientBasedWeighting, StaticWeighting

CRITERION = SegmentCriterion(
    num_classes=4, no_object_weight=0.1, num_points=64, oversample=3.0, importance=0.75, min_confidence=0.8,
    loss_weights=WEIGHTS,
)  # fmt: skip
NONE = dict.fromkeys(WEIGHTED)
PIXEL = {"classification": "logits", "mask": "pixel", "dice": "pixel"}


def leaves(seed, **options) -> tuple[MaskHeadOutput, list]:
    """An output whose tensors require gradients, and these tensors."""
    class_logits, mask_logits = random_output(seed, **options)
    tensors = [x.requires_grad_() for x in (*class_logits, *mask_logits)]
    hidden = torch.randn(*class_logits[0].shape[:2], 6, generator=torch.Generator().manual_seed(seed))
    return MaskHeadOutput(tuple(class_logits), tuple(mask_logits), hidden), tensors


def per_class(output, targets, gradients=NONE, criterion=CRITERION, size=SIZE, parameters=()):
    return criterion(output, targets, padded_size=size, gradients=gradients, class_parameters=parameters)


def losses(output, targets, weighting=None, **options):
    weighting = weighting or ClassWeighting(num_classes=4)
    return {k: weighting(x, branch="source") for k, x in per_class(output, targets, **options).items()}


@pytest.fixture
def fixed_points(monkeypatch):
    """The same points in every draw, whatever was drawn before."""

    def draw(num_points, device):
        return torch.rand(num_points, 2, generator=torch.Generator().manual_seed(num_points))

    monkeypatch.setattr("gbw_panoptic.modeling.masks.points.random_points", draw)
    monkeypatch.setattr(segment_matching, "random_points", draw)


def test_losses_equal_those_of_transformers_with_the_same_points(monkeypatch):
    """Theirs draws for each mask: here it is made to draw the same for all."""
    from transformers import Mask2FormerConfig
    from transformers.models.mask2former.modeling_mask2former import Mask2FormerLoss

    config = Mask2FormerConfig(num_labels=4, train_num_points=64)
    theirs = Mask2FormerLoss(config, {"loss_cross_entropy": 2.0, "loss_mask": 5.0, "loss_dice": 5.0})
    targets = [random_targets(0), random_targets(1, segments=2)]
    targets = [replace(x, valid=torch.ones_like(x.valid)) for x in targets]  # they know no void
    (class_logits, mask_logits) = random_output(2, sets=1)
    uniform, generator = torch.rand, torch.Generator()

    def same(*shape, **_):
        return uniform(1, *shape[1:], generator=generator.manual_seed(shape[1])).repeat(shape[0], 1, 1)

    monkeypatch.setattr(torch, "rand", same)
    expected = theirs(mask_logits[0], class_logits[0], [x.masks.float() for x in targets], [x.classes for x in targets])
    found = losses(MaskHeadOutput(tuple(class_logits), tuple(mask_logits), class_logits[0]), targets)
    for ours, name in (("classification", "loss_cross_entropy"), ("mask", "loss_mask"), ("dice", "loss_dice")):
        torch.testing.assert_close(found[ours], expected[name], rtol=1e-5, atol=1e-6)


def naive(output, targets, num_points=64):
    """Sums of lambda * loss by loops over sets, images and pairs, from the points and matches that ours takes."""
    result = {"classification": 0.0, "mask": 0.0, "dice": 0.0}
    total = sum(float(x.weights.sum()) for x in targets)
    maps = segment_criterion.TargetMaps(targets, SIZE, min_confidence=0.8)
    matches = segment_criterion.match(
        output.class_logits,
        output.mask_logits,
        [x.classes for x in targets],
        maps,
        num_points=num_points,
        weights=WEIGHTS,
    )
    for class_logits, mask_logits, of_set in zip(output.class_logits, output.mask_logits, matches):
        labels = torch.full(class_logits.shape[:2], 4)
        for b, q, s in zip(of_set.images.tolist(), of_set.queries.tolist(), of_set.segments.tolist()):
            labels[b, q] = targets[b].classes[s]
            options = {"num_points": num_points, "oversample": 3.0, "importance": 0.75}
            candidates = segment_criterion.draw_candidates(maps, b, len(targets[b].classes), **options)
            values = segment_criterion.at_points(mask_logits[b, q][None], candidates.points)
            points = candidates.points[candidates.chosen(values, num_points)]
            terms = {"mask": [], "dice": []}
            for x, y in points[0].tolist():
                row, column = min(int(y * SIZE[0]), SIZE[0] - 1), min(int(x * SIZE[1]), SIZE[1] - 1)
                if not targets[b].valid[row, column] or targets[b].confidence[row, column] < 0.8:
                    continue
                grid = 2 * torch.tensor([x, y]).view(1, 1, 1, 2) - 1
                z = F.grid_sample(mask_logits[b, q][None, None], grid, align_corners=False).squeeze()
                t = F.grid_sample(targets[b].masks[s].float()[None, None], grid, align_corners=False).squeeze()
                terms["mask"].append(F.binary_cross_entropy_with_logits(z, t))
                terms["dice"].append(torch.stack((z.sigmoid(), t)))
            weight = targets[b].weights[s] / total
            result["mask"] += weight * torch.stack(terms["mask"]).mean()
            p, t = torch.stack(terms["dice"]).unbind(1)
            result["dice"] += weight * (1 - (2 * (p * t).sum() + 1) / (p.sum() + t.sum() + 1))
        weights = torch.tensor([1.0, 1, 1, 1, 0.1])
        result["classification"] += F.cross_entropy(class_logits.flatten(0, 1), labels.flatten(), weights)
    return result


def doubtful_targets():
    """Two images with void, doubt and factors of segments."""
    targets = [random_targets(0), random_targets(1, segments=2)]
    confidence = torch.linspace(0.6, 1, SIZE[1]).expand(SIZE)
    return [
        replace(targets[0], confidence=confidence, weights=torch.tensor([0.5, 1.0, 0.25])),
        replace(targets[1], valid=torch.arange(SIZE[0])[:, None].expand(SIZE) > 2),
    ]


def test_losses_equal_loops(fixed_points):
    output, _ = leaves(2)
    targets = doubtful_targets()
    found, expected = losses(output, targets), naive(output, targets)
    for name in WEIGHTED:
        torch.testing.assert_close(found[name], expected[name], rtol=1e-5, atol=1e-6)


def test_weights_of_one_change_no_bit():
    output, _ = leaves(3)
    targets = [random_targets(0), random_targets(1)]
    found = []
    for weighting in (ClassWeighting(num_classes=4), StaticWeighting(weights=torch.ones(4), num_classes=4)):
        torch.manual_seed(0)
        found.append(losses(output, targets, weighting))
    assert all(torch.equal(found[0][name], found[1][name]) for name in WEIGHTED)


def test_static_weights_weigh_segments_by_class():
    output, _ = leaves(3, sets=1)
    targets = [random_targets(0), random_targets(1)]
    weights = torch.tensor([0.5, 2.0, 1.0, 3.0])
    torch.manual_seed(0)
    found = losses(output, targets, StaticWeighting(weights=weights, num_classes=4))
    torch.manual_seed(0)
    parts = per_class(output, targets)
    for name in WEIGHTED:
        w = torch.cat((weights, torch.ones(1)))[: len(parts[name].count)].double()
        expected = (w * parts[name].total).sum() / (w * parts[name].count).sum()
        torch.testing.assert_close(found[name], expected.float())
    assert parts["mask"].count.tolist() == torch.bincount(torch.cat([x.classes for x in targets]), minlength=4).tolist()


def test_no_object_keeps_its_weight_outside_of_the_program():
    output, _ = leaves(3, sets=1)
    part = per_class(output, [random_targets(0), random_targets(1)], PIXEL)["classification"]
    assert part.count[-1] == pytest.approx(0.1 * (10 - 6)) and part.gradient.shape == (4, 5)
    weighting = GradientBasedWeighting(num_classes=4, lam=0.1, gradient="logits")
    assert weighting.group_weights(part.count, part.gradient, "source")[-1] == 1


def test_mask_losses_and_their_gradients_are_those_of_the_formulas():
    generator = torch.Generator().manual_seed(0)
    logits = (3 * torch.randn(4, 30, generator=generator)).requires_grad_()
    targets, counts = torch.rand(4, 30, generator=generator), (torch.rand(4, 30, generator=generator) > 0.4).float()
    counts[3] = 0
    found = mask_losses(logits, targets, counts)
    p, number = logits.sigmoid() * counts, counts.sum(1)
    bce = (F.binary_cross_entropy_with_logits(logits, targets, reduction="none") * counts).sum(1) / number.clamp(min=1)
    dice = 1 - (2 * (p * targets).sum(1) + 1) / (p.sum(1) + (targets * counts).sum(1) + 1)
    for loss, gradient, expected in zip(found[:2], found[2:], (bce, dice)):
        torch.testing.assert_close(loss, expected)
        torch.testing.assert_close(gradient, torch.autograd.grad(expected.sum(), logits, retain_graph=True)[0])


def test_gradients_reach_the_chosen_points_alone():
    logits = torch.randn(2, 6, dtype=torch.float64, requires_grad=True)
    chosen = torch.tensor([[0, 3], [5, 1]])

    def squares(x):
        z = x.detach().gather(1, chosen)
        return AtChosenPoints.apply(
            x, chosen, torch.stack((z.square().sum(1), z.sum(1))), torch.stack((2 * z, torch.ones_like(z)))
        )

    assert torch.autograd.gradcheck(squares, logits)
    squares(logits).sum().backward()
    assert (logits.grad != 0).nonzero().tolist() == [[0, 0], [0, 3], [1, 1], [1, 5]]


@pytest.mark.parametrize("kind", ["logits", "last_layer"])
def test_class_gradients_of_the_classification_loss_are_autograd_s(kind):
    """At the class prediction of the last set, whose bias has the gradient of the logits."""
    output, _ = leaves(5)
    predictor = torch.nn.Linear(6, 5)
    hidden = output.hidden
    output = MaskHeadOutput((output.class_logits[0], predictor(hidden)), output.mask_logits, hidden)
    targets = [random_targets(0), random_targets(1)]
    parameters = (predictor.weight, predictor.bias)
    found = {}
    for gradient in (kind, "autograd"):
        torch.manual_seed(0)
        part = per_class(output, targets, NONE | {"classification": gradient}, parameters=parameters)["classification"]
        found[gradient] = part.gradient
    expected = found["autograd"][:, 30:] if kind == "logits" else found["autograd"]
    torch.testing.assert_close(found[kind].norm(dim=1), expected.norm(dim=1), rtol=1e-4, atol=1e-5)
    assert (expected.norm(dim=1) > 0).sum() > 1


def test_mask_gradients_are_those_of_the_last_set(fixed_points):
    output, tensors = leaves(5)
    targets = [random_targets(0), random_targets(1)]
    whole = per_class(output, targets, PIXEL)
    last = per_class(MaskHeadOutput(output.class_logits[1:], output.mask_logits[1:], output.hidden), targets, PIXEL)
    for name in WEIGHTED:
        assert torch.equal(whole[name].gradient, last[name].gradient)
        assert (whole[name].total > last[name].total).any()


@pytest.mark.parametrize("gradients", [NONE, PIXEL], ids=["plain", "gradients"])
@pytest.mark.parametrize("case", ["empty", "one empty", "more segments than queries", "void", "doubt", "infinite"])
def test_edges_have_finite_gradients(case, gradients):
    output, tensors = leaves(0)
    empty = targets_of(torch.full(SIZE, -1), [])
    many = targets_of(torch.arange(SIZE[0] * SIZE[1]).view(SIZE) % 9, [0, 1, 2, 3, 0, 1, 2, 3, 0])
    nowhere = replace(random_targets(0), valid=torch.zeros(SIZE, dtype=torch.bool))
    unsure = replace(random_targets(0), confidence=torch.zeros(SIZE))
    targets = {
        "empty": [empty, empty], "one empty": [empty, random_targets(0)], "more segments than queries": [many, empty],
        "void": [nowhere, nowhere], "doubt": [unsure, unsure], "infinite": [random_targets(0), random_targets(1)],
    }[case]  # fmt: skip
    if case == "infinite":
        with torch.no_grad():
            tensors[-1][0, 0] = 1e30
            tensors[0][0, 0, 0] = 1e4
    found = losses(output, targets, gradients=gradients)
    sum(found.values()).backward()
    assert all(x.isfinite() for x in found.values())
    assert all(x.grad is not None and x.grad.isfinite().all() for x in tensors)
    if case in ("empty", "void", "doubt"):
        assert found["mask"] == found["dice"] == 0 and found["classification"] > 0
        assert not any(x.grad.any() for x in tensors[2:])


def test_images_of_other_sizes_are_padded_and_padding_has_no_gradient():
    output, tensors = leaves(0, sets=1)
    targets = [random_targets(0, size=(8, 9)), random_targets(1)]
    sum(losses(output, targets).values()).backward()
    gradient = tensors[-1].grad[0]
    assert not gradient[:, :, 3].any() and gradient[:, :2, :2].any()  # cells wholly in the padding: columns 12..15


def test_segments_of_factor_zero_teach_no_mask_and_few_sure_ones_teach_little(fixed_points):
    output, _ = leaves(0)
    target = random_targets(0)
    both = [replace(target, weights=torch.tensor([1.0, 0.0, 1.0])), replace(target, weights=torch.zeros(3))]
    once = losses(output, both)
    doubled = losses(output, [replace(x, weights=2 * x.weights) for x in both])
    little = losses(output, [replace(x, weights=x.weights / 8) for x in both])
    for name in ("mask", "dice"):
        torch.testing.assert_close(once[name], doubled[name])  # a mean over the factors
        torch.testing.assert_close(little[name], once[name] / 4)  # which sum to 1/4 there: less than one whole segment
    torch.testing.assert_close(once["classification"], little["classification"])


def _ranks_output(seed=6):
    """Four images of one batch, and their targets; the two halves differ in the number and classes of segments."""
    output, tensors = leaves(seed, batch=4)
    targets = [random_targets(0), random_targets(1, segments=2), *doubtful_targets()]
    return output, tensors, targets


def _fix_points():
    """:func:`fixed_points` in a process of its own."""
    from gbw_panoptic.modeling.masks import points as segment_points

    def draw(num_points, device):
        return torch.rand(num_points, 2, generator=torch.Generator().manual_seed(num_points))

    segment_points.random_points = segment_matching.random_points = draw


def _losses_and_gradients(share):
    output, tensors, targets = _ranks_output()
    part = MaskHeadOutput(
        tuple(x[share] for x in output.class_logits), tuple(x[share] for x in output.mask_logits), output.hidden[share]
    )
    weightings = {
        x: GradientBasedWeighting(num_classes=4, lam=0.1, gradient=PIXEL[x], normalize=True) for x in WEIGHTED
    }
    parts = per_class(part, targets[share], PIXEL)
    found = {name: weightings[name](loss, branch="source") for name, loss in parts.items()}
    sum(found.values()).backward()
    weights = torch.stack([x.statistics["source"]["weight"] for x in weightings.values()])
    return {k: v.detach() for k, v in found.items()}, weights, [x.grad[share] for x in tensors]


def _on_a_rank(rank):
    _fix_points()
    return _losses_and_gradients(slice(2 * rank, 2 * rank + 2))


def test_two_ranks_equal_one_rank_of_double_batch(tmp_path, fixed_points):
    """The mean of the ranks' losses and gradients, as data-parallel training takes it, with the same weights on
    both."""
    (losses_a, weights_a, gradients_a), (losses_b, weights_b, gradients_b) = on_two_ranks(_on_a_rank, tmp_path)
    whole, weights, gradients = _losses_and_gradients(slice(None))
    assert torch.equal(weights_a, weights_b)
    torch.testing.assert_close(weights_a, weights)
    assert (weights.std(dim=1) > 0).all()
    for name, value in whole.items():
        torch.testing.assert_close((losses_a[name] + losses_b[name]) / 2, value)
    for one, two, both in zip(gradients_a, gradients_b, gradients):
        torch.testing.assert_close(torch.cat((one, two)) / 2, both)


def test_nothing_but_the_costs_of_matching_is_read_on_the_host(monkeypatch):
    """A fake tensor has no values: any .item(), bool() or nonzero() would raise. The one copy of all costs is in
    ``_assign``."""
    copies = []
    monkeypatch.setattr(
        segment_matching, "_assign", lambda costs: copies.append(1) or [([0, 1, 2], [2, 0, 1])] * len(costs)
    )
    with FakeTensorMode():
        targets = [
            SegmentTargets(
                torch.zeros(3, *SIZE, dtype=torch.bool), torch.zeros(3, dtype=torch.int64),
                torch.ones(SIZE, dtype=torch.bool),
                torch.ones(3), torch.ones(SIZE),
            )
            for _ in range(2)
        ]  # fmt: skip
        sets = [[torch.randn(2, 5, *shape, requires_grad=True) for _ in range(2)] for shape in ((5,), (3, 4))]
        found = per_class(MaskHeadOutput(*map(tuple, sets), torch.randn(2, 5, 6)), targets, PIXEL)
        sum(x.total.sum() for x in found.values()).backward()
    assert copies == [1] and all(x.grad.shape == x.shape for x in sets[1])
