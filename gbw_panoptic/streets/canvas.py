"""The drawing surface: one index map over a table of paints, filled in depth order.

A *paint* is everything that one primitive's pixels have in common (material, class, instance, distance). Drawing only
paints' numbers means that colour, class and instance map can never disagree, and that one scene can be rendered in
any look.

Shape legend: H, W = image height and width in pixels; K = corners of a polygon; M = polygons of one paint; P = paints.
World coordinates are metres: x to the right, y up, z ahead of the camera.
"""

from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np

from .materials import LABELS, MATERIALS

_SUBPIXEL_BITS = 4  # cv2's fixed-point fraction
_NEAREST = 0.25  # metres; what is nearer is moved to this distance, so that ground reaches below the image
_FARTHEST_PIXEL = 1e5  # keeps fixed-point coordinates inside int32


@dataclass(frozen=True)
class Camera:
    """A pinhole camera that looks along z.

    Attributes:
        height, width: image size in pixels.
        focal: focal length in pixels.
        center_x, horizon: the vanishing point of the street in pixels.
        eye_x, eye_y: position in metres; ``eye_y`` is the height above the ground.
    """

    height: int
    width: int
    focal: float
    center_x: float
    horizon: float
    eye_x: float
    eye_y: float

    def project(self, points: np.ndarray) -> np.ndarray:
        """World points [..., 3] to pixel positions [..., 2] (x, y)."""
        scale = self.focal / np.maximum(points[..., 2], _NEAREST)
        x = self.center_x + (points[..., 0] - self.eye_x) * scale
        y = self.horizon - (points[..., 1] - self.eye_y) * scale
        return np.stack([x, y], axis=-1)

    def size_of(self, metres: float, distance: float) -> float:
        """Pixels that ``metres`` span at ``distance``."""
        return metres * self.focal / max(distance, _NEAREST)

    def ground_depth(self) -> np.ndarray:
        """float32 [H]: distance in metres of flat ground in each row (large at and above the horizon)."""
        rows = np.arange(self.height, dtype=np.float32) + 0.5
        return self.focal * self.eye_y / np.maximum(rows - self.horizon, 0.25)


@dataclass(frozen=True)
class Place:
    """Where an object stands (metres, on the ground) and where it heads: yaw 0 = away from the camera.

    Objects have local axes: along (their length, forwards), across (their width, to their right) and up.
    """

    x: float
    z: float
    yaw: float = 0.0


ORIGIN = Place(0.0, 0.0)


class Axes(NamedTuple):
    """Which of the local columns (along, across, up) polygons are given in, and the one that is fixed."""

    given: slice | list[int]
    fixed: slice


LOCAL = Axes(slice(0, 3), slice(0, 0))
WORLD = Axes([1, 2, 0], slice(0, 0))  # x, y, z at the origin
SIDE = Axes(slice(0, 3, 2), slice(1, 2))
END = Axes(slice(1, 3), slice(0, 1))
GROUND = Axes(slice(0, 2), slice(2, 3))


class Canvas:
    """Collects polygons far to near, then draws them at once.

    Polygons wait in one buffer until :meth:`rasterise`, because projecting thousands of corners in one call is many
    times faster than projecting polygon by polygon.

    Attributes:
        camera: how the scene is seen.
        sun: side that the sun shines from, -1 (left) to 1 (right).
        index: uint16 [H, W], the number of the paint that is visible in each pixel; at first paint 0, the sky.
        shadow: uint8 [H, W], 255 where the sun does not reach the ground.
        paints: rows of (material, label, instance, variant, tone, depth): indices into ``MATERIALS`` and ``LABELS``,
            instance number (0 = none), position 0..1 among the colours that a look has for the material, brightness
            by orientation (1 = plain), distance in metres.
    """

    def __init__(self, camera: Camera, sun: float = 0.0) -> None:
        self.camera, self.sun = camera, sun
        self.index = np.zeros((camera.height, camera.width), dtype=np.uint16)
        self.shadow = np.zeros((camera.height, camera.width), dtype=np.uint8)
        self.paints: list[tuple[int, int, int, float, float, float]] = []
        self._num_instances = 0
        self._points = np.zeros((4096, 3))
        self._used = 0
        # paint, polygons M, corners K; then x, z, yaw, squeeze
        self._chunks: list[tuple[int, int, int, float, float, float, float]] = []
        self.add_paint("sky", "sky")

    def add_paint(
        self, material: str, label: str, instance: int = 0, variant: float = 0.0, tone: float = 1.0, depth: float = 0.0
    ) -> int:
        """Append a paint and return its number."""
        self.paints.append((MATERIALS[material], LABELS[label], instance, variant, tone, depth))
        return len(self.paints) - 1

    def add_polygons(
        self, points: np.ndarray, axes: Axes, paint: int, place: Place, fixed: float, squeeze: float
    ) -> None:
        """Queue polygons [K, n] or [M, K, n] that do not overlap each other; ``paint`` -1 is shadow on the ground.

        Args:
            points: coordinates in metres.
            axes: which of (along, across, up) the n coordinates are.
            paint: number of the paint.
            place: the object's position and heading.
            fixed: the coordinate that ``axes`` lacks.
            squeeze: factor of the across coordinates.
        """
        corners = points.shape[-2]
        count = points.size // points.shape[-1]
        while self._used + count > len(self._points):
            self._points = np.concatenate([self._points, np.zeros_like(self._points)])
        rows = self._points[self._used : self._used + count]
        rows[:, axes.fixed] = fixed
        rows[:, axes.given] = points.reshape(count, -1)
        self._used += count
        self._chunks.append((paint, count // corners, corners, place.x, place.z, place.yaw, squeeze))

    def rasterise(self) -> None:
        """Draw everything that is queued, in the order in which it was queued."""
        table = np.array(self._chunks)
        sizes = (table[:, 1] * table[:, 2]).astype(np.intp)
        x, z, yaw, squeeze = np.repeat(table[:, 3:], sizes, axis=0).T
        c, s = np.cos(yaw), np.sin(yaw)
        along, across, up = self._points[: self._used].T
        across = across * squeeze
        world = np.stack([x + across * c + along * s, up, z - across * s + along * c], axis=-1)
        pixels = self.camera.project(world)
        starts = np.cumsum(sizes) - sizes
        low, high = np.minimum.reduceat(pixels, starts), np.maximum.reduceat(pixels, starts)
        seen = ((high >= 0) & (low <= (self.camera.width, self.camera.height))).all(axis=1)
        fixed = _fixed_point(pixels)
        for (paint, polygons, corners, *_), start, visible in zip(self._chunks, starts.tolist(), seen.tolist()):
            if not visible:
                continue
            block = fixed[start : start + polygons * corners]
            if paint < 0:
                cv2.fillConvexPoly(self.shadow, cv2.convexHull(block), 255, cv2.LINE_8, _SUBPIXEL_BITS)
            else:
                cv2.fillPoly(self.index, list(block.reshape(polygons, corners, 2)), paint, cv2.LINE_8, _SUBPIXEL_BITS)
        self._used = 0
        self._chunks.clear()

    def fill_pixels(self, polygon: np.ndarray, paint: int) -> None:
        """Fill a polygon [K, 2] of pixel positions at once."""
        cv2.fillPoly(self.index, [_fixed_point(polygon)], paint, cv2.LINE_8, _SUBPIXEL_BITS)

    def new_instance(self) -> int:
        """The next free instance number (1, 2, ...)."""
        self._num_instances += 1
        return self._num_instances

    def paint_table(self, column: int, dtype: type) -> np.ndarray:
        """[P] one column of ``paints``."""
        return np.array([row[column] for row in self.paints], dtype=dtype)

    def label_map(self) -> np.ndarray:
        """uint8 [H, W] of indices into ``LABELS``."""
        return self.paint_table(1, np.uint8)[self.index]

    def instance_map(self) -> np.ndarray:
        """uint16 [H, W] of instance numbers, 0 where there is none."""
        return self.paint_table(2, np.uint16)[self.index]


def _fixed_point(pixels: np.ndarray) -> np.ndarray:
    # cv2 puts integer coordinates on pixel centres; ours lie on pixel corners.
    corners = np.clip(pixels - 0.5, -_FARTHEST_PIXEL, _FARTHEST_PIXEL) * (1 << _SUBPIXEL_BITS)
    return np.rint(corners).astype(np.int32)


@dataclass
class Brush:
    """Draws the parts of one object: same class, instance, distance and colour variant."""

    canvas: Canvas
    label: str
    depth: float
    instance: int = 0
    variant: float = 0.0

    def fill(
        self,
        points: np.ndarray,
        material: str,
        tone: float = 1.0,
        *,
        axes: Axes = WORLD,
        place: Place = ORIGIN,
        fixed: float = 0.0,
        squeeze: float = 1.0,
    ) -> None:
        """Fill polygons: [K, n], or [M, K, n] that do not overlap each other (see :meth:`Canvas.add_polygons`)."""
        paint = self.canvas.add_paint(material, self.label, self.instance, self.variant, tone, self.depth)
        self.canvas.add_polygons(np.asarray(points), axes, paint, place, fixed, squeeze)

    def pixels(self, metres: float) -> float:
        """Pixels that ``metres`` span at this object's distance: the level of detail."""
        return self.canvas.camera.size_of(metres, self.depth)

    def sees(self, place: Place, half_width: float) -> bool:
        """Whether an object of this half width (metres) may be in view."""
        camera = self.canvas.camera
        distance = abs(place.x - camera.eye_x) - half_width
        reach = max(camera.center_x, camera.width - camera.center_x)
        return camera.size_of(distance, place.z) < reach
