"""The released reading of GBW: against its formulas, an interior-point solver and autograd; its invariances and
limits."""

import copy

import cvxopt
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch._subclasses import FakeTensorMode
from two_ranks import on_two_ranks

from gbw_panoptic.losses import cross_entropy_per_class, entropy_per_class
from gbw_panoptic.weighting import ReleasedGradientWeighting, reweighted

B, C, H, W = 4, 5, 6, 7


def batch(seed=0, batch=B, sharpness=2.0):
    """Logits, labels (class 3 absent, class 1 rare, some ignored) and confidences."""
    g = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, C + 1, (batch, H, W), generator=g)
    labels[(labels == 3) | (labels == 1)] = 0
    labels[:, 0, 0] = 1
    labels[labels == C] = 255
    logits = sharpness * torch.randn(batch, C, H, W, generator=g)
    return logits, labels, torch.rand(batch, H, W, generator=g)


def oracle(logits, labels, lam, quality=None):
    """g, w and the loss in numpy, pixel by pixel, with the program as it is written given to a solver."""
    z = logits.double().permute(0, 2, 3, 1).reshape(-1, C).numpy()
    y = labels.flatten().numpy()
    q = np.ones(len(y)) if quality is None else quality.double().flatten().numpy()
    counts = np.array([(y == c).sum() for c in range(C)])
    squares, losses = np.zeros(C), []
    for i in np.flatnonzero(y != 255):
        p = np.exp(z[i] - z[i].max())
        p /= p.sum()
        squares += ((p - np.eye(C)[y[i]]) / (counts[y[i]] + 1)) ** 2
        losses.append((y[i], -q[i] * np.log(p[y[i]])))
    cvxopt.solvers.options.update(show_progress=False, abstol=1e-12, reltol=1e-12, feastol=1e-12, maxiters=200)
    solution = cvxopt.solvers.qp(
        cvxopt.matrix(np.eye(C)),
        cvxopt.matrix(-(squares + lam) / (2 * lam)),
        cvxopt.matrix(-np.eye(C)),
        cvxopt.matrix(np.zeros(C)),
        cvxopt.matrix(np.ones((1, C))),
        cvxopt.matrix(float(C)),
    )
    w = np.asarray(solution["x"]).ravel()
    return np.sqrt(squares), w, sum(w[c] * loss for c, loss in losses) / len(y)


def step(logits, labels, quality=None, *, lam=1.0, weighting=None, **options):
    """Loss, its gradient at the logits, and the statistics of one call."""
    logits = logits.detach().clone().requires_grad_()
    if weighting is None:
        weighting = ReleasedGradientWeighting(num_classes=C, lam=lam, denominator="all")
    per_class = cross_entropy_per_class(logits, labels, quality, gradient=weighting.gradient, **options)
    loss = weighting(per_class, branch="mixed")
    loss.backward()
    return loss.detach(), logits.grad, weighting.statistics["mixed"]


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), exponent=st.floats(-4, 1), sharpness=st.floats(0, 30), size=st.integers(1, B))
def test_weights_and_loss_are_those_of_the_formulas_and_a_solver(seed, exponent, sharpness, size):
    logits, labels, quality = batch(seed, size, sharpness)
    lam = 10.0**exponent
    g, w, loss = oracle(logits, labels, lam, quality)
    found, _, statistics = step(logits, labels, quality, lam=lam)
    np.testing.assert_allclose(statistics["gradient"].numpy(), g, rtol=0, atol=1e-6)
    # the weights are g^2 / (2 lam): below lambda 0.5, float32 is amplified
    np.testing.assert_allclose(statistics["weight"].numpy(), w, rtol=0, atol=1e-6 * max(1, 0.5 / lam))
    assert statistics["weight"].sum().item() == pytest.approx(C, rel=1e-6)
    assert found.item() == pytest.approx(loss, rel=1e-5, abs=1e-6)


def test_gradients_are_those_of_autograd_at_the_logit_channels_of_all_class_losses():
    logits, labels, quality = batch()
    z = logits.double().requires_grad_()
    losses = F.cross_entropy(z, labels, ignore_index=255, reduction="none")
    objective = sum(losses[labels == c].sum() / ((labels == c).sum() + 1) for c in range(C))
    (gradient,) = torch.autograd.grad(objective, z)
    expected = gradient.movedim(1, 0).flatten(1).norm(dim=1)
    found = step(logits, labels, quality)[2]["gradient"]
    torch.testing.assert_close(found, expected.float(), rtol=1e-6, atol=1e-7)
    assert found[3] > 0  # an absent class, for which others are taken


def test_confidence_is_in_the_loss_only():
    logits, labels, quality = batch()
    loss, _, statistics = step(logits, labels)
    other_loss, _, other = step(logits, labels, quality)
    assert torch.equal(statistics["weight"], other["weight"]) and not torch.equal(loss, other_loss)


def test_absent_classes_are_members_whose_weights_count():
    logits, labels, _ = batch()
    weight = step(logits, labels, lam=0.001)[2]["weight"]
    assert weight[3] != 1 and weight.sum().item() == pytest.approx(C, rel=1e-6)
    assert weight[1] == weight.max()  # rarity is in this reading's norm


def test_weights_at_lambda_one_are_close_to_one():
    weight = step(*batch())[2]["weight"]
    assert 0 < (weight - 1).abs().max() < 0.1


def test_all_ignored_is_exactly_zero():
    logits, labels, quality = batch()
    loss, gradient, statistics = step(logits, torch.full_like(labels, 255), quality)
    assert loss == 0 and gradient.abs().max() == 0 and statistics["weight"].tolist() == [1.0] * C


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_under_autocast_changes_no_bit(dtype):
    logits, labels, quality = batch()
    logits = logits.to(dtype)
    loss, gradient, statistics = step(logits.float(), labels, quality)
    with torch.autocast("cpu", dtype):
        half_loss, half_gradient, half = step(logits, labels, quality)
    assert torch.equal(half_loss, loss) and torch.equal(half["weight"], statistics["weight"])
    assert torch.equal(half_gradient, gradient.to(dtype))


def test_each_call_has_a_program_of_its_own():
    weighting = ReleasedGradientWeighting(num_classes=C, lam=0.01, denominator="all")
    step(*batch(seed=1), weighting=weighting)
    resumed = ReleasedGradientWeighting(num_classes=C, lam=0.01, denominator="all")
    resumed.load_state_dict(copy.deepcopy(weighting.state_dict()))
    fresh = ReleasedGradientWeighting(num_classes=C, lam=0.01, denominator="all")
    losses = [step(*batch(seed=2), weighting=x)[0] for x in (weighting, resumed, fresh)]
    assert torch.equal(losses[0], losses[1]) and torch.equal(losses[0], losses[2])


def test_a_step_that_is_not_finite_is_unweighted_and_counted():
    weighting = ReleasedGradientWeighting(num_classes=C, lam=1.0)
    logits, labels, quality = batch()
    logits[0, 0, 1, 1] = float("nan")
    assert step(logits, labels, quality, weighting=weighting)[2]["weight"].tolist() == [1.0] * C
    assert weighting.skipped.tolist() == [0, 1, 0, 0]


def test_no_value_is_read_on_the_host():
    with FakeTensorMode():
        loss, gradient, statistics = step(torch.randn(B, C, H, W), torch.zeros(B, H, W, dtype=torch.int64))
        assert loss.shape == () and gradient.shape == (B, C, H, W) and statistics["weight"].shape == (C,)


def _step_on_a_rank(rank, *tensors):
    share = slice(rank * 2, rank * 2 + 2)
    return step(*(tensor[share] for tensor in tensors), lam=0.001)


def test_two_ranks_equal_one_rank_of_double_batch(tmp_path):
    logits, labels, quality = batch()
    labels[:2][labels[:2] == 2] = 255  # a class that one rank does not see
    loss, gradient, statistics = step(logits, labels, quality, lam=0.001)
    ranks = on_two_ranks(_step_on_a_rank, tmp_path, logits, labels, quality)
    for _, _, of_rank in ranks:
        for name, value in statistics.items():
            torch.testing.assert_close(of_rank[name], value, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(torch.stack([one for one, *_ in ranks]).mean(), loss)  # averaged over the ranks
    torch.testing.assert_close(torch.cat([one for _, one, _ in ranks]) / 2, gradient, rtol=1e-5, atol=1e-8)


def test_it_is_of_cross_entropy_only():
    logits, labels, _ = batch()
    with pytest.raises(ValueError, match="squares"):
        entropy_per_class(logits, gradient="squares")
    weighting = ReleasedGradientWeighting(num_classes=C, lam=1.0)
    with pytest.raises(ValueError, match="cross entropy of pixels only"):
        reweighted(logits.requires_grad_(), labels, weighting=weighting, branch="target")
