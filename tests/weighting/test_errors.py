"""Which errors GBW's gradients see, against autograd; the guard against over-prediction, the cool-down, and the mean
weights."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from gbw_panoptic.losses import cross_entropy_per_class
from gbw_panoptic.weighting import (
    ERRORS,
    ClassWeighting,
    GradientBasedWeighting,
    ReleasedGradientWeighting,
    StaticWeighting,
    gbw_weights,
)
from gbw_panoptic.weighting.gbw import excess_of_predictions, magnitudes
from gbw_panoptic.weighting.simplex import score_weights

B, C, H, W = 4, 5, 6, 7


def batch(seed=0):
    """Logits, labels without class 3, some ignored, and confidences."""
    g = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, C + 1, (B, H, W), generator=g)
    labels[labels == 3] = 0
    labels[labels == C] = 255
    return 2 * torch.randn(B, C, H, W, generator=g), labels, torch.rand(B, H, W, generator=g)


def gbw(**options):
    return GradientBasedWeighting(**(dict(num_classes=C, lam=0.5, gradient="logits") | options))


def weights_of(weighting, logits, labels, quality=None):
    loss = cross_entropy_per_class(logits, labels, quality, gradient="logits")
    weighting(loss, branch="source")
    return weighting.statistics["source"]["weight"]


def jacobian(logits, labels, quality):
    """[C, C] float64 by autograd: d(mean loss of class y) / d(bias of channel c)."""
    bias = torch.zeros(C, dtype=torch.float64, requires_grad=True)
    z = logits.double() + bias.view(1, -1, 1, 1)
    losses = quality.double() * F.cross_entropy(z, labels, ignore_index=255, reduction="none")
    rows = [
        torch.autograd.grad(losses[labels == c].mean(), bias, retain_graph=True)[0] if (labels == c).any() else 0 * bias
        for c in range(C)
    ]
    return torch.stack(rows).detach()


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_magnitudes_are_those_of_autograd(seed):
    logits, labels, quality = batch(seed)
    loss = cross_entropy_per_class(logits, labels, quality, gradient="logits")
    j = jacobian(logits, labels, quality)
    rows, columns = j.norm(dim=1), j.norm(dim=0)
    signed = 2 * j.diagonal().square() - columns.square()
    expected = {"misses": rows, "both": columns, "signed": signed.sign() * signed.abs().sqrt()}
    for errors in ERRORS:
        found = magnitudes(loss.gradient.double(), loss.count, errors)
        torch.testing.assert_close(
            found.square() * found.sign(), expected[errors].square() * expected[errors].sign(), rtol=0, atol=1e-6
        )


@pytest.mark.parametrize("errors", ERRORS)
@pytest.mark.parametrize("scale_free", [False, True])
def test_weights_are_those_of_the_program(errors, scale_free):
    logits, labels, quality = batch()
    g = {"misses": lambda j: j.square().sum(1), "both": lambda j: j.square().sum(0)}
    g["signed"] = lambda j: 2 * j.diagonal().square() - j.square().sum(0)
    present = torch.tensor([True, True, True, False, True])
    expected = score_weights(g[errors](jacobian(logits, labels, quality)), 0.5, present, scale_free=scale_free)
    found = weights_of(gbw(errors=errors, scale_free=scale_free), logits, labels, quality)
    torch.testing.assert_close(found, expected.float(), rtol=0, atol=1e-5)


def test_what_is_taken_for_a_class_raises_its_weight_with_both_and_lowers_it_with_signed():
    """Class 0 takes half of the pixels of class 1; class 2 is neither missed nor taken."""
    labels = torch.tensor([0, 1, 2]).view(1, 1, 3)
    logits = torch.zeros(1, 3, 1, 3)
    logits[0, 0, 0, 0] = logits[0, 2, 0, 2] = 40.0
    logits[0, :, 0, 1] = torch.tensor([0.0, 0.0, -40.0])
    found = {errors: weights_of(gbw(num_classes=3, errors=errors), logits, labels) for errors in ERRORS}
    torch.testing.assert_close(found["misses"], gbw_weights(torch.tensor([0.0, 0.5**0.5, 0.0]), 0.5))
    torch.testing.assert_close(found["both"], gbw_weights(torch.tensor([0.5, 0.5, 0.0]), 0.5))
    torch.testing.assert_close(found["signed"], torch.tensor([0.75, 1.25, 1.0]))


def test_excess_is_predicted_mass_beyond_the_labels():
    logits, labels, _ = batch()
    loss = cross_entropy_per_class(logits, labels, gradient="logits")
    known = labels != 255
    mass = logits.softmax(1).movedim(1, -1)[known].sum(0).double()
    found = excess_of_predictions(loss.gradient.double(), loss.count)
    expected = (mass - loss.count) / loss.count.clamp(min=1)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_guard_takes_the_gradient_of_a_class_that_is_predicted_too_often():
    """Class 0, half missed, is predicted for all pixels of class 1, which are as many: its excess is a half."""
    labels = torch.tensor([0, 1, 2]).view(1, 1, 3)
    logits = torch.zeros(1, 3, 1, 3)
    logits[0, :, 0, 0] = torch.tensor([0.0, -40.0, 0.0])
    logits[0, :, 0, 1] = torch.tensor([40.0, 0.0, 0.0])
    logits[0, 2, 0, 2] = 40.0
    for guard, kept in ((0.0, 1.0), (1.0, 0.5), (0.25, 0.0)):
        weighting = gbw(num_classes=3, guard=guard)
        if guard:
            weighting.excess[0] = torch.tensor([0.5, -1.0, 0.5])  # the mean of many such steps
        found = weights_of(weighting, logits, labels)
        scores = torch.tensor([0.5 * kept, 2.0, 0.0])
        torch.testing.assert_close(
            found, score_weights(scores, 0.5, torch.ones(3, dtype=torch.bool)).float(), rtol=0, atol=1e-6
        )
        if guard:
            torch.testing.assert_close(weighting.excess[0], torch.tensor([0.5, -1.0, 0.5]))


def test_cool_down_is_a_straight_line_to_one():
    logits, labels, _ = batch()
    plain = weights_of(gbw(), logits, labels)
    weighting = gbw(cooldown=(4, 6))
    found = [weights_of(weighting, logits, labels).clone() for _ in range(7)]
    for weights, share in zip(found, (1, 1, 0.75, 0.5, 0.25, 0, 0)):
        torch.testing.assert_close(weights, 1 + (plain - 1) * share)
        assert weights[plain != 1].sum().item() == pytest.approx(4, rel=1e-6)
    assert (found[5] == 1).all()


def test_a_skipped_step_of_the_cooldown_cools_the_weights_before_it_once():
    logits, labels, _ = batch()
    plain, weighting = weights_of(gbw(), logits, labels), gbw(cooldown=(4, 6))
    for _ in range(3):
        weights_of(weighting, logits, labels)
    count, gradient = torch.ones(C, dtype=torch.float64), torch.full((C, C), float("nan"))
    for share in (0.5, 0.25):
        found = weighting.class_weights(count, gradient, "source")
        torch.testing.assert_close(found.float(), 1 + (plain - 1) * share)
    assert weighting.skipped.sum() == 2


def test_mean_weights_by_hand_and_from_older_checkpoints():
    logits, labels, _ = batch()
    weighting = gbw()
    assert (weighting.mean_class_weights("source") == 1).all()
    first = weights_of(weighting, logits, labels).clone()
    torch.testing.assert_close(weighting.mean_class_weights("source"), first)  # first sight: no bias towards 1
    labels[labels == 4] = 255
    second = weights_of(weighting, -logits, labels)
    expected = torch.where(torch.arange(C) == 4, first, 0.99 * first + 0.01 * second)
    torch.testing.assert_close(weighting.mean_class_weights("source"), expected)
    assert (weighting.mean_class_weights("mixed") == 1).all()
    older = {name: value for name, value in weighting.state_dict().items() if name != "mean_weights"}
    assert not gbw().load_state_dict(older).missing_keys


def test_mean_weights_of_the_others():
    assert (ClassWeighting(num_classes=3).mean_class_weights("source") == 1).all()
    static = StaticWeighting(weights=torch.tensor([0.5, 2.0, 0.5]), num_classes=3, branches=("source",))
    assert (
        torch.equal(static.mean_class_weights("source"), static.weights)
        and (static.mean_class_weights("mixed") == 1).all()
    )
    logits, labels, _ = batch()
    released = ReleasedGradientWeighting(num_classes=C, lam=0.01)
    released(cross_entropy_per_class(logits, labels, gradient=released.gradient), branch="source")
    torch.testing.assert_close(released.mean_class_weights("source"), released.statistics["source"]["weight"])


@pytest.mark.parametrize(
    "options", [dict(errors="none"), dict(errors="both", gradient="pixel"), dict(guard=1.0, gradient="last_layer")]
)
def test_wrong_options_are_refused(options):
    with pytest.raises(ValueError, match="Expected"):
        gbw(**options)
