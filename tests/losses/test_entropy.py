"""Entropy and maximum squares against loops, the published reductions and autograd."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch._subclasses import FakeTensorMode

from gbw_panoptic.losses import entropy_per_class, image_wise_factors, maximum_squares_per_class
from gbw_panoptic.weighting import ClassWeighting, GradientBasedWeighting, reweighted

B, C, H, W, K = 2, 5, 8, 12, 3


def image_wise_maximum_squares(*args, **kwargs):
    return maximum_squares_per_class(*args, image_wise_ratio=0.2, **kwargs)


LOSSES = [entropy_per_class, maximum_squares_per_class, image_wise_maximum_squares]


def batch(seed=0):
    """Logits of an upsampled 1x1 convolution, a mask, features and the convolution."""
    g = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    convolution = torch.nn.Conv2d(K, C, 1)
    features = 2 * torch.randn(B, K, H // 2, W // 2, generator=g)
    logits = F.interpolate(convolution(features), (H, W), mode="bilinear", align_corners=False)
    return logits, torch.rand(B, H, W, generator=g) > 0.2, features, convolution


def unweighted(loss, denominator="valid"):
    return ClassWeighting(num_classes=C, denominator=denominator)(loss, branch="mixed")


def test_entropy_is_the_published_mean():
    logits, *_ = batch()
    p = logits.softmax(1)
    expected = -(p * (p + 1e-30).log2()).sum() / (B * H * W * math.log2(C))
    loss = entropy_per_class(logits)
    torch.testing.assert_close(unweighted(loss), expected, rtol=1e-6, atol=0)
    torch.testing.assert_close(unweighted(loss, "weights"), expected, rtol=1e-6, atol=0)


def test_maximum_squares_is_the_published_mean():
    logits, *_ = batch()
    expected = -(logits.softmax(1) ** 2).mean() / 2
    torch.testing.assert_close(unweighted(maximum_squares_per_class(logits)), expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize("ratio", [0.0, 0.2, 1.0])
def test_image_wise_maximum_squares_is_the_published_loss(ratio):
    """One histogram per image, on the host, and no 1/2."""
    logits, *_ = batch()
    p, expected = logits.softmax(1), 0
    for image, classes in zip(p, logits.argmax(1)):
        for c in range(C):
            n = int((classes == c).sum())
            w = 1 / max(n**ratio * (H * W) ** (1 - ratio), 1)
            expected = expected - w * image[:, classes == c].square().sum() / (B * C)
    loss = maximum_squares_per_class(logits, image_wise_ratio=ratio)
    torch.testing.assert_close(unweighted(loss), expected, rtol=1e-5, atol=0)


def test_image_wise_factors_by_hand():
    # class 0 fills the first image, has 3 of 4 pixels of the second; in the third two of four pixels do not count
    classes = torch.tensor([[[0, 0, 0, 0]], [[0, 0, 1, 0]], [[-1, 1, 255, 0]]])
    rare, common, half = 4**0.5, (4 / 3) ** 0.5, 2**0.5
    expected = torch.tensor([[[1.0] * 4], [[common, common, rare, common]], [[0.0, half, 0.0, half]]])
    torch.testing.assert_close(image_wise_factors(classes, 2, ratio=0.5), expected)


@pytest.mark.parametrize("function", LOSSES[:2])  # the image-wise factor depends on the other classes
def test_totals_and_counts_are_those_of_the_predicted_classes(function):
    logits, valid, *_ = batch()
    loss = function(logits, valid)
    for c in range(C):
        chosen = valid & (logits.argmax(1) == c)
        assert loss.count[c] == chosen.sum()
        torch.testing.assert_close(loss.total[c], function(logits, chosen).total.sum())
    assert loss.num_pixels == B * H * W


@pytest.mark.parametrize("function", LOSSES)
def test_closed_forms_equal_autograd(function):
    logits, valid, features, convolution = batch()

    def gradient(kind):
        return function(
            logits,
            valid,
            gradient=kind,
            features=features,
            feature_stride=2,
            parameters=(convolution.weight, convolution.bias),
        ).gradient.double()

    oracle = gradient("autograd")
    weight_part, bias_part = oracle[:, : C * K], oracle[:, C * K :]
    layers = gradient("last_layer").view(C, C, K + 1)
    assert bias_part.abs().max() > 0.01
    torch.testing.assert_close(gradient("logits"), bias_part, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(layers[..., :K].flatten(1), weight_part, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(layers[..., K], bias_part, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("function", LOSSES)
def test_pixel_gradient_equals_autograd_of_every_pixel(function):
    logits, valid, *_ = batch()
    leaf = logits.detach().requires_grad_()
    loss = function(leaf, valid, gradient="pixel")
    (of_pixels,) = torch.autograd.grad(loss.total.sum(), leaf)
    norms, classes = of_pixels.norm(dim=1), leaf.argmax(1)
    expected = torch.stack([norms[valid & (classes == c)].sum() for c in range(C)])
    torch.testing.assert_close(loss.gradient.flatten(), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("function", LOSSES)
def test_gradients_equal_finite_differences(function):
    logits = 2 * torch.randn(1, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    leaf = logits.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(function(leaf).total.sum(), leaf)
    step = 1e-2
    for index in torch.nonzero(torch.ones_like(logits)).tolist():
        moved = torch.zeros_like(logits)
        moved[tuple(index)] = step
        difference = function(logits + moved).total.sum() - function(logits - moved).total.sum()
        assert difference.item() / (2 * step) == pytest.approx(gradient[tuple(index)].item(), abs=2e-4)


@pytest.mark.parametrize("kind", ["logits", "pixel"])
@pytest.mark.parametrize("function", LOSSES)
def test_backward_form_equals_the_forward_form(kind, function):
    """Weighting by the closed form, and by what arrives at the prediction, give the same parameter gradients."""
    logits, valid, _, convolution = batch()
    one, two = (GradientBasedWeighting(num_classes=C, lam=0.05, gradient=kind, normalize=True) for _ in range(2))
    parameters = tuple(convolution.parameters())
    expected = torch.autograd.grad(
        0.001 * one(function(logits, valid, gradient=kind), branch="mixed"), parameters, retain_graph=True
    )
    classes = torch.where(valid, logits.argmax(1), -1)
    identity = reweighted(logits, classes, weighting=two, branch="mixed", scale=0.001)
    actual = torch.autograd.grad(0.001 * unweighted(function(identity, valid)), parameters)
    weights = one.statistics["mixed"]["weight"]
    assert weights.std() > 0.05
    torch.testing.assert_close(two.statistics["mixed"]["weight"], weights, rtol=1e-5, atol=1e-6)
    for a, e in zip(actual, expected):
        torch.testing.assert_close(a / 0.001, e / 0.001, rtol=1e-6, atol=1e-6)


# Edges


def test_extremes_of_entropy_and_maximum_squares():
    uniform, certain = torch.zeros(1, C, 1, 1), torch.zeros(1, C, 1, 1)
    certain[0, 2] = 1e4
    assert unweighted(entropy_per_class(uniform)).item() == pytest.approx(1.0, abs=1e-6)
    assert unweighted(entropy_per_class(certain)).item() == 0
    assert unweighted(maximum_squares_per_class(uniform)).item() == pytest.approx(-1 / (2 * C * C))
    assert unweighted(maximum_squares_per_class(certain)).item() == pytest.approx(-1 / (2 * C))


@pytest.mark.parametrize("function", LOSSES)
@pytest.mark.parametrize("value", [0.0, 1e4, 1e30])
@pytest.mark.parametrize("kind", ["logits", "pixel"])
def test_uniform_and_saturated_predictions_are_stationary(function, value, kind):
    logits = torch.zeros(1, C, 2, 2)
    logits[:, 1] = value
    logits.requires_grad_()
    loss = function(logits, gradient=kind)
    unweighted(loss).backward()
    assert logits.grad.abs().max() < 1e-7 and loss.gradient.abs().max() < 1e-6


@pytest.mark.parametrize("function", LOSSES)
def test_all_invalid_gives_exactly_zero_and_finite_gradients(function):
    logits = torch.full((B, C, H, W), float("nan"), requires_grad=True)
    loss = function(
        logits,
        torch.zeros(B, H, W, dtype=torch.bool),
        gradient="last_layer",
        features=torch.randn(B, K, H, W),
    )
    value = unweighted(loss, "weights")
    value.backward()
    assert value.item() == 0 and logits.grad.abs().max() == 0
    assert loss.count.sum() == 0 and loss.gradient.abs().max() == 0


@pytest.mark.parametrize("function", LOSSES)
@pytest.mark.parametrize("kind", ["logits", "pixel"])
def test_nan_outside_the_mask_changes_nothing(function, kind):
    logits, valid, *_ = batch()
    logits = logits.detach()
    broken = torch.where(valid.unsqueeze(1), logits, float("nan")).requires_grad_()
    whole, holes = function(logits, valid, gradient=kind), function(broken, valid, gradient=kind)
    assert torch.equal(whole.total, holes.total) and torch.equal(whole.gradient, holes.gradient)
    holes.total.sum().backward()
    assert torch.isfinite(broken.grad).all()


@pytest.mark.parametrize("function", LOSSES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_logits_are_computed_in_float32(function, dtype):
    coarse = batch()[0].detach().to(dtype)
    with torch.autocast("cpu", torch.bfloat16):
        half = function(coarse, gradient="logits")
    single = function(coarse.float(), gradient="logits")
    assert torch.equal(half.total, single.total) and torch.equal(half.gradient, single.gradient)


@pytest.mark.parametrize("function", LOSSES)
def test_one_pixel(function):
    logits = torch.tensor([1.0, 0.0]).view(1, 2, 1, 1)
    p = torch.tensor([1.0, 0.0]).softmax(0)
    expected = {
        entropy_per_class: -(p * p.log()).sum() / math.log(2),
        maximum_squares_per_class: -p.square().sum() / 4,
        image_wise_maximum_squares: -p.square().sum() / 2,
    }[function]
    loss = function(logits)
    torch.testing.assert_close(loss.total, torch.stack((expected, torch.zeros(()))).double(), rtol=1e-6, atol=0)
    assert loss.count.tolist() == [1, 0]


def test_no_value_is_read_on_the_host():
    """A fake tensor has no values: counting on the host would raise."""
    with FakeTensorMode():
        logits = torch.randn(B, C, H, W, requires_grad=True)
        valid = torch.ones(B, H, W, dtype=torch.bool)
        for function in LOSSES:
            unweighted(function(logits, valid, gradient="logits"), "weights").backward()
        assert logits.grad.shape == logits.shape


@pytest.mark.parametrize("function", LOSSES)
@pytest.mark.parametrize(
    "logits, options, message",
    [
        ((1, 1, 2, 2), dict(), "at least 2 classes"),
        ((1, 3, 2, 2), dict(valid=torch.ones(1, 2, 3, dtype=torch.bool)), "Expected valid of shape"),
        ((1, 3, 2, 2), dict(gradient="bias"), "Expected gradient to be one of"),
        ((1, 3, 2, 2), dict(gradient="last_layer"), "Expected `features`"),
    ],
)
def test_wrong_arguments_are_named(function, logits, options, message):
    with pytest.raises(ValueError, match=message):
        function(torch.zeros(logits), **options)
