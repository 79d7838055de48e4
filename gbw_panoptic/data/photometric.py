"""Photometric distortion of source images: brightness, contrast, saturation, hue and sensor noise, so that a network
does not learn the source's colours and flat surfaces by heart.

Shape legend: H x W pixels; images are [H, W, 3] uint8.
"""

from dataclasses import dataclass

import cv2
import numpy as np

#: Ranges of SSD (Liu et al., arXiv 1512.02325) at strength 1: levels of 255, factors around 1, degrees of OpenCV's half
#: circle.
_BRIGHTNESS, _CONTRAST, _SATURATION, _HUE = 32.0, 0.5, 0.5, 18.0
_NOISE = 12.0  # ours: largest standard deviation, levels of 255
_PROBABILITY = 0.5  # SSD's, of each of the five


@dataclass(frozen=True)
class PhotometricDistortion:
    """Distorts an image; each of the five parts is drawn with probability 0.5.

    Attributes:
        strength: >= 0, factor of every range; 0 changes nothing.
        channel_order: ``RGB`` or ``BGR``.
    """

    strength: float
    channel_order: str = "RGB"

    def __call__(self, image: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        """[H, W, 3] uint8 -> the same; as many random numbers are drawn whatever is applied, but for the noise
        itself."""
        if self.strength == 0:
            return image
        applied = generator.random(5) < _PROBABILITY
        brightness, contrast, saturation, hue, noise = np.where(applied, generator.uniform(-1, 1, 5), 0) * self.strength
        result = image.astype(np.float32) * (1 + _CONTRAST * contrast) + _BRIGHTNESS * brightness
        if saturation or hue:
            result = self._turn_colours(_levels(result), 1 + _SATURATION * saturation, _HUE * hue)
        if noise:
            result = result + generator.standard_normal(image.shape, dtype=np.float32) * (_NOISE * abs(noise))
        return _levels(result)

    def _turn_colours(self, image: np.ndarray, saturation: float, hue: float) -> np.ndarray:
        """float32 [H, W, 3] with the saturation multiplied and the hue turned by so many of 180 steps."""
        forth, back = (
            getattr(cv2, f"COLOR_{a}2{b}") for a, b in ((self.channel_order, "HSV"), ("HSV", self.channel_order))
        )
        hsv = cv2.cvtColor(image, forth).astype(np.float32)
        hsv[..., 0] = np.rint(hsv[..., 0] + hue) % 180
        hsv[..., 1] *= max(saturation, 0.0)
        return cv2.cvtColor(_levels(hsv), back).astype(np.float32)


def _levels(values: np.ndarray) -> np.ndarray:
    """Rounded and clipped to uint8."""
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)
