"""Instances of which some pixels are known, and the centre of each: what a human who labels pixels tells of things.

Shapes: H x W pixels, K instances. Coordinates are (y, x) in pixels, with the centre of the top left pixel at (0, 0).
"""

import io
import struct
import tokenize
import zipfile
import zlib
from dataclasses import dataclass

import numpy as np

#: What NumPy raises where a file is no archive of arrays, or a damaged one; nothing of it is executed.
ARRAY_DAMAGE = (
    AttributeError, EOFError, KeyError, MemoryError, NotImplementedError, OSError, OverflowError, RuntimeError,
    SyntaxError,
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
            and self.centers.dtype == np.float64 and self.centers.shape == (count, 2)
            and np.isfinite(self.centers).all()
            and self.classes.dtype == np.int64 and self.classes.min(initial=0) >= 0
            and self.numbers.min(initial=0) >= 0 and self.numbers.max(initial=0) <= count
        )  # fmt: skip
        if not fits:
            raise ValueError("arrays of other types or shapes")
