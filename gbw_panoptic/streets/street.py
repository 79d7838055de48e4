"""What stands where: the statistics of each domain and one street drawn from them."""

from dataclasses import dataclass
from typing import Mapping

import numpy as np

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
