"""Centre and offset losses against Detectron2's reduction."""

import torch

from gbw_panoptic.losses import center_loss_per_class, offset_loss_per_class
from gbw_panoptic.losses.regression import OFFSET_HUBER_DELTA
from gbw_panoptic.weighting import ClassWeighting

B, C, H, W = 2, 4, 5, 6


def maps(channels, seed=0):
    g = torch.Generator().manual_seed(seed)
    prediction = torch.randn(B, channels, H, W, generator=g, requires_grad=True)
    target = torch.randn(B, channels, H, W, generator=g)
    weights = (torch.rand(B, 1, H, W, generator=g) > 0.4).float()
    classes = torch.randint(0, C + 2, (B, H, W), generator=g)  # C and C + 1: of no instance
    return prediction, target, weights, classes


def test_center_equals_detectron2():
    prediction, target, weights, classes = maps(1)
    loss = center_loss_per_class(prediction, target, weights, classes, num_classes=C, with_gradient=False)
    value = ClassWeighting(num_classes=C)(loss, branch="source")
    expected = ((prediction - target).square() * weights).sum() / weights.sum()
    torch.testing.assert_close(value, expected, rtol=1e-6, atol=1e-7)


def test_offset_equals_detectron2():
    prediction, target, weights, classes = maps(2)
    loss = offset_loss_per_class(prediction, target, weights, classes, num_classes=C, with_gradient=False)
    value = ClassWeighting(num_classes=C)(loss, branch="source")
    expected = ((prediction - target).abs() * weights).sum() / weights.sum()
    torch.testing.assert_close(value, expected, rtol=1e-6, atol=1e-7)


def test_gradient_norms_by_hand():
    prediction = torch.tensor([3.0, 100.0]).view(1, 2, 1, 1)  # error (3, 100), clipped to (3, 8)
    offset = offset_loss_per_class(
        prediction, torch.zeros_like(prediction), torch.ones(1, 1, 1, 1), torch.tensor([[[2]]]),
        num_classes=C, with_gradient=True,
    )  # fmt: skip
    assert offset.gradient[2].item() == torch.tensor([3.0, OFFSET_HUBER_DELTA]).norm().item()
    center = center_loss_per_class(
        torch.full((1, 1, 1, 1), 0.25), torch.ones(1, 1, 1, 1), torch.ones(1, 1, 1, 1), torch.tensor([[[1]]]),
        num_classes=C, with_gradient=True,
    )  # fmt: skip
    assert center.gradient[1].item() == 1.5  # 2 |0.25 - 1|


def test_background_is_outside_the_program():
    prediction, target, weights, classes = maps(1)
    loss = center_loss_per_class(prediction, target, weights, classes, num_classes=C, with_gradient=True)
    assert loss.total.shape == (C + 1,) and loss.gradient.shape == (C, 1)
    assert loss.count.sum() == weights.sum()


def test_no_instance_anywhere():
    prediction, target, weights, classes = maps(2)
    loss = offset_loss_per_class(
        prediction, target, torch.zeros_like(weights), classes, num_classes=C, with_gradient=True
    )
    value = ClassWeighting(num_classes=C)(loss, branch="source")
    value.backward()
    assert value.item() == 0 and torch.isfinite(prediction.grad).all()
