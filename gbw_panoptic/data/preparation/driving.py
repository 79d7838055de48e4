"""Labels of UrbanSyn and BDD100K as panoptic ids of Cityscapes.

Shapes: H, W are the height and width of the label file.
"""

import numpy as np

from ... import files as disk
from ...structures.runs import compact_ids
from ...taxonomy import CITYSCAPES, IGNORE_LABEL
from ...taxonomy.published import BDD100K_CLASSES
from .report import FaultError, FaultKind
from .sources import RawImage

_UNLABELLED = CITYSCAPES.num_classes  # of UrbanSyn's semantic files
_IGNORE, _CROWD = 1, 2  # bits of BDD100K's second channel


def urbansyn_panoptic_ids(classes: np.ndarray, segments: np.ndarray) -> np.ndarray:
    """Panoptic ids from UrbanSyn's two files.

    The semantic file says what a pixel is, the panoptic one which pixels of a thing belong together: its colours are
    names of instances, in whatever order their bytes are. A thing without one is a crowd. Instances of a class are
    numbered from 0.

    Args:
        classes: uint8 [H, W], contiguous ids, 19 = unlabelled.
        segments: int32 [H, W], 0 = none.

    Returns:
        int32 [H, W]: Cityscapes id, for things Cityscapes id * 1000 + k; 0 = void.

    Raises:
        FaultError: without a path: a class that does not exist, an instance of two classes, or labels that are known to
            be wrong.
    """
    outside = sorted(set(compact_ids(classes)[0].tolist()) - set(range(_UNLABELLED + 1)))
    if outside:
        raise FaultError(FaultKind.OUTSIDE, f"the classes {outside}")
    if not np.isin(classes, CITYSCAPES.ids("sidewalk", "building")).any():
        raise FaultError(
            FaultKind.WRONG, "neither sidewalk nor building, as in 57 images with wrong labels (6973 to 7029)"
        )
    things = np.isin(classes, CITYSCAPES.thing_ids)
    keys, index = compact_ids(np.where(things, segments.astype(np.int64), 0) << 8 | classes)
    colours = [key >> 8 for key in keys.tolist() if key >> 8]
    if len(set(colours)) < len(colours):
        raise FaultError(FaultKind.DISAGREE, "an instance of two classes")
    return _numbered([(key & 255, False, bool(key >> 8)) for key in keys.tolist()])[index]


def bdd100k_panoptic_ids(pixels: np.ndarray) -> np.ndarray:
    """Panoptic ids from a bitmask of BDD100K.

    Args:
        pixels: uint8 [H, W, 4]: category, bits (ignore, crowd, occluded, truncated), and two bytes that number the
            segment.

    Returns:
        int32 [H, W]: Cityscapes id, for things Cityscapes id * 1000 + k; 0 = void.

    Raises:
        FaultError: without a path: a category that does not exist.
    """
    category, bits, high, low = (pixels[:, :, channel].astype(np.int64) for channel in range(4))
    keys, index = compact_ids(category << 24 | bits << 16 | high << 8 | low)
    outside = sorted({key >> 24 for key in keys.tolist()} - set(BDD100K_CLASSES))
    if outside:
        raise FaultError(FaultKind.OUTSIDE, f"the categories {outside}")
    segments = []
    for key in keys.tolist():
        name, flags = BDD100K_CLASSES[key >> 24], key >> 16 & 255
        known = name and not flags & _IGNORE
        segments.append((CITYSCAPES.names.index(name) if known else IGNORE_LABEL, bool(flags & _CROWD), True))
    return _numbered(segments)[index]


def _numbered(segments: list[tuple[int, bool, bool]]) -> np.ndarray:
    """int32 [K] panoptic ids of segments (contiguous id, whether it is a crowd, whether it has a number)."""
    numbers, ids = [0] * CITYSCAPES.num_classes, []
    for contiguous, crowd, single in segments:
        if contiguous >= CITYSCAPES.num_classes:
            ids.append(0)
        elif CITYSCAPES.is_thing[contiguous] and single and not crowd:
            ids.append(CITYSCAPES.dataset_ids[contiguous] * CITYSCAPES.label_divisor + numbers[contiguous])
            numbers[contiguous] += 1
        else:
            ids.append(CITYSCAPES.dataset_ids[contiguous])
    if max(numbers) > CITYSCAPES.label_divisor:
        raise FaultError(
            FaultKind.OUTSIDE, f"{max(numbers)} instances of one class (at most {CITYSCAPES.label_divisor} fit)"
        )
    return np.array(ids, dtype=np.int32)


def derive_urbansyn(raw: RawImage) -> tuple[np.ndarray, ...]:
    """The panoptic label of one image; a fault names the file."""
    semantic, panoptic = raw.files.raw_labels
    classes, segments = disk.read_label(semantic), disk.read_panoptic(panoptic)
    for path, label in ((semantic, classes), (panoptic, segments)):
        raw.require_size(path, label.shape)
    try:
        return (urbansyn_panoptic_ids(classes, segments),)
    except FaultError as error:
        raise _named(error, raw) from None


def derive_bdd100k(raw: RawImage) -> tuple[np.ndarray, ...]:
    """The panoptic label of one image; a fault names the file."""
    path = raw.files.raw_labels[0]
    pixels = disk.read_rgba(path)
    raw.require_size(path, pixels.shape[:2])
    try:
        return (bdd100k_panoptic_ids(pixels),)
    except FaultError as error:
        raise _named(error, raw) from None


def _named(error: FaultError, raw: RawImage) -> FaultError:
    where = " and ".join(map(str, raw.files.raw_labels))
    return FaultError(
        error.kind,
        f"expected the labels that {raw.split.dataset} publishes, found {error} in {where}; unpack them again",
    )
