"""What the labels of further data sets of driving mean among Cityscapes' classes; "" is void."""

from types import MappingProxyType

from .published import CITYSCAPES

#: BDD100K's category 0..40 of its panoptic bitmasks -> class name.
_BDD100K = {
    7: "road", 8: "sidewalk", 10: "building", 11: "fence", 15: "wall", 20: "pole", 25: "traffic light", 26: "traffic sign",
    28: "terrain", 29: "vegetation", 30: "sky", 31: "person", 32: "rider", 33: "bicycle", 34: "bus", 35: "car",
    37: "motorcycle", 39: "train", 40: "truck",
}  # fmt: skip
BDD100K_CLASSES = MappingProxyType({category: _BDD100K.get(category, "") for category in range(41)})

# WildDash2's categories by class, after its authors' own policy for Cityscapes; all others are void.
_WILDDASH2 = {
    "road": "road roadmarking manhole pothole tramtrack bikelane pedestrianarea catchbasin crosswalkplain crosswalkzebra servicelane",
    "sidewalk": "sidewalk curb bikelanesidewalk manholesidewalk curbcut",
    "building": "building", "wall": "wall otherbarrier", "fence": "fence", "pole": "pole trafficsignframe utilitypole",
    "traffic light": "trafficlight", "traffic sign": "trafficsign", "vegetation": "vegetation",
    "terrain": "terrain curbterrain", "sky": "sky", "person": "person", "rider": "rider motorcyclist bicyclist otherrider",
    "car": "car van", "truck": "truck pickup", "bus": "bus", "train": "onrails", "motorcycle": "motorcycle autorickshaw",
    "bicycle": "bicycle",
}  # fmt: skip
#: Category name -> class name.
WILDDASH2_CLASSES = MappingProxyType({name: of for of, names in _WILDDASH2.items() for name in names.split()})
#: Those that every edition has: the first 38 ids. The final release has more categories than the beta.
WILDDASH2_ALWAYS = (
    "road", "sidewalk", "building", "wall", "fence", "pole", "trafficlight", "trafficsign", "vegetation", "terrain", "sky",
    "person", "rider", "car", "truck", "bus", "onrails", "motorcycle", "bicycle",
)  # fmt: skip
#: Category id of a JSON with Cityscapes' ids -> class name (ACDC, MUSES).
CITYSCAPES_CATEGORIES = MappingProxyType(dict(zip(CITYSCAPES.dataset_ids, CITYSCAPES.names)))
#: Id of a label file with Cityscapes' ids -> class name.
CITYSCAPES_LABELS = MappingProxyType({**dict.fromkeys(CITYSCAPES.void_ids, ""), **CITYSCAPES_CATEGORIES})

#: CamVid in SegNet's 11 groups: value -> the class that stands for the group, whose others camvid.yaml names.
CAMVID_GROUPS = MappingProxyType(
    dict(enumerate((
        "sky", "building", "pole", "road", "sidewalk", "vegetation", "traffic sign", "fence", "car", "person", "rider", "",
    )))
)  # fmt: skip
