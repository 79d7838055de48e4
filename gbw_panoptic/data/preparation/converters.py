"""From the label files of each data set, as downloaded (of ids or of colours, with or without instance numbers), to
those that training and evaluation read.

A converter knows one image at a time, so that any number of processes can share the work and a killed run goes on
where it stopped. Shapes: H, W are the height and width of the label file.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Callable, Mapping

import numpy as np

from ... import files as disk
from ...coco_format import SegmentInfo
from ...structures.runs import compact_ids
from ...taxonomy import CITYSCAPES, GTA5_IDS, IGNORE_LABEL, Taxonomy, lookup_table
from ..categories import IdTable, SegmentClass
from ..coco_panoptic import describe_segments
from ..statistics import count_pixels
from .driving import derive_bdd100k, derive_urbansyn
from .panoptic_ids import remap_segments, synthia_panoptic_ids
from .report import FaultError, FaultKind
from .sources import Files, RawImage


def contiguous_labels(values: np.ndarray, table: IdTable) -> np.ndarray:
    """Labels of a file without instances.

    Args:
        values: integers [H, W].

    Returns:
        ``label_dtype`` of the taxonomy [H, W]: contiguous ids, the ignore label where void.

    Raises:
        ValueError: a value that the table lacks; the message is a noun phrase.
    """
    classes, ignored = table.resolve(), table.taxonomy.ignore_label

    def label(value: int) -> int:
        found = classes[value].contiguous
        return ignored if found is None else found

    return _looked_up(values, classes, lambda value: (value, None), label).astype(table.taxonomy.label_dtype)


def panoptic_ids(values: np.ndarray, table: IdTable) -> np.ndarray:
    """Panoptic ids of a file with instance numbers, which stay; stuff has none, and things without one are a crowd.

    Args:
        values: integers [H, W], ids and numbers as the table's ``numbering`` has it.

    Returns:
        int32 [H, W]: data set id of the class, for things that times ``label_divisor`` plus the number; 0 = void.

    Raises:
        ValueError: a value that the table lacks, or a number that does not fit; the message is a noun phrase.
    """
    classes, taxonomy = table.resolve(), table.taxonomy

    def new_id(value: int) -> int:
        class_id, number = table.split_value(value)
        return _panoptic_id(classes[class_id], number, taxonomy)

    return _looked_up(values, classes, table.split_value, new_id).astype(np.int32)


def _panoptic_id(segment_class: SegmentClass, number: int | None, taxonomy: Taxonomy) -> int:
    label = segment_class.contiguous
    if label is None:
        return 0
    category = taxonomy.label_dataset_ids[label]
    return (
        category if number is None or not taxonomy.label_is_thing[label] else category * taxonomy.label_divisor + number
    )


def _looked_up(
    values: np.ndarray,
    known: Mapping[int, SegmentClass],
    split: Callable[[int], tuple[int, int | None]],
    convert: Callable[[int], int],
) -> np.ndarray:
    distinct, index = compact_ids(values)
    outside = sorted({split(value)[0] for value in distinct.tolist()} - known.keys())
    if outside:
        more = f" and {len(outside) - 5} more" if len(outside) > 5 else ""
        raise ValueError(f"the ids {outside[:5]}{more}")
    return np.array([convert(value) for value in distinct.tolist()], dtype=np.int64)[index]


@dataclass(frozen=True)
class Description:
    """What the indices on disk say about one image.

    Attributes:
        segments_info: COCO-panoptic segments; None for semantic labels.
        pixels: contiguous id -> pixels > 0.
        size: (H, W).
        by_times: whether an earlier version made the label, whose age alone says that it is up to date.
        turned: whether the image's EXIF tag turns it, and no size tells whether the label was drawn that way.
    """

    segments_info: list[SegmentInfo] | None
    pixels: dict[int, int]
    size: tuple[int, int]
    by_times: bool = False
    turned: bool = False


@dataclass(frozen=True)
class Converter:
    """How one format is converted. The fields are None or empty where there is nothing to do.

    Attributes:
        derive: reads the raw labels of one image and returns the arrays that its prepared files must hold.
        write: writes those arrays, with a note of what they were made from.
        readers: one for each prepared file.
        describe: summarises the last of the arrays, which stands in a file.
        may_skip: kinds of fault that the published data set is known to have; such images are left out.
    """

    derive: Callable[[RawImage], tuple[np.ndarray, ...]] | None = None
    write: Callable[[Files, tuple[np.ndarray, ...], str], None] | None = None
    readers: tuple[Callable[[Path], np.ndarray], ...] = ()
    describe: Callable[[np.ndarray, Path, Taxonomy], Description] | None = None
    may_skip: frozenset[FaultKind] = frozenset()


def _derive_synthia(raw: RawImage) -> tuple[np.ndarray, ...]:
    files = raw.files
    path = files.raw_labels[0]
    pixels = disk.read_two_byte_channels(path)
    raw.require_size(path, pixels.shape[:2])
    try:
        return (synthia_panoptic_ids(pixels[:, :, 0], pixels[:, :, 1]),)
    except ValueError as error:
        raise _outside("SYNTHIA class ids in the first channel", str(error), path) from None


def _derive_gta5(raw: RawImage) -> tuple[np.ndarray, ...]:
    files = raw.files
    path = files.raw_labels[0]
    labels = disk.read_label(path)
    raw.require_size(path, labels.shape[:2])
    _require_ids(labels, set(GTA5_IDS), path)
    return (CITYSCAPES.contiguous_table()[labels],)


def _derive_cityscapes(raw: RawImage) -> tuple[np.ndarray, ...]:
    from cityscapesscripts.helpers.labels import id2label

    files = raw.files
    known = {id_: label for id_, label in id2label.items() if id_ >= 0}
    label_path, instance_path = files.raw_labels
    labels, instances = disk.read_label(label_path), disk.read_instance_ids(instance_path)
    raw.require_size(label_path, labels.shape[:2])
    raw.require_size(instance_path, instances.shape[:2])
    _require_ids(labels, set(known), label_path)
    divisor = CITYSCAPES.label_divisor
    classes = np.where(instances < divisor, instances, instances // divisor)
    _require_ids(classes, set(known), instance_path)
    differing = int(np.count_nonzero(classes != labels))
    if differing:
        found = f"found {differing} pixels of other classes in {label_path}"
        raise FaultError(FaultKind.DISAGREE, f"expected the classes of {instance_path}, {found}; unpack both again")
    train_ids = {i: IGNORE_LABEL if label.ignoreInEval else label.trainId for i, label in known.items()}
    evaluated = np.isin(classes, [i for i, label in known.items() if not label.ignoreInEval])
    return lookup_table(train_ids)[labels], np.where(evaluated, instances, 0)


def _derive_coco_panoptic(raw: RawImage) -> tuple[np.ndarray, ...]:
    path = raw.files.raw_labels[0]
    ids = disk.read_panoptic(path)
    raw.require_size(path, ids.shape[:2])
    try:
        return (remap_segments(ids, raw.segments, raw.classes, raw.split.taxonomy),)
    except FaultError as error:
        message = f"expected the segments of {raw.split.raw_json} in {path}, found {error}; correct one of the two"
        raise FaultError(error.kind, message) from None
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        found = f"found {error}" if type(error) is ValueError else f"found {type(error).__name__} {error}"
        message = f"expected segments with id and category_id for {path} in {raw.split.raw_json}, {found}; correct it"
        raise FaultError(FaultKind.UNREADABLE, message) from None


def _derive_ids(raw: RawImage) -> tuple[np.ndarray, ...]:
    """Of files of ids or colours, with instance numbers or without."""
    path, table = raw.files.raw_labels[0], raw.split.id_table
    values = disk.read_ids(path, colors=table.are_colors)
    raw.require_size(path, values.shape[:2])
    try:
        return ((panoptic_ids if table.numbering else contiguous_labels)(values, table),)
    except ValueError as error:
        own = raw.split.described_in
        expected = f"values that `ids` in {own} lists" if own else f"the ids of {raw.split.dataset}"
        remedy = "list them, as void if they are" if own else "use the label files as they were downloaded"
        message = f"expected {expected}, found {error} in {path}; {remedy}"
        raise FaultError(FaultKind.OUTSIDE, message) from None


def _write_panoptic(files: Files, arrays: tuple[np.ndarray, ...], origin: str) -> None:
    disk.write_panoptic(files.prepared_labels[0], arrays[0], note=origin)


def _write_label(files: Files, arrays: tuple[np.ndarray, ...], origin: str) -> None:
    disk.write_png(files.prepared_labels[0], arrays[0], note=origin)


def _write_cityscapes(files: Files, arrays: tuple[np.ndarray, ...], origin: str) -> None:
    """Train ids, and the panoptic PNG that cityscapesScripts' ``createPanopticImgs`` makes, pixel for pixel."""
    train_id_path, panoptic_path = files.prepared_labels
    disk.write_png(train_id_path, arrays[0], note=origin)
    disk.write_panoptic(panoptic_path, arrays[1], note=origin)


def _describe_panoptic(ids: np.ndarray, path: Path, taxonomy: Taxonomy) -> Description:
    try:
        segments = describe_segments(ids, taxonomy)
    except ValueError as error:
        found = f"found {error} in {path}"
        message = f"expected ids of {taxonomy.name} classes, {found}; prepare it again with --overwrite"
        raise FaultError(FaultKind.OUTSIDE, message) from None
    pixels: dict[int, int] = {}
    for segment in segments:
        contiguous = taxonomy.contiguous_id[segment["category_id"]]
        pixels[contiguous] = pixels.get(contiguous, 0) + segment["area"]
    of_classes = {label: count for label, count in sorted(pixels.items()) if label < taxonomy.num_classes}
    return Description(segments, of_classes, ids.shape)


def _describe_label(labels: np.ndarray, path: Path, taxonomy: Taxonomy) -> Description:
    return Description(None, count_pixels(labels, taxonomy.num_classes), labels.shape)


def _require_ids(labels: np.ndarray, known: set[int], path: Path) -> None:
    outside = sorted(set(compact_ids(labels)[0].tolist()) - known)
    if outside:
        raise _outside(f"ids of the data set (0..{max(known)})", f"the ids {outside}", path)


def _outside(expected: str, found: str, path: Path) -> FaultError:
    return FaultError(
        FaultKind.OUTSIDE,
        f"expected {expected}, found {found} in {path}; use the label files as they were downloaded",
    )


_COCO_PANOPTIC = Converter(_derive_coco_panoptic, _write_panoptic, (disk.read_panoptic,), _describe_panoptic)

#: By the ``format`` of a split.
CONVERTERS: Mapping[str, Converter] = {
    "synthia": Converter(_derive_synthia, _write_panoptic, (disk.read_panoptic,), _describe_panoptic),
    "cityscapes": Converter(
        _derive_cityscapes, _write_cityscapes, (disk.read_label, disk.read_panoptic), _describe_panoptic
    ),
    # The published GTA5 has images whose label is missing, damaged or of another size.
    "gta5": Converter(
        _derive_gta5,
        _write_label,
        (disk.read_label,),
        _describe_label,
        frozenset({FaultKind.MISSING, FaultKind.SIZE, FaultKind.UNREADABLE}),
    ),
    "coco_panoptic": _COCO_PANOPTIC,
    "ids": Converter(_derive_ids, _write_label, (disk.read_ids,), _describe_label),
    "instance_ids": Converter(_derive_ids, _write_panoptic, (disk.read_panoptic,), _describe_panoptic),
    # Nobody promises that each of its PNGs agrees with panoptic_2018.json.
    "mapillary_vistas": replace(_COCO_PANOPTIC, may_skip=frozenset({FaultKind.DISAGREE})),
    # The labels are those that Cityscapes' preparation made.
    "foggy_cityscapes": Converter(readers=(disk.read_label, disk.read_panoptic), describe=_describe_panoptic),
    "bdd100k": Converter(derive_bdd100k, _write_panoptic, (disk.read_panoptic,), _describe_panoptic),
    # 57 of its images have wrong labels.
    "urbansyn": Converter(
        derive_urbansyn, _write_panoptic, (disk.read_panoptic,), _describe_panoptic, frozenset({FaultKind.WRONG})
    ),
    "images": Converter(),
}
