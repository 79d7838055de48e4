"""Which objects stand where in a street: kinds, positions and headings, not yet drawn."""

from dataclasses import dataclass

import numpy as np

from .canvas import Place
from .layout import PARKING_WIDTH, Layout, Occupancy, Street

_FAR = 70.0  # metres beyond which no object is placed
_RIGHT_ANGLE = np.pi / 2


@dataclass(frozen=True)
class Item:
    """One object to draw. ``squeeze`` narrows upright figures that are not seen from their side."""

    kind: str
    place: Place
    squeeze: float = 1.0


class Placer:
    """Fills one street with items; every method skips places that are already taken."""

    def __init__(self, rng: np.random.Generator, layout: Layout, street: Street) -> None:
        self.rng, self.layout, self.street = rng, layout, street
        self.items: list[Item] = []
        self._ground = Occupancy()

    def place_all(self, featured: str) -> list[Item]:
        """Place the featured object first (it stands near), then everything else; far items come first."""
        self._feature(featured)
        for side in (-1, 1):
            if self.street.parking[side]:
                self._parked_row(side)
        for kind, mean in self.layout.rates.items():
            for _ in range(self.rng.poisson(mean)):
                self._place(kind, near=6.0 if kind in _VEHICLES else 5.0, far=_FAR)
        return sorted(self.items, key=lambda item: -item.place.z)

    def _feature(self, kind: str) -> None:
        near, far = _FEATURED_RANGE.get(kind, (6.0, 14.0))
        for _ in range(8):
            if self._place(kind, near=near, far=far):
                return

    def _place(self, kind: str, *, near: float, far: float) -> bool:
        # Uniform in 1/z would crowd the foreground, uniform in z the horizon; the square root lies between.
        z = near + (far - near) * self.rng.random() ** 1.5
        if kind in _VEHICLES:
            return self._vehicle(kind, z)
        if kind in ("cyclist", "motorcyclist"):
            return self._on_road(kind, z)
        if kind == "group":
            return self._group(z)
        if kind == "walker_on_road":
            return self._add("person", self.rng.uniform(-1, 1) * self.street.curb[1], max(z, 9.0), 0.3, 0.3)
        return self._on_pavement(kind, z)

    def _add(self, kind: str, x: float, z: float, half_width: float, half_length: float, *,
             yaw: float = 0.0, squeeze: float = 1.0, center_z: float | None = None) -> bool:  # fmt: skip
        middle = z if center_z is None else center_z
        if not self._ground.claim(x, middle, half_width, half_length):
            return False
        self.items.append(Item(kind, Place(x, middle, yaw), squeeze))
        return True

    def _vehicle(self, kind: str, z: float) -> bool:
        half_width, half_length = _VEHICLES[kind]
        crossing = self.street.crossing
        if crossing and kind != "train" and self.rng.random() < 0.3:
            x = self.rng.uniform(-14.0, 14.0)
            yaw = self.rng.choice([-1, 1]) * _RIGHT_ANGLE
            return self._add(kind, x, self.rng.uniform(*crossing), half_length, half_width, yaw=yaw)
        lane = int(self.rng.integers(-self.street.lanes, self.street.lanes))
        x = (lane + 0.5) * self.street.lane_width + self.rng.uniform(-0.25, 0.25)
        if kind == "train":  # trams keep to the middle
            x = (0.5 if self.rng.random() < 0.25 else -0.5) * self.street.lane_width
        if abs(x - self._eye_x()) < 1.6 and z < 11.0:
            z += 6.0
        yaw = (0.0 if x > 0 else np.pi) + self.rng.normal(0.0, 0.04)
        return self._add(kind, x, z, half_width, half_length + 0.8, yaw=yaw, center_z=z + half_length)

    def _eye_x(self) -> float:
        return 0.5 * self.street.lane_width

    def _on_road(self, kind: str, z: float) -> bool:
        across = self.rng.random() < 0.35
        side = int(self.rng.choice([-1, 1]))
        x = side * self.street.curb[side] * self.rng.uniform(0.35, 1.0)
        if self.street.parking[side]:
            x -= side * PARKING_WIDTH
        squeeze = self.rng.uniform(0.8, 1.0) if across else self.rng.uniform(0.15, 0.6)
        return self._add(kind, x, z, 0.5, 0.5, squeeze=squeeze)

    def _pavement_x(self, side: int) -> float:
        inner = self.street.curb[side] + self.street.verge[side] + 0.4
        return side * self.rng.uniform(inner, max(self.street.front[side] - 0.4, inner + 0.3))

    def _on_pavement(self, kind: str, z: float) -> bool:
        side = int(self.rng.choice([-1, 1]))
        if kind in _KERB_SIDE:
            x = side * (self.street.curb[side] + self.rng.uniform(0.3, 0.7))
        else:
            x = self._pavement_x(side)
        squeeze = self.rng.uniform(0.35, 1.0)
        return self._add(kind, x, z, 0.35, 0.35, squeeze=squeeze)

    def _group(self, z: float) -> bool:
        """Several pedestrians that overlap in the image; far ones may count as one region without instances."""
        side = int(self.rng.choice([-1, 1]))
        x = self._pavement_x(side)
        region = self.layout.group_regions and z > 25.0
        for _ in range(int(self.rng.integers(3, 7))):
            place = Place(x + self.rng.normal(0.0, 0.5), z + self.rng.normal(0.0, 0.4))
            self.items.append(Item("person_in_group" if region else "person", place))
        return True

    def _parked_row(self, side: int) -> None:
        x = side * (self.street.curb[side] - 0.5 * PARKING_WIDTH)
        z = self.rng.uniform(2.0, 7.0)
        yaw = 0.0 if side > 0 else np.pi
        while z < _FAR:
            blocked = self.street.crossing and self.street.crossing[0] - 9.0 < z < self.street.crossing[1] + 5.0
            if not blocked and self.rng.random() < self.layout.parked:
                self._add("car", x + self.rng.normal(0.0, 0.08), z, 0.9, 2.2, yaw=yaw, center_z=z + 2.2)
            z += 4.75 + self.rng.exponential(0.4)


#: Vehicle kind -> half width and half length of the ground that it takes.
_VEHICLES = {"car": (0.95, 2.3), "truck": (1.25, 4.0), "bus": (1.3, 5.8), "train": (1.3, 11.0)}
#: Kind -> nearest and farthest distance as the featured object, so that it spans tens of pixels but not the image.
_FEATURED_RANGE = {"train": (14.0, 34.0), "bus": (14.0, 32.0), "truck": (14.0, 32.0), "traffic_light": (7.0, 16.0)}
_KERB_SIDE = frozenset(("traffic_light", "sign", "sign_board", "lamp_post", "post", "tree"))
