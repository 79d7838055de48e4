"""Strong augmentation: identity, range, channel order, blur against a convolution."""

import numpy as np
import pytest
import torch
from scipy.ndimage import correlate1d

from gbw_panoptic.adaptation.mean_teacher.augmentation import StrongAugmentation, gaussian_blur


def image(height=17, width=23):
    return torch.rand(3, height, width, generator=torch.Generator().manual_seed(0)) * 255


def test_probability_zero_changes_nothing():
    augment = StrongAugmentation(0.2, 0.0, 0.0)
    assert torch.equal(augment(image(), np.random.default_rng(0)), image())


def test_same_generator_same_result_and_range_is_kept():
    augment = StrongAugmentation(0.2, 1.0, 1.0)
    one, two = (augment(image(), np.random.default_rng(3)) for _ in range(2))
    assert torch.equal(one, two) and not torch.equal(one, image())
    assert one.min() >= -1e-3 and one.max() <= 255 + 1e-3


def test_strength_zero_is_the_identity():
    out = StrongAugmentation(0.0, 1.0, 0.0)(image(), np.random.default_rng(0))
    torch.testing.assert_close(out, image(), atol=1e-2, rtol=1e-4)


def test_channel_order_does_not_matter_to_the_scene():
    rgb = StrongAugmentation(0.2, 1.0, 1.0, "RGB")(image(), np.random.default_rng(1))
    bgr = StrongAugmentation(0.2, 1.0, 1.0, "BGR")(image().flip(0), np.random.default_rng(1))
    torch.testing.assert_close(bgr.flip(0), rgb, atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize("sigma", [0.15, 0.7, 1.15])
def test_blur_equals_the_published_wide_kernel(sigma):
    taps = np.arange(-8, 9)  # far beyond 4 sigma
    kernel = np.exp(-(taps**2) / (2 * sigma**2))
    kernel /= kernel.sum()
    expected = correlate1d(correlate1d(image().numpy(), kernel, 1, mode="mirror"), kernel, 2, mode="mirror")
    np.testing.assert_allclose(gaussian_blur(image(), sigma).numpy(), expected, atol=0.05)


def test_tiny_images_can_be_blurred():
    assert gaussian_blur(image(2, 3), 1.15).shape == (3, 2, 3)
