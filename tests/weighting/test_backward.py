"""The backward form against the forward form, and by its definition where there is no forward form."""

import copy

import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch._subclasses import FakeTensorMode
from torch.nn.parallel import DistributedDataParallel
from two_ranks import on_two_ranks

from gbw_panoptic.losses import center_loss_per_class, cross_entropy_per_class
from gbw_panoptic.weighting import ClassWeighting, GradientBasedWeighting, StaticWeighting, gbw_weights, reweighted

B, C, H, W, K = 2, 5, 8, 12, 3
GRADIENTS = ["logits", "pixel", "last_layer"]


def gbw(**options):
    return GradientBasedWeighting(**(dict(num_classes=C, lam=0.2, gradient="logits") | options))


def static(weights, **options):
    return StaticWeighting(weights=torch.tensor(weights), num_classes=len(weights), **options)


def images(seed=0, batch=B):
    """Features, labels (class 3 absent, some ignored) and pixel weights."""
    g = torch.Generator().manual_seed(seed)
    features = torch.randn(batch, K, H // 2, W // 2, generator=g)
    labels = torch.randint(0, C + 1, (batch, H, W), generator=g)
    labels[labels == 3] = 0
    labels[labels == C] = 255
    return features, labels, torch.rand(batch, H, W, generator=g)


def random_prediction():
    return torch.randn(B, C, H, W, generator=torch.Generator().manual_seed(2)).requires_grad_()


def convolution(channels=C):
    torch.manual_seed(1)
    return torch.nn.Conv2d(K, channels, 1)


def upsampled(layer, features):
    return F.interpolate(layer(features), (H, W), mode="bilinear", align_corners=False)


def parameter_gradients(layer, loss):
    layer.zero_grad()
    loss.backward()
    return torch.cat([p.grad.flatten() for p in layer.parameters()])


def pixel_losses(logits, labels, quality):
    return F.cross_entropy(logits, labels, ignore_index=255, reduction="none") * quality


def test_a_branch_without_weights_passes_the_gradient_through():
    prediction, (_, labels, _) = random_prediction(), images()
    weighting = gbw(branches=("mixed",))
    for branch, equal in (("source", True), ("mixed", False)):
        out = reweighted(prediction, labels, weighting=weighting, branch=branch)
        (weighted,) = torch.autograd.grad(F.cross_entropy(out, labels, ignore_index=255), prediction)
        (plain,) = torch.autograd.grad(F.cross_entropy(prediction, labels, ignore_index=255), prediction)
        assert torch.allclose(weighted, plain, rtol=1e-6, atol=0) == equal


# The forward form


@pytest.mark.parametrize("kind", GRADIENTS)
@pytest.mark.parametrize("target", ["weights", "valid", "all"])
@pytest.mark.parametrize("own", ["sum", "valid", "all"])
def test_cross_entropy_equals_the_forward_form(kind, target, own):
    features, labels, quality = images()
    layer = convolution()
    one, two = (gbw(gradient=kind, denominator=target) for _ in range(2))
    loss = cross_entropy_per_class(
        upsampled(layer, features), labels, quality, gradient=kind, features=features, feature_stride=2
    )
    expected = parameter_gradients(layer, 0.3 * one(loss, branch="mixed"))

    divisor = {"sum": 1.0, "valid": (labels != 255).sum(), "all": labels.numel()}[own]
    logits = reweighted(
        upsampled(layer, features),
        labels,
        weighting=two,
        branch="mixed",
        denominator=None if own == "valid" else divisor,
        scale=0.3,
        features=features,
        feature_stride=2,
    )
    actual = parameter_gradients(layer, 0.3 * pixel_losses(logits, labels, quality).sum() / divisor)
    torch.testing.assert_close(actual, expected, rtol=1e-6, atol=1e-6)
    for name, value in one.statistics["mixed"].items():
        torch.testing.assert_close(two.statistics["mixed"][name], value, rtol=1e-5, atol=1e-6)
    assert one.statistics["mixed"]["weight"].std() > 0.1  # the weights are not all 1


@pytest.mark.parametrize("options", [dict(momentum=0.8), dict(warmup_iters=2), dict(normalize=True, momentum=0.5)])
def test_state_over_time_equals_the_forward_form(options):
    layer = convolution()
    one, two = gbw(**options), gbw(**options)
    for step in range(4):
        features, labels, _ = images(seed=step)
        loss = cross_entropy_per_class(upsampled(layer, features), labels, gradient="logits")
        expected = parameter_gradients(layer, one(loss, branch="source"))
        logits = reweighted(upsampled(layer, features), labels, weighting=two, branch="source")
        actual = parameter_gradients(layer, F.cross_entropy(logits, labels, ignore_index=255))
        torch.testing.assert_close(actual, expected, rtol=1e-6, atol=1e-6)
    for name, value in one.state_dict().items():
        torch.testing.assert_close(two.state_dict()[name], value, rtol=1e-5, atol=1e-6)
    assert two.steps.tolist() == [4, 0, 0, 0]


def test_squared_error_equals_the_forward_form():
    """The centre head: pixels of no instance are a background of weight 1, pixels of weight 0 take no part."""
    features, labels, quality = images()
    counts = (quality > 0.3).float()
    classes = torch.where(labels == 255, C, labels)
    layer, target = convolution(channels=1), torch.rand(B, 1, H, W)
    options = dict(gradient="pixel", normalize=True)
    one, two = gbw(**options), gbw(**options)
    arguments = (target, counts.unsqueeze(1), classes)
    loss = center_loss_per_class(upsampled(layer, features), *arguments, num_classes=C, with_gradient=True)
    expected = parameter_gradients(layer, 200 * one(loss, branch="source"))
    groups = torch.where(counts > 0, classes, -1)
    heatmap = reweighted(upsampled(layer, features), groups, weighting=two, branch="source", scale=200.0)
    error = (heatmap - target).square().squeeze(1) * counts
    actual = parameter_gradients(layer, 200 * error.sum() / counts.sum())
    torch.testing.assert_close(actual, expected, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(two.statistics["source"]["weight"], one.statistics["source"]["weight"])


def test_a_mean_over_pixels_and_channels_keeps_its_scale():
    """mse_loss divides by B A H W: l_i is the mean over the channels and D the number of pixels."""
    features, labels, _ = images()
    layer, classes = convolution(), labels.clamp(max=C - 1)
    expected = parameter_gradients(layer, F.mse_loss(upsampled(layer, features), torch.zeros(B, C, H, W)))
    identity = reweighted(upsampled(layer, features), classes, weighting=static([3.0] * C), branch="source")
    actual = parameter_gradients(layer, F.mse_loss(identity, torch.zeros(B, C, H, W)))
    torch.testing.assert_close(actual, expected, rtol=1e-6, atol=1e-7)


def test_unit_weights_change_nothing():
    features, labels, _ = images()
    layer = convolution()
    expected = parameter_gradients(layer, F.cross_entropy(upsampled(layer, features), labels, ignore_index=255))
    logits = reweighted(upsampled(layer, features), labels, weighting=ClassWeighting(num_classes=C), branch="source")
    actual = parameter_gradients(layer, F.cross_entropy(logits, labels, ignore_index=255))
    torch.testing.assert_close(actual, expected, rtol=1e-6, atol=0)


class TwoHeads(torch.nn.Module):
    """Both heads' identities reduce over the ranks while the wrapper already reduces the other head's gradients."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.shared = torch.nn.Conv2d(K, K, 1)
        self.heads = torch.nn.ModuleList(torch.nn.Conv2d(K, C, 1) for _ in range(2))

    def forward(self, features):
        features = self.shared(features)
        return features, [upsampled(head, features) for head in self.heads]


def _step_on_a_rank(rank, kind, double=False):
    """Gradients of a data-parallel model; with ``double`` those of one rank with the batch of both."""
    features, labels, _ = images(batch=2 * B)
    labels[:B][labels[:B] == 1] = 255  # one rank sees fewer pixels, and not every class
    share = slice(0, 2 * B) if double else slice(rank * B, (rank + 1) * B)
    features, labels = features[share], labels[share]
    model = TwoHeads()
    wrapped = model if double else DistributedDataParallel(model, bucket_cap_mb=1e-6)
    weightings = [gbw(gradient=kind, momentum=0.5), gbw(gradient=kind, lam=0.1)]
    for _ in range(2):
        hidden, predictions = wrapped(features)
        losses = 0
        for prediction, weighting in zip(predictions, weightings):
            logits = reweighted(
                prediction, labels, weighting=weighting, branch="source", features=hidden, feature_stride=2
            )
            losses = losses + F.cross_entropy(logits, labels, ignore_index=255)
        gradients = parameter_gradients(model, losses)
    return gradients, torch.stack([weighting.statistics["source"]["weight"] for weighting in weightings])


def _steps_on_a_rank(rank):
    groups, all_reduce = [], dist.all_reduce

    def recorded(tensor, *args, group=None, **kwargs):
        groups.append(group)
        return all_reduce(tensor, *args, group=group, **kwargs)

    dist.all_reduce = recorded
    results = [_step_on_a_rank(rank, kind) for kind in GRADIENTS]
    assert len(groups) == 2 * 2 * len(GRADIENTS) and not {None, dist.group.WORLD} & set(groups)
    return results


@pytest.mark.slow
def test_two_ranks_equal_one_rank_of_double_batch(tmp_path):
    first, second = on_two_ranks(_steps_on_a_rank, tmp_path)
    for kind, (gradients, weights), (other_gradients, other_weights) in zip(GRADIENTS, first, second):
        assert torch.equal(gradients, other_gradients) and torch.equal(weights, other_weights)
        expected_gradients, expected_weights = _step_on_a_rank(0, kind, double=True)
        torch.testing.assert_close(gradients, expected_gradients, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(weights, expected_weights, rtol=1e-5, atol=1e-6)


# Scale and precision


@pytest.mark.parametrize("scale", [1e-6, 1.0, 65536.0])
@pytest.mark.parametrize("as_tensor", [False, True])
def test_scale_of_the_loss_does_not_change_the_weights(scale, as_tensor):
    features, labels, _ = images()
    layer = convolution()
    weighting = gbw()
    logits = reweighted(
        upsampled(layer, features),
        labels,
        weighting=weighting,
        branch="source",
        scale=torch.tensor(scale) if as_tensor else scale,
    )
    actual = parameter_gradients(layer, scale * F.cross_entropy(logits, labels, ignore_index=255)) / scale
    expected = gbw()
    loss = cross_entropy_per_class(upsampled(layer, features), labels, gradient="logits")
    torch.testing.assert_close(
        actual, parameter_gradients(layer, expected(loss, branch="source")), rtol=1e-6, atol=1e-6
    )
    torch.testing.assert_close(weighting.statistics["source"]["weight"], expected.statistics["source"]["weight"])


def test_scale_comes_from_a_grad_scaler_without_synchronisation():
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    assert (0.5 * scaler.scale(torch.ones(()))).item() == 512


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("kind", ["logits", "pixel"])
def test_half_precision_keeps_its_type_and_computes_in_float32(dtype, kind):
    _, labels, _ = images()
    prediction = random_prediction().detach().to(dtype).requires_grad_()
    half, single = gbw(gradient=kind), gbw(gradient=kind)
    F.cross_entropy(
        reweighted(prediction, labels, weighting=half, branch="source").float(), labels, ignore_index=255
    ).backward()
    assert prediction.grad.dtype == dtype
    same = prediction.detach().float().requires_grad_()
    F.cross_entropy(reweighted(same, labels, weighting=single, branch="source"), labels, ignore_index=255).backward()
    # the gradient arrives rounded to half precision
    precision = torch.finfo(dtype).eps
    torch.testing.assert_close(
        half.statistics["source"]["weight"], single.statistics["source"]["weight"], rtol=0, atol=4 * precision
    )
    torch.testing.assert_close(prediction.grad.float(), same.grad, rtol=8 * precision, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_rounds_the_product_only(dtype):
    classes = torch.randint(0, 2, (1, H, W), generator=torch.Generator().manual_seed(0))
    prediction = torch.zeros(1, 2, H, W, dtype=dtype, requires_grad=True)
    arriving = torch.randn(1, 2, H, W, generator=torch.Generator().manual_seed(0)).to(dtype)
    weights = [1.2345, 0.7654]
    reweighted(prediction, classes, weighting=static(weights, denominator="valid"), branch="source").backward(arriving)
    expected = (arriving.float() * torch.tensor(weights)[classes].unsqueeze(1)).to(dtype)
    assert torch.equal(prediction.grad, expected)


def test_backward_under_autocast_equals_backward_without():
    features, labels, _ = images()

    def run(autocast):
        layer, weighting = convolution(), gbw(gradient="last_layer")
        logits = upsampled(layer, features)
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            logits = reweighted(
                logits, labels, weighting=weighting, branch="source", features=features, feature_stride=2
            )
            parameter_gradients(layer, F.cross_entropy(logits, labels, ignore_index=255))
        return weighting.statistics["source"]["weight"]

    assert torch.equal(run(True), run(False))


def test_tiny_gradients_do_not_underflow():
    """A mean over many pixels with a tiny coefficient: squares of what arrives are below float32."""
    _, labels, _ = images()
    prediction = random_prediction()
    weighting, expected = gbw(gradient="pixel"), gbw(gradient="pixel")
    scale = 1e-24
    loss = F.cross_entropy(
        reweighted(prediction, labels, weighting=weighting, branch="source", scale=scale), labels, ignore_index=255
    )
    (loss * scale).backward()
    expected(cross_entropy_per_class(prediction, labels, gradient="pixel"), branch="source")
    torch.testing.assert_close(weighting.statistics["source"]["weight"], expected.statistics["source"]["weight"])


def test_no_value_is_read_on_the_host():
    """A fake tensor has no values: any .item(), bool() or nonzero() in forward or backward pass would raise."""
    for kind in GRADIENTS:
        with FakeTensorMode():
            weighting = gbw(gradient=kind, momentum=0.5, normalize=True, warmup_iters=1)
            prediction = torch.randn(B, C, H, W, requires_grad=True)
            labels = torch.zeros(B, H, W, dtype=torch.int64)
            logits = reweighted(
                prediction,
                labels,
                weighting=weighting,
                branch="source",
                scale=torch.ones(()),
                features=torch.randn(B, K, H // 2, W // 2),
                feature_stride=2,
            )
            F.cross_entropy(logits, labels).backward()
            assert prediction.grad.shape == prediction.shape


# By definition


def test_adversarial_gradient_is_scaled_by_the_weight_of_the_argmax_class():
    """No forward form: what reaches a pixel of the softmax map is w of its argmax class times what arrived there."""
    torch.manual_seed(0)
    discriminator = torch.nn.Sequential(
        torch.nn.Conv2d(C, 8, 4, stride=2, padding=1), torch.nn.LeakyReLU(0.2), torch.nn.Conv2d(8, 1, 4, 2, 1)
    )
    features, *_ = images()
    logits = upsampled(convolution(), features)
    classes = logits.argmax(1)
    weighting = gbw(normalize=True, gradient="pixel", denominator="valid")
    probabilities = logits.softmax(1)
    arrived, left = [], []
    probabilities.register_hook(left.append)
    identity = reweighted(probabilities, classes, weighting=weighting, branch="mixed", scale=0.001)
    assert torch.equal(identity, probabilities)
    identity.register_hook(arrived.append)
    score = discriminator(identity)
    (0.001 * F.binary_cross_entropy_with_logits(score, torch.zeros_like(score))).backward()
    weights = weighting.statistics["mixed"]["weight"]
    torch.testing.assert_close(left[0], arrived[0] * weights[classes].unsqueeze(1), rtol=1e-6, atol=0)
    # and w is the program's, of the gradients that arrived
    norms = arrived[0].norm(dim=1) * classes.numel() / 0.001
    g = torch.stack([norms[classes == c].mean() if (classes == c).any() else norms.new_zeros(()) for c in range(C)])
    present = torch.bincount(classes.flatten(), minlength=C) > 0
    torch.testing.assert_close(weights, gbw_weights(g / g[present].mean(), 0.2, present), rtol=1e-5, atol=1e-6)


def test_by_hand():
    # w = (2, 0.5); pixels of class 0, 1, 1, background (C = 2), none; D = 4 pixels that take part
    classes = torch.tensor([[[0, 1, 1, 2, 255]]])
    prediction = torch.zeros(1, 3, 1, 5, requires_grad=True)

    def gradient(denominator):
        weighting = static([2.0, 0.5], denominator=denominator)
        identity = reweighted(prediction, classes, weighting=weighting, branch="source")
        return torch.autograd.grad(identity.sum(), prediction)[0][0, :, 0]

    # `weights`: S = 2 + 2 * 0.5 + 1 = 4 = D; `valid`: S = 4; `all`: S = 5
    expected = torch.tensor([2.0, 0.5, 0.5, 1.0, 0.0]).expand(3, 5)
    torch.testing.assert_close(gradient("weights"), expected)
    torch.testing.assert_close(gradient("valid"), expected)
    torch.testing.assert_close(gradient("all"), expected * 4 / 5)


def test_scaling_all_weights_changes_nothing_with_denominator_weights():
    _, labels, _ = images()
    prediction = random_prediction()

    def gradient(factor):
        weighting = static([0.1 * factor, 2.0 * factor, 1.0 * factor, 0.9 * factor, 0.4 * factor])
        identity = reweighted(prediction, labels, weighting=weighting, branch="source")
        return torch.autograd.grad(F.cross_entropy(identity, labels, ignore_index=255), prediction)[0]

    torch.testing.assert_close(gradient(10.0), gradient(1.0), rtol=1e-6, atol=0)


def test_second_derivatives_pass_through():
    """The backward pass is linear with constant factors: a gradient penalty can be differentiated."""
    g = torch.Generator().manual_seed(0)
    classes = torch.randint(0, 2, (1, 2, 3), generator=g)
    prediction = torch.randn(1, 2, 2, 3, generator=g, dtype=torch.float64).requires_grad_()
    weighting = static([2.0, 0.5], denominator="valid")
    identity = reweighted(prediction, classes, weighting=weighting, branch="source")
    (first,) = torch.autograd.grad(identity.pow(3).sum(), prediction, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), prediction)
    w = torch.tensor([2.0, 0.5], dtype=torch.float64)[classes].unsqueeze(1)
    torch.testing.assert_close(first, 3 * prediction**2 * w)
    torch.testing.assert_close(second, 6 * prediction * w * w)  # the identity is passed twice


# Edges


@pytest.mark.parametrize("kind", GRADIENTS)
@pytest.mark.parametrize("label", [255, -1])
def test_all_ignored_gives_zero_gradients(kind, label):
    prediction = random_prediction()
    weighting = gbw(gradient=kind)
    identity = reweighted(
        prediction,
        torch.full((B, H, W), label),
        weighting=weighting,
        branch="source",
        features=torch.randn(B, K, H, W),
    )
    identity.square().sum().backward()
    assert prediction.grad.abs().max() == 0
    assert weighting.statistics["source"]["weight"].tolist() == [1.0] * C
    assert weighting.skipped.tolist() == [0, 0, 0, 0]


def test_non_finite_gradients_leave_the_previous_weights_in_force():
    _, labels, _ = images()
    prediction = random_prediction()
    weighting = gbw()

    def step(broken):
        identity = reweighted(prediction, labels, weighting=weighting, branch="source")
        losses = F.cross_entropy(identity, labels, ignore_index=255, reduction="none")
        factor = torch.ones_like(losses)
        factor[labels == 1] = float("nan") if broken else 1.0
        return torch.autograd.grad((losses * factor).sum() / (labels != 255).sum(), prediction)[0]

    step(broken=False)
    weights, norms = weighting.previous_weights[0].clone(), weighting.gradient_norms[0].clone()
    gradient = step(broken=True)
    assert torch.equal(weighting.statistics["source"]["weight"], weights)
    assert torch.equal(weighting.gradient_norms[0], norms)
    assert weighting.skipped.tolist() == [1, 0, 0, 0]
    nan = gradient.isnan().any(1)
    assert torch.equal(nan, labels == 1)  # passed on where it was, and nowhere else


@pytest.mark.parametrize("kind", ["logits", "pixel"])
def test_nan_at_a_pixel_that_takes_no_part_goes_nowhere(kind):
    labels = torch.zeros(1, 2, 2, dtype=torch.int64)
    labels[0, 0, 0] = 255
    prediction = torch.randn(1, C, 2, 2, requires_grad=True)
    weighting = gbw(gradient=kind)
    identity = reweighted(prediction, labels, weighting=weighting, branch="source")
    arriving = torch.ones_like(prediction)
    arriving[..., 0, 0] = float("nan")
    identity.backward(arriving)
    assert weighting.skipped[0] == 0 and torch.isfinite(prediction.grad).all()


def test_two_losses_on_one_identity_are_one_step_of_their_sum():
    _, labels, _ = images()
    prediction = random_prediction()
    weighting, expected = gbw(), gbw()
    identity = reweighted(prediction, labels, weighting=weighting, branch="source")
    loss = F.cross_entropy(identity, labels, ignore_index=255)
    (0.25 * loss + 0.75 * F.cross_entropy(identity, labels, ignore_index=255)).backward()
    expected(cross_entropy_per_class(prediction, labels, gradient="logits"), branch="source")
    assert weighting.steps.tolist() == [1, 0, 0, 0]
    torch.testing.assert_close(weighting.statistics["source"]["weight"], expected.statistics["source"]["weight"])


def test_two_identities_of_one_branch_are_two_steps():
    weighting = gbw(momentum=0.5)
    for seed in range(2):
        _, labels, _ = images(seed)
        prediction = random_prediction()
        identity = reweighted(prediction, labels, weighting=weighting, branch="source")
        F.cross_entropy(identity, labels, ignore_index=255).backward()
    assert weighting.steps.tolist() == [2, 0, 0, 0]


def test_nothing_happens_without_a_backward_pass():
    weighting = gbw()
    labels = torch.zeros(B, H, W, dtype=torch.int64)
    constant = torch.randn(B, C, H, W)
    assert reweighted(constant, labels, weighting=weighting, branch="source") is constant
    with torch.no_grad():
        reweighted(constant.clone().requires_grad_(), labels, weighting=weighting, branch="source")
    assert weighting.steps.tolist() == [0, 0, 0, 0] and not weighting.statistics


def test_a_weighting_can_be_copied_and_its_state_has_no_process_group():
    weighting = gbw()
    weighting.backward_group.get()
    copy.deepcopy(weighting)
    assert all(isinstance(value, torch.Tensor) for value in weighting.state_dict().values())


@pytest.mark.parametrize(
    "options, shape, message",
    [
        (dict(gradient="last_layer"), (B, H, W), "Expected `features` for gradient 'last_layer'"),
        (dict(gradient="autograd"), (B, H, W), "but got 'autograd'"),
        (dict(), (B, H // 2, W // 2), "place `reweighted` after upsampling"),
    ],
)
def test_what_it_cannot_give_is_refused(options, shape, message):
    prediction = random_prediction()
    with pytest.raises(ValueError, match=message):
        reweighted(prediction, torch.zeros(shape, dtype=torch.int64), weighting=gbw(**options), branch="source")


def test_works_in_a_compiled_step():
    features, labels, _ = images()
    layer = convolution()

    def loss(features, labels, weighting):
        logits = reweighted(upsampled(layer, features), labels, weighting=weighting, branch="source")
        return F.cross_entropy(logits, labels, ignore_index=255)

    one, two = gbw(), gbw()
    compiled = torch.compile(loss, backend="eager")
    torch.testing.assert_close(
        parameter_gradients(layer, compiled(features, labels, one)),
        parameter_gradients(layer, loss(features, labels, two)),
    )
    assert one.steps.tolist() == [1, 0, 0, 0]
    assert torch.equal(one.statistics["source"]["weight"], two.statistics["source"]["weight"])
