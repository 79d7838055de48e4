"""Which objects stand where in a street: kinds, positions and headings, not yet drawn."""

from dataclasses import dataclass

import numpy as np

from .canvas import Place
from .street import PARKING_WIDTH, Layout, Occupancy, Street

_NEAR = 5.5  # metres; nothing but a featured object and parked cars stands nearer
#: Metres up to which objects are placed, by default.
REACH = 70.0
_VIEW = 0.36  # sideways distance per distance ahead that is surely in view
_TRIES = 12
_RIGHT_ANGLE = np.pi / 2


@dataclass(frozen=True)
class Item:
    """One object to draw. ``squeeze`` narrows upright figures that are not seen from their side."""

    kind: str
    place: Place
    squeeze: float = 1.0


@dataclass(frozen=True)
class _Candidate:
    """An item and half the ground that it takes (metres across and along the street)."""

    item: Item
    half_width: float
    half_length: float


class Placer:
    """Fills one street with items; what would stand in another item is left out."""

    def __init__(
        self, rng: np.random.Generator, layout: Layout, street: Street, eye_x: float, *, reach: float = REACH
    ) -> None:
        """
        Args:
            eye_x: of the camera, metres from the middle of the road.
            reach: metres from the camera; only a featured object may stand farther.
        """
        self.rng, self.layout, self.street, self.eye_x, self.reach = rng, layout, street, eye_x, reach
        self.items: list[Item] = []
        self._ground = Occupancy()

    def place_all(self, featured: str) -> list[Item]:
        """Place the featured object first (near and in view), then everything else; return far items first."""
        near, far = _FEATURED_RANGE.get(featured, (6.0, 14.0))
        for _ in range(_TRIES):
            if self._place(featured, near, far, sideways=_VIEW):
                break
        for side in (-1, 1):
            if self.street.parking[side]:
                self._parked_row(side)
        for kind, mean in self.layout.rates.items():
            for _ in range(self.rng.poisson(mean)):
                self._place(kind, _NEAR, self.reach)
        return sorted(self.items, key=lambda item: -item.place.z)

    def _place(self, kind: str, near: float, far: float, sideways: float = np.inf) -> bool:
        """Place one object (a group: several), at most ``sideways`` times its distance to the side of the camera."""
        # Uniform over the ground would crowd the horizon, uniform in the image the foreground: this lies between.
        z = near + (far - near) * self.rng.random() ** 1.5
        candidate = self._propose(kind, z)
        place = candidate.item.place
        if abs(place.x - self.eye_x) > sideways * place.z:
            return False
        if kind == "group":
            self._gather_group(place)
            return True
        return self._add(candidate)

    def _propose(self, kind: str, z: float) -> _Candidate:
        if kind in _VEHICLES:
            return self._vehicle(kind, z)
        if kind in ("cyclist", "motorcyclist"):
            return self._on_road(kind, z)
        if kind == "walker_on_road":
            place = Place(self.rng.uniform(-1.0, 1.0) * self.street.curb[1], max(z, 9.0))
            return _Candidate(Item("person", place), 0.3, 0.3)
        return self._on_pavement(kind, z)

    def _add(self, candidate: _Candidate) -> bool:
        place = candidate.item.place
        if not self._ground.claim(place.x, place.z, candidate.half_width, candidate.half_length):
            return False
        self.items.append(candidate.item)
        return True

    def _vehicle(self, kind: str, z: float) -> _Candidate:
        half_width, half_length = _VEHICLES[kind]
        crossing = self.street.crossing
        if crossing and kind != "train" and self.rng.random() < 0.3:
            place = Place(self.rng.uniform(-14.0, 14.0), self.rng.uniform(*crossing),
                          self.rng.choice([-1.0, 1.0]) * _RIGHT_ANGLE)  # fmt: skip
            return _Candidate(Item(kind, place), half_length, half_width)
        lane = int(self.rng.integers(-self.street.lanes, self.street.lanes))
        x = (lane + 0.5) * self.street.lane_width + self.rng.uniform(-0.25, 0.25)
        if kind == "train":  # trams keep to the middle
            x = (0.5 if self.rng.random() < 0.25 else -0.5) * self.street.lane_width
        if abs(x - self.eye_x) < 1.6 and z < 11.0:  # keep a distance in the camera's own lane
            z += 6.0
        yaw = (0.0 if x > 0 else np.pi) + self.rng.normal(0.0, 0.04)
        return _Candidate(Item(kind, Place(x, z + half_length, yaw)), half_width, half_length + 0.8)

    def _on_road(self, kind: str, z: float) -> _Candidate:
        across = self.rng.random() < 0.35
        side = int(self.rng.choice([-1, 1]))
        x = side * self.street.curb[side] * self.rng.uniform(0.35, 1.0)
        if self.street.parking[side]:
            x -= side * PARKING_WIDTH
        squeeze = self.rng.uniform(0.8, 1.0) if across else self.rng.uniform(0.15, 0.6)
        return _Candidate(Item(kind, Place(x, z), squeeze), 0.5, 0.5)

    def _on_pavement(self, kind: str, z: float) -> _Candidate:
        side = int(self.rng.choice([-1, 1]))
        if kind in _KERB_SIDE:
            x = self.street.curb[side] + self.rng.uniform(0.3, 0.7)
        else:
            inner = self.street.curb[side] + self.street.verge[side] + 0.4
            x = self.rng.uniform(inner, max(self.street.front[side] - 0.4, inner + 0.3))
        return _Candidate(Item(kind, Place(side * x, z), self.rng.uniform(0.35, 1.0)), 0.35, 0.35)

    def _gather_group(self, middle: Place) -> None:
        """Several pedestrians that overlap in the image; far ones may count as one region without instances."""
        region = self.layout.group_regions and middle.z > 25.0
        for _ in range(int(self.rng.integers(3, 7))):
            place = Place(middle.x + self.rng.normal(0.0, 0.5), middle.z + self.rng.normal(0.0, 0.4))
            self.items.append(Item("person_in_group" if region else "person", place))

    def _parked_row(self, side: int) -> None:
        x = side * (self.street.curb[side] - 0.5 * PARKING_WIDTH)
        z = self.rng.uniform(2.0, 7.0)
        yaw = 0.0 if side > 0 else np.pi
        while z < self.reach:
            crossing = self.street.crossing
            blocked = crossing and crossing[0] - 9.0 < z < crossing[1] + 5.0
            if not blocked and self.rng.random() < self.layout.parked:
                place = Place(x + self.rng.normal(0.0, 0.08), z + 2.2, yaw)
                self._add(_Candidate(Item("car", place), 0.9, 2.2))
            z += 4.75 + self.rng.exponential(0.4)


#: Vehicle kind -> half width and half length of the ground that it takes.
_VEHICLES = {"car": (0.95, 2.3), "truck": (1.25, 4.0), "bus": (1.3, 5.8), "train": (1.3, 11.0)}
#: Kind -> nearest and farthest distance as the featured object, so that it spans tens of pixels but not the image.
_FEATURED_RANGE = {"train": (14.0, 34.0), "bus": (17.0, 36.0), "truck": (14.0, 32.0), "traffic_light": (7.0, 16.0)}
_KERB_SIDE = frozenset(("traffic_light", "sign", "sign_board", "lamp_post", "post", "tree"))
