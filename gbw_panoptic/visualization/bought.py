"""Pictures of bought labels.

Shapes: H x W pixels.
"""

import numpy as np

from ..taxonomy import Taxonomy
from .colors import colorize_labels


def draw_bought(image: np.ndarray, labels: np.ndarray, taxonomy: Taxonomy, *, not_bought: int) -> np.ndarray:
    """uint8 [H, W, 3]: the image in dim grey, bought pixels in their classes' colours, those without a class in black.

    Args:
        image: uint8 [H, W, 3] RGB.
        labels: integer [H, W] of contiguous ids; ``not_bought`` where no label was bought.
    """
    grey = np.repeat(image.mean(axis=2, keepdims=True), 3, axis=2)
    picture = np.rint(64 + grey / 2).astype(np.uint8)  # light enough that black is seen on it
    bought = labels != not_bought
    picture[bought] = colorize_labels(labels, taxonomy)[bought]
    return picture
