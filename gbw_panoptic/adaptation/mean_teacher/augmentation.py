"""Strong augmentation of the student's view: colour jitter and Gaussian blur (DACS, DAFormer), grey images (MC-PanDA),
hidden blocks (MIC, arXiv 2212.01322).

Shape legend: H x W pixels; images are [3, H, W].
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.transforms import functional as TF

#: Range of the blur's sigma in pixels (DACS, DAFormer).
BLUR_SIGMA = (0.15, 1.15)


@dataclass(frozen=True)
class StrongAugmentation:
    """Photometric only: labels stay valid. One draw per image (the published code draws once for the batch).

    Attributes:
        jitter_strength: brightness, contrast and saturation factors from 1 -+ s.
        jitter_hue: h of a hue shift from -+ h s (in turns).
        jitter_probability, grey_probability, blur_probability: of each to happen.
        blur_sigma: range of the blur's sigma, pixels.
        channel_order: of the images, ``RGB`` or ``BGR``.
    """

    jitter_strength: float
    jitter_probability: float
    blur_probability: float
    channel_order: str = "RGB"
    jitter_hue: float = 1.0
    grey_probability: float = 0.0
    blur_sigma: tuple[float, float] = BLUR_SIGMA

    def __call__(self, image: Tensor, generator: np.random.Generator) -> Tensor:
        """[3, H, W] float in 0..255 -> the same, augmented."""
        jitter, blur = generator.random(2) < (self.jitter_probability, self.blur_probability)
        order = generator.permutation(4)
        draws = generator.uniform(-self.jitter_strength, self.jitter_strength, 4)
        draws[3] *= self.jitter_hue
        sigma = generator.uniform(*self.blur_sigma)
        # without grey images no number is drawn for them: other settings keep their bits
        grey = self.grey_probability > 0 and generator.random() < self.grey_probability
        if jitter or grey:
            rgb = image.flip(0) if self.channel_order == "BGR" else image
            rgb = color_jitter(rgb / 255, draws, order) * 255 if jitter else rgb
            rgb = TF.rgb_to_grayscale(rgb, num_output_channels=3) if grey else rgb
            image = rgb.flip(0) if self.channel_order == "BGR" else rgb
        return gaussian_blur(image, sigma) if blur else image


def color_jitter(image: Tensor, draws: np.ndarray, order: np.ndarray) -> Tensor:
    """Brightness, contrast, saturation and hue changes ``draws`` [4], applied in ``order``; [3, H, W] RGB in 0..1."""
    operations = (
        lambda x: TF.adjust_brightness(x, 1 + draws[0]),
        lambda x: TF.adjust_contrast(x, 1 + draws[1]),
        lambda x: TF.adjust_saturation(x, 1 + draws[2]),
        lambda x: TF.adjust_hue(x, float(np.clip(draws[3], -0.5, 0.5))),
    )
    for index in order:
        image = operations[index](image)
    return image


def gaussian_blur(image: Tensor, sigma: float) -> Tensor:
    """Separable Gaussian blur, [3, H, W].

    The published kernels span a tenth of the image; beyond 4 sigma their entries are below 4e-4 of the largest, so a
    radius of 4 sigma is used.
    """
    radius = min(max(math.ceil(4 * sigma), 1), min(image.shape[-2:]) - 1)
    taps = torch.arange(-radius, radius + 1, dtype=image.dtype, device=image.device)
    kernel = torch.exp(-taps.square() / (2 * sigma**2))
    kernel = (kernel / kernel.sum()).view(1, 1, 1, -1)
    channels = image.unsqueeze(1)
    channels = F.conv2d(F.pad(channels, (radius, radius, 0, 0), mode="reflect"), kernel)
    channels = F.conv2d(F.pad(channels, (0, 0, radius, radius), mode="reflect"), kernel.transpose(2, 3))
    return channels.squeeze(1)


@dataclass(frozen=True)
class BlockMasking:
    """Hides whole cells of a grid. The loss is taken at all pixels, hidden or not, as published.

    Attributes:
        ratio: in 0..1, probability of each cell to be hidden.
        block_size: side of a cell in pixels.
        fill: value per channel of hidden pixels; the network's pixel mean is 0 after normalisation.
    """

    ratio: float
    block_size: int
    fill: tuple[float, ...]

    def __call__(self, image: Tensor, generator: np.random.Generator) -> Tensor:
        """[3, H, W] float in 0..255 -> the same, with hidden cells filled."""
        keep = torch.from_numpy(block_mask(image.shape[-2:], self.block_size, self.ratio, generator))
        fill = torch.tensor(self.fill, dtype=image.dtype).view(3, 1, 1)
        return torch.where(keep.to(image.device), image, fill.to(image.device))


def block_mask(size: tuple[int, int], block_size: int, ratio: float, generator: np.random.Generator) -> np.ndarray:
    """[H, W] bool: what is kept.

    The grid has round(H / block_size) x round(W / block_size) cells, at least one; a cell is kept where a uniform
    number exceeds ``ratio``.
    """
    cells = [max(round(length / block_size), 1) for length in size]
    keep = generator.random(cells) > ratio
    rows, columns = (np.arange(length) * count // length for length, count in zip(size, cells))
    return keep[np.ix_(rows, columns)]
