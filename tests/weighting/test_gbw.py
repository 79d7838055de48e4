"""Class weightings: reduction, state over time, guards, two ranks."""

import dataclasses

import pytest
import torch
from two_ranks import on_two_ranks

from gbw_panoptic.losses import PerClassLoss, cross_entropy_per_class
from gbw_panoptic.weighting import (
    ClassWeighting,
    GradientBasedWeighting,
    StaticWeighting,
    gbw_weights,
    weighted_mean,
)

C = 4


def per_class(gradient_norms, count):
    """A loss whose class gradients have the given norms."""
    count = torch.tensor(count, dtype=torch.float64)
    gradient = torch.diag(torch.tensor(gradient_norms) * count.float())
    total = torch.arange(1.0, C + 1, dtype=torch.float64) * count
    return PerClassLoss(total.requires_grad_(), count, count.sum(), gradient)


def gbw(**options):
    return GradientBasedWeighting(**(dict(num_classes=C, lam=0.5, gradient="logits") | options))


def test_weights_are_those_of_the_program():
    weighting = gbw()
    g = [0.5, 1.0, 0.2, 0.9]
    weighting(per_class(g, [10, 5, 1, 0]), branch="source")
    expected = gbw_weights(torch.tensor(g), 0.5, torch.tensor([True, True, True, False]))
    torch.testing.assert_close(weighting.statistics["source"]["weight"], expected)
    assert expected[3] == 1


@pytest.mark.parametrize("denominator", ["weights", "valid", "all"])
def test_warm_up_is_the_unweighted_loss_bit_for_bit(denominator):
    loss = per_class([0.5, 1.0, 0.2, 0.9], [10, 5, 1, 3])
    warm = gbw(warmup_iters=1, denominator=denominator)
    plain = ClassWeighting(num_classes=C, denominator=denominator)
    assert torch.equal(warm(loss, branch="source"), plain(loss, branch="source"))
    assert not torch.equal(warm(loss, branch="source"), plain(loss, branch="source"))  # second step: warm-up is over


def test_scaling_all_weights_changes_nothing_with_denominator_weights():
    loss = per_class([1.0] * C, [10, 5, 1, 3])
    weights = torch.tensor([0.1, 2.0, 1.0, 0.9])
    arguments = (loss.total, loss.count, loss.num_pixels)
    one = weighted_mean(*arguments, weights, denominator="weights")
    ten = weighted_mean(*arguments, 10 * weights, denominator="weights")
    torch.testing.assert_close(one, ten)
    # by hand: sum w total / sum w count
    total, count = torch.tensor([10.0, 10.0, 3.0, 12.0]), torch.tensor([10.0, 5.0, 1.0, 3.0])
    torch.testing.assert_close(one, (weights * total).sum() / (weights * count).sum())


def test_moving_average_by_hand():
    weighting = gbw(momentum=0.5)
    weighting(per_class([1.0, 2.0, 0.0, 0.0], [1, 1, 0, 0]), branch="source")
    weighting(per_class([3.0, 0.0, 1.0, 0.0], [1, 0, 1, 0]), branch="source")
    # class 0: 0.5 * 1 + 0.5 * 3; class 1: absent, kept; class 2: first sight, no bias; class 3: never seen
    assert weighting.gradient_norms[0].tolist() == [2.0, 2.0, 1.0, 0.0]
    expected = gbw_weights(torch.tensor([2.0, 2.0, 1.0, 0.0]), 0.5, torch.tensor([True, True, True, False]))
    torch.testing.assert_close(weighting.statistics["source"]["weight"], expected)


def test_normalisation_makes_lambda_free_of_units():
    small, large = gbw(normalize=True), gbw(normalize=True)
    small(per_class([1.0, 2.0, 3.0, 0.5], [1, 2, 3, 0]), branch="source")
    large(per_class([1e4, 2e4, 3e4, 7.0], [1, 2, 3, 0]), branch="source")
    torch.testing.assert_close(small.statistics["source"]["weight"], large.statistics["source"]["weight"])


def test_branches_have_separate_states():
    weighting = gbw(momentum=0.9)
    weighting(per_class([1.0, 1.0, 1.0, 1.0], [1, 1, 1, 1]), branch="source")
    assert weighting.seen[0].all() and not weighting.seen[1:].any()
    assert weighting.steps.tolist() == [1, 0, 0, 0]


@pytest.mark.parametrize("denominator", ["weights", "valid", "all"])
def test_other_branches_than_the_chosen_ones_are_unweighted_bit_for_bit(denominator):
    loss = per_class([0.5, 1.0, 0.2, 0.9], [10, 5, 1, 3])
    options = {"num_classes": C, "denominator": denominator, "branches": ("mixed",)}
    plain = ClassWeighting(num_classes=C, denominator=denominator)(loss, branch="source")
    static = StaticWeighting(weights=torch.tensor([4.0, 1.0, 2.0, 3.0]), **options)
    for weighting in (GradientBasedWeighting(lam=0.5, gradient="logits", **options), static):
        without = dataclasses.replace(loss, gradient=None)  # heads are not asked for class gradients there
        assert weighting.gradient_on("source") is None
        assert torch.equal(weighting(without, branch="source"), plain)
        assert not torch.equal(weighting(loss, branch="mixed"), plain)
        assert "source" not in weighting.statistics


def test_non_finite_gradients_leave_the_previous_weights_in_force():
    weighting = gbw()
    weighting(per_class([1.0, 2.0, 0.5, 0.1], [1, 1, 1, 1]), branch="source")
    before = weighting.previous_weights[0].clone(), weighting.gradient_norms[0].clone()
    weighting(per_class([float("nan"), 1.0, 1.0, 1.0], [1, 1, 1, 1]), branch="source")
    assert torch.equal(weighting.statistics["source"]["weight"], before[0])
    assert torch.equal(weighting.gradient_norms[0], before[1])
    assert weighting.skipped.tolist() == [1, 0, 0, 0]


def test_nan_of_an_absent_class_is_no_reason_to_skip():
    weighting = gbw()
    loss = per_class([1.0, 2.0, 0.5, 0.1], [1, 1, 1, 0])
    loss.gradient[3] = float("nan")
    weighting(loss, branch="source")
    assert weighting.skipped[0] == 0 and torch.isfinite(weighting.gradient_norms).all()


def test_state_survives_a_round_trip():
    first, second = gbw(momentum=0.9, warmup_iters=2), gbw(momentum=0.9, warmup_iters=2)
    for _ in range(3):
        first(per_class([1.0, 2.0, 0.5, 0.1], [1, 1, 1, 0]), branch="mixed")
    second.load_state_dict(first.state_dict())
    loss = per_class([0.3, 1.0, 0.1, 2.0], [2, 1, 1, 1])
    assert torch.equal(first(loss, branch="mixed"), second(loss, branch="mixed"))


def test_quality_zero_everywhere():
    logits = torch.randn(1, C, 3, 3, requires_grad=True)
    labels = torch.randint(0, C, (1, 3, 3))
    loss = gbw()(cross_entropy_per_class(logits, labels, torch.zeros(1, 3, 3), gradient="logits"), branch="mixed")
    loss.backward()
    assert loss.item() == 0 and logits.grad.abs().max() == 0


def test_head_must_supply_gradients():
    loss = per_class([1.0] * C, [1] * C)
    with pytest.raises(ValueError, match="the head supplied none"):
        gbw()(PerClassLoss(loss.total, loss.count, 4), branch="source")


@pytest.mark.parametrize("options", [dict(lam=0.0), dict(momentum=1.0), dict(denominator="mean")])
def test_wrong_options_are_refused(options):
    with pytest.raises(ValueError, match="Expected"):
        gbw(**options)


GRADIENTS = ["logits", "last_layer", "pixel"]


def _loss_on_a_rank(kind, logits, labels, features, world=1):
    local = logits.clone().requires_grad_()
    weighting = gbw(gradient=kind, momentum=0.5, lam=0.1)
    for _ in range(2):
        loss = cross_entropy_per_class(local, labels, gradient=kind, features=features, feature_stride=3)
        (gradient,) = torch.autograd.grad(weighting(loss, branch="source"), local)
    return weighting.statistics["source"], gradient / world  # data-parallel training averages


def _losses_on_a_rank(rank, *tensors):
    share = slice(rank * 2, rank * 2 + 2)
    return [_loss_on_a_rank(kind, *(tensor[share] for tensor in tensors), world=2) for kind in GRADIENTS]


def test_two_ranks_equal_one_rank_of_double_batch(tmp_path):
    torch.manual_seed(0)
    logits, labels, features = torch.randn(4, C, 6, 5), torch.randint(0, C, (4, 6, 5)), torch.randn(4, 3, 2, 2)
    labels[:2][labels[:2] == 3] = 255  # a class that one rank does not see
    first, second = on_two_ranks(_losses_on_a_rank, tmp_path, logits, labels, features)
    for kind, (one, one_gradient), (two, two_gradient) in zip(GRADIENTS, first, second):
        whole, whole_gradient = _loss_on_a_rank(kind, logits, labels, features)
        for name, value in whole.items():
            assert torch.equal(one[name], two[name])
            torch.testing.assert_close(one[name], value, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(torch.cat((one_gradient, two_gradient)), whole_gradient, rtol=1e-5, atol=1e-7)


def test_rare_class_recall_rises_on_a_toy_problem():
    """Two overlapping classes, 1 % of one: unweighted training leaves the rare one at a strictly lower recall."""

    def recall(weighting, seed):
        torch.manual_seed(seed)
        labels = (torch.arange(4000) % 100 == 0).long().view(1, 50, 80)
        x = torch.randn(1, 2, 50, 80) + 1.5 * labels.unsqueeze(1)
        model = torch.nn.Conv2d(2, 2, 1)
        optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
        for _ in range(150):
            optimizer.zero_grad()
            loss = cross_entropy_per_class(model(x), labels, gradient=weighting.gradient)
            weighting(loss, branch="source").backward()
            optimizer.step()
        rare = labels == 1
        return (model(x).argmax(1)[rare] == 1).float().mean().item()

    plain = [recall(ClassWeighting(num_classes=2), seed) for seed in range(3)]
    weighted = [recall(gbw(num_classes=2, lam=0.1), seed) for seed in range(3)]
    assert all(w > p for w, p in zip(weighted, plain)), (weighted, plain)
