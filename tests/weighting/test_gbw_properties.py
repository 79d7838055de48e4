"""Properties of GBW on cross entropy as a whole, for every gradient setting."""

import pytest
import torch
import torch.nn.functional as F
from torch._subclasses import FakeTensorMode

from gbw_panoptic.losses import cross_entropy_per_class
from gbw_panoptic.weighting import GradientBasedWeighting

B, C, H, W, K, STRIDE = 2, 5, 8, 12, 3, 2
GRADIENTS = ["logits", "last_layer", "pixel"]


def batch(seed=0):
    g = torch.Generator().manual_seed(seed)
    logits = torch.randn(B, C, H, W, generator=g)
    return logits, torch.randint(0, C, (B, H, W), generator=g), torch.randn(B, K, H // STRIDE, W // STRIDE, generator=g)


def weighted(kind, logits, labels, features, **options):
    """Loss, gradient at the logits and class weights of one step."""
    logits = logits.detach().clone().requires_grad_()
    weighting = GradientBasedWeighting(num_classes=C, lam=0.1, gradient=kind, **options)
    per_class = cross_entropy_per_class(logits, labels, gradient=kind, features=features, feature_stride=STRIDE)
    loss = weighting(per_class, branch="source")
    loss.backward()
    return loss.detach(), logits.grad, weighting.statistics["source"]["weight"]


@pytest.mark.parametrize("kind", GRADIENTS)
def test_permuting_the_classes_permutes_the_weights(kind):
    logits, labels, features = batch()
    order = torch.tensor([3, 0, 4, 1, 2])  # new class c is the old class order[c]
    loss, gradient, weights = weighted(kind, logits, labels, features)
    new_loss, new_gradient, new_weights = weighted(kind, logits[:, order], order.argsort()[labels], features)
    assert weights.std() > 0.01
    torch.testing.assert_close(new_weights, weights[order], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(new_loss, loss)
    torch.testing.assert_close(new_gradient, gradient[:, order], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("kind", GRADIENTS)
def test_permuting_the_images_changes_nothing(kind):
    tensors = batch()
    weights = weighted(kind, *tensors)[2]
    torch.testing.assert_close(weighted(kind, *(t.flip(0) for t in tensors))[2], weights, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", GRADIENTS)
@pytest.mark.parametrize("denominator", ["weights", "valid", "all"])
def test_a_single_class_is_the_unweighted_loss(kind, denominator):
    logits, labels, features = batch()
    labels = torch.full_like(labels, 2)
    loss, gradient, weights = weighted(kind, logits, labels, features, denominator=denominator)
    assert weights.tolist() == [1.0] * C
    reference = logits.clone().requires_grad_()
    expected = F.cross_entropy(reference, labels)
    expected.backward()
    torch.testing.assert_close(loss, expected.detach(), rtol=1e-6, atol=0)
    torch.testing.assert_close(gradient, reference.grad, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("kind", GRADIENTS)
@pytest.mark.parametrize("denominator", ["weights", "valid", "all"])
def test_all_ignored_is_exactly_zero(kind, denominator):
    logits, labels, features = batch()
    loss, gradient, weights = weighted(
        kind, logits, torch.full_like(labels, 255), features, denominator=denominator, normalize=True, momentum=0.5
    )
    assert loss == 0 and gradient.abs().max() == 0 and weights.tolist() == [1.0] * C


@pytest.mark.parametrize("kind", GRADIENTS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_under_autocast_changes_no_bit(kind, dtype):
    logits, labels, features = (t.to(dtype) if t.is_floating_point() else t for t in batch())
    loss, gradient, weights = weighted(kind, logits.float(), labels, features.float())
    with torch.autocast("cpu", dtype):
        half_loss, half_gradient, half_weights = weighted(kind, logits, labels, features)
    assert torch.equal(half_loss, loss) and torch.equal(half_weights, weights)
    assert half_gradient.dtype == dtype and torch.equal(half_gradient, gradient.to(dtype))


@pytest.mark.parametrize("denominator", ["weights", "all"])
def test_no_value_is_read_on_the_host(denominator):
    """A fake tensor has no values: any .item(), bool() or nonzero() in a step would raise."""
    with FakeTensorMode():
        for kind in GRADIENTS:
            tensors = (torch.randn(B, C, H, W), torch.zeros(B, H, W, dtype=torch.int64), torch.randn(B, K, 4, 6))
            loss, gradient, weights = weighted(
                kind, *tensors, denominator=denominator, momentum=0.5, normalize=True, warmup_iters=1
            )
            assert loss.shape == () and gradient.shape == (B, C, H, W) and weights.shape == (C,)
