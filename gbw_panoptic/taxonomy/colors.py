"""Colours for classes that come without: far from each other and from black, for colour-blind people, too.

Shapes: K colours.
"""

from functools import lru_cache
from typing import Sequence

import numpy as np

Color = tuple[int, int, int]

#: The first ones, which Okabe and Ito chose for all kinds of colour vision.
_OKABE_ITO = (
    (230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (0, 114, 178), (213, 94, 0), (204, 121, 167),
)  # fmt: skip
#: Linear RGB -> linear RGB as people see it without red, green or blue cones (Vienot et al. 1999; Brettel et al. 1997).
_VISION = np.array(
    [
        [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
        [[0.11238, 0.88762, 0], [0.11238, 0.88762, 0], [0.00401, -0.00401, 1]],
        [[0.29275, 0.70725, 0], [0.29275, 0.70725, 0], [-0.02234, 0.02234, 1]],
        [[1, 0.14461, -0.14461], [0, 0.85924, 0.14076], [0, 0.85924, 0.14076]],
    ]
)
_TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
_WHITE = np.array([0.9505, 1.0, 1.089])


def completed(colors: Sequence[Color | None]) -> tuple[Color, ...]:
    """:func:`_completed`, remembered: a taxonomy is read several times in a run."""
    return _completed(tuple(colors))


@lru_cache(maxsize=8)
def _completed(colors: tuple[Color | None, ...]) -> tuple[Color, ...]:
    """``colors`` with one chosen for each None: the candidate that is farthest from all others, under the colour vision
    in which it is nearest to them. A function of its argument alone."""
    given = {tuple(color) for color in colors if color is not None}
    chosen = list(given | {(0, 0, 0), (255, 255, 255)})  # void, and the lines around things
    steps = np.linspace(0, 255, 11).round()
    grid = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1).reshape(-1, 3)
    grid = np.concatenate([np.array(_OKABE_ITO), grid])
    seen = _as_seen(grid)
    distances = np.min([_distances(seen, _as_seen(np.array([color]))) for color in sorted(chosen)], axis=0)
    result: list[Color] = []
    for color in colors:
        if color is None:
            preferred = distances[: len(_OKABE_ITO)] > _CLEAR
            index = int(np.argmax(preferred)) if preferred.any() else int(np.argmax(distances))
            color = tuple(int(channel) for channel in grid[index])
            distances = np.minimum(distances, _distances(seen, seen[:, index : index + 1]))
        result.append(tuple(color))
    return tuple(result)


#: Distance in L*a*b* above which two colours are told apart at a glance.
_CLEAR = 20.0


def _as_seen(colors: np.ndarray) -> np.ndarray:
    """float64 [4, K, 3] L*a*b* of RGB colours [K, 3], to normal vision and to three colour blindnesses."""
    shares = colors / 255
    linear = np.where(shares <= 0.04045, shares / 12.92, ((shares + 0.055) / 1.055) ** 2.4)
    xyz = np.clip(linear @ _VISION.transpose(0, 2, 1), 0, 1) @ _TO_XYZ.T / _WHITE
    roots = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    x, y, z = np.moveaxis(roots, -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


def _distances(seen: np.ndarray, one: np.ndarray) -> np.ndarray:
    """float64 [K]: the least distance of [4, K, 3] to [4, 1, 3] over the kinds of vision."""
    return np.linalg.norm(seen - one, axis=-1).min(axis=0)
