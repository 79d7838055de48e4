"""Fourier style transfer against full complex transforms in NumPy, and at its edges."""

import numpy as np
import pytest
import torch

from gbw_panoptic.adaptation.style import FourierStyle, exchange_low_frequencies
from gbw_panoptic.structures.samples import DomainBatch


def image(seed, height=24, width=30):
    return torch.rand(3, height, width, generator=torch.Generator().manual_seed(seed)) * 255


def reference(content, style, reach):
    """The centre of the shifted, complex spectrum, +- reach, replaced channel by channel."""
    out = []
    for one, two in zip(content.double().numpy(), style.double().numpy()):
        f, g = np.fft.fftshift(np.fft.fft2(one)), np.fft.fftshift(np.fft.fft2(two))
        y, x = one.shape[0] // 2, one.shape[1] // 2
        amplitude = np.abs(f)
        window = np.s_[max(y - reach, 0) : y + reach + 1, max(x - reach, 0) : x + reach + 1]
        amplitude[window] = np.abs(g)[window]
        result = np.fft.ifft2(np.fft.ifftshift(amplitude * np.exp(1j * np.angle(f))))
        assert np.abs(result.imag).max() < 1e-9  # the window is symmetric
        out.append(result.real)
    return np.stack(out)


@pytest.mark.parametrize(
    "size, beta, reach",
    [((24, 30), 0.05, 1), ((25, 31), 0.2, 5), ((31, 25), 0.07, 1), ((24, 30), 0.5, 12), ((24, 24), 0.5, 12)],
)
def test_equals_the_complex_transform(size, beta, reach):
    content, style = image(0, *size), image(1, *size)
    found = exchange_low_frequencies(content, style, beta)
    np.testing.assert_allclose(found.numpy(), reference(content, style, reach), atol=1e-2)


def test_a_window_of_nothing_is_the_identity():
    assert torch.equal(exchange_low_frequencies(image(0), image(1), 0.0), image(0))
    assert torch.equal(exchange_low_frequencies(image(0), image(1), 0.99 / 24), image(0))


def test_the_style_of_the_image_itself_changes_nothing():
    torch.testing.assert_close(exchange_low_frequencies(image(0), image(0), 0.3), image(0), atol=1e-2, rtol=1e-4)


def test_the_smallest_window_takes_the_mean_and_keeps_flat_images_finite():
    found = exchange_low_frequencies(image(0), torch.full((3, 24, 30), 200.0), 1 / 24)
    torch.testing.assert_close(found.mean((1, 2)), torch.full((3,), 200.0))
    black = exchange_low_frequencies(torch.zeros(3, 24, 30), image(1), 0.2)  # no phase anywhere
    assert torch.isfinite(black).all()
    torch.testing.assert_close(black.mean((1, 2)), image(1).mean((1, 2)))


def test_unequal_sizes_are_refused():
    with pytest.raises(ValueError, match="one size"):
        exchange_low_frequencies(image(0), image(1, 24, 32), 0.1)


def test_source_i_takes_the_style_of_target_i_and_keeps_its_labels():
    source = [{"image": image(i).byte(), "sem_seg": torch.full((24, 30), i), "file_name": str(i)} for i in range(2)]
    target = [{"image": image(i + 2).byte()} for i in range(2)]
    styled = FourierStyle(0.1, torch.device("cpu"))(DomainBatch(source, target))
    for i in range(2):
        expected = exchange_low_frequencies(source[i]["image"].float(), target[i]["image"].float(), 0.1)
        assert torch.equal(styled.source[i]["image"], expected) and expected.dtype == torch.float32
        assert styled.source[i]["sem_seg"] is source[i]["sem_seg"] and styled.source[i]["file_name"] == str(i)
        assert source[i]["image"].dtype == torch.uint8  # the loader's sample is left alone
    with pytest.raises(ValueError):
        FourierStyle(0.1, torch.device("cpu"))(DomainBatch(source, target[:1]))
