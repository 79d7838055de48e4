"""The losses of RIPU by loops over pixels."""

import math

import numpy as np
import pytest
import torch

from gbw_panoptic.losses.active import boundary_consistency, negative_learning

IGNORED = 255


def logits(seed=0, size=(2, 4, 6, 7)):
    return 3 * torch.randn(size, generator=torch.Generator().manual_seed(seed))


def test_negative_learning_is_its_definition():
    z = logits()
    valid = torch.rand(2, 6, 7, generator=torch.Generator().manual_seed(1)) < 0.7
    terms = []
    for image, row, column in valid.nonzero().tolist():
        for p in torch.softmax(z[image, :, row, column].double(), 0).tolist():
            if p < 0.05:
                terms.append(-math.log(1 - p + 1e-6))
    assert negative_learning(z, valid).item() == pytest.approx(np.mean(terms), abs=1e-6)


def test_negative_learning_lowers_what_is_unlikely_and_is_zero_without_it():
    z = torch.tensor([4.0, 0.5, 0.0]).view(1, 3, 1, 1).requires_grad_()
    negative_learning(z, torch.ones(1, 1, 1, dtype=torch.bool)).backward()
    assert z.grad[0, 0] < 0 < z.grad[0, 1]  # a step down the gradient makes the likely class likelier
    assert negative_learning(torch.zeros(1, 3, 2, 2), torch.ones(1, 2, 2, dtype=torch.bool)) == 0
    assert negative_learning(logits(), torch.zeros(2, 6, 7, dtype=torch.bool)) == 0


def test_boundary_consistency_is_its_definition():
    z = logits()
    labels = torch.randint(0, 3, (2, 6, 7), generator=torch.Generator().manual_seed(2)).sort(-1).values
    labels[0, 2, 2:5] = IGNORED
    p, terms = torch.softmax(z.double(), 1).numpy(), []
    padded = np.pad(labels.numpy(), ((0, 0), (1, 1), (1, 1)))
    for image in range(2):
        for row in range(6):
            for column in range(7):
                window = padded[image, row : row + 3, column : column + 3]
                label = labels[image, row, column].item()
                if 9 * label == window.sum() or label == IGNORED:
                    continue
                near = p[image, :, max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2]
                terms.append(np.abs(p[image, :, row, column] - near.mean((1, 2))).sum())
    assert len(terms) > 10
    assert boundary_consistency(z, labels, IGNORED).item() == pytest.approx(np.mean(terms), abs=1e-5)


def test_no_boundary_no_loss_and_flat_predictions_are_consistent():
    assert boundary_consistency(logits(), torch.zeros(2, 6, 7, dtype=torch.int64), IGNORED) == 0
    assert boundary_consistency(logits(), torch.full((2, 6, 7), IGNORED), IGNORED) == 0
    labels = torch.arange(42).view(1, 6, 7) % 4
    assert boundary_consistency(torch.ones(1, 4, 6, 7), labels, IGNORED).item() == pytest.approx(0, abs=1e-6)
