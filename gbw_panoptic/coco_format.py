"""What COCO's panoptic format reserves and allows: checks of what stands in a JSON, whoever reads it."""

from collections import Counter
from typing import Iterable, Mapping, NotRequired, TypedDict

MAX_SEGMENT_ID = (1 << 24) - 1  # R + 256 G + 65536 B; 0 is void


class SegmentInfo(TypedDict):
    """One of an image's ``segments_info``; ``category_id`` is contiguous in this project's records, a data set id in
    files."""

    id: int
    category_id: int
    iscrowd: NotRequired[int]
    area: NotRequired[int]
    bbox: NotRequired[list[int]]


def checked_segment(segment: Mapping) -> SegmentInfo:
    """A copy of one of ``segments_info``, if its ids are some that the format has; without ``iscrowd``, it is no crowd.

    Raises:
        ValueError: id 0, which is void, or none of 24 bits; a category that is no number; an ``iscrowd`` that is
            neither 0 nor 1: ``bool("0")`` would make a crowd of every instance. The message is a noun phrase.
    """
    if type(segment["id"]) is not int or not 0 < segment["id"] <= MAX_SEGMENT_ID:
        why = ", which is void" if segment["id"] == 0 else f": ids are 1..{MAX_SEGMENT_ID}"
        raise ValueError(f"the segment id {segment['id']!r}{why}")
    if type(segment["category_id"]) is not int:
        raise ValueError(
            f"the category_id {segment['category_id']!r} of the segment {segment['id']}, which is no whole number,"
        )
    crowd = segment.get("iscrowd", 0)
    if not isinstance(crowd, int) or crowd not in (0, 1):
        raise ValueError(f"iscrowd {crowd!r} of the segment {segment['id']}, which is neither 0 nor 1,")
    return {**segment, "iscrowd": int(crowd)}


def checked_segments(segments: Iterable[Mapping]) -> list[SegmentInfo]:
    """All of an image's ``segments_info``, as :func:`checked_segment` gives them, none of them twice.

    Raises:
        ValueError: a noun phrase.
    """
    checked = [checked_segment(segment) for segment in segments]
    twice = [i for i, count in Counter(segment["id"] for segment in checked).items() if count > 1]
    if twice:
        raise ValueError(f"the segment id {twice[0]} twice")
    return checked


def is_thing(category: Mapping) -> bool:
    """Whether a category has instances; ValueError unless ``isthing`` is 0 or 1 (the text "0" would be true)."""
    value = category["isthing"]
    if not isinstance(value, int) or value not in (0, 1):
        raise ValueError(f"isthing {value!r} of the category {category.get('name')!r}, which is neither 0 nor 1,")
    return bool(value)
