"""Class weights over iterations as a picture with one pixel for each value.

Shapes: C classes, T columns.
"""

from collections.abc import Sequence

import numpy as np

from ..evaluation.layers import picture_bytes
from .blocks import Heat
from .pictures import data_uri

_MOST_COLUMNS = 120
#: Colours of small, equal (1) and large weights, on a light and on a dark page; the last is that of a missing value.
_LIGHT = ((33, 102, 172), (244, 244, 244), (178, 24, 43), (208, 208, 208))
_DARK = ((92, 160, 232), (38, 44, 54), (242, 104, 104), (88, 92, 100))


def weight_map(title: str, iterations: Sequence[int], names: Sequence[str], weights: np.ndarray) -> Heat:
    """The block of one place.

    Args:
        iterations: [T], ascending.
        weights: float [T, C] >= 0, NaN where a class had no pixel.
    """
    iterations, weights = _thinned(np.asarray(iterations), np.asarray(weights, float))
    logarithms = np.log2(np.clip(weights, 2.0**-10, None)).T
    limit = float(np.clip(np.nanmax(np.abs(logarithms), initial=0), 0.5, 3))
    places = np.clip(logarithms / limit, -1, 1)
    powers = np.arange(-int(limit), int(limit) + 1) if limit >= 1 else np.array([-0.5, 0.0, 0.5])
    return Heat(
        title,
        *(_picture(places, colors) for colors in (_LIGHT, _DARK)),
        list(names),
        [int(i) for i in iterations],
        [[None if np.isnan(value) else round(float(value), 3) for value in row] for row in weights.T],
        [(float((power / limit + 1) / 2), f"{2.0**power:.2g}") for power in powers],
        tuple(_gradient(colors) for colors in (_LIGHT, _DARK)),
    )


def _thinned(iterations: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """At most so many columns: means of what is there of neighbouring iterations."""
    pieces = np.array_split(np.arange(len(iterations)), min(len(iterations), _MOST_COLUMNS))
    means = []
    for piece in pieces:
        total, count = np.nansum(weights[piece], axis=0), np.isfinite(weights[piece]).sum(axis=0)
        means.append(np.divide(total, count, out=np.full(len(total), np.nan), where=count > 0))
    return np.array([iterations[piece[-1]] for piece in pieces]), np.array(means)


def _picture(places: np.ndarray, colors: tuple) -> str:
    """Data URI of the colours at places in -1..1 (float [C, T])."""
    low, middle, high, missing = (np.array(color, float) for color in colors)
    shares = np.nan_to_num(np.abs(places))[..., None]
    ends = np.where(np.nan_to_num(places)[..., None] < 0, low, high)
    picture = np.where(np.isnan(places)[..., None], missing, middle + shares * (ends - middle))
    return data_uri(picture_bytes(np.rint(picture).astype(np.uint8), "PNG"), "png")


def _gradient(colors: tuple) -> str:
    return "linear-gradient(90deg, " + ", ".join(f"rgb({r} {g} {b})" for r, g, b in colors[:3]) + ")"
