"""Pedestrians, two-wheelers and their riders: upright figures that face the camera.

Local coordinates in metres: (across, up). A rider and the vehicle below are two objects and two instances.
"""

import numpy as np

from .canvas import Brush, Place
from .shapes import bar, disc, flat, ground_shadow, rectangle

_DETAIL_PIXELS = 6.0  # figures lower than this are drawn as three blobs


def draw_person(brush: Brush, place: Place, rng: np.random.Generator) -> None:
    """Draw a walking or standing pedestrian of 1.5 to 1.9 m."""
    size, stride = rng.uniform(1.5, 1.9) / 1.75, rng.uniform(-0.35, 0.35)
    ground_shadow(brush, place, 0.15, 0.25, 1.7 * size)
    legs = np.stack([bar((-0.08, 0.88), (-0.1 - stride, 0.0), 0.19), bar((0.08, 0.88), (0.1 + stride, 0.0), 0.19)])
    for leg in legs:
        flat(brush, place, leg * size, "trousers")
    _upper_body(brush, place, size, swing=stride)
    if rng.random() < 0.3 and brush.pixels(1.7) > 2 * _DETAIL_PIXELS:
        flat(brush, place, rectangle(0.22, 0.65, 0.42, 0.95) * size, "trousers", tone=0.7)  # a bag


def _upper_body(brush: Brush, place: Place, size: float, swing: float, base: float = 0.82, head: str = "hair") -> None:
    torso = np.array([(-0.2, base), (0.2, base), (0.25, base + 0.58), (-0.25, base + 0.58)])
    if brush.pixels(1.7) > _DETAIL_PIXELS:
        shoulder = base + 0.54
        for side in (-1, 1):
            arm = bar((side * 0.25, shoulder), (side * 0.3 + 0.6 * swing * side, base + 0.05), 0.12)
            flat(brush, place, arm * size, "jacket", tone=0.8)
    flat(brush, place, torso * size, "jacket")
    flat(brush, place, disc(0.0, base + 0.78, 0.12, 1.25) * size, head)
    flat(brush, place, disc(0.0, base + 0.75, 0.1, 1.0) * size, "skin")


def draw_bicycle(brush: Brush, place: Place, rng: np.random.Generator, squeeze: float) -> None:
    """Draw a bicycle; ``squeeze`` in (0, 1] is 1 seen from the side and small seen from behind."""
    ground_shadow(brush, place, 0.15, 0.8 * squeeze, 0.5)
    for across in (-0.52, 0.52):
        flat(brush, place, disc(across, 0.34, 0.36), "tyre", squeeze=max(squeeze, 0.18))
        flat(brush, place, disc(across, 0.34, 0.27), "bike_wheel", squeeze=squeeze)
    frame = [((-0.52, 0.34), (-0.15, 0.85)), ((-0.15, 0.85), (0.0, 0.32)), ((0.0, 0.32), (0.38, 0.8)),
             ((-0.15, 0.78), (0.38, 0.8)), ((0.36, 0.98), (0.52, 0.34)), ((-0.52, 0.34), (0.0, 0.32))]  # fmt: skip
    for start, end in frame:
        flat(brush, place, bar(start, end, 0.09), "bike_frame", squeeze=max(squeeze, 0.3))
    flat(brush, place, rectangle(-0.3, 0.85, -0.04, 0.93), "tyre", squeeze=max(squeeze, 0.5))
    flat(brush, place, rectangle(0.24, 0.96, 0.5, 1.03), "tyre", squeeze=max(squeeze, 0.9))


def draw_motorcycle(brush: Brush, place: Place, rng: np.random.Generator, squeeze: float) -> None:
    """Draw a motorcycle or scooter: broad tyres, a tank, a seat and a windshield."""
    ground_shadow(brush, place, 0.3, 0.95 * squeeze, 0.8)
    wide = max(squeeze, 0.3)
    for across in (-0.66, 0.66):
        flat(brush, place, disc(across, 0.31, 0.32), "tyre", squeeze=wide)
        flat(brush, place, disc(across, 0.31, 0.16), "rim", squeeze=squeeze)
    engine = np.array([(-0.45, 0.3), (0.4, 0.3), (0.5, 0.7), (-0.5, 0.7)])
    body = np.array([(-0.95, 0.72), (0.1, 0.55), (0.62, 0.6), (0.55, 1.0), (0.2, 1.02), (-0.2, 0.78), (-0.95, 0.9)])
    flat(brush, place, engine, "tyre", squeeze=wide, tone=1.3)
    flat(brush, place, body, "moto_paint", squeeze=wide)
    flat(brush, place, np.array([(0.45, 0.95), (0.62, 0.85), (0.5, 1.32), (0.38, 1.3)]), "glass", squeeze=wide)
    flat(brush, place, bar((0.36, 1.05), (0.68, 0.3), 0.1), "metal", squeeze=squeeze)
    flat(brush, place, rectangle(-0.85, 0.84, -0.05, 0.93), "tyre", squeeze=wide)
    if squeeze < 0.6:
        flat(brush, place, disc(0.0, 0.78, 0.13), "tail_light")
        flat(brush, place, rectangle(-0.36, 1.0, 0.36, 1.07), "tyre")


def draw_rider(brush: Brush, place: Place, rng: np.random.Generator, squeeze: float, motorised: bool) -> None:
    """Draw the person on a two-wheeler that stands at the same place; draw it after the two-wheeler."""
    lean = 0.3 * squeeze
    hip = (-0.15 * squeeze, 0.95 if not motorised else 0.88)
    knee = (0.2 * squeeze, 0.62)
    flat(brush, place, bar(hip, knee, 0.19), "trousers")
    flat(brush, place, bar(knee, (0.03 * squeeze, 0.25), 0.15), "trousers")
    if squeeze < 0.6:
        flat(brush, place, bar((hip[0] - 0.14, hip[1]), (-0.18, 0.3), 0.16), "trousers")
        flat(brush, place, bar((hip[0] + 0.14, hip[1]), (0.18, 0.3), 0.16), "trousers")
    half = 0.2
    torso = np.array([(hip[0] - half, hip[1] - 0.08), (hip[0] + half, hip[1] - 0.08),
                      (hip[0] + lean + half, hip[1] + 0.5), (hip[0] + lean - half, hip[1] + 0.5)])  # fmt: skip
    flat(brush, place, torso, "jacket")
    flat(brush, place, bar((hip[0] + lean, hip[1] + 0.42), (0.42 * squeeze, 1.02), 0.12), "jacket", tone=0.8)
    top = (hip[0] + lean * 1.15, hip[1] + 0.68)
    flat(brush, place, disc(*top, 0.15 if motorised else 0.12, 1.15), "helmet" if motorised else "hair")
    flat(brush, place, disc(top[0] + 0.04 * squeeze, top[1] - 0.03, 0.09), "skin")
