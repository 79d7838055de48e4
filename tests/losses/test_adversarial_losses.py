"""Domain losses and aligned maps against their formulas."""

import math

import pytest
import torch

from gbw_panoptic.losses.adversarial import SOURCE, TARGET, aligned_map, domain_accuracy, domain_loss


@pytest.mark.parametrize("domain", [SOURCE, TARGET])
def test_domain_losses_by_hand(domain):
    outputs = torch.tensor([-2.0, 0.5, 3.0]).view(1, 1, 1, 3)
    probability = torch.sigmoid(outputs)
    wanted = probability if domain == TARGET else 1 - probability
    torch.testing.assert_close(domain_loss(outputs, domain, gan="vanilla"), -wanted.log().mean())
    torch.testing.assert_close(domain_loss(outputs, domain, gan="least_squares"), ((outputs - domain) ** 2).mean())


def test_accuracy_counts_the_right_side():
    outputs = torch.tensor([-2.0, 0.2, 0.7, 3.0]).view(1, 1, 1, 4)
    assert domain_accuracy(outputs, TARGET, gan="vanilla").item() == 0.75
    assert domain_accuracy(outputs, SOURCE, gan="vanilla").item() == 0.25
    assert domain_accuracy(outputs, TARGET, gan="least_squares").item() == 0.5


def test_aligned_maps_by_definition():
    logits = torch.randn(2, 5, 3, 4)
    p = logits.softmax(1)
    torch.testing.assert_close(aligned_map(logits, "softmax"), p)
    information = aligned_map(logits, "entropy")
    torch.testing.assert_close(information, -p * p.log2() / math.log2(5))
    assert information.sum(1).max() <= 1 + 1e-6  # summed over the classes it is normalised entropy
    uniform = aligned_map(torch.zeros(1, 5, 1, 1), "entropy")
    assert uniform.sum().item() == pytest.approx(1)


def test_certain_predictions_have_finite_information_and_gradients():
    logits = torch.tensor([1e4, -1e4, 0.0]).view(1, 3, 1, 1).requires_grad_()
    information = aligned_map(logits, "entropy")
    information.sum().backward()
    assert information.sum().item() == 0 and torch.isfinite(logits.grad).all()
