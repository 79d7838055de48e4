"""What somebody (or a model) says about the pixels of one image.

Shape legend: H x W pixels, C classes.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from pycocotools import mask as coco_masks
from scipy import ndimage

from ..structures.known_instances import KnownInstances

UNANSWERED = -1
_MOST = 1 << 20  # instances of a class in an image
_FARTHEST = 1 << 17  # a point of a shape from the image's corner, pixels


@dataclass(frozen=True)
class Answer:
    """
    Attributes:
        labels: int32 [H, W], a class's id, C = none of the classes (void), :data:`UNANSWERED` where nothing is said.
        numbers: int32 [H, W], number of the thing's instance among those of its class, from 1; 0 = none.
        centers: (class, number) -> (y, x) of an instance's centre, pixels; those that were told.
    """

    labels: np.ndarray
    numbers: np.ndarray
    centers: Mapping[tuple[int, int], tuple[float, float]] = field(default_factory=dict)

    @classmethod
    def nothing(cls, size: tuple[int, int]) -> "Answer":
        return cls(np.full(size, UNANSWERED, np.int32), np.zeros(size, np.int32))

    @property
    def answered(self) -> np.ndarray:
        """bool [H, W]."""
        return self.labels != UNANSWERED

    def within(self, region: np.ndarray) -> "Answer":
        """What is said about ``region`` [H, W] bool; the centres stay."""
        return Answer(np.where(region, self.labels, UNANSWERED), np.where(region, self.numbers, 0), self.centers)

    def over(self, other: "Answer") -> "Answer":
        """Both, this one where both say something."""
        here = self.answered
        return Answer(
            np.where(here, self.labels, other.labels), np.where(here, self.numbers, other.numbers),
            {**other.centers, **self.centers},
        )  # fmt: skip

    def segments(self) -> Iterator[tuple[int, int, tuple[slice, slice], np.ndarray]]:
        """(Label, number, box, mask in the box) of each segment, void and stuff first, things of fewer pixels last."""
        keys, rows = np.unique(
            np.stack([self.numbers > 0, self.numbers, self.labels], axis=-1).reshape(-1, 3), axis=0, return_inverse=True
        )
        rows = rows.reshape(self.labels.shape) + 1
        areas = np.bincount(rows.ravel(), minlength=len(keys) + 1)[1:]
        boxes = ndimage.find_objects(rows, len(keys))
        for index in np.lexsort((np.arange(len(keys)), -areas * (keys[:, 0] > 0), keys[:, 0])).tolist():
            _, number, label = keys[index].tolist()
            if label != UNANSWERED:
                yield label, number, boxes[index], rows[boxes[index]] == index + 1

    def instances(self, num_classes: int) -> KnownInstances:
        """The instances, by number and then by class; a centre that was not told is that of the pixels that are
        known."""
        rows, keys = self._rows(num_classes)
        centers = self.with_centers(num_classes).centers
        return KnownInstances(
            rows, np.array([centers[key] for key in keys], np.float64).reshape(-1, 2),
            np.array([label for label, _ in keys], np.int64),
        )  # fmt: skip

    def with_centers(self, num_classes: int) -> "Answer":
        """The same with a centre for each instance."""
        rows, keys = self._rows(num_classes)
        found = ndimage.center_of_mass(rows > 0, rows, np.arange(1, len(keys) + 1)) if keys else []
        told = {key: self.centers.get(key, tuple(map(float, center))) for key, center in zip(keys, found)}
        return Answer(self.labels, self.numbers, told)

    def _rows(self, num_classes: int) -> tuple[np.ndarray, list[tuple[int, int]]]:
        """int32 [H, W], 1..K where there is an instance, else 0; (class, number) of each, by number."""
        things = (self.numbers > 0) & (self.labels >= 0) & (self.labels < num_classes)
        codes = np.where(things, self.numbers.astype(np.int64) * (num_classes + 1) + self.labels, 0)
        kept = np.unique(codes[things])
        rows = np.where(things, np.searchsorted(kept, codes) + 1, 0).astype(np.int32)
        return rows, [(code % (num_classes + 1), code // (num_classes + 1)) for code in kept.tolist()]


class Painter:
    """An image that shapes are painted on, one over the other."""

    def __init__(self, size: tuple[int, int], thing_ids: tuple[int, ...], *, with_instances: bool) -> None:
        self.answer = Answer.nothing(size)
        self._things = frozenset(thing_ids) if with_instances else frozenset()
        self._centers: dict[tuple[int, int], tuple[float, float]] = {}
        self._unnumbered = 0

    def paint(
        self, label: int, mask: np.ndarray, *, top: int = 0, left: int = 0, number: int | None = None,
        center: tuple[float, float] | None = None,
    ) -> None:  # fmt: skip
        """
        Args:
            mask: bool, the part that lies inside of the image counts.
            number: of a thing; None: an instance of its own.

        Raises:
            ValueError: the number is none that instances can have; the message is a noun phrase.
        """
        if number is not None and not 0 <= number <= _MOST:
            raise ValueError(f"the number {number} of an instance")
        height, width = self.answer.labels.shape
        mask = mask[max(-top, 0) : height - top, max(-left, 0) : width - left]
        top, left = max(top, 0), max(left, 0)
        box = (slice(top, top + mask.shape[0]), slice(left, left + mask.shape[1]))
        is_thing = label in self._things
        if is_thing and number is None:
            self._unnumbered += 1
            number = -self._unnumbered
        number = number if is_thing else 0
        self.answer.labels[box][mask] = label
        self.answer.numbers[box][mask] = number
        if center is not None and number:
            self._centers[label, number] = center

    def finished(self) -> Answer:
        """What is on top; shapes without a number get numbers that no other one has."""
        numbers, free = self.answer.numbers, int(self.answer.numbers.max(initial=0))
        new = {-index: free + index for index in range(1, self._unnumbered + 1)}
        for old, number in new.items():
            numbers[numbers == old] = number
        centers = {(label, new.get(number, number)): center for (label, number), center in self._centers.items()}
        return Answer(self.answer.labels, numbers, centers)


def read_points(pairs: Iterable[Sequence[float | str]]) -> np.ndarray:
    """float [K, 2], (x, y) of each pair in pixels.

    Raises:
        ValueError: these are no points of an image; the message is a noun phrase.
    """
    try:
        points = np.array([(float(x), float(y)) for x, y in pairs], float).reshape(-1, 2)
    except (TypeError, ValueError):
        raise ValueError("points that are no pairs of numbers") from None
    if not (np.abs(points) < _FARTHEST).all():  # NaN, too; COCO's C code walks along every edge
        raise ValueError("points far outside of the image")
    return points


def polygon_mask(points: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """bool [H, W] of a polygon [K, 2] of (x, y), pixels, by COCO's rule: the corner (0, 0) is the image's."""
    flat = np.asarray(points, float).ravel().tolist()
    if len(flat) < 6:
        return np.zeros(size, bool)
    return coco_masks.decode(coco_masks.merge(coco_masks.frPyObjects([flat], *size))).astype(bool)


def center_text(center: tuple[float, float]) -> str:
    """``y, x`` without loss."""
    return f"{float(center[0])!r}, {float(center[1])!r}"


def read_number(text: str | None, what: str = "the number of an instance") -> int | None:
    """A whole number, as tools give it; None of no text.

    Raises:
        ValueError: it is none; the message is a noun phrase.
    """
    if text and not re.fullmatch("-?[0-9]{1,9}", text):
        raise ValueError(f"{text[:40]!r} as {what}")
    return int(text) if text else None


def read_center(text: str) -> tuple[float, float] | None:
    """Of :func:`center_text`; None of any other text."""
    try:
        y, x = (float(word) for word in text.replace(",", " ").split())
    except (ValueError, AttributeError):
        return None
    return (y, x) if np.isfinite([y, x]).all() else None
