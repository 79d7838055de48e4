"""Scores against their definitions: windows by convolution, entropies by scipy."""

import math

import numpy as np
import pytest
import scipy.ndimage
import scipy.stats
import torch

from gbw_panoptic.active import scores


def probabilities(classes=5, height=13, width=17, seed=0, sharpness=3.0):
    generator = torch.Generator().manual_seed(seed)
    return torch.softmax(sharpness * torch.randn(classes, height, width, generator=generator), 0)


def window_sum(values, radius):
    """Zero-padded convolution with ones, the definition."""
    return scipy.ndimage.convolve(values.astype(np.float64), np.ones((2 * radius + 1,) * 2), mode="constant")


@pytest.mark.parametrize("radius", [0, 1, 4, 32])
def test_box_sum_is_the_convolution_also_where_the_window_exceeds_the_map(radius):
    values = torch.randn(2, 13, 17, generator=torch.Generator().manual_seed(1))
    expected = np.stack([window_sum(v.numpy(), radius) for v in values])
    np.testing.assert_allclose(scores.box_sum(values, radius).numpy(), expected, atol=1e-5)
    np.testing.assert_array_equal(
        scores.box_sum(values > 0, radius).numpy()[0], window_sum(values[0].numpy() > 0, radius)
    )
    np.testing.assert_array_equal(scores.box_count(13, 17, radius).numpy(), window_sum(np.ones((13, 17)), radius))


@pytest.mark.parametrize("radius", [1, 5])
def test_impurity_and_uncertainty_are_their_definitions(radius):
    p = probabilities()
    count = window_sum(np.ones(p.shape[1:]), radius)
    histogram = np.stack([window_sum(p.argmax(0).numpy() == c, radius) for c in range(len(p))]) / count
    impurity = scipy.stats.entropy(histogram, axis=0) / math.log(len(p))
    entropy = scipy.stats.entropy(p.double().numpy(), axis=0) / math.log(len(p))
    uncertainty = window_sum(entropy, radius) / count
    np.testing.assert_allclose(scores.region_impurity(p, radius).numpy(), impurity, atol=1e-5)
    np.testing.assert_allclose(scores.prediction_uncertainty(p, radius).numpy(), uncertainty, atol=1e-5)
    np.testing.assert_allclose(scores.ripu_region_score(p, radius).numpy(), impurity * uncertainty, atol=1e-5)
    np.testing.assert_allclose(scores.ripu_pixel_score(p, radius).numpy(), impurity * entropy, atol=1e-5)


def test_scores_reach_their_bounds():
    """A uniform prediction is fully uncertain; one class everywhere is pure and certain, with p log p = 0 at p = 0."""
    uniform = torch.full((4, 6, 6), 0.25)
    assert torch.allclose(scores.prediction_uncertainty(uniform, 1), torch.ones(6, 6))
    certain = torch.zeros(4, 6, 6)
    certain[2] = 1
    assert scores.prediction_uncertainty(certain, 1).abs().max() == 0
    assert scores.region_impurity(certain, 1).abs().max() == 0
    checkers = torch.zeros(2, 4, 4)
    checkers[0, ::2], checkers[1, 1::2] = 1, 1  # rows by turns: two of each in a window of the first row
    assert scores.region_impurity(checkers, 1)[0, 1].item() == pytest.approx(1.0)


def test_class_balance_favours_what_was_bought_least():
    bought, prior = torch.tensor([900.0, 80.0, 0.0]), torch.tensor([10.0, 10.0, 0.0])
    weights = scores.class_balance_weights(bought, prior)
    assert weights.mean().item() == pytest.approx(1.0)
    assert weights[2] > weights[1] > weights[0] > 0
    assert (weights[1] / weights[0]).item() == pytest.approx(910 / 90)  # gamma 1: inverse counts
    assert torch.equal(scores.class_balance_weights(bought, prior, gamma=0.0), torch.ones(3, dtype=torch.float64))
    assert scores.class_balance_weights(torch.zeros(3), torch.zeros(3)).isfinite().all()


def test_class_balanced_score_soft_and_hard():
    p, weights = probabilities(classes=3), torch.tensor([0.5, 1.0, 1.5])
    score = scores.ripu_region_score(p)
    soft = scores.class_balanced_score(score, p, weights)
    assert torch.allclose(soft, score * (0.5 * p[0] + p[1] + 1.5 * p[2]))
    hard = scores.class_balanced_score(score, p, weights, soft=False)
    assert torch.equal(hard, score * weights[p.argmax(0)])
    assert torch.allclose(scores.class_balanced_score(score, p, torch.ones(3)), score)
