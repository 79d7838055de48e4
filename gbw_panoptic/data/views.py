"""Random views of an image for training: one resize, one crop, one flip, other colours.

Shapes: H x W array; sizes are (height, width) in pixels.
"""

from dataclasses import dataclass
from typing import Sequence

import cv2
import numpy as np
import torch
from detectron2.data.transforms import ResizeShortestEdge
from torch import Tensor

from ..errors import UserError


@dataclass(frozen=True)
class Window:
    """A part of a resized image; it may reach beyond the lower and right border."""

    top: int
    left: int
    height: int
    width: int

    def place(self, size: tuple[int, int], *, flip: bool) -> Tensor:
        """[4] float32: top, bottom, left and right edge as shares of the resized image's ``size`` (height, width); left
        and right change places in a mirrored view."""
        left, right = self.left / size[1], (self.left + self.width) / size[1]
        vertical = (self.top / size[0], (self.top + self.height) / size[0])
        return torch.tensor([*vertical, *((right, left) if flip else (left, right))])


@dataclass(frozen=True)
class ViewSampler:
    """Draws views.

    Attributes:
        short_edges: lengths of the short edge after the resize; one of them (``sampling`` "choice") or any in between
            the two ("range").
        max_size: of the long edge after the resize.
        crop_size: None for the whole image.
        flip_probability: of a horizontal flip.
    """

    short_edges: tuple[int, ...]
    max_size: int
    sampling: str = "choice"
    crop_size: tuple[int, int] | None = None
    flip_probability: float = 0.5

    def resized_size(self, size: tuple[int, int], generator: np.random.Generator) -> tuple[int, int]:
        """Draw the size to which an image is resized."""
        if self.sampling == "range":
            short_edge = int(generator.integers(self.short_edges[0], self.short_edges[-1], endpoint=True))
        else:
            short_edge = int(generator.choice(self.short_edges))
        return shortest_edge_size(size, short_edge, self.max_size)

    def window(self, size: tuple[int, int], generator: np.random.Generator) -> Window:
        """Draw a crop of a resized image; at its upper left corner where the image is smaller than the crop."""
        height, width = self.crop_size or size
        top = int(generator.integers(max(size[0] - height, 0), endpoint=True))
        left = int(generator.integers(max(size[1] - width, 0), endpoint=True))
        return Window(top, left, height, width)

    def flip(self, generator: np.random.Generator) -> bool:
        """Draw whether the view is flipped."""
        return bool(generator.random() < self.flip_probability)


def build_view_sampler(cfg, short_edges: Sequence[int], max_size: int) -> ViewSampler:
    """Views for sources or targets, which differ in scale only."""
    if cfg.INPUT.RANDOM_FLIP not in ("horizontal", "none"):
        raise UserError(f"expected INPUT.RANDOM_FLIP horizontal or none, found {cfg.INPUT.RANDOM_FLIP!r}; change it")
    if cfg.INPUT.CROP.ENABLED and cfg.INPUT.CROP.TYPE != "absolute":
        raise UserError(
            "expected INPUT.CROP.TYPE absolute, so that the images of a batch have one size, "
            f"found {cfg.INPUT.CROP.TYPE!r}; set it, and INPUT.CROP.SIZE to (height, width) in pixels"
        )
    return ViewSampler(
        short_edges=tuple(short_edges),
        max_size=max_size,
        sampling=cfg.INPUT.MIN_SIZE_TRAIN_SAMPLING,
        crop_size=tuple(cfg.INPUT.CROP.SIZE) if cfg.INPUT.CROP.ENABLED else None,
        flip_probability=0.5 if cfg.INPUT.RANDOM_FLIP == "horizontal" else 0.0,
    )


def shortest_edge_size(size: tuple[int, int], short_edge: int, max_size: int) -> tuple[int, int]:
    """Size of the given short edge and the same shape, unless the long edge would exceed ``max_size``; 0: as it is."""
    return ResizeShortestEdge.get_output_shape(*size, short_edge, max_size) if short_edge else size


def resize_image(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Bilinear resize of uint8 [H, W, 3]."""
    return image if image.shape[:2] == size else cv2.resize(image, size[::-1], interpolation=cv2.INTER_LINEAR)


def resize_ids(ids: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Nearest-neighbour resize of integers [H, W].

    Pixel centres are aligned as in the bilinear resize; OpenCV's plain INTER_NEAREST is off by up to half a pixel.
    """
    return ids if ids.shape == size else cv2.resize(ids, size[::-1], interpolation=cv2.INTER_NEAREST_EXACT)


def cut(array: np.ndarray, window: Window, *, fill: int | Sequence[int], flip: bool) -> np.ndarray:
    """The window of [H, W, ...], flipped if asked, with ``fill`` beyond the borders."""
    part = array[window.top : window.top + window.height, window.left : window.left + window.width]
    if part.shape[:2] != (window.height, window.width):
        padded = np.empty((window.height, window.width, *array.shape[2:]), dtype=array.dtype)
        padded[:] = fill
        padded[: part.shape[0], : part.shape[1]] = part
        part = padded
    if flip and part.dtype == np.uint8:  # NumPy's own copy takes thirty times as long
        return cv2.flip(part, 1)
    return np.ascontiguousarray(part[:, ::-1] if flip else part)


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
