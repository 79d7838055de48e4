"""What stands where: the statistics of each domain and one street drawn from them; the three domains, two game engines
as sources and a camera as target."""

from dataclasses import dataclass, replace
from typing import Mapping

import numpy as np

from .look import CAMERA_LOOK, GTA5_LOOK, SYNTHIA_LOOK, Look

Range = tuple[float, float]


@dataclass(frozen=True)
class Layout:
    """Statistics of a domain's streets. Lengths are metres; ranges are uniform.

    Attributes:
        camera_height, horizon, focal: viewpoint; the horizon as a share of the image height from the top, the focal
            length as a share of the image width.
        camera_shift: metres that the camera stands off the middle of its lane, to either side.
        vanishing_shift: the vanishing point's distance from the middle as a share of the image width.
        lanes: possible numbers of lanes per direction.
        lots: weights of what lines the street: building, wall, fence, hedge, lawn, trees, guard_rail.
        building_height, skyline_height: of houses along the street and of the far end's silhouette.
        verge: probability that a strip of grass separates pavement and road.
        crossing: probability of a side street.
        open_end: probability that the street ends in open sky.
        parked: share of kerb-side parking places that are taken, where there is parking.
        rates: object kind -> mean number per image.
        featured: kinds of rare objects, one of which stands near in each image, in turn (see ``scene``).
        group_regions: whether far crowds are labelled as one region (Cityscapes' groups) rather than one by one.
        own_car: whether the bonnet of the camera's car and unusable image borders are seen.
    """

    camera_height: Range
    horizon: Range
    focal: Range
    camera_shift: float
    vanishing_shift: float
    lanes: tuple[int, ...]
    lane_width: Range
    sidewalk: Range
    lots: Mapping[str, float]
    building_height: Range
    skyline_height: Range
    verge: float
    crossing: float
    open_end: float
    parked: float
    rates: Mapping[str, float]
    featured: tuple[str, ...]
    group_regions: bool
    own_car: bool


@dataclass(frozen=True)
class Street:
    """One street. x = 0 is the middle of the road; side -1 is left, 1 is right.

    Attributes:
        lanes: per direction; ``lane_width`` in metres.
        curb: x of the two road edges (positive), parking included.
        parking: whether each side has a parking lane.
        verge: width of the strip of grass beyond each curb.
        front: x (positive) where the pavement ends and the lots begin.
        crossing: (near z, far z) of a side street, or None.
    """

    lanes: int
    lane_width: float
    curb: dict[int, float]
    parking: dict[int, bool]
    verge: dict[int, float]
    front: dict[int, float]
    crossing: tuple[float, float] | None


PARKING_WIDTH = 2.2


def sample_street(rng: np.random.Generator, layout: Layout) -> Street:
    """Draw one street."""
    lanes, width = int(rng.choice(layout.lanes)), rng.uniform(*layout.lane_width)
    parking = {side: bool(rng.random() < 0.6) for side in (-1, 1)}
    curb = {side: lanes * width + PARKING_WIDTH * parking[side] for side in (-1, 1)}
    verge = {side: float(rng.uniform(0.8, 2.0)) if rng.random() < layout.verge else 0.0 for side in (-1, 1)}
    front = {side: curb[side] + verge[side] + rng.uniform(*layout.sidewalk) for side in (-1, 1)}
    near = rng.uniform(14.0, 40.0)
    crossing = (near, near + rng.uniform(7.0, 12.0)) if rng.random() < layout.crossing else None
    return Street(lanes, width, curb, parking, verge, front, crossing)


class Occupancy:
    """Ground that is already taken, so that objects do not stand inside each other."""

    def __init__(self) -> None:
        self._taken: list[tuple[float, float, float, float]] = []

    def claim(self, x: float, z: float, half_width: float, half_length: float) -> bool:
        """Take a rectangle of ground if it is free."""
        for other_x, other_z, other_w, other_l in self._taken:
            if abs(x - other_x) < half_width + other_w and abs(z - other_z) < half_length + other_l:
                return False
        self._taken.append((x, z, half_width, half_length))
        return True


@dataclass(frozen=True)
class Domain:
    """A layout, a look and the number that seeds them."""

    name: str
    number: int
    layout: Layout
    look: Look


_SYNTHIA_LAYOUT = Layout(
    camera_height=(1.4, 4.0), horizon=(0.38, 0.56), focal=(0.7, 1.0), camera_shift=1.5, vanishing_shift=0.16,
    lanes=(1, 2, 2, 3), lane_width=(3.3, 4.0), sidewalk=(3.0, 8.0),
    lots={"building": 5.0, "trees": 1.6, "wall": 0.8, "fence": 1.0, "hedge": 0.7},
    building_height=(7.0, 24.0), skyline_height=(6.0, 26.0), verge=0.0, crossing=0.4, open_end=0.5, parked=0.5,
    rates={"car": 2.5, "bus": 0.06, "person": 12.0, "group": 2.0, "walker_on_road": 0.6, "bicycle": 0.8,
           "cyclist": 0.6, "motorcycle": 0.3, "motorcyclist": 0.25, "traffic_light": 0.8, "sign": 1.2,
           "sign_board": 0.1, "lamp_post": 2.5, "post": 1.0, "tree": 2.0, "clutter": 0.6},
    featured=("cyclist", "bus", "motorcyclist", "person", "traffic_light", "motorcycle", "bicycle", "group"),
    group_regions=False, own_car=False,
)  # fmt: skip

_GTA5_LAYOUT = replace(
    _SYNTHIA_LAYOUT,
    camera_height=(1.2, 2.2), horizon=(0.42, 0.54), focal=(0.75, 1.0), camera_shift=0.8, vanishing_shift=0.1,
    sidewalk=(3.0, 8.0),
    lots={"building": 4.0, "trees": 1.6, "wall": 1.0, "fence": 1.0, "hedge": 0.6, "lawn": 1.2, "guard_rail": 0.2},
    verge=0.25, open_end=0.45, parked=0.4,
    rates=dict(_SYNTHIA_LAYOUT.rates) | {"truck": 0.08, "train": 0.02, "person": 5.0, "group": 0.7},
    featured=("truck", "cyclist", "bus", "motorcyclist", "train", "traffic_light", "motorcycle", "person", "bicycle"),
)  # fmt: skip

_CAMERA_LAYOUT = Layout(
    camera_height=(1.2, 1.4), horizon=(0.40, 0.46), focal=(1.0, 1.15), camera_shift=0.4, vanishing_shift=0.05,
    lanes=(1, 1, 1, 2), lane_width=(3.0, 3.6), sidewalk=(2.5, 6.0),
    lots={"building": 4.4, "trees": 3.6, "wall": 0.9, "fence": 1.1, "hedge": 1.0, "lawn": 1.3, "guard_rail": 0.15},
    building_height=(9.0, 24.0), skyline_height=(14.0, 30.0), verge=0.25, crossing=0.3, open_end=0.15, parked=0.36,
    rates={"car": 1.4, "truck": 0.04, "bus": 0.03, "person": 3.5, "group": 0.6, "walker_on_road": 0.3,
           "bicycle": 0.7, "cyclist": 0.12, "motorcycle": 0.08, "motorcyclist": 0.02, "traffic_light": 0.5,
           "sign": 1.5, "sign_board": 0.12, "lamp_post": 2.5, "post": 1.5, "tree": 4.5, "clutter": 0.6, "trolley": 0.2},
    featured=("cyclist", "train", "traffic_light", "motorcycle", "bus", "person", "bicycle", "car", "truck",
              "motorcyclist", "group", "sign", "cyclist", "tree", "bicycle", "car",
              "traffic_light", "post", "person", "sign_board"),
    group_regions=True, own_car=True,
)  # fmt: skip

SYNTHIA = Domain("synthia", 0, _SYNTHIA_LAYOUT, SYNTHIA_LOOK)
GTA5 = Domain("gta5", 1, _GTA5_LAYOUT, GTA5_LOOK)
CAMERA = Domain("cityscapes", 2, _CAMERA_LAYOUT, CAMERA_LOOK)
#: Data set name -> domain.
DOMAINS = {domain.name: domain for domain in (SYNTHIA, GTA5, CAMERA)}
