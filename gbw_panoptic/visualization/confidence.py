"""How sure a model is of every pixel, as a picture with its scale.

Shapes: H x W pixels.
"""

import numpy as np

from .panels import draw_legend
from .samples import draw_weights

_NARROWEST, _TEXT = 320, 18


def make_confidence(confidence: np.ndarray) -> np.ndarray:
    """uint8 RGB: confidence (float [H, W] in 0..1) from dark to bright in the upper left corner, the scale below it."""
    picture = draw_weights(np.clip(confidence, 0, 1))
    ramp = draw_weights(np.repeat(np.linspace(0, 1, 160)[None], 24, axis=0))
    legend = draw_legend([("confidence, 0 to 1", ramp)], max(picture.shape[1], _NARROWEST), size=_TEXT)
    right = legend.shape[1] - picture.shape[1]
    return np.concatenate([np.pad(picture, ((0, 0), (0, right), (0, 0)), constant_values=255), legend])
