"""Class weights that never change, from source labels only: target labels must not leak into them.

Shape legend: C classes, K classes that occur. n_c is the number of source pixels of a class, f_c its share of them.
"""

from typing import Callable

import torch
from torch import Tensor

from .base import ClassWeighting


def inverse_frequency(pixels: Tensor, image_pixels: Tensor) -> Tensor:
    """1 / f_c. The tail is heavy: a class of 0.01 % weighs 1,000 times one of 10 %."""
    return 1 / pixels


def sqrt_inverse_frequency(pixels: Tensor, image_pixels: Tensor) -> Tensor:
    """1 / sqrt(f_c): a lighter tail."""
    return pixels.rsqrt()


def median_frequency(pixels: Tensor, image_pixels: Tensor) -> Tensor:
    """median(g) / g_c with g_c = n_c / pixels of the images that contain c (Eigen and Fergus, arXiv 1411.4734).

    The median is one factor for all classes, which :func:`static_weights` divides out again.
    """
    return image_pixels / pixels


def effective_number(pixels: Tensor, image_pixels: Tensor, *, share: float = 0.01) -> Tensor:
    """(1 - b) / (1 - b^n_c), the inverse effective number of samples (Cui et al., arXiv 1901.05555), b = 1 - 1 / N.

    The published b (0.9 to 0.9999, that is N up to 10^4) are for counts of images: every class has more pixels, so all
    weights would be 1. N is a share of the labelled pixels (ours): classes of more than about N pixels weigh alike,
    rarer ones nearly as their inverse frequency.

    Args:
        share: N / sum of n_c, in (0, 1].
    """
    samples = (share * pixels.sum()).clamp(min=1)
    # 1 - b^n without cancellation; 1 - b is one factor for all classes
    return -1 / torch.expm1(pixels * torch.log1p(-1 / samples))


def log_inverse(pixels: Tensor, image_pixels: Tensor, *, k: float = 1.02) -> Tensor:
    """1 / ln(k + f_c), bounded by 1 / ln k (ENet, arXiv 1606.02147)."""
    return 1 / torch.log(k + pixels / pixels.sum())


#: Name in WEIGHTING.* -> weights up to a factor from pixels and image_pixels, each [K] float64.
STATIC_WEIGHTS: dict[str, Callable[..., Tensor]] = {
    function.__name__: function
    for function in (inverse_frequency, sqrt_inverse_frequency, median_frequency, effective_number, log_inverse)
}


def static_weights(name: str, pixels: Tensor, image_pixels: Tensor, **options: float) -> Tensor:
    """Weights of one of :data:`STATIC_WEIGHTS`, scaled to mean 1 over the classes that occur.

    One mean for all of them makes the learning rate comparable; classes that do not occur get 1.

    Args:
        pixels: [C] number of source pixels of each class.
        image_pixels: [C] number of labelled pixels in the images that contain the class.
        options: of the function: ``share`` or ``k``.

    Returns:
        [C] float32.
    """
    occurs = pixels > 0
    weights = torch.ones(pixels.shape, dtype=torch.float64)
    if occurs.any():
        raw = STATIC_WEIGHTS[name](pixels[occurs].double(), image_pixels[occurs].double(), **options)
        weights[occurs] = raw / raw.mean()
    return weights.float()


class StaticWeighting(ClassWeighting):
    """The same weights in every step."""

    def __init__(self, *, weights: Tensor, num_classes: int, **common) -> None:
        """
        Args:
            weights: [C] >= 0.
            common: ``denominator``, ``branches`` of :class:`ClassWeighting`.

        Raises:
            ValueError: ``weights`` has another length than ``num_classes``.
        """
        super().__init__(num_classes=num_classes, **common)
        if weights.shape != (num_classes,):
            raise ValueError(f"Expected {num_classes} class weights, but got {weights.numel()}.")
        self.register_buffer("weights", weights.float())

    def class_weights(self, count: Tensor, gradient: Tensor | None, branch: str) -> Tensor:
        return self.weights.to(count.dtype)

    def mean_class_weights(self, branch: str) -> Tensor:
        return self.weights if branch in self.branches else torch.ones_like(self.weights)
