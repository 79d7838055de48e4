"""Road users. Cars, trucks, buses and trams: extruded side profiles with windows, wheels and lights on the visible
faces; pedestrians, two-wheelers and their riders: upright figures that face the camera.

Local coordinates in metres: (along, up) on a side, (across, up) on an end and for figures. A rider and the vehicle
below are two objects and two instances.
"""

from dataclasses import dataclass

import numpy as np

from .canvas import LOCAL, Brush, Place
from .shapes import bar, disc, flat, ground_shadow, on_end, on_side, prism, rectangle, visible_end

_DETAIL_PIXELS = 5.0  # a vehicle whose height spans fewer pixels is drawn without details
_FIGURE_PIXELS = 6.0  # figures lower than this are drawn as three blobs


@dataclass(frozen=True)
class Body:
    """Outer size of a vehicle in metres."""

    length: float
    width: float
    height: float


#: Kind -> typical size; single vehicles vary by some percent.
BODIES = {
    "car": Body(4.4, 1.8, 1.5),
    "truck": Body(8.0, 2.5, 3.4),
    "bus": Body(11.5, 2.6, 3.1),
    "train": Body(22.0, 2.6, 3.5),
}


def draw_vehicle(brush: Brush, place: Place, kind: str, rng: np.random.Generator) -> None:
    """Draw one vehicle of a kind in ``BODIES`` with its shadow."""
    typical = BODIES[kind]
    scale = rng.uniform(0.92, 1.08, size=3)
    body = Body(typical.length * scale[0], typical.width * scale[1], typical.height * scale[2])
    ground_shadow(brush, place, body.length / 2, body.width / 2, body.height)
    {"car": _car, "truck": _truck, "bus": _bus, "train": _tram}[kind](brush, place, body, rng)


def _box(x0: float, y0: float, x1: float, y1: float) -> list[tuple[float, float]]:
    return [(x0, y0), (x1, y0), (x1, y1), (x0, y1)]


def _wheels(brush: Brush, place: Place, positions: list[float], radius: float, half_width: float) -> None:
    if brush.pixels(radius) < 0.7:
        return
    for along in positions:
        on_side(brush, place, disc(along, radius, radius), half_width, "tyre")
    if brush.pixels(radius) > 2.0:
        for along in positions:
            on_side(brush, place, disc(along, radius, 0.55 * radius), half_width, "rim")


def _lights(brush: Brush, place: Place, half_length: float, half_width: float, low: float, high: float) -> None:
    outer, inner = 0.92 * half_width, 0.62 * half_width
    pair = np.stack([rectangle(-outer, low, -inner, high), rectangle(inner, low, outer, high)])
    material = "head_light" if visible_end(brush, place) > 0 else "tail_light"
    on_end(brush, place, pair, half_length, material)


def _car(brush: Brush, place: Place, body: Body, rng: np.random.Generator) -> None:
    half, w, top = body.length / 2, body.width / 2, body.height
    waist, tail = 0.6 * top, rng.choice([0.97, 0.80, 0.62])  # estate, hatchback or saloon
    prism(brush, place, _box(-half, 0.22, half, waist), w, "car_paint")
    cabin = [(-tail * half, waist), (0.5 * half, waist), (0.2 * half, top), (-0.85 * tail * half, top)]
    prism(brush, place, cabin, 0.88 * w, "car_paint")
    if brush.pixels(top) < _DETAIL_PIXELS:
        on_end(brush, place, rectangle(-0.7 * w, waist, 0.7 * w, 0.95 * top), 0.7 * half, "glass")
        return
    low, high = waist + 0.03, top - 0.12
    rear = np.array([(-0.86 * tail * half, low), (-0.25 * half, low), (-0.25 * half, high), (-0.8 * tail * half, high)])
    front = np.array([(-0.2 * half, low), (0.42 * half, low), (0.18 * half, high), (-0.2 * half, high)])
    on_side(brush, place, np.stack([rear, front]), 0.885 * w, "glass")
    _windscreen(brush, place, w, low, high, (0.47 * half, 0.22 * half), (tail * half, 0.86 * tail * half))
    _wheels(brush, place, [-0.62 * half, 0.62 * half], 0.32, w + 0.01)
    _lights(brush, place, half, w, 0.42 * top, 0.54 * top)
    on_end(brush, place, rectangle(-w, 0.2, w, 0.2 * top), half, "tyre")
    on_end(brush, place, rectangle(-0.25, 0.28 * top, 0.25, 0.36 * top), half, "plate")


def _windscreen(brush: Brush, place: Place, w: float, low: float, high: float, front: tuple, back: tuple) -> None:
    sign = visible_end(brush, place)
    bottom, top = front if sign > 0 else back
    local = [(sign * bottom, -0.76 * w, low), (sign * bottom, 0.76 * w, low), (sign * top, 0.7 * w, high)]
    local.append((sign * top, -0.7 * w, high))
    brush.fill(np.array(local), "glass", axes=LOCAL, place=place)


def _truck(brush: Brush, place: Place, body: Body, rng: np.random.Generator) -> None:
    half, w, top = body.length / 2, body.width / 2, body.height
    cab = half - 2.0
    front = [(cab, 0.45), (half, 0.45), (half, 0.5 * top), (half - 0.3, 0.8 * top), (cab, 0.8 * top)]
    parts = [(_box(-half, 0.9, cab - 0.25, top), w, "truck_box"), (front, 0.95 * w, "truck_cab")]
    prism(brush, place, _box(-half + 0.1, 0.5, cab, 0.9), 0.8 * w, "tyre")
    for profile, half_width, material in parts if visible_end(brush, place) > 0 else parts[::-1]:
        prism(brush, place, profile, half_width, material)
    if brush.pixels(top) < _DETAIL_PIXELS:
        return
    on_side(brush, place, rectangle(cab + 0.35, 0.5 * top, half - 0.35, 0.72 * top), 0.955 * w, "glass")
    _wheels(brush, place, [-0.78 * half, -0.5 * half, half - 0.9], 0.5, w + 0.01)
    if visible_end(brush, place) > 0:
        on_end(brush, place, rectangle(-0.8 * w, 0.5 * top, 0.8 * w, 0.74 * top), half - 0.1, "glass")
        _lights(brush, place, half, 0.95 * w, 0.2 * top, 0.26 * top)
        return
    on_end(brush, place, rectangle(-0.03, 0.95, 0.03, 0.97 * top), half, "tyre")
    on_end(brush, place, rectangle(-0.9 * w, 0.5, 0.9 * w, 0.9), half, "tyre")
    _lights(brush, place, half, w, 0.62, 0.85)


def _bus(brush: Brush, place: Place, body: Body, rng: np.random.Generator) -> None:
    half, w, top = body.length / 2, body.width / 2, body.height
    prism(brush, place, _box(-half, 0.3, half, top), w, "bus_paint")
    if brush.pixels(top) < _DETAIL_PIXELS:
        return
    edges = np.linspace(-half + 0.3, half - 0.3, 8)
    panes = np.stack([rectangle(a + 0.06, 0.45 * top, b - 0.06, 0.82 * top) for a, b in zip(edges, edges[1:])])
    on_side(brush, place, panes, w + 0.01, "glass")
    on_side(brush, place, rectangle(half - 2.1, 0.35, half - 1.1, 0.8 * top), w + 0.02, "glass", 0.8)
    _wheels(brush, place, [-0.55 * half, 0.62 * half], 0.48, w + 0.02)
    on_end(brush, place, rectangle(-0.88 * w, 0.42 * top, 0.88 * w, 0.8 * top), half, "glass")
    on_end(brush, place, rectangle(-0.6 * w, 0.84 * top, 0.6 * w, 0.95 * top), half, "lamp_amber")
    _lights(brush, place, half, w, 0.2 * top, 0.27 * top)


def _tram(brush: Brush, place: Place, body: Body, rng: np.random.Generator) -> None:
    half, w, top = body.length / 2, body.width / 2, body.height
    nose = [(-half, 0.25), (half, 0.25), (half, 0.5 * top), (half - 0.6, top), (-half + 0.6, top), (-half, 0.5 * top)]
    prism(brush, place, nose, w, "tram_paint")
    prism(brush, place, _box(-0.6 * half, top, 0.6 * half, top + 0.3), 0.6 * w, "metal")
    if brush.pixels(top) < _DETAIL_PIXELS:
        return
    edges = np.linspace(-half + 1.2, half - 1.2, 13)
    panes = np.stack([rectangle(a + 0.1, 0.5 * top, b - 0.1, 0.84 * top) for a, b in zip(edges, edges[1:])])
    on_side(brush, place, panes, w + 0.01, "glass")
    on_side(brush, place, rectangle(-half, 0.3 * top, half, 0.4 * top), w + 0.01, "sign_white")
    on_side(brush, place, rectangle(-half, 0.2, half, 0.16 * top), w + 0.01, "tyre")
    sign = visible_end(brush, place)
    local = [(sign * half, -0.8 * w, 0.5), (sign * half, 0.8 * w, 0.5), (sign * (half - 0.45), 0.75 * w, 0.88)]
    local.append((sign * (half - 0.45), -0.75 * w, 0.88))
    brush.fill(np.array(local) * (1.0, 1.0, top), "glass", axes=LOCAL, place=place)
    on_end(brush, place, rectangle(-w, 0.3 * top, w, 0.4 * top), half, "sign_white")
    on_end(brush, place, rectangle(-w, 0.2, w, 0.14 * top), half, "tyre")
    _lights(brush, place, half, w, 0.18 * top, 0.25 * top)


def draw_person(brush: Brush, place: Place, rng: np.random.Generator) -> None:
    """Draw a walking or standing pedestrian of 1.5 to 1.9 m."""
    size, stride = rng.uniform(1.5, 1.9) / 1.75, rng.uniform(-0.35, 0.35)
    ground_shadow(brush, place, 0.15, 0.25, 1.7 * size)
    legs = np.stack([bar((-0.08, 0.88), (-0.1 - stride, 0.0), 0.19), bar((0.08, 0.88), (0.1 + stride, 0.0), 0.19)])
    for leg in legs:
        flat(brush, place, leg * size, "trousers")
    _upper_body(brush, place, size, swing=stride)
    if rng.random() < 0.3 and brush.pixels(1.7) > 2 * _FIGURE_PIXELS:
        flat(brush, place, rectangle(0.22, 0.65, 0.42, 0.95) * size, "trousers", tone=0.7)  # a bag


def _upper_body(brush: Brush, place: Place, size: float, swing: float, base: float = 0.82, head: str = "hair") -> None:
    torso = np.array([(-0.2, base), (0.2, base), (0.25, base + 0.58), (-0.25, base + 0.58)])
    if brush.pixels(1.7) > _FIGURE_PIXELS:
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
