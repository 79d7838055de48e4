"""Panoptic segmentations in PNG files and a JSON: panopticapi's format, which Cityscapes' benchmark takes, too.

A pixel's id is R + 256 G + 65536 B, 0 is void; ``annotations`` lists each image's ``image_id``, ``file_name`` (of the
PNG) and ``segments_info`` (``id``, ``category_id``, ``iscrowd``). Only a ground truth needs ``categories`` (``id``,
``isthing``, ``name``).
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .. import files
from ..coco_format import SegmentInfo, checked_segments, is_thing
from ..errors import UserError
from ..taxonomy import CITYSCAPES, Protocol, Taxonomy
from . import maps
from .accumulator import ScoreAccumulator

_NO_COLOR = (128, 128, 128)
_MOST = 999  # categories that one map can number
_ALL = "all"  # the protocol of categories that are not Cityscapes'


@dataclass(frozen=True)
class Pair:
    """Records (``pan_seg_file_name``, ``segments_info`` with contiguous classes) of one image."""

    image_id: str | int
    truth: Mapping
    prediction: Mapping


def read_annotations(path: str | os.PathLike, folder: str | os.PathLike) -> dict[str | int, dict]:
    """Records by image id: ``pan_seg_file_name`` and ``segments_info``, whose ``category_id`` is the file's.

    Args:
        folder: where the PNG files lie.

    Raises:
        UserError: missing or damaged JSON, keys absent, an image twice, file names that leave the folder.
    """
    records, remedy = {}, "write it as panopticapi reads it"
    try:
        annotations = files.read_json(path, remedy=remedy)["annotations"]
        for annotation in annotations:
            segments = _segments(annotation)
            label = Path(folder, files.safe_file_name(annotation["file_name"]))
            records[annotation["image_id"]] = {"pan_seg_file_name": str(label), "segments_info": segments}
    except KeyError as error:
        raise UserError(f"expected COCO-panoptic JSON, found no {error} in {path}; {remedy}") from None
    except (TypeError, ValueError) as error:
        raise UserError(f"expected COCO-panoptic JSON, found {error} in {path}; {remedy}") from None
    if len(records) != len(annotations):
        raise UserError(
            f"expected one annotation per image, found {len(annotations)} of {len(records)} images in {path}; "
            "remove the rest"
        )
    return records


def _segments(annotation: Mapping) -> list[SegmentInfo]:
    try:
        return checked_segments(annotation["segments_info"])
    except ValueError as error:
        raise ValueError(f"{error} in image {annotation['image_id']!r}") from None


def read_categories(path: str | os.PathLike) -> tuple[Taxonomy, dict[int, int]]:
    """Classes of a ground-truth JSON, and category id -> contiguous id.

    Categories with the names of Cityscapes' classes are these, whatever their ids.

    Raises:
        UserError: no categories or 1000 and more, or without ``id`` and ``isthing``.
    """
    try:
        listed = files.read_json(path, remedy="take the ground truth's JSON")["categories"]
        categories = [(c["id"], str(c.get("name", c["id"])), is_thing(c)) for c in listed]
        ids = [c[0] for c in categories]
        if not 0 < len(ids) <= _MOST:
            raise ValueError(f"{len(ids)} categories, where 1 to {_MOST} can be scored")
        if len(set(ids)) != len(ids) or not all(type(i) is int for i in ids):
            raise ValueError(f"the category ids {ids}")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(
            f"expected categories with an id and isthing in {path}, found otherwise ({error}); "
            "take the ground truth's JSON"
        ) from None
    known = dict(zip(CITYSCAPES.names, CITYSCAPES.is_thing))
    if all(known.get(name) == thing for _, name, thing in categories):
        return CITYSCAPES, {i: CITYSCAPES.names.index(name) for i, name, _ in categories}
    _, names, things = zip(*categories)
    taxonomy = Taxonomy(Path(path).stem, names, tuple(ids), things, (_NO_COLOR,) * len(ids))
    return taxonomy, {category: i for i, category in enumerate(ids)}


def choose_protocols(taxonomy: Taxonomy, names: Sequence[str] = ()) -> list[Protocol]:
    """The named protocols, or all that are defined for the classes.

    Raises:
        UserError: a name that is not defined for them.
    """
    everything = Protocol(_ALL, tuple(range(taxonomy.num_classes)))
    known = taxonomy.protocols if taxonomy.protocol_list else {_ALL: everything}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise UserError(
            f"expected protocols among {', '.join(known)} for the classes of {taxonomy.name}, found "
            f"{', '.join(unknown)}; choose one of these"
        )
    return [known[name] for name in names or known]


def contiguous(records: Mapping[str | int, Mapping], classes: Mapping[int, int], path: str | os.PathLike) -> dict:
    """The records with contiguous classes.

    Args:
        classes: category id -> contiguous id.
        path: of the JSON, for the message.

    Raises:
        UserError: a category that is none of the ground truth's.
    """
    for image_id, record in records.items():
        for segment in record["segments_info"]:
            if segment["category_id"] not in classes:
                raise UserError(
                    f"expected categories among {', '.join(map(str, classes))}, found {segment['category_id']} for the "
                    f"segment {segment['id']} of image {image_id} in {path}; use the ground truth's ids"
                )
    return {
        image_id: {
            **record,
            "segments_info": [{**s, "category_id": classes[s["category_id"]]} for s in record["segments_info"]],
        }
        for image_id, record in records.items()
    }


def pair_up(truths: Mapping[str | int, Mapping], predictions: Mapping[str | int, Mapping]) -> list[Pair]:
    """Every image of the ground truth with its prediction; further predictions are left out, as panopticapi does.

    Raises:
        UserError: an image without prediction, or a ground truth without image.
    """
    missing = [image_id for image_id in truths if image_id not in predictions]
    if not truths:
        raise UserError("expected images in the ground truth, found none; take another JSON")
    other = _id_of_another_kind(truths, predictions) if missing else None
    if other is not None:
        raise UserError(
            f"expected an image_id of the ground truth's kind, such as {missing[0]!r}, found {other!r} in the "
            "predictions; write numbers without quotation marks, and text with them, as the ground truth does"
        )
    if missing:
        raise UserError(
            f"expected a prediction of each of {len(truths)} images, found none of {len(missing)}, first {missing[0]}; "
            "predict all of them, with the ground truth's image_id"
        )
    return [Pair(image_id, truth, predictions[image_id]) for image_id, truth in truths.items()]


def _id_of_another_kind(truths: Mapping, predictions: Mapping) -> object:
    """One that is spelt as one of the ground truth but for quotation marks, or is of a kind that none there is of."""
    spelt, kinds = {str(image_id) for image_id in truths}, set(map(type, truths))
    return next((i for i in predictions if type(i) not in kinds or i not in truths and str(i) in spelt), None)


def score(pair: Pair, *, taxonomy: Taxonomy, protocols: Sequence[Protocol]) -> dict:
    """State of a :class:`ScoreAccumulator` after one image; classes of pixels are those of their segments.

    Raises:
        UserError: naming the image, where files are missing or do not fit each other.
    """
    accumulator = ScoreAccumulator(taxonomy, protocols)
    try:
        truth = maps.read_ground_truth(pair.truth, taxonomy)
        predicted = maps.read_ground_truth(pair.prediction, taxonomy)
        accumulator.add(truth, predicted.labels, (predicted.ids, predicted.segments))
    except UserError as error:
        raise UserError(f"image {pair.image_id}: {error}") from None
    return accumulator.state()
