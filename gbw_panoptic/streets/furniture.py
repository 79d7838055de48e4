"""What stands on pavements: lamp posts, signs, traffic lights, trees and small objects without an evaluated class."""

import numpy as np

from .canvas import Brush, Place
from .shapes import bar, disc, flat, ground_shadow, rectangle

_SIGN_SHAPES = ("disc", "triangle", "board", "diamond")


def draw_pole(brush: Brush, place: Place, rng: np.random.Generator, height: float, width: float = 0.16) -> None:
    """Draw a plain post."""
    ground_shadow(brush, place, width / 2, width / 2, height)
    flat(brush, place, rectangle(-width / 2, 0.0, width / 2, height), "metal")
    if brush.pixels(width) > 3.0:
        flat(brush, place, rectangle(0.1 * width, 0.0, width / 2, height), "metal", tone=0.75)


def draw_lamp_post(brush: Brush, place: Place, rng: np.random.Generator) -> None:
    """Draw a street lamp whose arm reaches over the road."""
    height = rng.uniform(5.5, 8.0)
    reach = -np.sign(place.x) * rng.uniform(1.0, 2.0)
    draw_pole(brush, place, rng, height, 0.18)
    flat(brush, place, bar((0.0, height - 0.06), (reach, height + 0.25), 0.12), "metal")
    flat(brush, place, rectangle(reach - 0.35, height + 0.15, reach + 0.35, height + 0.32), "metal", tone=1.3)


def draw_traffic_light(brush: Brush, place: Place, rng: np.random.Generator) -> None:
    """Draw a signal head on a post; some posts have an arm with a second head over the road."""
    height = rng.uniform(2.9, 3.5)
    overhead = rng.random() < 0.4
    draw_pole(brush, place, rng, 5.6 if overhead else height, 0.2)
    phase = int(rng.integers(3))
    _signal_head(brush, place, (-np.sign(place.x) * 0.15, height - 1.1), phase)
    if overhead:
        reach = -np.sign(place.x) * rng.uniform(2.0, 3.5)
        flat(brush, place, bar((0.0, 5.4), (reach, 5.5), 0.14), "metal")
        _signal_head(brush, place, (reach, 4.6), phase)


def _signal_head(brush: Brush, place: Place, bottom: tuple[float, float], phase: int) -> None:
    head = Brush(brush.canvas, "traffic light", brush.depth, variant=brush.variant)
    x, y = bottom
    flat(head, place, rectangle(x - 0.25, y, x + 0.25, y + 1.25), "light_box")
    for lamp, material in enumerate(("lamp_green", "lamp_amber", "lamp_red")):
        tone = 1.0 if lamp == phase else 0.3
        flat(head, place, disc(x, y + 0.22 + 0.4 * lamp, 0.16), material, tone=tone)


def draw_sign(brush: Brush, place: Place, rng: np.random.Generator) -> None:
    """Draw one or two traffic signs on a post."""
    height = rng.uniform(2.3, 3.2)
    draw_pole(brush, place, rng, height, 0.1)
    face = Brush(brush.canvas, "traffic sign", brush.depth, variant=brush.variant)
    for level in range(1 + int(rng.random() < 0.3)):
        _sign_face(face, place, str(rng.choice(_SIGN_SHAPES)), (0.0, height - 0.35 - 0.8 * level), 0.42)


def draw_sign_board(brush: Brush, place: Place, rng: np.random.Generator) -> None:
    """Draw a direction board on two posts."""
    for offset in (-0.8, 0.8):
        flat(brush, place, rectangle(offset - 0.07, 0.0, offset + 0.07, 2.4), "metal")
    face = Brush(brush.canvas, "traffic sign", brush.depth)
    material = str(rng.choice(["sign_blue", "sign_yellow"]))
    flat(face, place, rectangle(-1.3, 2.0, 1.3, 3.5), "sign_white")
    flat(face, place, rectangle(-1.2, 2.1, 1.2, 3.4), material)
    lines = np.stack([rectangle(-1.0, y, 0.5, y + 0.16) for y in (2.35, 2.75, 3.1)])
    flat(face, place, lines, "sign_white")


def _sign_face(brush: Brush, place: Place, shape: str, center: tuple[float, float], radius: float) -> None:
    x, y = center
    if shape == "disc":
        flat(brush, place, disc(x, y, radius), "sign_red")
        flat(brush, place, disc(x, y, 0.68 * radius), "sign_white")
    elif shape == "triangle":
        triangle = np.array([(-1.1, -0.8), (1.1, -0.8), (0.0, 1.1)]) * radius
        flat(brush, place, triangle + (x, y), "sign_red")
        flat(brush, place, 0.55 * triangle + (x, y - 0.04), "sign_white")
    elif shape == "board":
        flat(brush, place, rectangle(x - radius, y - 0.9 * radius, x + radius, y + 0.9 * radius), "sign_blue")
        flat(brush, place, bar((x - 0.2, y - 0.1), (x + 0.2, y + 0.1), 0.16), "sign_white")
    else:
        flat(brush, place, disc(x, y, radius)[::3], "sign_white")
        flat(brush, place, disc(x, y, 0.75 * radius)[::3], "sign_yellow")


def draw_tree(brush: Brush, place: Place, rng: np.random.Generator) -> None:
    """Draw a deciduous tree: a trunk and a crown of overlapping leafy discs, darker below."""
    height = rng.uniform(4.5, 9.0)
    crown = height * rng.uniform(0.24, 0.34)
    if not brush.sees(place, crown):
        return
    ground_shadow(brush, place, 0.2 * crown, 0.2 * crown, height)
    flat(brush, place, bar((0.0, 0.0), (0.0, 0.6 * height), 0.05 * height), "trunk")
    foliage_cloud(brush, place, rng, (0.0, height - crown), crown, crown * 0.9)


_CLOUD_ANGLES = np.linspace(0.0, 2.0 * np.pi, 18, endpoint=False)
_CLOUD = np.stack([np.cos(_CLOUD_ANGLES), np.sin(_CLOUD_ANGLES)], axis=-1)


def foliage_cloud(
    brush: Brush, place: Place, rng: np.random.Generator, center: tuple[float, float], width: float, height: float
) -> None:
    """Fill an ellipse of leaves (half axes ``width`` and ``height`` in metres) with a ragged outline, lighter above."""
    ragged = _CLOUD * rng.uniform(0.78, 1.12, size=(18, 1))
    boughs = rng.uniform(-0.4, 0.4, size=3).tolist()  # drawn at any size, or the rest of the scene would change
    flat(brush, place, ragged * (width, height) + center, "foliage", tone=0.82)
    if brush.pixels(width) < 2.0:
        return
    middle = (center[0] + 0.08 * width * brush.canvas.sun, center[1] + 0.18 * height)
    flat(brush, place, ragged[::-1] * (0.8 * width, 0.75 * height) * (1, -1) + middle, "foliage", tone=0.98)
    for offset in boughs:
        bough = (center[0] + offset * width, center[1] + (0.55 - abs(offset)) * height)
        flat(brush, place, ragged[::2] * (0.3 * width, 0.26 * height) + bough, "foliage", tone=1.12)


def draw_clutter(brush: Brush, place: Place, rng: np.random.Generator) -> None:
    """Draw a bin, a bollard or a box: static things that no evaluated class covers."""
    w, h = rng.uniform(0.25, 0.7), rng.uniform(0.6, 1.3)
    ground_shadow(brush, place, w / 2, w / 2, h)
    flat(brush, place, rectangle(-w, 0.0, w, h), "object")
    flat(brush, place, rectangle(-w, 0.85 * h, w, h), "object", tone=0.7)
