"""Class statistics of a labelled source: for rare-class sampling and for static class weights."""

import os
from dataclasses import dataclass
from functools import cached_property
from typing import Collection, Mapping, Sequence

import numpy as np

from .. import files
from ..errors import UserError

_VERSION = 1
_FORM = {"version": int, "class_names": [str], "pixels": [int], "images": files.Each(files.Each(int))}
_MAX_PIXELS = 2**40  # of a class in an image; sums over a data set stay far from 64 bits


def count_pixels(labels: np.ndarray, num_classes: int) -> dict[int, int]:
    """Pixels of each class that occurs in ``labels`` (integers >= 0 [H, W]; those from ``num_classes`` on are
    skipped)."""
    counts = np.bincount(labels.ravel(), minlength=num_classes)[:num_classes]
    return {int(c): int(counts[c]) for c in np.flatnonzero(counts)}


@dataclass(frozen=True)
class ClassStatistics:
    """Labelled pixels per class, in all and per image.

    As a file: ``{"version": 1, "class_names": [C], "pixels": [C], "images": {"<stem>": {"<contiguous id>": pixels}}}``.

    Attributes:
        class_names: C names in the order of contiguous ids.
        images: image stem -> {contiguous id: pixels > 0}.
    """

    class_names: tuple[str, ...]
    images: Mapping[str, Mapping[int, int]]

    @cached_property
    def pixels(self) -> np.ndarray:
        """int64 [C]: pixels of each class over all images."""
        totals = np.zeros(len(self.class_names), dtype=np.int64)
        for counts in self.images.values():
            for class_id, pixels in counts.items():
                totals[class_id] += pixels
        return totals

    def frequencies(self) -> np.ndarray:
        """float64 [C]: share of each class in all labelled pixels (all 0 where nothing is labelled)."""
        return self.pixels / max(int(self.pixels.sum()), 1)

    def image_pixels(self) -> np.ndarray:
        """int64 [C]: labelled pixels of all images that contain the class, for median-frequency balancing."""
        totals = np.zeros(len(self.class_names), dtype=np.int64)
        for counts in self.images.values():
            totals[list(counts)] += sum(counts.values())
        return totals

    def restricted_to(self, class_ids: Collection[int]) -> "ClassStatistics":
        """Statistics in which all other classes count as unlabelled (what an instance head sees: things)."""
        images = {stem: {c: n for c, n in counts.items() if c in class_ids} for stem, counts in self.images.items()}
        return ClassStatistics(self.class_names, images)

    def images_with(self, class_id: int) -> list[str]:
        """Stems of the images with a pixel of the class, in file order."""
        return [stem for stem, counts in self.images.items() if counts.get(class_id, 0)]

    def save(self, path: str | os.PathLike, *, info: Mapping | None = None) -> None:
        """Write it as JSON, atomically; ``info`` says what the labels were made with."""
        images = {stem: {str(c): n for c, n in sorted(counts.items())} for stem, counts in self.images.items()}
        value = {"version": _VERSION, "class_names": self.class_names, "pixels": self.pixels.tolist(), "images": images}
        files.write_json(path, value if info is None else {"info": info, **value})

    @classmethod
    def load(
        cls, path: str | os.PathLike, class_names: Sequence[str] | None = None, *, info: Mapping | None = None
    ) -> "ClassStatistics":
        """Read and validate the JSON.

        Args:
            class_names: the names that the file must have.
            info: what the labels must have been made with.

        Raises:
            UserError: the file is missing, damaged, of another version, of other classes or inconsistent.
        """
        value = files.read_json(path, _FORM)
        try:
            if value["version"] != _VERSION:
                raise ValueError(f"version {value['version']}")
            if info is not None and value.get("info") != info:
                raise ValueError("labels that were made with other ids than those of now")
            statistics = cls(tuple(value["class_names"]), _parse_images(value["images"], len(value["class_names"])))
            if statistics.pixels.tolist() != value["pixels"]:
                raise ValueError("totals that differ from the sums over images")
        except ValueError as error:
            raise UserError(
                f"expected class statistics of version {_VERSION}, found {error} in {path}; prepare the data set again"
            ) from None
        if class_names is not None and tuple(class_names) != statistics.class_names:
            raise UserError(
                f"expected statistics of the {len(class_names)} classes {', '.join(class_names)}, "
                f"found {', '.join(map(str, statistics.class_names))} in {path}; prepare the data set again"
            )
        return statistics


def _parse_images(images: Mapping[str, Mapping[str, int]], num_classes: int) -> dict[str, dict[int, int]]:
    parsed = {stem: {_class_id(c): n for c, n in counts.items()} for stem, counts in images.items()}
    for stem, counts in parsed.items():
        if len(counts) != len(images[stem]):
            raise ValueError(f"a class twice in image {stem}")
        for class_id, pixels in counts.items():
            if not 0 <= class_id < num_classes:
                raise ValueError(f"class {class_id} of {num_classes} in image {stem}")
            if not 0 < pixels <= _MAX_PIXELS:
                raise ValueError(f"{pixels} pixels of class {class_id} in image {stem}")
    return parsed


def _class_id(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 6):
        raise ValueError(f"the class {text[:20]!r}")
    return int(text)
