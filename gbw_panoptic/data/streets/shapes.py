"""Geometry that several kinds of object are made of.

Objects have local axes: ``along`` (their length, forwards), ``across`` (their width, to their right) and ``up``.
Shape legend: K = corners of a polygon, M = polygons.
"""

from dataclasses import dataclass
from math import cos, sin
from typing import Sequence

import numpy as np

from .canvas import Brush


def circle(corners: int = 12) -> np.ndarray:
    """float64 [K, 2]: a regular polygon of radius 1 around the origin."""
    angles = np.linspace(0.0, 2.0 * np.pi, corners, endpoint=False) + np.pi / corners
    return np.stack([np.cos(angles), np.sin(angles)], axis=-1)


CIRCLE = circle()
SMALL_CIRCLE = circle(8)


def rectangle(left: float, bottom: float, right: float, top: float) -> np.ndarray:
    """float64 [4, 2] corners."""
    return np.array([[left, bottom], [right, bottom], [right, top], [left, top]])


def disc(x: float, y: float, radius: float, stretch: float = 1.0) -> np.ndarray:
    """float64 [12, 2]: a circle, ``stretch`` times as high as wide."""
    return CIRCLE * (radius, radius * stretch) + (x, y)


def bar(start: tuple[float, float], end: tuple[float, float], width: float) -> np.ndarray:
    """float64 [4, 2]: a straight limb or tube of the given width."""
    a, b = np.array(start), np.array(end)
    normal = np.array([a[1] - b[1], b[0] - a[0]])
    normal *= 0.5 * width / max(float(np.hypot(*normal)), 1e-9)
    return np.array([a + normal, b + normal, b - normal, a - normal])


@dataclass(frozen=True)
class Place:
    """Where an object stands (metres, on the ground) and where it heads: yaw 0 = away from the camera."""

    x: float
    z: float
    yaw: float = 0.0

    def world(self, local: np.ndarray) -> np.ndarray:
        """Local points [..., 3] (along, across, up) to world points [..., 3]."""
        along, across, up = local[..., 0], local[..., 1], local[..., 2]
        c, s = cos(self.yaw), sin(self.yaw)
        return np.stack([self.x + across * c + along * s, up, self.z - across * s + along * c], axis=-1)


def side_tone(brush: Brush, normal_x: float, normal_y: float = 0.0) -> float:
    """Brightness of a face with this world normal: sunny side, shady side, top."""
    return 0.92 + 0.28 * normal_y + 0.22 * normal_x * brush.canvas.sun


def flat(brush: Brush, place: Place, polygons: np.ndarray, material: str, *, squeeze: float = 1.0, tone: float = 1.0) -> None:
    """Fill upright polygons [K, 2] or [M, K, 2] (across, up) that face the camera, narrowed by ``squeeze``."""
    points = np.asarray(polygons, dtype=np.float64)
    depth = np.full(points.shape[:-1], place.z)
    brush.fill(np.stack([place.x + points[..., 0] * squeeze, points[..., 1], depth], axis=-1), material, tone)


def visible_side(brush: Brush, place: Place) -> float:
    """-1 or 1: the side (across) of an object that the camera sees."""
    camera = brush.canvas.camera
    toward = (camera.eye_x - place.x) * cos(place.yaw) + place.z * sin(place.yaw)
    return 1.0 if toward > 0 else -1.0


def visible_end(brush: Brush, place: Place) -> float:
    """1 if the camera sees the object's front, -1 if it sees the back."""
    camera = brush.canvas.camera
    toward = (camera.eye_x - place.x) * sin(place.yaw) - place.z * cos(place.yaw)
    return 1.0 if toward > 0 else -1.0


def prism(brush: Brush, place: Place, profile: Sequence[tuple[float, float]], half_width: float, material: str) -> None:
    """Draw the visible faces of a convex side profile [(along, up)], counter-clockwise, extruded across."""
    corners = np.asarray(profile, dtype=np.float64)
    left, right = (
        place.world(np.column_stack([corners[:, 0], np.full(len(corners), w), corners[:, 1]]))
        for w in (-half_width, half_width)
    )
    camera = brush.canvas.camera
    c, s = cos(place.yaw), sin(place.yaw)
    for i in range(len(corners)):
        j = (i + 1) % len(corners)
        d_along, d_up = corners[j] - corners[i]
        length = max(float(np.hypot(d_along, d_up)), 1e-9)
        normal = np.array([d_up / length * s, -d_along / length, d_up / length * c])
        if normal @ (np.array([camera.eye_x, camera.eye_y, 0.0]) - left[i]) > 0:
            face = np.stack([left[i], left[j], right[j], right[i]])
            brush.fill(face, material, side_tone(brush, normal[0], normal[1]))
    side = visible_side(brush, place)
    brush.fill(right if side > 0 else left, material, side_tone(brush, side * c))


def on_side(brush: Brush, place: Place, polygons: np.ndarray, half_width: float, material: str, tone: float = 1.0) -> None:
    """Fill polygons [K, 2] or [M, K, 2] (along, up) on the visible side plane of an object."""
    points = np.asarray(polygons, dtype=np.float64)
    across = np.full(points.shape[:-1], visible_side(brush, place) * half_width)
    brush.fill(place.world(np.stack([points[..., 0], across, points[..., 1]], axis=-1)), material, tone)


def on_end(brush: Brush, place: Place, polygons: np.ndarray, half_length: float, material: str, tone: float = 1.0) -> None:
    """Fill polygons [K, 2] or [M, K, 2] (across, up) on the visible front or back plane of an object."""
    points = np.asarray(polygons, dtype=np.float64)
    along = np.full(points.shape[:-1], visible_end(brush, place) * half_length)
    brush.fill(place.world(np.stack([along, points[..., 0], points[..., 1]], axis=-1)), material, tone)


def ground_shadow(brush: Brush, place: Place, half_length: float, half_width: float, height: float) -> None:
    """Shade the ground under an object and to the side that is away from the sun."""
    base = np.array([[a, b, 0.0] for a, b in ((-1, -1), (1, -1), (1, 1), (-1, 1))]) * (half_length, half_width, 0.0)
    world = place.world(base)
    brush.canvas.fill_shadow(world)
    offset = np.array([-brush.canvas.sun * height * 0.9, 0.0, 0.25 * height])
    order = np.argsort(world[:, 0] * np.sign(offset[0] or 1.0))
    edge = world[order[:2]]
    brush.canvas.fill_shadow(np.stack([edge[0], edge[1], edge[1] + offset, edge[0] + offset]))
    far = world + offset
    brush.canvas.fill_shadow(far)
    edge = world[order[2:]]
    brush.canvas.fill_shadow(np.stack([edge[0], edge[1], edge[1] + offset, edge[0] + offset]))
