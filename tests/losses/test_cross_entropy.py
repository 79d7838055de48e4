"""Cross entropy per class against torch, Detectron2's hard pixel mining, and autograd."""

import pytest
import torch
import torch.nn.functional as F
from detectron2.projects.deeplab.loss import DeepLabCE

from gbw_panoptic.losses.class_gradients import sum_gradients
from gbw_panoptic.losses import cross_entropy_per_class
from gbw_panoptic.weighting import ClassWeighting, GradientBasedWeighting, StaticWeighting

B, C, H, W, K = 2, 6, 12, 20, 7


def batch(seed=0, absent=3):
    """Logits of an upsampled 1x1 convolution, labels with an absent class and ignored pixels, pixel weights."""
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    convolution = torch.nn.Conv2d(K, C, 1)
    features = torch.randn(B, K, H // 4, W // 4, generator=generator)
    logits = F.interpolate(convolution(features), (H, W), mode="bilinear", align_corners=False)
    labels = torch.randint(0, C + 1, (B, H, W), generator=generator)
    labels[labels == absent] = 0
    labels[labels == C] = 255
    weights = torch.rand(B, H, W, generator=generator)
    return logits, labels, weights, features, convolution


def mean_loss(logits, labels, **kwargs):
    return ClassWeighting(num_classes=C)(cross_entropy_per_class(logits, labels, **kwargs), branch="source")


@pytest.mark.parametrize("denominator", ["weights", "valid", "all"])
def test_unit_weights_are_the_unweighted_loss_bit_for_bit_and_torchs(denominator):
    logits, labels, *_ = batch()
    common = dict(num_classes=C, denominator=denominator)
    weightings = [
        ClassWeighting(**common),
        StaticWeighting(weights=torch.ones(C), **common),
        GradientBasedWeighting(lam=0.5, gradient="logits", warmup_iters=1, **common),
    ]
    values = [w(cross_entropy_per_class(logits, labels, gradient=w.gradient), branch="source") for w in weightings]
    assert all(torch.equal(value, values[0]) for value in values)
    total = F.cross_entropy(logits, labels, ignore_index=255, reduction="sum")
    divisor = labels.numel() if denominator == "all" else (labels != 255).sum()
    assert values[0].item() == pytest.approx((total / divisor).item(), abs=1e-6)


def test_gbw_on_hard_pixels_takes_its_gradients_from_the_kept_ones():
    """Against autograd of the mean losses per class of the pixels that a sort keeps."""
    logits, labels, weights, _, convolution = batch()
    share = 0.25
    losses = F.cross_entropy(logits, labels, ignore_index=255, reduction="none") * weights
    norms, sums = torch.zeros(C), {}
    for c in range(C):
        hardest = torch.zeros(B, H * W, dtype=torch.bool)
        for b in range(B):
            hardest[b, losses[b].flatten().argsort(descending=True)[: int(share * H * W)]] = True
        kept = (labels == c) & hardest.view_as(labels)
        if kept.any():
            sums[c] = (losses[kept].sum(), kept.sum())
            mean = losses[kept].mean()
            norms[c] = torch.autograd.grad(mean, convolution.bias, retain_graph=True)[0].norm()
    weighting = GradientBasedWeighting(num_classes=C, lam=0.05, gradient="logits")
    value = weighting(cross_entropy_per_class(logits, labels, weights, top_k=share, gradient="logits"), branch="source")
    statistics = weighting.statistics["source"]
    torch.testing.assert_close(statistics["gradient"], norms, atol=1e-5, rtol=1e-5)
    w = statistics["weight"]
    assert w[list(sums)].std() > 0
    expected = sum(w[c] * total for c, (total, _) in sums.items()) / sum(w[c] * n for c, (_, n) in sums.items())
    torch.testing.assert_close(value, expected, atol=1e-6, rtol=1e-5)


def test_totals_and_counts_by_hand():
    logits = torch.tensor([[0.0, 0.0], [0.0, 0.0], [0.0, 0.0]]).view(1, 3, 1, 2)  # uniform: every loss is ln 3
    labels = torch.tensor([[[1, 1]]])
    loss = cross_entropy_per_class(logits, labels, torch.tensor([[[2.0, 0.5]]]), gradient="logits")
    torch.testing.assert_close(loss.total, torch.tensor([0.0, 2.5, 0.0]).double() * torch.tensor(3.0).log())
    assert loss.count.tolist() == [0, 2, 0]  # the pixel weight is not in the count
    # gradient of class 1: 2.5 * (1/3, 1/3 - 1, 1/3)
    torch.testing.assert_close(loss.gradient[1], 2.5 * torch.tensor([1 / 3, -2 / 3, 1 / 3]))
    assert loss.gradient[[0, 2]].abs().sum() == 0


@pytest.mark.parametrize("top_k", [1.0, 0.3])
def test_closed_forms_equal_autograd(top_k):
    logits, labels, weights, features, convolution = batch()
    parameters = (convolution.weight, convolution.bias)

    def gradient(kind):
        return cross_entropy_per_class(
            logits,
            labels,
            weights,
            top_k=top_k,
            gradient=kind,
            features=features,
            feature_stride=4,
            parameters=parameters,
        ).gradient.double()

    oracle = gradient("autograd")
    weight_part, bias_part = oracle[:, : C * K], oracle[:, C * K :]
    layers = gradient("last_layer").view(C, C, K + 1)
    torch.testing.assert_close(gradient("logits"), bias_part, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(layers[..., :K].flatten(1), weight_part, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(layers[..., K], bias_part, atol=1e-5, rtol=1e-5)


def test_pixel_gradient_equals_loop():
    logits, labels, weights, *_ = batch()
    loss = cross_entropy_per_class(logits, labels, weights, gradient="pixel")
    expected = torch.zeros(C)
    for b, y, x in torch.nonzero(labels != 255).tolist():
        c = labels[b, y, x]
        residual = logits[b, :, y, x].softmax(0) - F.one_hot(c, C)
        expected[c] += (weights[b, y, x] * residual).norm()
    torch.testing.assert_close(loss.gradient.flatten(), expected.detach(), atol=1e-4, rtol=1e-5)


def test_hard_pixel_mining_equals_detectron2_on_one_image():
    logits, labels, weights, *_ = batch()
    logits, labels, weights = logits[:1], labels[:1], weights[:1]
    expected = DeepLabCE(ignore_label=255, top_k_percent_pixels=0.2)(logits, labels, weights)
    loss = cross_entropy_per_class(logits, labels, weights, top_k=0.2)
    value = ClassWeighting(num_classes=C, denominator="all")(loss, branch="source")
    assert value.item() == pytest.approx(expected.item(), rel=1e-5)


def test_denominator_all_equals_detectron2():
    logits, labels, weights, *_ = batch()
    loss = cross_entropy_per_class(logits, labels, weights)
    value = ClassWeighting(num_classes=C, denominator="all")(loss, branch="source")
    assert value.item() == pytest.approx(DeepLabCE(ignore_label=255)(logits, labels, weights).item(), rel=1e-5)


@pytest.mark.parametrize("gradient", ["logits", "last_layer", "pixel"])
def test_all_ignored_gives_exactly_zero_and_finite_gradients(gradient):
    logits, labels, weights, features, _ = batch()
    logits = logits.detach().requires_grad_()
    loss = cross_entropy_per_class(
        logits, torch.full_like(labels, 255), weights, gradient=gradient, features=features, feature_stride=4
    )
    value = ClassWeighting(num_classes=C)(loss, branch="source")
    value.backward()
    assert value.item() == 0
    assert logits.grad.abs().max() == 0
    assert loss.gradient.abs().max() == 0


def test_infinite_logits_at_ignored_pixels_change_nothing():
    logits, labels, *_ = batch()
    labels[0, 0, 0] = 255
    broken = logits.detach().clone()
    broken[0, :, 0, 0] = torch.tensor(float("nan"))
    assert mean_loss(broken, labels).item() == mean_loss(logits.detach(), labels).item()


def test_half_precision_logits_are_computed_in_float32():
    logits, labels, *_ = batch()
    coarse = logits.detach().bfloat16()
    assert mean_loss(coarse, labels).item() == mean_loss(coarse.float(), labels).item()


def test_ignoring_pixels_equals_leaving_them_out():
    logits, labels, weights, *_ = batch()
    half = cross_entropy_per_class(logits[..., :10], labels[..., :10], weights[..., :10], gradient="logits")
    masked = labels.clone()
    masked[..., 10:] = 255
    whole = cross_entropy_per_class(logits, masked, weights, gradient="logits")
    torch.testing.assert_close(half.total, whole.total)
    torch.testing.assert_close(half.gradient, whole.gradient, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    "change, message",
    [
        (dict(labels=torch.zeros(1, 3, 3, dtype=torch.int64)), "Expected labels of shape"),
        (dict(pixel_weights=torch.ones(1, 2, 3)), "Expected pixel_weights of shape"),
        (dict(gradient="bias"), "Expected gradient to be one of"),
        (dict(gradient="last_layer"), "Expected `features`"),
        (dict(gradient="autograd"), "Expected `parameters`"),
    ],
)
def test_wrong_arguments_are_named(change, message):
    arguments = dict(labels=torch.zeros(1, 2, 2, dtype=torch.int64)) | change
    with pytest.raises(ValueError, match=message):
        cross_entropy_per_class(torch.zeros(1, C, 2, 2), **arguments)


@pytest.mark.parametrize("gradient", ["logits", "last_layer", "pixel"])
def test_class_gradients_are_float32_under_autocast(gradient):
    logits, labels, weights, features, _ = batch()
    arguments = dict(pixel_weights=weights, gradient=gradient, features=features, feature_stride=4)
    expected = cross_entropy_per_class(logits, labels, **arguments).gradient
    with torch.autocast("cpu", torch.bfloat16):
        actual = cross_entropy_per_class(logits, labels, **arguments).gradient
    assert torch.equal(actual, expected)


@pytest.mark.parametrize("classes", [3, 64, 65, 200])
def test_class_gradients_of_few_and_of_many_classes_equal_sums_by_loop(classes):
    """Many classes are summed in another way, whose cost does not grow with their square."""
    generator = torch.Generator().manual_seed(0)
    residual = torch.randn(2, classes, 5, 7, generator=generator)
    groups = torch.randint(-1, classes + 2, (2, 5, 7), generator=generator)  # some of no class
    found = sum_gradients("logits", residual, groups, num_classes=classes)
    pixels, of_pixels = residual.double().movedim(1, -1).reshape(-1, classes), groups.flatten()
    expected = torch.stack([pixels[of_pixels == c].sum(0) for c in range(classes)])
    torch.testing.assert_close(found, expected.float(), rtol=1e-5, atol=1e-6)
