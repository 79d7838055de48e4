"""The drawing surface: one index map over a table of paints, filled in depth order.

A *paint* is everything that one primitive's pixels have in common (material, class, instance, distance). Drawing only
paints' numbers means that colour, class and instance map can never disagree, and that one scene can be rendered in
any look.

Shape legend: H, W = image height and width in pixels; K = corners of a polygon; M = polygons of one paint; P = paints.
World coordinates are metres: x to the right, y up, z ahead of the camera.
"""

from dataclasses import dataclass, field

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


@dataclass
class Canvas:
    """Index map and paint table of one scene.

    Attributes:
        index: uint16 [H, W], the number of the paint that is visible in each pixel.
        shadow: uint8 [H, W], 255 where the sun does not reach the ground.
        materials, labels, instances: per paint, index into ``MATERIALS``, index into ``LABELS``, instance (0 = none).
        variants: per paint, in 0..1; picks one of the colours that a look has for the material.
        tones, depths: per paint, brightness by orientation (1 = plain) and distance in metres.
        sun: side that the sun shines from, -1 (left) to 1 (right).
    """

    camera: Camera
    sun: float = 0.0
    index: np.ndarray = field(init=False)
    shadow: np.ndarray = field(init=False)
    materials: list[int] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    instances: list[int] = field(default_factory=list)
    variants: list[float] = field(default_factory=list)
    tones: list[float] = field(default_factory=list)
    depths: list[float] = field(default_factory=list)
    num_instances: int = 0

    def __post_init__(self) -> None:
        self.index = np.zeros((self.camera.height, self.camera.width), dtype=np.uint16)
        self.shadow = np.zeros((self.camera.height, self.camera.width), dtype=np.uint8)

    def add_paint(
        self, material: str, label: str, *, instance: int, variant: float, tone: float, depth: float
    ) -> int:
        """Append a paint and return its number."""
        self.materials.append(MATERIALS[material])
        self.labels.append(LABELS[label])
        self.instances.append(instance)
        self.variants.append(variant)
        self.tones.append(tone)
        self.depths.append(depth)
        return len(self.materials) - 1

    def fill_pixels(self, polygons: np.ndarray, paint: int) -> None:
        """Fill pixel-space polygons [M, K, 2] that do not overlap each other."""
        cv2.fillPoly(self.index, _fixed_point(polygons), paint, cv2.LINE_8, _SUBPIXEL_BITS)

    def fill_shadow(self, points: np.ndarray) -> None:
        """Darken the ground inside one world polygon [K, 3]."""
        cv2.fillPoly(self.shadow, _fixed_point(self.camera.project(points)[None]), 255, cv2.LINE_8, _SUBPIXEL_BITS)

    def new_instance(self) -> int:
        """The next free instance number (1, 2, ...)."""
        self.num_instances += 1
        return self.num_instances

    def label_map(self) -> np.ndarray:
        """uint8 [H, W] of indices into ``LABELS``."""
        return np.asarray(self.labels, dtype=np.uint8)[self.index]

    def instance_map(self) -> np.ndarray:
        """uint16 [H, W] of instance numbers, 0 where there is none."""
        return np.asarray(self.instances, dtype=np.uint16)[self.index]


def _fixed_point(polygons: np.ndarray) -> list[np.ndarray]:
    # cv2 puts integer coordinates on pixel centres; ours lie on pixel corners.
    corners = np.clip(polygons - 0.5, -_FARTHEST_PIXEL, _FARTHEST_PIXEL) * (1 << _SUBPIXEL_BITS)
    return list(np.rint(corners).astype(np.int32))


@dataclass
class Brush:
    """Draws the parts of one object: same class, instance, distance and colour variant."""

    canvas: Canvas
    label: str
    depth: float
    instance: int = 0
    variant: float = 0.0

    def fill(self, points: object, material: str, tone: float = 1.0, label: str | None = None) -> None:
        """Fill world polygons: [K, 3], or [M, K, 3] that do not overlap each other."""
        array = np.asarray(points, dtype=np.float64)
        polygons = array if array.ndim == 3 else array[None]
        paint = self.canvas.add_paint(
            material, label or self.label, instance=self.instance, variant=self.variant, tone=tone, depth=self.depth
        )
        self.canvas.fill_pixels(self.canvas.camera.project(polygons), paint)

    def pixels(self, metres: float) -> float:
        """Pixels that ``metres`` span at this object's distance: the level of detail."""
        return self.canvas.camera.size_of(metres, self.depth)
