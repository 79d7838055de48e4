"""Photometric distortion: none at strength 0, a function of its generator, and what each part does."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gbw_panoptic.data import views
from gbw_panoptic.data.views import PhotometricDistortion

IMAGE = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)


def _only(monkeypatch, *kept: str) -> None:
    """Switch every part off but the named ones."""
    for name in {"_BRIGHTNESS", "_CONTRAST", "_SATURATION", "_HUE", "_NOISE"} - set(kept):
        monkeypatch.setattr(views, name, 0.0)


def _distorted(image: np.ndarray, seed: int, **options) -> np.ndarray:
    return PhotometricDistortion(**{"strength": 1.0, **options})(image, np.random.default_rng(seed))


def test_strength_zero_returns_the_image_and_draws_nothing():
    generator = np.random.default_rng(1)
    assert PhotometricDistortion(strength=0)(IMAGE, generator) is IMAGE
    assert generator.random() == np.random.default_rng(1).random()


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), strength=st.floats(0.1, 4))
def test_it_is_a_function_of_image_and_generator_that_leaves_its_argument(seed, strength):
    before = IMAGE.copy()
    first, second = (_distorted(IMAGE, seed, strength=strength) for _ in range(2))
    assert first.dtype == np.uint8 and first.shape == IMAGE.shape
    assert np.array_equal(first, second) and np.array_equal(IMAGE, before)


def test_every_part_is_drawn_in_about_half_of_the_images():
    changed = [not np.array_equal(_distorted(IMAGE, seed), IMAGE) for seed in range(64)]
    assert 0.85 < np.mean(changed) <= 1  # 1 - 0.5^5 = 0.97


def test_brightness_shifts_a_grey_image_by_one_amount_within_its_range(monkeypatch):
    _only(monkeypatch, "_BRIGHTNESS")
    grey = np.full((4, 4, 3), 128, np.uint8)
    shifts = {tuple(np.unique(_distorted(grey, seed).astype(int) - 128)) for seed in range(40)}
    assert all(len(shift) == 1 and abs(shift[0]) <= 32 for shift in shifts) and len(shifts) > 10


def test_hue_keeps_the_grey_axis_and_turns_colours(monkeypatch):
    _only(monkeypatch, "_HUE")
    grey, red = np.full((4, 4, 3), 90, np.uint8), np.tile(np.uint8([200, 20, 20]), (4, 4, 1))
    assert all(np.array_equal(_distorted(grey, seed), grey) for seed in range(10))
    assert any(not np.array_equal(_distorted(red, seed), red) for seed in range(10))


def test_the_order_of_the_channels_does_not_change_what_is_seen():
    for seed in range(10):
        rgb = _distorted(IMAGE, seed)
        if seed in _NOISY:
            continue  # noise is drawn for each channel in its place
        bgr = _distorted(IMAGE[..., ::-1], seed, channel_order="BGR")
        assert np.array_equal(rgb, bgr[..., ::-1])


_NOISY = {seed for seed in range(10) if np.random.default_rng(seed).random(5)[4] < 0.5}


@pytest.mark.parametrize("part", ["_BRIGHTNESS", "_CONTRAST", "_NOISE"])
def test_a_larger_strength_distorts_more(monkeypatch, part):
    _only(monkeypatch, part)
    grey = np.full((32, 32, 3), 100, np.uint8)

    def change(strength):
        return np.mean(
            [np.abs(_distorted(grey, seed, strength=strength).astype(int) - 100).mean() for seed in range(20)]
        )

    assert change(0.2) < change(0.5) < change(1.0)
