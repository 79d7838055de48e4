"""Segment mix, a panoptic class mix: half of a source image's segments, pasted on a target image and into its segments
(SegMix of MC-PanDA, arXiv 2407.14110).

Shape legend: H x W pixels, S bound on the number of the target's segments, N segments of the source, P of them pasted.
"""

from typing import Collection

import numpy as np
import torch
from torch import Tensor

from ...structures.segments import SegmentMap


def choose_segments(number: int, generator: np.random.Generator) -> Tensor:
    """[ceil(N / 2)] int64: indices of the segments that are pasted, ascending, drawn without replacement."""
    return torch.as_tensor(np.sort(generator.permutation(number)[: (number + 1) // 2]), dtype=torch.int64)


def select_segments(ids: Tensor, classes: Tensor, indices: Tensor) -> tuple[Tensor, Tensor]:
    """Place [H, W] int64 of each pixel's segment among ``indices`` [P] (0 = none of them, else 1..P); classes [P].

    Args:
        ids: [H, W] integers, 0 = none, else 1..N; on the host, as all is here.
        classes: [N] int64.
    """
    places = torch.zeros(len(classes) + 1, dtype=torch.int64)
    places[indices + 1] = torch.arange(1, len(indices) + 1)
    return places[ids.long()], classes[indices]


def paste_segments(pasted: Tensor, classes: Tensor, target: SegmentMap, *, thing_ids: Collection[int]) -> SegmentMap:
    """The target's segments with others on top. What is covered shrinks; ids without pixels remain, and are dropped
    with the small ones. Pasted stuff joins the target's stuff of its class (the default of a published option). Pasted
    pixels are certain (confidence 1) and valid.

    Args:
        pasted: [H, W] int64, 0 = none, else 1..P.
        classes: [P] int64, classes of the pasted segments; each of stuff at most once.
        target: on the same device.
    """
    mask = pasted > 0
    things = torch.as_tensor(sorted(thing_ids), dtype=torch.int64).to(mask.device, non_blocking=True)
    own = torch.arange(len(classes), device=mask.device) + len(target.classes) + 1
    same = (classes[:, None] == target.classes) & ~torch.isin(classes, things)[:, None]
    numbers = torch.arange(1, len(target.classes) + 1, device=mask.device)
    joined = (same * numbers).sum(dim=1)  # one at most: stuff of one class is one segment
    ids = torch.cat((own.new_zeros(1), torch.where(joined > 0, joined, own)))
    return SegmentMap(
        ids=torch.where(mask, ids[pasted], target.ids),
        classes=torch.cat((target.classes, classes)),
        own_confidence=torch.where(mask, 1.0, target.own_confidence),
        confidence=torch.where(mask, 1.0, target.confidence),
        valid=target.valid | mask,
    )
