"""What a human is asked about at once: a pixel, a square around it, a superpixel, or a whole image.

Pixels and squares are :class:`~.budget.RegionShape`. The others are a partition of the image, of which a pick buys one
part; a part is named by its first pixel, in the order of rows, so that picks look alike whatever the unit.

Shape legend: H x W pixels, N parts, K picks as (row, column).
"""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TypeAlias

import cv2
import numpy as np
import torch
from scipy import ndimage, sparse
from torch import Tensor

from ..errors import UserError
from ..structures.known_instances import KnownInstances
from .budget import RegionShape

#: pixel and region: RIPU's; superpixel: all its pixels are labelled; click: one class (and instance) for a superpixel,
#: that of most of it (Cai et al., CVPR 2021); image: all pixels.
UNITS = ("pixel", "region", "superpixel", "click", "image")
#: Weight of place beside colour, as SLIC has it; rounds of its clustering (ours: few, the grid is a good start).
_COMPACTNESS, _ITERATIONS = 10.0, 4
_HALVED = 16  # pixels: superpixels of such a side are found at half the size (ours)
_SCRAP = 0.1  # of a cell's area
_MAX_PARTS = 1 << 16


@dataclass(frozen=True)
class PartUnit:
    """Parts of a partition: ``superpixel``, ``click`` or ``image``; superpixels are about ``side`` pixels wide."""

    name: str
    side: int = 0

    @property
    def dominant(self) -> bool:
        """Whether a label is one for all of a part."""
        return self.name == "click"

    @property
    def header(self) -> dict[str, str | int]:
        """For the manifest of a store."""
        return {"unit": self.name, **({"side": self.side} if self.name != "image" else {})}

    def partition(self, ids: np.ndarray) -> "Partition":
        return Partition(torch.from_numpy(ids.astype(np.int64)), dominant=self.dominant)

    def ids(self, image: np.ndarray) -> np.ndarray:
        """uint16 [H, W] part of each pixel of an image, uint8 [H, W, 3]."""
        return np.zeros(image.shape[:2], np.uint16) if self.name == "image" else superpixels(image, self.side)


def superpixels(image: np.ndarray, side: int) -> np.ndarray:
    """uint16 [H, W], 0..N-1: connected parts of like colour, about ``side`` wide (SLIC, Achanta et al., TPAMI 2012).

    Every pixel goes to one of the nine clusters around its cell of a grid. Scraps go to what is next to them.

    Args:
        image: uint8 [H, W, 3] RGB.
        side: of a cell of the grid, pixels; those of 16 pixels or more are found at half the size.

    Raises:
        UserError: there would be more parts than 16 bits count.
    """
    height, width = image.shape[:2]
    if -(-height // side) * -(-width // side) * 2 >= _MAX_PARTS:
        raise UserError(
            f"ACTIVE.SUPERPIXEL: expected a side that leaves fewer than {_MAX_PARTS // 2} superpixels in an image, "
            f"found {side} for {height}x{width} pixels; raise it"
        )
    factor = 2 if side >= _HALVED else 1
    small = cv2.resize(image, (-(-width // factor), -(-height // factor)), interpolation=cv2.INTER_AREA)
    parts = _connected(_without_scraps(_clusters(small, side / factor), (side / factor) ** 2 * _SCRAP))
    return parts.repeat(factor, axis=0).repeat(factor, axis=1)[:height, :width].astype(np.uint16)


def _clusters(image: np.ndarray, side: float) -> np.ndarray:
    """int64 [H, W]: the cluster of colour and place that a pixel belongs to."""
    height, width = image.shape[:2]
    rows, columns = (max(round(length / side), 1) for length in (height, width))
    y, x = np.mgrid[:height, :width].astype(np.float32)
    lab = cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    features = np.dstack([lab, y * (_COMPACTNESS / side), x * (_COMPACTNESS / side)]).astype(np.float32)
    cell_y, cell_x = (y * rows / height).astype(np.int64), (x * columns / width).astype(np.int64)
    labels = cell_y * columns + cell_x
    for _ in range(_ITERATIONS):
        counts = np.maximum(np.bincount(labels.ravel(), minlength=rows * columns), 1)
        sums = [np.bincount(labels.ravel(), values.ravel(), rows * columns) for values in np.moveaxis(features, -1, 0)]
        centers = (np.stack(sums, axis=-1) / counts[:, None]).astype(np.float32)
        nearest = np.full(labels.shape, np.inf, np.float32)
        for offset in range(9):
            other = np.clip(cell_y + offset // 3 - 1, 0, rows - 1) * columns + np.clip(
                cell_x + offset % 3 - 1, 0, columns - 1
            )
            distance = np.square(features - centers[other]).sum(axis=-1)
            labels = np.where(distance < nearest, other, labels)
            nearest = np.minimum(nearest, distance)
    return labels


def _connected(labels: np.ndarray) -> np.ndarray:
    """int64 [H, W], 0..N-1: pixels of one label that touch at their sides, numbered by their first pixels."""
    index = np.arange(labels.size).reshape(labels.shape)
    beside, below = labels[:, :-1] == labels[:, 1:], labels[:-1] == labels[1:]
    one = np.concatenate([index[:, :-1][beside], index[:-1][below]])
    other = np.concatenate([index[:, 1:][beside], index[1:][below]])
    graph = sparse.coo_matrix((np.ones(len(one), bool), (one, other)), shape=(labels.size, labels.size))
    _, found = sparse.csgraph.connected_components(graph, directed=False)
    _, first, parts = np.unique(found, return_index=True, return_inverse=True)
    return first.argsort().argsort()[parts].reshape(labels.shape)


def _without_scraps(labels: np.ndarray, least: float) -> np.ndarray:
    """Connected parts of ``least`` pixels or more; the pixels of others have the label of the nearest one."""
    parts = _connected(labels)
    large = np.bincount(parts.ravel()) >= least
    if not large.any():
        return parts
    rows, columns = ndimage.distance_transform_edt(~large[parts], return_distances=False, return_indices=True)
    return parts[rows, columns]


@dataclass(frozen=True)
class Partition:
    """Parts of one image, ``ids`` int64 [H, W] in 0..N-1; ``dominant``: a label is one for all of a part."""

    ids: Tensor
    dominant: bool = False
    bar_radius = 0

    @cached_property
    def firsts(self) -> Tensor:
        """int64 [N]: flat index of each part's first pixel."""
        flat = self.ids.flatten()
        order = torch.arange(flat.numel())
        return torch.full((int(flat.max()) + 1,), flat.numel()).scatter_reduce(0, flat, order, "amin")

    def scored(self, score: Tensor, *, average: bool = True) -> Tensor:
        """[H, W]: at the first pixel of each part the mean of ``score`` over it (or the score there), else -inf."""
        values = self._sums(score.double()) / self._sums(torch.ones_like(score)) if average else None
        picked = score.flatten()[self.firsts] if values is None else values.to(score.dtype)
        return torch.full_like(score, -torch.inf).flatten().index_copy(0, self.firsts, picked).view_as(score)

    def costs(self, paid: Tensor) -> Tensor:
        """int32 [H, W]: pixels of a pixel's own part where ``paid`` [H, W] is True."""
        return self.spread(self._sums(paid.double())).int()

    def barred(self, bought: Tensor) -> Tensor:
        """bool [H, W]: parts of which a pixel was bought."""
        return self.spread(self._sums(bought.double()) > 0)

    def bought(self, picks: Tensor, size: tuple[int, int]) -> Tensor:
        """bool [H, W]: the parts of ``picks`` [K, 2]."""
        return torch.isin(self.ids, self.ids[picks[:, 0], picks[:, 1]])

    def spread(self, values: Tensor) -> Tensor:
        """[H, W]: to each pixel the value of its part, of ``values`` [N]."""
        return values[self.ids]

    def _sums(self, values: Tensor) -> Tensor:
        """[N]."""
        return torch.bincount(self.ids.flatten(), values.flatten(), minlength=len(self.firsts))


Shape: TypeAlias = RegionShape | Partition


def asked_parts(shape: Shape, picks: Tensor, size: tuple[int, int]) -> np.ndarray:
    """int32 [H, W]: number of the pick, from 1, that a pixel belongs to; 0 where nothing is asked.

    Args:
        picks: [K, 2].
    """
    if isinstance(shape, Partition):
        numbers = torch.zeros(len(shape.firsts), dtype=torch.int64)
        numbers[shape.ids[picks[:, 0], picks[:, 1]]] = torch.arange(1, len(picks) + 1)
        return shape.spread(numbers).numpy().astype(np.int32)
    parts = np.zeros(size, np.int32)
    for number, (row, column) in enumerate(picks.tolist(), start=1):
        top, left = max(row - shape.radius, 0), max(column - shape.radius, 0)
        parts[top : row + shape.radius + 1, left : column + shape.radius + 1] = number
    return parts


def dominant(
    parts: np.ndarray, labels: np.ndarray, instances: KnownInstances | None, known: np.ndarray | None = None
) -> tuple[np.ndarray, KnownInstances | None]:
    """Labels and instances with one segment for each part: the one that has most of it, of equal ones the first.

    Args:
        parts: integers [H, W].
        labels: integers [H, W].
        known: bool [H, W], pixels that count; None: all. A part without one stays as it is.
    """
    numbers = np.zeros(labels.shape, np.int64) if instances is None else instances.numbers
    segments, index = np.unique(np.stack([labels, numbers], axis=-1).reshape(-1, 2), axis=0, return_inverse=True)
    rows, counted = (
        parts.ravel().astype(np.int64),
        np.ones(parts.size) if known is None else known.ravel().astype(float),
    )
    pairs, weights = np.unique(rows * len(segments) + index.ravel(), return_inverse=True)
    votes = np.bincount(weights.ravel(), counted)
    part, segment = np.divmod(pairs, len(segments))
    order = np.lexsort((segment, -votes, part))
    first = order[np.unique(part[order], return_index=True)[1]]
    winner, seen = np.zeros(int(rows.max()) + 1, np.int64), np.zeros(int(rows.max()) + 1, bool)
    winner[part[first]], seen[part[first]] = segment[first], votes[first] > 0
    filled = np.where(seen[rows], winner[rows], index.ravel())
    labels = segments[filled, 0].reshape(labels.shape).astype(labels.dtype)
    if instances is None:
        return labels, None
    return labels, replace(instances, numbers=segments[filled, 1].reshape(labels.shape).astype(np.int32))
