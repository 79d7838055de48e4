"""Names that scenes and looks share: materials (what a surface is made of) and labels (what it is)."""

from types import MappingProxyType

from cityscapesscripts.helpers.labels import name2label

from ..taxonomy import CITYSCAPES

_MATERIAL_NAMES = (
    "asphalt", "marking", "pavement", "kerb", "grass", "parking_lot",  # ground
    "sky", "skyline",
    "facade", "shop", "window", "roof", "door", "wall", "wall_top", "fence", "fence_gap", "rail", "bridge",
    "foliage", "trunk",
    "metal", "light_box", "lamp_red", "lamp_amber", "lamp_green", "sign_red", "sign_blue", "sign_yellow", "sign_white",
    "skin", "hair", "jacket", "trousers", "helmet",
    "car_paint", "glass", "tyre", "rim", "tail_light", "head_light", "plate",
    "truck_cab", "truck_box", "bus_paint", "tram_paint", "moto_paint", "bike_frame", "bike_wheel",
    "bonnet", "object", "border",
)  # fmt: skip

#: Material name -> number.
MATERIALS = MappingProxyType({name: i for i, name in enumerate(_MATERIAL_NAMES)})

#: Materials that lie flat on the ground: their distance follows from the image row, and shadows fall on them.
GROUND = ("asphalt", "marking", "pavement", "kerb", "grass", "parking_lot")

_VOID_NAMES = (
    "ego vehicle", "rectification border", "out of roi", "static", "dynamic", "parking", "guard rail", "bridge",
)  # fmt: skip

#: Every Cityscapes class name that occurs in a scene: the 19 evaluated ones in order, then the void ones.
LABEL_NAMES: tuple[str, ...] = CITYSCAPES.names + _VOID_NAMES
#: Label name -> index into ``LABEL_NAMES``; below ``CITYSCAPES.num_classes`` it is the contiguous id.
LABELS = MappingProxyType({name: i for i, name in enumerate(LABEL_NAMES)})
#: Cityscapes id of each of ``LABEL_NAMES``.
CITYSCAPES_IDS: tuple[int, ...] = tuple(name2label[name].id for name in LABEL_NAMES)
