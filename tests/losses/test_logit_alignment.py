"""BLDA against its definition, pixel by pixel with scipy's distributions and root finder, and EM as it is written in
textbooks."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.optimize import brentq
from scipy.stats import norm
from two_ranks import on_two_ranks

from gbw_panoptic.losses import LogitAlignment, cross_entropy_per_class, logit_alignment
from gbw_panoptic.losses.logit_alignment import SOURCE, TARGET, distribution, expectation_maximisation, inverse

C, H, W = 4, 40, 50


def fitted(seed=0, **options):
    """In evaluation mode, with mixtures as training leaves them; class 2 of the target was never fitted."""
    g = torch.Generator().manual_seed(seed)
    shaping = LogitAlignment(num_classes=C, **options).eval()
    for mixture in (shaping.mixtures, shaping.anchors):
        weight = torch.rand(mixture.shape[:-1], generator=g) + 0.1
        mixture[..., 0] = weight / weight.sum(-1, keepdim=True)
        mixture[..., 1] = 2 * torch.randn(mixture.shape[:-1], generator=g)
        mixture[..., 2] = 0.2 + torch.rand(mixture.shape[:-1], generator=g)
    shaping.fitted_at.fill_(3)
    shaping.fitted_at[TARGET, 2] = -1
    shaping.calls.fill_(4)
    return shaping


def batch(seed=0):
    g = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, C, (1, H, W), generator=g)
    labels[:, :2] = -1
    weights = torch.tensor([0.0, 0.4, 1.0])[torch.randint(0, 3, (1, H, W), generator=g)]
    return 2 * torch.randn(1, C, H, W, generator=g), labels, weights


def cdf(mixture, z):
    weight, mean, variance = mixture.double().numpy().T
    return float((weight * norm.cdf((z - mean) / np.sqrt(variance))).sum())


def delta(shaping, domain, y, c, z):
    anchor = shaping.anchors[0 if c == y else 1]
    p = np.clip(cdf(shaping.mixtures[domain, y, c], z), 0.01, 0.99)
    return brentq(lambda x: cdf(anchor, x) - p, -60, 60) - z


def test_shift_is_the_definition_pixel_by_pixel():
    shaping, (logits, labels, weights) = fitted(strength=0.3), batch()
    found = shaping.adjustment(logits, labels, weights)
    for b, row, column in np.random.default_rng(0).permutation(np.argwhere(np.ones((1, H, W))))[:150]:
        y, weight = labels[b, row, column].item(), weights[b, row, column].item()
        domain = {0.0: None, 1.0: SOURCE}.get(weight, TARGET)
        for c in range(C):
            z = logits[b, c, row, column].item()
            shifted = y >= 0 and domain is not None and not (domain == TARGET and y == 2)
            expected = -0.3 * delta(shaping, domain, y, c, z) if shifted else 0.0
            assert found[b, c, row, column].item() == pytest.approx(expected, abs=0.01)


def test_distribution_and_inverse_are_scipys():
    mixture = fitted().anchors[0]
    z = torch.linspace(-6, 6, 50)
    values = distribution(mixture, z)
    np.testing.assert_allclose(values.numpy(), [cdf(mixture, x) for x in z.numpy()], atol=1e-6)
    inside = (values > 0.01) & (values < 0.99)
    torch.testing.assert_close(inverse(mixture, values)[inside], z[inside], rtol=0, atol=0.01)


def em_by_hand(mixture, x):
    weight, mean, variance = mixture.double().numpy().T
    for _ in range(3):
        p = weight * norm.pdf(x[:, None], mean, np.sqrt(variance)) + 1e-7
        r = p / p.sum(1, keepdims=True)
        n = r.sum(0)
        mean = (r * x[:, None]).sum(0) / n
        variance = np.maximum((r * (x[:, None] - mean) ** 2).sum(0) / n, 1e-4)
        weight = n / n.sum()
    return np.stack((weight, mean, variance), axis=1)


def test_expectation_maximisation_by_hand():
    g = torch.Generator().manual_seed(1)
    x = torch.cat((torch.randn(300, generator=g) - 2, 0.5 * torch.randn(200, generator=g) + 1))
    start = LogitAlignment(num_classes=C).anchors[0]
    known = torch.ones(600, dtype=torch.bool)
    known[500:] = False  # what fills up the samples of a class that a rank has few of
    found = expectation_maximisation(start, torch.cat((x, torch.full((100,), 99.0))), known)
    np.testing.assert_allclose(found.numpy(), em_by_hand(start, x.double().numpy()), rtol=1e-3, atol=1e-4)


def test_online_estimate():
    """The first call takes its fit as it is; later ones keep a share that grows; classes of few pixels wait."""
    shaping = LogitAlignment(num_classes=C).train()
    logits = torch.randn(1, C, H, W, generator=torch.Generator().manual_seed(0)) + torch.arange(C).view(1, -1, 1, 1)
    labels = torch.zeros(1, H, W, dtype=torch.int64)
    torch.manual_seed(0)
    labels[:, 20:], labels[:, 39] = 1, 2  # 50 pixels of class 2, none of class 3
    start = shaping.mixtures.clone()
    shaping.adjustment(logits, labels)
    assert shaping.fitted_at[SOURCE].tolist() == [0, 0, -1, -1] and shaping.calls.tolist() == [1, 0]
    assert torch.equal(shaping.mixtures[SOURCE, 2:], start[SOURCE, 2:]) and torch.equal(
        shaping.mixtures[TARGET], start[TARGET]
    )
    for c in range(C):  # 1000 and 950 pixels, so 950 of each
        weight, mean, variance = shaping.mixtures[SOURCE, 0, c].unbind(-1)
        x = logits[0, c][labels[0] == 0]
        assert (weight * mean).sum().item() == pytest.approx(x.mean().item(), abs=0.03)
        assert (weight * (variance + mean**2)).sum().item() == pytest.approx((x**2).mean().item(), rel=0.03)
    true, other = (anchor[:, 0] @ anchor[:, 1] for anchor in shaping.anchors)
    assert true.item() == pytest.approx(0.5, abs=0.1) and other.item() == pytest.approx((2 + 5 / 3) / 2, abs=0.15)
    before = shaping.mixtures[SOURCE, 0].clone()
    shaping.calls[SOURCE] = 750
    shaping.fitted_at[SOURCE, 0] = 748
    shaping.adjustment(logits + 5, torch.where(labels == 0, 0, -1))
    keep = (0.99 * 750 / 1500) ** 2
    fit = expectation_maximisation(before, logits[0, :, labels[0] == 0] + 5, torch.ones(1, 1, dtype=torch.bool))
    torch.testing.assert_close(shaping.mixtures[SOURCE, 0], keep * before + (1 - keep) * fit, rtol=1e-3, atol=1e-3)


def test_in_parts_as_at_once(monkeypatch):
    logits, labels, weights = batch()
    found = []
    for numbers in (logit_alignment._NUMBERS, 1):
        monkeypatch.setattr(logit_alignment, "_NUMBERS", numbers)
        shaping = fitted().train()
        torch.manual_seed(0)
        found.append((shaping.adjustment(logits, labels, weights), shaping.mixtures))
    assert torch.equal(found[0][0], found[1][0]) and torch.equal(found[0][1], found[1][1])


def test_loss_is_cross_entropy_of_shifted_logits_and_low_logits_lose_more():
    shaping, (logits, labels, weights) = fitted(), batch()
    loss = cross_entropy_per_class(logits, labels, weights, shaping=shaping)
    shifted = logits + shaping.adjustment(logits, labels, weights)
    expected = weights * F.cross_entropy(shifted, labels, ignore_index=-1, reduction="none")
    torch.testing.assert_close(loss.total.sum().float(), expected.sum())
    lower = fitted()
    lower.mixtures[SOURCE, 0, 0, :, 1] -= 3  # logits of class 0 lie lower than the anchor
    losses = [cross_entropy_per_class(logits, labels, shaping=x).total for x in (fitted(), lower)]
    assert losses[1][0] > losses[0][0]  # as if the class were even lower, so that it is learnt more


def test_state_goes_on_where_it_was():
    first = LogitAlignment(num_classes=C).train()
    logits, labels, _ = batch()
    labels = labels.clamp(min=0)
    labels[:, 20:] = 1
    first.adjustment(logits, labels)
    second = LogitAlignment(num_classes=C).train()
    second.load_state_dict(first.state_dict())
    found = []
    for shaping in (first, second):
        torch.manual_seed(0)
        found.append(shaping.adjustment(logits, labels))
    assert torch.equal(*found)


def test_networks_in_channels_last_format_hold_it():
    shaping = LogitAlignment(num_classes=C).to(memory_format=torch.channels_last)
    assert shaping.mixtures.shape == (2, C, C, 5, 3)


def test_negative_strength_is_refused():
    with pytest.raises(ValueError, match="BLDA_STRENGTH >= 0"):
        LogitAlignment(num_classes=C, strength=-1)


def _mixtures_on_a_rank(rank, logits, labels):
    shaping = LogitAlignment(num_classes=C).train()
    shaping.adjustment(logits[rank : rank + 1], labels[rank : rank + 1])
    return shaping.mixtures, shaping.anchors


@pytest.mark.slow
def test_two_ranks_have_the_same_mixtures(tmp_path):
    logits = torch.randn(2, C, H, W, generator=torch.Generator().manual_seed(0))
    labels = torch.randint(0, 2, (2, H, W), generator=torch.Generator().manual_seed(1))
    labels[1, :30] = 0
    (one, anchors), (two, others) = on_two_ranks(_mixtures_on_a_rank, tmp_path, logits, labels)
    assert torch.equal(one, two) and torch.equal(anchors, others)


def test_of_one_class_nothing_can_be_learnt_and_nothing_fails():
    """Its other channels, of which an anchor is, are none."""
    logits, labels = torch.randn(1, 1, H, W, requires_grad=True), torch.zeros(1, H, W, dtype=torch.int64)
    shaping = LogitAlignment(num_classes=1).train()
    loss = cross_entropy_per_class(logits, labels, shaping=shaping, gradient="logits")
    loss.total.sum().backward()
    assert shaping.calls[SOURCE] == 1 and shaping.anchors.isfinite().all()
    assert loss.total.item() == 0 and not logits.grad.any() and not loss.gradient.any()
