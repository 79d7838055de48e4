"""Labels that are unions of classes: their loss is that of the sum of the classes' probabilities."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gbw_panoptic.losses import Focal, cross_entropy_per_class
from gbw_panoptic.losses.cross_entropy import most_probable
from gbw_panoptic.modeling.masks.matching import _label_probabilities

UNIONS = ((1, 2), (0, 3, 4))
CLASSES = 5


def make(seed: int = 0, size: int = 6):
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(2, CLASSES, size, size, generator=generator)
    labels = torch.randint(0, CLASSES + len(UNIONS) + 1, (2, size, size), generator=generator)
    return logits, torch.where(labels == CLASSES + len(UNIONS), 255, labels)


def losses_of(logits, labels):
    """[B, H, W] by the definition, in double precision."""
    probabilities = logits.double().softmax(dim=1)
    losses = torch.zeros(labels.shape, dtype=torch.float64)
    for label in range(CLASSES + len(UNIONS)):
        members = [label] if label < CLASSES else list(UNIONS[label - CLASSES])
        losses = torch.where(labels == label, -probabilities[:, members].sum(dim=1).log(), losses)
    return losses


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6))
def test_the_loss_is_that_of_the_sum_of_probabilities(seed):
    logits, labels = make(seed)
    loss = cross_entropy_per_class(logits, labels, unions=UNIONS)
    expected = losses_of(logits, labels)
    assert torch.allclose(loss.total.sum(), expected.sum(), rtol=1e-5)
    assert loss.count.sum() == (labels != 255).sum()
    resolved = most_probable(labels, logits, UNIONS)
    for class_id in range(CLASSES):
        assert torch.allclose(loss.total[class_id], expected[resolved == class_id].sum(), rtol=1e-5, atol=1e-6)
        assert loss.count[class_id] == (resolved == class_id).sum()


def test_a_pixel_counts_for_the_most_probable_class_of_its_union():
    logits = torch.tensor([0.0, 1.0, 3.0, 9.0, -1.0]).view(1, CLASSES, 1, 1)
    for label, expected in ((5, 2), (6, 3), (1, 1), (255, 255)):
        assert most_probable(torch.full((1, 1, 1), label), logits, UNIONS).item() == expected
    loss = cross_entropy_per_class(logits, torch.full((1, 1, 1), 5), unions=UNIONS)
    p = logits.flatten().softmax(0)
    assert loss.total.tolist() == pytest.approx([0, 0, -(p[1] + p[2]).log().item(), 0, 0], abs=1e-6)


def test_the_gradient_is_that_of_the_definition():
    logits, labels = make(3)
    weights = torch.rand(labels.shape, generator=torch.Generator().manual_seed(1))
    ours, theirs = (logits.clone().requires_grad_() for _ in range(2))
    cross_entropy_per_class(ours, labels, weights, unions=UNIONS).total.sum().backward()
    (losses_of(theirs, labels) * weights).sum().backward()
    assert torch.allclose(ours.grad, theirs.grad, atol=1e-6)


@pytest.mark.parametrize("shaping", [None, Focal(gamma=2.0)], ids=["cross entropy", "focal"])
@pytest.mark.parametrize("kind", ["last_layer", "logits"])
def test_class_gradients_are_those_of_the_sums_per_class(shaping, kind):
    """The closed forms against one backward pass for each class; the last layer's bias alone for ``logits``."""
    generator = torch.Generator().manual_seed(5)
    features = torch.randn(2, 7, 6, 6, generator=generator)
    layer = torch.nn.Conv2d(7, CLASSES, 1)
    logits, (_, labels) = layer(features), make(5)
    options = {"shaping": shaping, "unions": UNIONS, "features": features, "parameters": (layer.weight, layer.bias)}
    closed = cross_entropy_per_class(logits, labels, gradient=kind, **options).gradient
    oracle = cross_entropy_per_class(logits, labels, gradient="autograd", **options).gradient
    if kind == "logits":
        assert torch.allclose(closed, oracle[:, -CLASSES:], atol=1e-4)
    else:  # weight and bias of a class lie beside each other there
        by_class = closed.view(CLASSES, CLASSES, 8)
        assert torch.allclose(by_class[..., :7].flatten(1), oracle[:, :-CLASSES], atol=1e-4)
        assert torch.allclose(by_class[..., 7], oracle[:, -CLASSES:], atol=1e-4)


def test_without_a_union_in_the_labels_nothing_changes():
    logits, labels = make(7)
    labels = torch.where(labels >= CLASSES, 255, labels)
    plain = cross_entropy_per_class(logits, labels, gradient="logits", top_k=0.5)
    with_unions = cross_entropy_per_class(logits, labels, gradient="logits", top_k=0.5, unions=UNIONS)
    for name in ("total", "count", "gradient"):
        assert torch.equal(getattr(plain, name), getattr(with_unions, name))


def test_a_union_of_all_classes_teaches_nothing():
    logits, _ = make(9)
    logits.requires_grad_()
    loss = cross_entropy_per_class(logits, torch.full((2, 6, 6), CLASSES), unions=(tuple(range(CLASSES)),)).total.sum()
    loss.backward()
    assert abs(loss.item()) < 1e-4 and logits.grad.abs().max() < 1e-6


def test_impossible_classes_stay_finite():
    logits = torch.zeros(1, CLASSES, 1, 2)
    logits[:, 1:3] = -200.0
    logits.requires_grad_()
    loss = cross_entropy_per_class(logits, torch.full((1, 1, 2), 5), gradient="logits", unions=UNIONS)
    loss.total.sum().backward()
    assert torch.isfinite(logits.grad).all() and torch.isfinite(loss.gradient).all() and loss.total.sum() > 300


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="counts waits for a CUDA device")
def test_the_host_waits_for_no_union():
    logits, labels = (x.cuda() for x in make(4))
    cross_entropy_per_class(logits, labels, gradient="logits", unions=UNIONS)  # loads kernels
    torch.cuda.set_sync_debug_mode("error")
    try:
        loss = cross_entropy_per_class(logits, labels, gradient="logits", unions=UNIONS)
        probabilities = _label_probabilities(logits[:, :, 0, 0], ((1, 2), (0, 3)))
    finally:
        torch.cuda.set_sync_debug_mode("default")
    expected = cross_entropy_per_class(logits.cpu(), labels.cpu(), gradient="logits", unions=UNIONS)
    torch.testing.assert_close(loss.total.cpu(), expected.total)
    torch.testing.assert_close(probabilities.cpu(), _label_probabilities(logits[:, :, 0, 0].cpu(), ((1, 2), (0, 3))))
