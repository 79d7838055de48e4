"""The three domains: two game engines as sources and a camera as target."""

from dataclasses import dataclass, replace

from ...taxonomy import CITYSCAPES, SYNTHIA_ABSENT
from .layout import Layout
from .look import CAMERA_LOOK, GTA5_LOOK, SYNTHIA_LOOK, Look


@dataclass(frozen=True)
class Domain:
    """A layout, a look and the number that seeds them."""

    name: str
    number: int
    layout: Layout
    look: Look


_SYNTHIA_LAYOUT = Layout(
    camera_height=(1.4, 4.0), horizon=(0.38, 0.56), focal=(0.7, 1.0), camera_shift=1.5, vanishing_shift=0.16,
    lanes=(1, 2, 2, 3), lane_width=(3.3, 4.0), sidewalk=(2.5, 6.0),
    lots={"building": 5.0, "trees": 1.6, "wall": 0.7, "fence": 0.7, "hedge": 0.7},
    building_height=(7.0, 24.0), skyline_height=(6.0, 26.0), verge=0.0, crossing=0.4, open_end=0.5, parked=0.55,
    rates={"car": 2.5, "bus": 0.06, "person": 4.5, "group": 0.5, "walker_on_road": 0.5, "bicycle": 0.5,
           "cyclist": 0.5, "motorcycle": 0.15, "motorcyclist": 0.15, "traffic_light": 0.8, "sign": 1.0,
           "sign_board": 0.1, "lamp_post": 2.5, "post": 1.0, "tree": 2.0, "clutter": 0.6},
    featured=("cyclist", "bus", "motorcyclist", "person", "traffic_light", "motorcycle", "bicycle", "group"),
    group_regions=False, own_car=False,
)  # fmt: skip

_GTA5_LAYOUT = replace(
    _SYNTHIA_LAYOUT,
    camera_height=(1.2, 2.2), horizon=(0.42, 0.54), focal=(0.75, 1.0), camera_shift=0.8, vanishing_shift=0.1,
    sidewalk=(2.0, 5.0),
    lots={"building": 4.0, "trees": 1.6, "wall": 0.8, "fence": 0.7, "hedge": 0.6, "lawn": 1.2, "guard_rail": 0.2},
    verge=0.25, open_end=0.45, parked=0.4,
    rates=dict(_SYNTHIA_LAYOUT.rates) | {"truck": 0.15, "train": 0.02, "person": 2.5, "group": 0.3},
    featured=("truck", "cyclist", "bus", "motorcyclist", "train", "traffic_light", "motorcycle", "truck", "bicycle"),
)  # fmt: skip

_CAMERA_LAYOUT = Layout(
    camera_height=(1.2, 1.4), horizon=(0.40, 0.46), focal=(1.0, 1.15), camera_shift=0.4, vanishing_shift=0.05,
    lanes=(1, 1, 1, 2), lane_width=(3.0, 3.6), sidewalk=(1.8, 4.0),
    lots={"building": 4.5, "trees": 2.6, "wall": 0.5, "fence": 0.6, "hedge": 0.8, "lawn": 0.8, "guard_rail": 0.15},
    building_height=(9.0, 22.0), skyline_height=(10.0, 24.0), verge=0.2, crossing=0.3, open_end=0.25, parked=0.7,
    rates={"car": 2.5, "truck": 0.06, "bus": 0.04, "person": 2.2, "group": 0.35, "walker_on_road": 0.25,
           "bicycle": 0.6, "cyclist": 0.25, "motorcycle": 0.12, "motorcyclist": 0.03, "traffic_light": 0.6,
           "sign": 1.5, "sign_board": 0.12, "lamp_post": 2.5, "post": 1.5, "tree": 3.0, "clutter": 0.7},
    featured=("cyclist", "train", "car", "motorcycle", "bus", "person", "bicycle", "truck", "traffic_light",
              "motorcyclist", "group", "sign"),
    group_regions=True, own_car=True,
)  # fmt: skip

SYNTHIA = Domain("synthia", 0, _SYNTHIA_LAYOUT, SYNTHIA_LOOK)
GTA5 = Domain("gta5", 1, _GTA5_LAYOUT, GTA5_LOOK)
CAMERA = Domain("cityscapes", 2, _CAMERA_LAYOUT, CAMERA_LOOK)
#: Data set name -> domain.
DOMAINS = {domain.name: domain for domain in (SYNTHIA, GTA5, CAMERA)}

#: Data set name -> contiguous ids that its labels may hold.
LABELLED = {
    name: tuple(c for c in range(CITYSCAPES.num_classes) if name != "synthia" or c not in SYNTHIA_ABSENT)
    for name in DOMAINS
}
