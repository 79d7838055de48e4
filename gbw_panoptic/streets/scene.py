"""Draws one street scene: stage first, then objects from far to near, then the camera's own car."""

from functools import partial
from typing import Callable

import numpy as np

from .canvas import Brush, Camera, Canvas
from .furniture import (
    draw_clutter,
    draw_lamp_post,
    draw_pole,
    draw_sign,
    draw_sign_board,
    draw_traffic_light,
    draw_tree,
)
from .placement import REACH, Item, Placer
from .road_users import draw_bicycle, draw_motorcycle, draw_person, draw_rider, draw_vehicle
from .street import Layout, Street, sample_street
from .surroundings import draw_bridge, draw_ground, draw_lots, draw_own_car, draw_skyline

_BRIDGE_PROBABILITY = 0.05


def compose(
    rng: np.random.Generator, layout: Layout, size: tuple[int, int], index: int, *, reach: float = REACH
) -> Canvas:
    """Draw scene number ``index`` of a split.

    The featured object cycles with the index, so that every class occurs at a useful size in any run of
    ``len(layout.featured)`` consecutive images, however rare it is.

    Args:
        rng: the only source of randomness.
        layout: the domain's statistics.
        size: (height, width) in pixels.
        index: number of the image in its split.
        reach: metres up to which objects are placed.
    """
    street = sample_street(rng, layout)
    canvas = Canvas(_sample_camera(rng, layout, street, size), sun=float(rng.uniform(-1.0, 1.0)))
    draw_skyline(canvas, rng, layout, street)
    draw_ground(canvas, rng, layout, street)
    draw_lots(canvas, rng, layout, street)
    if rng.random() < _BRIDGE_PROBABILITY:
        draw_bridge(canvas, rng)
    placer = Placer(rng, layout, street, canvas.camera.eye_x, reach=reach)
    for item in placer.place_all(layout.featured[index % len(layout.featured)]):
        _draw(canvas, item, rng)
    canvas.rasterise()
    if layout.own_car:
        draw_own_car(canvas, rng)
    return canvas


def _sample_camera(rng: np.random.Generator, layout: Layout, street: Street, size: tuple[int, int]) -> Camera:
    height, width = size
    return Camera(
        height=height,
        width=width,
        focal=rng.uniform(*layout.focal) * width,
        center_x=(0.5 + layout.vanishing_shift * rng.uniform(-1.0, 1.0)) * width,
        horizon=rng.uniform(*layout.horizon) * height,
        eye_x=0.5 * street.lane_width + layout.camera_shift * rng.uniform(-1.0, 1.0),
        eye_y=rng.uniform(*layout.camera_height),
    )


def _draw(canvas: Canvas, item: Item, rng: np.random.Generator) -> None:
    def brush(label: str, instance: bool) -> Brush:
        number = canvas.new_instance() if instance else 0
        return Brush(canvas, label, item.place.z, instance=number, variant=float(rng.random()))

    place, squeeze = item.place, item.squeeze
    if item.kind in _VEHICLE_KINDS:
        draw_vehicle(brush(item.kind, True), place, item.kind, rng)
    elif item.kind in ("person", "person_in_group"):
        draw_person(brush("person", item.kind == "person"), place, rng)
    elif item.kind in ("bicycle", "cyclist"):
        draw_bicycle(brush("bicycle", True), place, rng, squeeze)
    elif item.kind in ("motorcycle", "motorcyclist"):
        draw_motorcycle(brush("motorcycle", True), place, rng, squeeze)
    else:
        label, draw = _FURNITURE[item.kind]
        draw(brush(label, False), place, rng)
    if item.kind in ("cyclist", "motorcyclist"):
        draw_rider(brush("rider", True), place, rng, squeeze, item.kind == "motorcyclist")


_VEHICLE_KINDS = frozenset(("car", "truck", "bus", "train"))
_FURNITURE: dict[str, tuple[str, Callable[[Brush, object, np.random.Generator], None]]] = {
    "traffic_light": ("pole", draw_traffic_light),
    "sign": ("pole", draw_sign),
    "sign_board": ("pole", draw_sign_board),
    "lamp_post": ("pole", draw_lamp_post),
    "post": ("pole", partial(draw_pole, height=1.1)),
    "tree": ("vegetation", draw_tree),
    "clutter": ("static", draw_clutter),
    "trolley": ("dynamic", draw_clutter),
}
