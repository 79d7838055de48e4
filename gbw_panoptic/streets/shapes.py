"""Geometry that several kinds of object are made of.

Shape legend: K = corners of a polygon, M = polygons. Local axes (along, across, up): see ``canvas.Place``.
"""

from math import cos, hypot, sin
from typing import Sequence

import numpy as np

from .canvas import END, GROUND, LOCAL, SIDE, Brush, Place


def circle(corners: int = 12) -> np.ndarray:
    """float64 [K, 2]: a regular polygon of radius 1 around the origin."""
    angles = np.linspace(0.0, 2.0 * np.pi, corners, endpoint=False) + np.pi / corners
    return np.stack([np.cos(angles), np.sin(angles)], axis=-1)


CIRCLE = circle()
_BASE = np.array([(-1.0, -1.0), (1.0, -1.0), (1.0, 1.0), (-1.0, 1.0)])


def rectangle(left: float, bottom: float, right: float, top: float) -> np.ndarray:
    """float64 [4, 2] corners."""
    return np.array([[left, bottom], [right, bottom], [right, top], [left, top]])


def disc(x: float, y: float, radius: float, stretch: float = 1.0) -> np.ndarray:
    """float64 [12, 2]: a circle, ``stretch`` times as high as wide."""
    return CIRCLE * (radius, radius * stretch) + (x, y)


def bar(start: tuple[float, float], end: tuple[float, float], width: float) -> np.ndarray:
    """float64 [4, 2]: a straight limb or tube of the given width."""
    (ax, ay), (bx, by) = start, end
    factor = 0.5 * width / max(hypot(bx - ax, by - ay), 1e-9)
    nx, ny = (ay - by) * factor, (bx - ax) * factor
    return np.array([(ax + nx, ay + ny), (bx + nx, by + ny), (bx - nx, by - ny), (ax - nx, ay - ny)])


def side_tone(brush: Brush, normal_x: float, normal_y: float = 0.0) -> float:
    """Brightness of a face with this world normal: sunny side, shady side, top."""
    return 0.92 + 0.28 * normal_y + 0.22 * normal_x * brush.canvas.sun


def flat(
    brush: Brush, place: Place, polygons: np.ndarray, material: str, *, squeeze: float = 1.0, tone: float = 1.0
) -> None:
    """Fill upright polygons [K, 2] or [M, K, 2] (across, up) that face the camera, narrowed by ``squeeze``."""
    brush.fill(polygons, material, tone, axes=END, place=place, squeeze=squeeze)


def visible_side(brush: Brush, place: Place) -> float:
    """-1 or 1: the side (across) of an object that the camera sees."""
    toward = (brush.canvas.camera.eye_x - place.x) * cos(place.yaw) + place.z * sin(place.yaw)
    return 1.0 if toward > 0 else -1.0


def visible_end(brush: Brush, place: Place) -> float:
    """1 if the camera sees the object's front, -1 if it sees the back."""
    toward = (brush.canvas.camera.eye_x - place.x) * sin(place.yaw) - place.z * cos(place.yaw)
    return 1.0 if toward > 0 else -1.0


def on_side(
    brush: Brush, place: Place, polygons: np.ndarray, half_width: float, material: str, tone: float = 1.0
) -> None:
    """Fill polygons [K, 2] or [M, K, 2] (along, up) on the visible side plane of an object."""
    fixed = visible_side(brush, place) * half_width
    brush.fill(polygons, material, tone, axes=SIDE, place=place, fixed=fixed)


def on_end(
    brush: Brush, place: Place, polygons: np.ndarray, half_length: float, material: str, tone: float = 1.0
) -> None:
    """Fill polygons [K, 2] or [M, K, 2] (across, up) on the visible front or back plane of an object."""
    fixed = visible_end(brush, place) * half_length
    brush.fill(polygons, material, tone, axes=END, place=place, fixed=fixed)


def prism(brush: Brush, place: Place, profile: Sequence[tuple[float, float]], half_width: float, material: str) -> None:
    """Draw the visible faces of a convex side profile [(along, up)], counter-clockwise, extruded across."""
    camera = brush.canvas.camera
    c, s = cos(place.yaw), sin(place.yaw)
    eye_along = (camera.eye_x - place.x) * s - place.z * c
    for i, (along, up) in enumerate(profile):
        next_along, next_up = profile[(i + 1) % len(profile)]
        d_along, d_up = next_along - along, next_up - up
        if d_up * (eye_along - along) - d_along * (camera.eye_y - up) <= 0:  # the camera is behind this face
            continue
        length = max(hypot(d_along, d_up), 1e-9)
        face = [(along, -half_width, up), (next_along, -half_width, next_up)]
        face += [(next_along, half_width, next_up), (along, half_width, up)]
        tone = side_tone(brush, d_up / length * s, -d_along / length)
        brush.fill(np.array(face), material, tone, axes=LOCAL, place=place)
    on_side(brush, place, np.array(profile), half_width, material, side_tone(brush, visible_side(brush, place) * c))


def ground_shadow(brush: Brush, place: Place, half_length: float, half_width: float, height: float) -> None:
    """Shade the ground under an object and to the side that is away from the sun."""
    canvas = brush.canvas
    shift_x, shift_z = -canvas.sun * height * 0.9, 0.25 * height
    c, s = cos(place.yaw), sin(place.yaw)
    along, across = shift_x * s + shift_z * c, shift_x * c - shift_z * s
    base = _BASE * (half_length, half_width)
    canvas.add_polygons(np.concatenate([base, base + (along, across)]), GROUND, -1, place, 0.0, 1.0)
