"""Instances of which some pixels are known, and the centre of each: what a human who labels pixels tells of things.

Shapes: H x W pixels, K instances. Coordinates are (y, x) in pixels, with the centre of the top left pixel at (0, 0).
"""

import io
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import torch

from ..structures.samples import InstanceLabels
from .label_maps import LabelMap
from .targets import InstancePixels, instance_targets
from .views import Window, cut, resize_ids

#: What NumPy raises where a file is no archive of arrays, or a damaged one; nothing of it is executed.
ARRAY_DAMAGE = (
    AttributeError, EOFError, KeyError, MemoryError, NotImplementedError, OSError, OverflowError, RuntimeError, SyntaxError,
    TypeError, ValueError, struct.error, tokenize.TokenError, zipfile.BadZipFile, zlib.error,
)  # fmt: skip


@dataclass(frozen=True)
class KnownInstances:
    """
    Attributes:
        numbers: H x W int32, 0 = no known instance, else 1..K.
        centers: K x 2 float64, (y, x) of the centre of mass of all its pixels, known or not; it may lie outside.
        classes: K int64, contiguous ids.
    """

    numbers: np.ndarray
    centers: np.ndarray
    classes: np.ndarray

    @classmethod
    def none(cls, size: tuple[int, int]) -> "KnownInstances":
        return cls(np.zeros(size, np.int32), np.empty((0, 2)), np.empty(0, np.int64))

    @classmethod
    def of_label(cls, label: LabelMap, thing_ids: Collection[int]) -> "KnownInstances":
        """All thing instances of a panoptic label but crowds."""
        segments = [s for s in label.segments if s["category_id"] in thing_ids and not s["iscrowd"]]
        number_of = np.zeros(len(label.categories), np.int32)
        number_of[[s["id"] for s in segments]] = np.arange(1, len(segments) + 1)
        numbers = number_of[label.rows]
        pixels = InstancePixels.all_of(torch.from_numpy(numbers.astype(np.int64)))
        _, centers = pixels.areas_and_centroids(len(segments))
        return cls(numbers, centers.numpy(), np.array([s["category_id"] for s in segments], np.int64))

    def restricted(self, known: np.ndarray) -> "KnownInstances":
        """What remains of them at the pixels ``known`` [H, W] bool, numbered anew in the same order."""
        numbers = np.where(known, self.numbers, 0)
        kept = np.unique(numbers)
        kept = kept[kept > 0]
        return KnownInstances(
            np.where(numbers > 0, np.searchsorted(kept, numbers) + 1, 0).astype(np.int32),
            self.centers[kept - 1],
            self.classes[kept - 1],
        )

    def view(self, size: tuple[int, int], window: Window, *, flip: bool) -> "KnownInstances":
        """Resized to ``size``, cut and perhaps flipped, as images are."""
        scale = np.array(size) / self.numbers.shape
        centers = (self.centers + 0.5) * scale - 0.5 - (window.top, window.left)
        if flip:
            centers[:, 1] = window.width - 1 - centers[:, 1]
        numbers = cut(resize_ids(self.numbers, size), window, fill=0, flip=flip)
        return KnownInstances(numbers, centers, self.classes)

    def targets(self, known: np.ndarray, *, sigma: int, ignore_label: int) -> InstanceLabels:
        """Instance labels whose losses see what is known alone.

        Offsets count at the known pixels of instances; the heatmap at known pixels and at the centres themselves
        (ours).

        Args:
            known: H x W bool, pixels of which it is known to which instance they belong, or that to none.
            sigma: of the centre heatmap, pixels.
        """
        ids, classes = torch.from_numpy(self.numbers.astype(np.int64)), torch.from_numpy(self.classes)
        targets = instance_targets(ids, len(classes), sigma=sigma, centroids=torch.from_numpy(self.centers))
        center_weights = torch.from_numpy(known).float()
        y, x = torch.from_numpy(self.centers).round().long().unbind(1)
        inside = (y >= 0) & (y < ids.shape[0]) & (x >= 0) & (x < ids.shape[1])
        center_weights[y[inside], x[inside]] = 1
        return {
            "center": targets["center"],
            "center_weights": center_weights[None],
            "center_classes": torch.cat([classes.new_tensor([ignore_label]), classes])[targets["center_instances"]],
            "offset": targets["offset"],
            "offset_weights": (ids > 0).float()[None],
            "instance_ids": ids,
            "instance_classes": classes,
        }

    def to_bytes(self) -> bytes:
        """A compressed .npz; equal instances give equal bytes."""
        data = io.BytesIO()
        np.savez_compressed(data, numbers=self.numbers, centers=self.centers, classes=self.classes)
        return data.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> "KnownInstances":
        """
        Raises:
            ValueError: the data are not those of :meth:`to_bytes`.
        """
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
                instances = cls(arrays["numbers"], arrays["centers"], arrays["classes"])
        except ARRAY_DAMAGE as error:
            raise ValueError(f"damaged instances ({' '.join(str(error).split())})") from None
        instances._check()
        return instances

    def _check(self) -> None:
        """ValueError unless the arrays are what the class says."""
        count = len(self.classes) if self.classes.ndim == 1 else -1
        fits = (
            self.numbers.dtype == np.int32 and self.numbers.ndim == 2
            and self.centers.dtype == np.float64 and self.centers.shape == (count, 2) and np.isfinite(self.centers).all()
            and self.classes.dtype == np.int64 and self.classes.min(initial=0) >= 0
            and self.numbers.min(initial=0) >= 0 and self.numbers.max(initial=0) <= count
        )  # fmt: skip
        if not fits:
            raise ValueError("arrays of other types or shapes")
