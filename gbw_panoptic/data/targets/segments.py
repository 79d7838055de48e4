"""What a mask model is trained on: the segments of a crop, as one map of their numbers.

Shape legend: H x W pixels of the crop, R rows of the label's table, N segments.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ...taxonomy import IGNORE_LABEL
from .dense import counts_of_rows, look_up

_FIRST_INSTANCE = 1 << 16  # order of segments: stuff by class, then instances as they are listed


@dataclass(frozen=True)
class SegmentLabels:
    """One segment for each thing instance and each class of stuff, and of labels without instances for each class.

    Pixels of crowds, and of a thing class that no instance has, belong to no segment.

    Attributes:
        thing_ids: classes with instances; empty for the semantic task.
        ignore_crowd: whether crowds have no label in ``sem_seg``, either.
    """

    thing_ids: tuple[int, ...]
    ignore_label: int = IGNORE_LABEL
    ignore_crowd: bool = False

    def __call__(
        self, rows: np.ndarray, categories: np.ndarray, segments: Sequence[Mapping] | None
    ) -> dict[str, Tensor]:
        """``segment_ids`` [H, W] int32, 0 = none, else 1..N; ``segment_classes`` [N] int64; ``sem_seg`` [H, W] int64.

        Arguments are those of :class:`TargetMaker`.
        """
        keys = self._keys(categories, segments)
        present = np.flatnonzero(counts_of_rows(rows, len(keys)))
        present = present[keys[present] >= 0]
        order, first = np.unique(keys[present], return_index=True)
        numbers = np.where(keys >= 0, np.searchsorted(order, keys) + 1, 0).astype(np.int32)
        return {
            "sem_seg": torch.from_numpy(look_up(categories.astype(np.int64), rows)),
            "segment_ids": torch.from_numpy(look_up(numbers, rows)),
            "segment_classes": torch.from_numpy(categories[present[first]].astype(np.int64)),
        }

    def _keys(self, categories: np.ndarray, segments: Sequence[Mapping] | None) -> np.ndarray:
        """[R] the place of each row's segment in the order; -1 = none."""
        keys = np.where(categories == self.ignore_label, -1, categories.astype(np.int64))
        if segments is None or not self.thing_ids:
            return keys
        keys[np.isin(categories, self.thing_ids)] = -1
        for number, segment in enumerate(segments):
            row = segment["id"]
            if segment["category_id"] in self.thing_ids and not segment["iscrowd"] and keys[row] < 0:
                keys[row] = _FIRST_INSTANCE + number
        return keys
