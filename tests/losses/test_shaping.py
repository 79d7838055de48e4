"""Shaped cross entropies against their formulas pixel by pixel, and their class gradients against autograd."""

import math

import pytest
import torch
import torch.nn.functional as F
from two_ranks import on_two_ranks

from gbw_panoptic.losses import Focal, LogitAdjustment, LogitAlignment, Seesaw, cross_entropy_per_class
from gbw_panoptic.weighting import ClassWeighting

B, C, H, W, K = 2, 5, 8, 12, 6
PIXELS = torch.tensor([5000, 300, 20, 0, 7])  # class 3 has no source pixel
COUNTS = torch.tensor([900, 50, 4, 0, 1])
SHAPINGS = {
    "focal": lambda: Focal(),
    "focal_half": lambda: Focal(gamma=0.5),
    "logit_adjustment": lambda: LogitAdjustment(pixels=PIXELS),
    "seesaw": lambda: seesaw(),
    "blda": lambda: blda(),
}


def seesaw(counts=COUNTS, **options):
    """In evaluation mode, so that repeated calls see the same counts."""
    shaping = Seesaw(num_classes=C, **options).eval()
    shaping.counts.copy_(counts)
    return shaping


def blda():
    """In evaluation mode, with mixtures that differ (its definition: test_logit_alignment.py)."""
    shaping = LogitAlignment(num_classes=C, strength=0.5).eval()
    shaping.mixtures[..., 1] += torch.randn(2, C, C, 1, generator=torch.Generator().manual_seed(0))
    shaping.calls.fill_(1)
    shaping.fitted_at.fill_(0)
    return shaping


def batch(seed=0, scale=3.0):
    """Logits of an upsampled 1x1 convolution, labels without class 3 and with ignored pixels, pixel weights."""
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    convolution = torch.nn.Conv2d(K, C, 1)
    features = scale * torch.randn(B, K, H // 4, W // 4, generator=generator)
    logits = F.interpolate(convolution(features), (H, W), mode="bilinear", align_corners=False)
    labels = torch.randint(0, C + 1, (B, H, W), generator=generator)
    labels[labels == 3] = 0
    labels[labels == C] = 255
    return logits, labels, torch.rand(B, H, W, generator=generator), features, convolution


def focal_by_definition(z, y, gamma):
    p = [math.exp(v) for v in z]
    p_y = p[y] / sum(p)
    return -((1 - p_y) ** gamma) * math.log(p_y)


def logit_adjustment_by_definition(z, y, tau):
    total = PIXELS.sum().item()
    f = [(n or max(PIXELS.tolist())) / total for n in PIXELS.tolist()]
    e = [math.exp(v + tau * math.log(f_c)) for v, f_c in zip(z, f)]
    return -math.log(e[y] / sum(e))


def seesaw_by_definition(z, y, p, q, counts=COUNTS):
    n = counts.tolist()
    e = [math.exp(v) for v in z]
    s = [v / sum(e) for v in e]
    adjusted = []
    for j in range(C):
        mitigation = min(1, (n[j] / n[y]) ** p) if n[j] else 1
        compensation = max(1, (s[j] / max(s[y], 0.01)) ** q)
        adjusted.append(math.exp(z[j] + math.log(mitigation * compensation)) if j != y else e[j])
    return -math.log(adjusted[y] / sum(adjusted))


@pytest.mark.parametrize(
    "shaping, definition",
    [
        (Focal(), lambda z, y: focal_by_definition(z, y, 2)),
        (Focal(gamma=0.5), lambda z, y: focal_by_definition(z, y, 0.5)),
        (LogitAdjustment(pixels=PIXELS), lambda z, y: logit_adjustment_by_definition(z, y, 1)),
        (LogitAdjustment(pixels=PIXELS, tau=0.3), lambda z, y: logit_adjustment_by_definition(z, y, 0.3)),
        (seesaw(), lambda z, y: seesaw_by_definition(z, y, 0.8, 2)),
        (seesaw(p=0.3, q=1.0), lambda z, y: seesaw_by_definition(z, y, 0.3, 1)),
    ],
)
def test_losses_equal_the_definition(shaping, definition):
    logits, labels, weights, *_ = batch()
    expected = torch.zeros(C, dtype=torch.float64)
    for b, y, x in torch.nonzero(labels != 255).tolist():
        label = labels[b, y, x].item()
        expected[label] += weights[b, y, x].item() * definition(logits[b, :, y, x].double().tolist(), label)
    torch.testing.assert_close(
        cross_entropy_per_class(logits, labels, weights, shaping=shaping).total, expected, rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("top_k", [1.0, 0.3])
@pytest.mark.parametrize("name", SHAPINGS)
def test_closed_forms_equal_autograd(name, top_k):
    logits, labels, weights, features, convolution = batch()

    def gradient(kind):
        arguments = dict(features=features, feature_stride=4, parameters=(convolution.weight, convolution.bias))
        return cross_entropy_per_class(
            logits, labels, weights, top_k=top_k, shaping=SHAPINGS[name](), gradient=kind, **arguments
        ).gradient

    oracle = gradient("autograd")
    torch.testing.assert_close(gradient("logits"), oracle[:, C * K :], atol=1e-5, rtol=1e-5)
    layers = gradient("last_layer").view(C, C, K + 1)
    torch.testing.assert_close(layers[..., :K].flatten(1), oracle[:, : C * K], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", SHAPINGS)
def test_pixel_gradient_equals_autograd(name):
    logits, labels, weights, *_ = batch()
    logits = logits.detach().requires_grad_()
    loss = cross_entropy_per_class(logits, labels, weights, shaping=SHAPINGS[name](), gradient="pixel")
    norms = torch.autograd.grad(loss.total.sum(), logits)[0].norm(dim=1)
    expected = torch.stack([norms[labels == c].sum() for c in range(C)])
    torch.testing.assert_close(loss.gradient.flatten(), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("shaping", [Focal(gamma=0), LogitAdjustment(pixels=PIXELS, tau=0), seesaw(p=0, q=0)])
def test_without_strength_it_is_cross_entropy_bit_for_bit(shaping):
    logits, labels, weights, *_ = batch()
    plain = cross_entropy_per_class(logits, labels, weights, gradient="logits")
    shaped = cross_entropy_per_class(logits, labels, weights, shaping=shaping, gradient="logits")
    assert torch.equal(shaped.total, plain.total) and torch.equal(shaped.gradient, plain.gradient)


@pytest.mark.parametrize("name", SHAPINGS)
def test_all_ignored_and_extreme_logits_are_finite(name):
    logits, labels, *_ = batch(scale=1e4)  # probabilities of exactly 0 and 1
    logits = logits.detach().requires_grad_()
    for given, zero in ((labels, False), (torch.full_like(labels, 255), True)):
        loss = cross_entropy_per_class(logits, given, shaping=SHAPINGS[name](), gradient="logits")
        value = ClassWeighting(num_classes=C)(loss, branch="source")
        gradient = torch.autograd.grad(value, logits)[0]
        assert torch.isfinite(value) and torch.isfinite(gradient).all() and torch.isfinite(loss.gradient).all()
        assert not zero or (value.item() == 0 and gradient.abs().max() == 0)


@pytest.mark.parametrize("name", ["logit_adjustment", "seesaw"])
def test_a_class_that_never_occurs_is_pushed_down_as_much_as_by_cross_entropy(name):
    logits, labels, *_ = batch()
    logits = logits.detach().requires_grad_()

    def push(shaping):
        total = cross_entropy_per_class(logits, labels, shaping=shaping).total.sum()
        return torch.autograd.grad(total, logits)[0][:, 3].sum().item()

    assert push(SHAPINGS[name]()) >= push(None) > 0


def test_logit_adjustment_helps_rare_classes_at_equal_logits():
    logits = torch.zeros(1, C, 1, 1, requires_grad=True)
    loss = cross_entropy_per_class(logits, torch.full((1, 1, 1), 4), shaping=LogitAdjustment(pixels=PIXELS))
    assert loss.total.sum().item() > math.log(C)


def test_seesaw_counts_what_training_has_seen():
    shaping = Seesaw(num_classes=C)
    labels = torch.tensor([[[0, 0, 1, 255], [0, 4, 4, -7]]])
    logits = torch.randn(1, C, 2, 4)
    cross_entropy_per_class(logits, labels, shaping=shaping)
    cross_entropy_per_class(logits, torch.full_like(labels, 2), shaping=shaping)
    assert shaping.counts.tolist() == [3, 1, 8, 0, 2]
    cross_entropy_per_class(logits, labels, shaping=shaping.eval())
    assert shaping.counts.tolist() == [3, 1, 8, 0, 2]
    resumed = Seesaw(num_classes=C)
    resumed.load_state_dict(shaping.state_dict())
    one = cross_entropy_per_class(logits, labels, shaping=resumed).total
    assert torch.equal(one, cross_entropy_per_class(logits, labels, shaping=shaping.train()).total)


def _seesaw_on_a_rank(rank, logits, labels):
    shaping = Seesaw(num_classes=C)
    loss = cross_entropy_per_class(logits[rank : rank + 1], labels[rank : rank + 1], shaping=shaping)
    return shaping.counts, loss.total


def test_seesaw_on_two_ranks_equals_one_rank_of_double_batch(tmp_path):
    logits, labels, *_ = batch()
    logits = logits.detach()
    labels[0][labels[0] == 2] = 255  # a class that one rank does not see
    whole = Seesaw(num_classes=C)
    expected = cross_entropy_per_class(logits, labels, shaping=whole).total
    (counts, first), (other_counts, second) = on_two_ranks(
        _seesaw_on_a_rank, tmp_path, logits, labels, start_method="fork"
    )
    assert torch.equal(counts, whole.counts) and torch.equal(other_counts, whole.counts)
    torch.testing.assert_close(first + second, expected)


@pytest.mark.parametrize(
    "build",
    [
        lambda: Focal(gamma=-1),
        lambda: LogitAdjustment(pixels=PIXELS, tau=-1),
        lambda: LogitAdjustment(pixels=torch.zeros(C)),
        lambda: Seesaw(num_classes=C, p=-1),
    ],
)
def test_wrong_options_are_refused(build):
    with pytest.raises(ValueError, match="Expected"):
        build()
