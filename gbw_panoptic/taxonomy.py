"""Classes, ids, palettes and evaluation protocols: the only place with literal class ids.

Three kinds of id occur in this field, and confusing them is its costliest mistake:

* data set id: what the label files on disk hold (Cityscapes ids 7, 8, 11, ..., 33);
* contiguous id: what a network predicts, 0..C-1 (Cityscapes' trainIds);
* source-specific id: what another data set's own files hold (SYNTHIA 1..22, Vistas 0..65).
"""

from dataclasses import dataclass, fields
from functools import cached_property
from types import MappingProxyType
from typing import Mapping

import numpy as np

IGNORE_LABEL = 255


@dataclass(frozen=True)
class Taxonomy:
    """An ordered set of classes. Tuples are indexed by contiguous id.

    Attributes:
        names: class names.
        dataset_ids: the id of each class in label files and in COCO-panoptic JSON.
        is_thing: whether the class has countable instances.
        colors: RGB in 0..255.
        ignore_label: contiguous label of pixels that take no part in training or evaluation.
        label_divisor: panoptic id = contiguous or data set id * label_divisor + instance number.
    """

    name: str
    names: tuple[str, ...]
    dataset_ids: tuple[int, ...]
    is_thing: tuple[bool, ...]
    colors: tuple[tuple[int, int, int], ...]
    ignore_label: int = IGNORE_LABEL
    label_divisor: int = 1000

    def __reduce__(self) -> tuple:
        """The fields alone: look-ups that are remembered cannot travel to a process that is spawned."""
        return type(self), tuple(getattr(self, field.name) for field in fields(self))

    @property
    def num_classes(self) -> int:
        return len(self.names)

    @cached_property
    def thing_ids(self) -> tuple[int, ...]:
        """Contiguous ids of the thing classes."""
        return tuple(i for i, thing in enumerate(self.is_thing) if thing)

    @cached_property
    def stuff_ids(self) -> tuple[int, ...]:
        """Contiguous ids of the stuff classes."""
        return tuple(i for i, thing in enumerate(self.is_thing) if not thing)

    @cached_property
    def contiguous_id(self) -> Mapping[int, int]:
        """Data set id -> contiguous id."""
        return MappingProxyType({d: i for i, d in enumerate(self.dataset_ids)})

    def ids(self, *names: str) -> tuple[int, ...]:
        """Contiguous ids of the named classes, in the order given."""
        return tuple(self.names.index(name) for name in names)

    def categories(self) -> list[dict]:
        """COCO-panoptic categories (``id`` is the data set id)."""
        return [
            {"id": d, "name": n, "supercategory": n, "isthing": int(t), "color": list(c)}
            for d, n, t, c in zip(self.dataset_ids, self.names, self.is_thing, self.colors)
        ]

    def contiguous_table(self) -> np.ndarray:
        """uint8 [256] look-up from data set id to contiguous id; unknown ids map to ``ignore_label``."""
        return lookup_table(self.contiguous_id)


def lookup_table(mapping: Mapping[int, int], size: int = 256, fill: int = IGNORE_LABEL) -> np.ndarray:
    """uint8 [size] array with ``mapping``'s values at its keys and ``fill`` elsewhere."""
    table = np.full(size, fill, dtype=np.uint8)
    table[list(mapping)] = list(mapping.values())
    return table


# name, Cityscapes id, thing, color: cityscapesScripts, helpers/labels.py (order = trainId).
_CITYSCAPES = (
    ("road", 7, False, (128, 64, 128)),
    ("sidewalk", 8, False, (244, 35, 232)),
    ("building", 11, False, (70, 70, 70)),
    ("wall", 12, False, (102, 102, 156)),
    ("fence", 13, False, (190, 153, 153)),
    ("pole", 17, False, (153, 153, 153)),
    ("traffic light", 19, False, (250, 170, 30)),
    ("traffic sign", 20, False, (220, 220, 0)),
    ("vegetation", 21, False, (107, 142, 35)),
    ("terrain", 22, False, (152, 251, 152)),
    ("sky", 23, False, (70, 130, 180)),
    ("person", 24, True, (220, 20, 60)),
    ("rider", 25, True, (255, 0, 0)),
    ("car", 26, True, (0, 0, 142)),
    ("truck", 27, True, (0, 0, 70)),
    ("bus", 28, True, (0, 60, 100)),
    ("train", 31, True, (0, 80, 100)),
    ("motorcycle", 32, True, (0, 0, 230)),
    ("bicycle", 33, True, (119, 11, 32)),
)
CITYSCAPES = Taxonomy("cityscapes", *(tuple(column) for column in zip(*_CITYSCAPES)))

# SYNTHIA-RAND-CITYSCAPES class id -> class name (its 3 remaining ids, 16, 18 and 20, never occur in that data set).
_SYNTHIA_NAMES = {
    1: "sky", 2: "building", 3: "road", 4: "sidewalk", 5: "fence", 6: "vegetation", 7: "pole", 8: "car",
    9: "traffic sign", 10: "person", 11: "bicycle", 12: "motorcycle", 15: "traffic light", 16: "terrain",
    17: "rider", 18: "truck", 19: "bus", 20: "train", 21: "wall",
}  # fmt: skip
#: SYNTHIA class id -> contiguous id.
SYNTHIA_TO_CONTIGUOUS = MappingProxyType({k: CITYSCAPES.names.index(v) for k, v in _SYNTHIA_NAMES.items()})
#: SYNTHIA class ids that exist but belong to no evaluated class: void, parking slot, road work, lane marking.
SYNTHIA_VOID_IDS = (0, 13, 14, 22)
#: Contiguous ids that SYNTHIA does not label.
SYNTHIA_ABSENT = CITYSCAPES.ids("terrain", "truck", "train")
#: Ids that GTA5's label files may hold; those of Cityscapes, with 34 for licence plates.
GTA5_IDS = range(35)

# Mapillary Vistas v1.2: the 65 categories in the order of their ids, 1..65 in panoptic_2018.json, with the class of each
# ("" = void). The remap is that of CVRN, which EDAPS and MC-PanDA use too.
_VISTAS = (
    ("animal--bird", ""), ("animal--ground-animal", ""),
    ("construction--barrier--curb", "sidewalk"), ("construction--barrier--fence", "fence"),
    ("construction--barrier--guard-rail", ""), ("construction--barrier--other-barrier", ""),
    ("construction--barrier--wall", "wall"),
    ("construction--flat--bike-lane", "road"), ("construction--flat--crosswalk-plain", "road"),
    ("construction--flat--curb-cut", "sidewalk"), ("construction--flat--parking", "road"),
    ("construction--flat--pedestrian-area", "sidewalk"), ("construction--flat--rail-track", ""),
    ("construction--flat--road", "road"), ("construction--flat--service-lane", "road"),
    ("construction--flat--sidewalk", "sidewalk"),
    ("construction--structure--bridge", ""), ("construction--structure--building", "building"),
    ("construction--structure--tunnel", ""),
    ("human--person", "person"), ("human--rider--bicyclist", "rider"), ("human--rider--motorcyclist", "rider"),
    ("human--rider--other-rider", "rider"),
    ("marking--crosswalk-zebra", "road"), ("marking--general", "road"),
    ("nature--mountain", ""), ("nature--sand", ""), ("nature--sky", "sky"), ("nature--snow", ""),
    ("nature--terrain", "terrain"), ("nature--vegetation", "vegetation"), ("nature--water", ""),
    ("object--banner", ""), ("object--bench", ""), ("object--bike-rack", ""), ("object--billboard", ""),
    ("object--catch-basin", ""), ("object--cctv-camera", ""), ("object--fire-hydrant", ""),
    ("object--junction-box", ""), ("object--mailbox", ""), ("object--manhole", ""), ("object--phone-booth", ""),
    ("object--pothole", ""), ("object--street-light", ""),
    ("object--support--pole", "pole"), ("object--support--traffic-sign-frame", ""),
    ("object--support--utility-pole", "pole"),
    ("object--traffic-light", "traffic light"),
    ("object--traffic-sign--back", "traffic sign"), ("object--traffic-sign--front", "traffic sign"),
    ("object--trash-can", ""),
    ("object--vehicle--bicycle", "bicycle"), ("object--vehicle--boat", ""), ("object--vehicle--bus", "bus"),
    ("object--vehicle--car", "car"), ("object--vehicle--caravan", ""), ("object--vehicle--motorcycle", "motorcycle"),
    ("object--vehicle--on-rails", "train"), ("object--vehicle--other-vehicle", ""), ("object--vehicle--trailer", ""),
    ("object--vehicle--truck", "truck"), ("object--vehicle--wheeled-slow", ""),
    ("void--car-mount", ""), ("void--ego-vehicle", ""),
)  # fmt: skip
#: Vistas category -> class name, "" where it is void; in the order of the ids 1..65.
VISTAS_CLASSES = MappingProxyType(dict(_VISTAS))


@dataclass(frozen=True)
class Protocol:
    """What an average runs over (methods: SYNTHIA to Cityscapes is reported in three incompatible ways).

    Attributes:
        class_ids: contiguous ids that are averaged.
        void_ids: contiguous ids whose ground truth becomes void before matching.
        tasks: the tasks that the protocol is defined for.
    """

    name: str
    class_ids: tuple[int, ...]
    void_ids: tuple[int, ...] = ()
    tasks: tuple[str, ...] = ("panoptic", "semantic")


_ALL = tuple(range(CITYSCAPES.num_classes))
_SIXTEEN = tuple(c for c in _ALL if c not in SYNTHIA_ABSENT)
_THIRTEEN = tuple(c for c in _SIXTEEN if c not in CITYSCAPES.ids("wall", "fence", "pole"))

#: Name -> protocol. ``16`` keeps the absent classes' ground truth (DAFormer, EDAPS); ``16-ignore`` voids it (CVRN, RIPU).
PROTOCOLS = MappingProxyType(
    {
        p.name: p
        for p in (
            Protocol("19", _ALL),
            Protocol("16", _SIXTEEN),
            Protocol("16-ignore", _SIXTEEN, void_ids=SYNTHIA_ABSENT),
            Protocol("13", _THIRTEEN, tasks=("semantic",)),
        )
    }
)
