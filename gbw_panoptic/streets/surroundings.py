"""The stage: sky, far silhouette, ground and the lots along both sides of a street.

Shape legend: M = polygons, K = corners. World coordinates are metres (see ``canvas``).
"""

import numpy as np

from .canvas import Brush, Canvas, Place
from .furniture import draw_tree, foliage_cloud
from .shapes import flat, rectangle, side_tone
from .street import PARKING_WIDTH, Layout, Street

_END = 130.0  # metres to the end of the street
_BEHIND = 0.3  # lots begin this close to the camera
_WINDOW_LIMIT = 75.0  # metres beyond which windows are not drawn


def _ground(x0: float, x1: float, z0: float, z1: float) -> np.ndarray:
    return np.array([(x0, 0.0, z0), (x1, 0.0, z0), (x1, 0.0, z1), (x0, 0.0, z1)])


def draw_skyline(canvas: Canvas, rng: np.random.Generator, layout: Layout, street: Street) -> None:
    """Draw houses and trees behind the lots and at the end of the street."""
    open_end = rng.random() < layout.open_end
    for x in np.arange(-150.0, 150.0, 14.0):
        if open_end and abs(x) < 18.0:
            continue
        top = rng.uniform(*layout.skyline_height)
        if rng.random() < 0.55:
            brush = Brush(canvas, "building", _END, variant=rng.random())
            flat(brush, Place(x, _END), rectangle(-8.0, 0.0, 8.0, top), "skyline", tone=rng.uniform(0.85, 1.1))
        else:
            brush = Brush(canvas, "vegetation", _END, variant=rng.random())
            foliage_cloud(brush, Place(x, _END), rng, (0.0, 0.4 * top), 10.0, 0.45 * top)


def draw_ground(canvas: Canvas, rng: np.random.Generator, layout: Layout, street: Street) -> None:
    """Draw pavements, verges, road, parking lanes, side street and lane markings."""
    label = {"pavement": "sidewalk", "grass": "terrain", "parking_lot": "parking"}
    variant = {name: rng.random() for name in ("pavement", "grass", "parking_lot", "asphalt")}

    def paint(material: str, polygon: np.ndarray, tone: float = 1.0) -> None:
        brush = Brush(canvas, label.get(material, "road"), _END, variant=variant.get(material, 0.0))
        brush.fill(polygon, material, tone)

    paint("pavement", _ground(-400, 400, _BEHIND, 4 * _END))
    for side in (-1, 1):
        curb, verge = street.curb[side], street.verge[side]
        if verge:
            paint("grass", _ground(side * curb, side * (curb + verge), _BEHIND, _END))
    paint("asphalt", _ground(-street.curb[-1], street.curb[1], _BEHIND, 2 * _END))
    for side in (-1, 1):
        curb = side * street.curb[side]
        Brush(canvas, "sidewalk", _END).fill(_ground(curb, curb + side * 0.22, _BEHIND, _END), "kerb")
        if street.parking[side] and rng.random() < 0.25:
            paint("parking_lot", _ground(curb - side * PARKING_WIDTH, curb, _BEHIND, _END))
    markings = Brush(canvas, "road", _END)
    _draw_lane_lines(markings, rng, street)
    if street.crossing:
        paint("asphalt", _ground(-200, 200, *street.crossing))
        _draw_crosswalks(markings, street, *street.crossing)


def _draw_lane_lines(brush: Brush, rng: np.random.Generator, street: Street) -> None:
    dashes = np.arange(1.0, 90.0, 6.0) + rng.uniform(0.0, 6.0)
    edge = street.lanes * street.lane_width
    lines = [x * street.lane_width for x in range(1 - street.lanes, street.lanes)]
    for x in lines:
        brush.fill(np.stack([_ground(x - 0.08, x + 0.08, z, z + 3.0) for z in dashes]), "marking")
    for side in (-1, 1):
        if street.parking[side] or rng.random() < 0.5:
            brush.fill(_ground(side * edge - 0.07, side * edge + 0.07, _BEHIND, _END), "marking", 0.95)


def _draw_crosswalks(brush: Brush, street: Street, near: float, far: float) -> None:
    """Zebra crossings before and behind a side street, and the line to stop at."""
    edge = street.lanes * street.lane_width
    stripes = np.arange(-edge + 0.4, edge - 0.4, 1.1)
    for z in (near - 3.5, far + 0.6):
        brush.fill(np.stack([_ground(x, x + 0.55, z, z + 2.8) for x in stripes]), "marking")
    brush.fill(_ground(0.2, edge, near - 5.0, near - 4.5), "marking")


def draw_lots(canvas: Canvas, rng: np.random.Generator, layout: Layout, street: Street) -> None:
    """Draw what lines the street on both sides, far lots first."""
    kinds, weights = list(layout.lots), np.array(list(layout.lots.values()))
    for side in (-1, 1):
        for near, far in reversed(_split_side(rng, street)):
            kind = str(rng.choice(kinds, p=weights / weights.sum()))
            _DRAW_LOT[kind](canvas, rng, layout, (side, street.front[side], near, far))


def _split_side(rng: np.random.Generator, street: Street) -> list[tuple[float, float]]:
    """(near z, far z) of each lot of one side, side street left out."""
    lots, z = [], _BEHIND
    while z < _END:
        far = z + rng.uniform(8.0, 22.0) * (1.0 + z / _END)  # far lots are too small to tell apart
        if street.crossing and z < street.crossing[1] + 2.0 and far > street.crossing[0] - 2.0:
            far = street.crossing[0] - 2.0
            if far - z > 2.0:
                lots.append((z, far))
            z = street.crossing[1] + 2.0
            continue
        lots.append((z, far))
        z = far
    return lots


Lot = tuple[int, float, float, float]  # side, x (positive) where it begins, near z, far z


def _plane(side: int, x: float, near: float, far: float, low: float, high: float) -> np.ndarray:
    """float64 [4, 3]: an upright rectangle along the street."""
    return np.array([(side * x, low, near), (side * x, low, far), (side * x, high, far), (side * x, high, near)])


def _building(canvas: Canvas, rng: np.random.Generator, layout: Layout, lot: Lot) -> None:
    side, x, near, far = lot
    x += rng.choice([0.0, 0.0, rng.uniform(0.5, 3.0)])
    floors = max(2, int(rng.uniform(*layout.building_height) / 3.2))
    top = floors * 3.2 + 1.0
    brush = Brush(canvas, "building", 0.6 * near + 0.4 * min(far, near + 15.0), variant=rng.random())
    tone, gable_tone = side_tone(brush, -side), side_tone(brush, 0.0)
    gable = Place(side * x, near)
    ends = sorted((0.0, side * 14.0))
    flat(brush, gable, rectangle(ends[0], 0.0, ends[1], top), "facade", tone=gable_tone)
    brush.fill(_plane(side, x, near, far, 0.0, top), "facade", tone)
    brush.fill(_plane(side, x, near, far, top - 0.6, top + (0.0 if rng.random() < 0.5 else 1.5)), "roof", tone)
    if near > _WINDOW_LIMIT:
        return
    brush.fill(_plane(side, x, near, far, 0.0, 3.0), "shop", tone)
    columns = np.arange(near + 1.0, far - 1.6, rng.uniform(2.4, 3.4))
    if not len(columns):
        return
    height = rng.uniform(1.4, 2.0)
    levels = 3.2 * np.arange(1, floors) + 0.9
    panes = [_plane(side, x, z, z + 1.3, y, y + height) for z in columns for y in levels]
    brush.fill(np.stack(panes), "window", tone)
    brush.fill(np.stack([_plane(side, x, z, z + 1.7, 0.6, 2.5) for z in columns]), "window", tone * 0.9)
    brush.fill(_plane(side, x, columns[0], columns[0] + 1.2, 0.0, 2.3), "door", tone)
    across = side * np.arange(1.2, 12.0, 3.0)
    flat(brush, gable, np.stack([rectangle(a, y, a + 1.2, y + height) for a in across for y in levels]), "window",
         tone=gable_tone)  # fmt: skip


def _trees(canvas: Canvas, rng: np.random.Generator, layout: Layout, lot: Lot) -> None:
    side, x, near, far = lot
    for z in sorted(rng.uniform(max(near, 4.0), max(far, 5.0), size=5))[::-1]:
        brush = Brush(canvas, "vegetation", z, variant=rng.random())
        draw_tree(brush, Place(side * (x + rng.uniform(1.0, 6.0)), z), rng)


def _lawn(canvas: Canvas, rng: np.random.Generator, layout: Layout, lot: Lot) -> None:
    side, x, near, far = lot
    Brush(canvas, "terrain", near, variant=rng.random()).fill(_ground(side * x, side * (x + 40.0), near, far), "grass")
    if rng.random() < 0.5:
        _trees(canvas, rng, layout, (side, x + 5.0, near, far))
    else:
        _building(canvas, rng, layout, (side, x + 8.0, near, far))


def _hedge(canvas: Canvas, rng: np.random.Generator, layout: Layout, lot: Lot) -> None:
    side, x, near, far = lot
    _backing(canvas, rng, layout, lot)
    height = rng.uniform(1.2, 2.6)
    z = np.linspace(near, far, 14)
    top = height + rng.uniform(-0.2, 0.2, size=len(z))
    edge = np.full(len(z), side * x)
    outline = np.concatenate([np.stack([edge, top, z], axis=-1), np.stack([edge, np.zeros_like(z), z], axis=-1)[::-1]])
    brush = Brush(canvas, "vegetation", near + 3.0, variant=rng.random())
    left, right = sorted((0.0, side * 1.2))
    flat(brush, Place(side * x, near), rectangle(left, 0.0, right, height), "foliage", tone=0.85)
    brush.fill(outline, "foliage", side_tone(brush, -side))


def _backing(canvas: Canvas, rng: np.random.Generator, layout: Layout, lot: Lot) -> None:
    """What is seen over a wall, fence or hedge."""
    side, x, near, far = lot
    draw = _trees if rng.random() < 0.55 else _building
    draw(canvas, rng, layout, (side, x + 4.0, near, far))


def _wall(canvas: Canvas, rng: np.random.Generator, layout: Layout, lot: Lot) -> None:
    side, x, near, far = lot
    _backing(canvas, rng, layout, lot)
    height = rng.uniform(1.2, 3.0)
    brush = Brush(canvas, "wall", near + 3.0, variant=rng.random())
    tone = side_tone(brush, -side)
    left, right = sorted((0.0, side * 0.4))
    flat(brush, Place(side * x, near), rectangle(left, 0.0, right, height), "wall", tone=0.85)
    brush.fill(_plane(side, x, near, far, 0.0, height), "wall", tone)
    brush.fill(_plane(side, x, near, far, height - 0.18, height), "wall_top", tone)
    joints = np.arange(near + 2.0, far, 3.0)
    if near < _WINDOW_LIMIT and len(joints):
        brush.fill(np.stack([_plane(side, x, z, z + 0.12, 0.0, height - 0.18) for z in joints]), "wall", tone * 0.8)


def _fence(canvas: Canvas, rng: np.random.Generator, layout: Layout, lot: Lot) -> None:
    side, x, near, far = lot
    if "lawn" in layout.lots and rng.random() < 0.5:
        _lawn(canvas, rng, layout, (side, x + 0.1, near, far))
    else:
        _backing(canvas, rng, layout, lot)
    height = rng.uniform(1.1, 1.9)
    brush = Brush(canvas, "fence", near + 3.0, variant=rng.random())
    tone = side_tone(brush, -side)
    brush.fill(_plane(side, x, near, far, 0.0, height), "fence_gap", tone)
    bars = np.arange(near, far, 0.45)
    brush.fill(np.stack([_plane(side, x, z, z + 0.16, 0.0, height) for z in bars]), "fence", tone)
    rails = np.stack([_plane(side, x, near, far, y, y + 0.12) for y in (0.15, height - 0.15)])
    brush.fill(rails, "fence", tone)


def _guard_rail(canvas: Canvas, rng: np.random.Generator, layout: Layout, lot: Lot) -> None:
    side, x, near, far = lot
    _backing(canvas, rng, layout, lot)
    brush = Brush(canvas, "guard rail", near + 3.0)
    brush.fill(_plane(side, x, near, far, 0.4, 0.85), "rail", side_tone(brush, -side))


_DRAW_LOT = {
    "building": _building, "trees": _trees, "lawn": _lawn, "hedge": _hedge,
    "wall": _wall, "fence": _fence, "guard_rail": _guard_rail,
}  # fmt: skip


def draw_bridge(canvas: Canvas, rng: np.random.Generator) -> None:
    """Span the street with a bridge (a class that is not evaluated)."""
    z, low = rng.uniform(35.0, 60.0), rng.uniform(5.0, 6.5)
    brush = Brush(canvas, "bridge", z)
    flat(brush, Place(0.0, z), rectangle(-60.0, low, 60.0, low + 1.6), "bridge")
    flat(brush, Place(0.0, z), rectangle(-60.0, low + 1.6, 60.0, low + 2.4), "bridge", tone=0.8)


def draw_own_car(canvas: Canvas, rng: np.random.Generator) -> None:
    """Draw the bonnet of the camera's car and the unusable borders of a rectified image, in pixel space."""
    h, w = canvas.index.shape
    u = np.linspace(-0.02, 1.02, 24)
    crest = 0.905 + rng.uniform(-0.01, 0.01) + 0.075 * np.abs(2.0 * u - 1.0) ** 2.5
    for rise, tone in ((0.0, 1.0), (0.025, 0.75)):
        outline = np.concatenate([np.stack([u, crest + rise], axis=-1), [(1.02, 1.1), (-0.02, 1.1)]]) * (w, h)
        paint = canvas.add_paint("bonnet", "ego vehicle", tone=tone)
        canvas.fill_pixels(outline, paint)
    border = max(1, round(0.006 * h))
    paint = canvas.add_paint("border", "rectification border")
    canvas.index[:border], canvas.index[:, :border], canvas.index[:, -border:] = paint, paint, paint
    canvas.index[-border:] = canvas.add_paint("border", "out of roi")
