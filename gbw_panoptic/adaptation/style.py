"""Fourier style transfer: source images with the target's low-frequency amplitudes (FDA, Yang and Soatto, arXiv
2004.05498).

Shape legend: H x W pixels; images are [3, H, W]. Frequencies are whole cycles per image, (ky, kx).
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..structures.samples import DomainBatch


@dataclass(frozen=True)
class FourierStyle:
    """Gives source image i of a batch the style of target image i; labels stay valid. No strategy needs to know of it.

    Attributes:
        beta: in 0..0.5, half side of the window of exchanged frequencies as a share of the short side; 0 changes
            nothing.
        device: where the transforms run.
    """

    beta: float
    device: torch.device

    @torch.no_grad()
    def __call__(self, batch: DomainBatch) -> DomainBatch:
        """The batch with restyled source images, float32 [3, H, W], on ``device``."""
        source = []
        for sample, target in zip(batch.source, batch.target, strict=True):
            content, style = (x["image"].to(self.device, non_blocking=True).float() for x in (sample, target))
            source.append({**sample, "image": exchange_low_frequencies(content, style, self.beta)})
        return batch._replace(source=source)


def exchange_low_frequencies(content: Tensor, style: Tensor, beta: float) -> Tensor:
    """``content`` with the amplitudes of ``style`` at |ky|, |kx| <= b = floor(beta * min(H, W)), its own phases
    everywhere.

    The window is that of the published NumPy code: symmetric about zero, so that the result is real. The published
    tensor code takes -b..b-1 instead, which is not, and drops the imaginary part that this leaves. b = 0 changes
    nothing, as in the tensor code (the window alone would still exchange the means).

    Args:
        content, style: [3, H, W] float, raw images in 0..255: subtracting a mean first makes artefacts (the authors).

    Returns:
        [3, H, W] float; not clipped, as published, so that it may leave 0..255 a little.

    Raises:
        ValueError: the images differ in size.
    """
    if content.shape != style.shape:
        raise ValueError(f"Expected images of one size, but got {tuple(content.shape)} and {tuple(style.shape)}.")
    height, width = content.shape[-2:]
    reach = math.floor(beta * min(height, width))
    if reach == 0:
        return content
    spectrum = torch.fft.rfft2(content)  # half of it: that of a real image repeats itself
    amplitude = torch.fft.rfft2(style).abs()
    rows = torch.fft.fftfreq(height, 1 / height, device=content.device).abs() <= reach
    columns = torch.arange(width // 2 + 1, device=content.device) <= reach
    styled = torch.polar(amplitude, spectrum.angle())
    spectrum = torch.where(rows[:, None] & columns, styled, spectrum)
    return torch.fft.irfft2(spectrum, s=(height, width))
