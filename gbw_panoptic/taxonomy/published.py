"""Cityscapes' classes, which most data sets of driving are mapped to, and the tables of these data sets; "" is void."""

from types import MappingProxyType

from .reading import read_taxonomy

CITYSCAPES = read_taxonomy("cityscapes")
#: Name -> protocol. ``16`` keeps the absent classes' ground truth (DAFormer, EDAPS); ``16-ignore`` voids it (CVRN,
#: RIPU).
PROTOCOLS = CITYSCAPES.protocols

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

# Mapillary Vistas v1.2: the 65 categories in the order of their ids, 1..65 in panoptic_2018.json, with the class of
# each ("" = void). The remap is that of CVRN, which EDAPS and MC-PanDA use too.
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


#: BDD100K's category 0..40 of its panoptic bitmasks -> class name.
_BDD100K = {
    7: "road", 8: "sidewalk", 10: "building", 11: "fence", 15: "wall", 20: "pole", 25: "traffic light",
    26: "traffic sign",
    28: "terrain", 29: "vegetation", 30: "sky", 31: "person", 32: "rider", 33: "bicycle", 34: "bus", 35: "car",
    37: "motorcycle", 39: "train", 40: "truck",
}  # fmt: skip
BDD100K_CLASSES = MappingProxyType({category: _BDD100K.get(category, "") for category in range(41)})

# WildDash2's categories by class, after its authors' own policy for Cityscapes; all others are void.
_WILDDASH2 = {
    "road": "road roadmarking manhole pothole tramtrack bikelane pedestrianarea catchbasin crosswalkplain "
            "crosswalkzebra servicelane",
    "sidewalk": "sidewalk curb bikelanesidewalk manholesidewalk curbcut",
    "building": "building", "wall": "wall otherbarrier", "fence": "fence", "pole": "pole trafficsignframe utilitypole",
    "traffic light": "trafficlight", "traffic sign": "trafficsign", "vegetation": "vegetation",
    "terrain": "terrain curbterrain", "sky": "sky", "person": "person",
    "rider": "rider motorcyclist bicyclist otherrider",
    "car": "car van", "truck": "truck pickup", "bus": "bus", "train": "onrails",
    "motorcycle": "motorcycle autorickshaw",
    "bicycle": "bicycle",
}  # fmt: skip
#: Category name -> class name.
WILDDASH2_CLASSES = MappingProxyType({name: of for of, names in _WILDDASH2.items() for name in names.split()})
#: Those that every edition has: the first 38 ids. The final release has more categories than the beta.
WILDDASH2_ALWAYS = (
    "road", "sidewalk", "building", "wall", "fence", "pole", "trafficlight", "trafficsign", "vegetation", "terrain",
    "sky",
    "person", "rider", "car", "truck", "bus", "onrails", "motorcycle", "bicycle",
)  # fmt: skip
#: Category id of a JSON with Cityscapes' ids -> class name (ACDC, MUSES).
CITYSCAPES_CATEGORIES = MappingProxyType(dict(zip(CITYSCAPES.dataset_ids, CITYSCAPES.names)))
#: Id of a label file with Cityscapes' ids -> class name.
CITYSCAPES_LABELS = MappingProxyType({**dict.fromkeys(CITYSCAPES.void_ids, ""), **CITYSCAPES_CATEGORIES})

#: CamVid in SegNet's 11 groups: value -> the class that stands for the group, whose others camvid.yaml names.
CAMVID_GROUPS = MappingProxyType(
    dict(enumerate((
        "sky", "building", "pole", "road", "sidewalk", "vegetation", "traffic sign", "fence", "car", "person", "rider",
        "",
    )))
)  # fmt: skip
