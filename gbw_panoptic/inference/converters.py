"""Results in the formats of other tools; none of these tools is needed, but for the object that is theirs.

Shapes: H x W pixels of the image, N segments.
"""

from typing import TYPE_CHECKING, Any

import numpy as np
from pycocotools import mask as coco_masks

from ..data.coco_panoptic import describe_segments
from ..optional import import_optional
from .result_folder import panoptic_ids

if TYPE_CHECKING:
    import supervision

    from .result import Result, Segment

_PLAIN = "take the arrays of gbw_panoptic.inference.converters.detections"


def coco_panoptic(result: "Result") -> dict[str, Any]:
    """COCO's panoptic JSON; its PNG holds the ids R + 256 G + 65536 B, 0 = void (:meth:`Result.save` writes it)."""
    ids = panoptic_ids(result.panoptic, result.taxonomy)
    scores = {
        int(panoptic_ids(np.array(s.id), result.taxonomy)): s.score for s in result.segments if s.score is not None
    }
    segments = [
        {**segment, **({"score": scores[segment["id"]]} if segment["id"] in scores else {})}
        for segment in describe_segments(ids, result.taxonomy)
    ]
    return {
        "images": [_image(result)],
        "annotations": [{"image_id": result.name, "file_name": f"{result.name}.png", "segments_info": segments}],
        "categories": result.taxonomy.categories(),
    }


def coco_instances(result: "Result") -> dict[str, Any]:
    """COCO's JSON of instances: a compressed mask, a box and a score for each object; stuff is left out."""
    annotations = []
    for number, segment in enumerate((s for s in result.segments if s.isthing), start=1):
        rle = coco_masks.encode(np.asfortranarray(result.mask(segment).astype(np.uint8)))
        annotations.append(
            {
                "id": number,
                "image_id": result.name,
                "category_id": result.taxonomy.dataset_ids[segment.class_id],
                "segmentation": {"size": [int(n) for n in rle["size"]], "counts": rle["counts"].decode("ascii")},
                "area": segment.area,
                "bbox": list(segment.bbox),
                "iscrowd": 0,
                **({} if segment.score is None else {"score": segment.score}),
            }
        )
    things = [category for category in result.taxonomy.categories() if category["isthing"]]
    return {"images": [_image(result)], "annotations": annotations, "categories": things}


def detections(result: "Result", *, stuff: bool = True) -> dict[str, Any]:
    """The segments as arrays: ``xyxy`` float32 [N, 4] in pixels, whose corners are covered pixels, as supervision makes
    boxes of masks; ``mask`` bool [N, H, W]; ``confidence`` float32 [N] or None; ``class_id`` int [N]; ``data`` of N
    names and ids."""
    segments = _wanted(result, stuff)
    boxes = [(x, y, x + width - 1, y + height - 1) for x, y, width, height in (s.bbox for s in segments)]
    scores = [s.score for s in segments]
    masks = [result.mask(s) for s in segments]
    return {
        "xyxy": np.array(boxes, np.float32).reshape(-1, 4),
        "mask": np.stack(masks) if masks else np.zeros((0, *result.panoptic.shape), bool),
        "confidence": None if None in scores else np.array(scores, np.float32),
        "class_id": np.array([s.class_id for s in segments], int),
        "data": {
            "class_name": np.array([s.name for s in segments], dtype=str),
            "segment_id": np.array([s.id for s in segments], int),
            "isthing": np.array([s.isthing for s in segments], bool),
        },
    }


def supervision_detections(result: "Result", *, stuff: bool = True) -> "supervision.Detections":
    """:func:`detections` as the package's own object."""
    package = import_optional("supervision", wanted_by="to_supervision", otherwise=_PLAIN, install="supervision")
    return package.Detections(**detections(result, stuff=stuff))


def fiftyone_labels(result: "Result", *, stuff: bool = True) -> dict[str, Any]:
    """``mask``: uint8 [H, W] of contiguous ids; ``detections``: of each segment ``label``, ``bounding_box`` [x, y,
    width, height] as shares of the image, ``mask`` bool of the box, ``confidence``, ``index``; ``classes``: id ->
    name."""
    height, width = result.panoptic.shape
    found = []
    for segment in _wanted(result, stuff):
        x, y, w, h = segment.bbox
        found.append(
            {
                "label": segment.name,
                "bounding_box": [x / width, y / height, w / width, h / height],
                "mask": result.mask(segment)[y : y + h, x : x + w],
                "index": segment.id,
                **({} if segment.score is None else {"confidence": segment.score}),
            }
        )
    return {"mask": result.semantic, "detections": found, "classes": dict(enumerate(result.taxonomy.names))}


def _wanted(result: "Result", stuff: bool) -> list["Segment"]:
    return [segment for segment in result.segments if stuff or segment.isthing]


def _image(result: "Result") -> dict[str, Any]:
    height, width = result.panoptic.shape
    return {"id": result.name, "file_name": result.file_name or result.name, "height": height, "width": width}
