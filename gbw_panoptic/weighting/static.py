"""Class weights that never change, from source labels only: target labels must not leak into them."""

import torch
from torch import Tensor

from .base import ClassWeighting


def inverse_frequency_weights(pixels: Tensor) -> Tensor:
    """w_c = 1 / f_c, scaled to mean 1 over the classes that occur; classes that do not occur get 1.

    Args:
        pixels: [C] number of source pixels of each class.

    Returns:
        [C] float32. The tail is heavy (a class of 0.01 % weighs 1,000 times one of 10 %).
    """
    pixels = pixels.double()
    occurs = pixels > 0
    inverse = torch.where(occurs, 1 / pixels.clamp(min=1), 0)
    mean = inverse.sum() / occurs.sum().clamp(min=1)
    return torch.where(occurs, inverse / mean, 1).float()


class StaticWeighting(ClassWeighting):
    """The same weights in every step."""

    def __init__(self, *, weights: Tensor, num_classes: int, denominator: str = "weights") -> None:
        """
        Args:
            weights: [C] >= 0.

        Raises:
            ValueError: ``weights`` has another length than ``num_classes``.
        """
        super().__init__(num_classes=num_classes, denominator=denominator)
        if weights.shape != (num_classes,):
            raise ValueError(f"Expected {num_classes} class weights, but got {weights.numel()}.")
        self.register_buffer("weights", weights.float())

    def class_weights(self, count: Tensor, gradient: Tensor | None, branch: str) -> Tensor:
        return self.weights.to(count.dtype)
