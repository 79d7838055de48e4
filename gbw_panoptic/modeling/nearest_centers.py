"""The centre nearest to each of many locations, at a cost that hardly grows with the centres.

The image is cut into square cells. Few centres may be nearest to a location of a cell, and only these are compared. The
result, ties and rounding included, is that of Detectron2, which compares every location with every centre.

Shapes: P locations, K centres, L candidates of a cell. Coordinates are (y, x) in pixels.
"""

import torch
from torch import Tensor

#: Location-centre distances that exist at a time: small enough for a CPU's cache, large enough to fill a GPU.
_DISTANCES_PER_CHUNK = {"cpu": 1 << 18, "other": 1 << 24}
#: Squared distances closer than this, relatively, may swap order by rounding when roots are taken (16 float32 ulp).
_TIE_TOLERANCE = 2e-6
_CELL = 16  # pixels
_MARGIN = 64  # pixels around the image that have cells, too: offsets at its border point there
_SLACK = 1.0  # pixels; far above the rounding of distances
#: Cells are told apart by their number of candidates: up to each of these numbers, and more than the last one.
_CANDIDATES = (1, 2, 4, 8, 16, 32)


def nearest_centers(centers: Tensor, locations: Tensor, size: tuple[int, int]) -> Tensor:
    """Index [P] int64 of the nearest centre; the first one among equals.

    Args:
        centers: K x 2 int64, K > 0.
        locations: P x 2 float32 or float64, of any value.
        size: (H, W) of the image, near which most locations lie.
    """
    nearest, unsure = _by_cells(centers, locations, size)
    for part in unsure.nonzero()[:, 0].split(max(1, _distances_per_chunk(locations) // len(centers))):
        distances = torch.norm(centers[:, None] - locations[part][None], dim=-1)
        nearest[part] = distances.argmin(dim=0)
    return nearest


def _distances_per_chunk(x: Tensor) -> int:
    return _DISTANCES_PER_CHUNK["cpu" if x.device.type == "cpu" else "other"]


def _by_cells(centers: Tensor, locations: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Index [P] of the centre nearest to each of P locations [P, 2], and whether that is unsure.

    A location is compared with its cell's few candidates; with all centres only where these are many, or beyond the
    grid.
    """
    candidates, counts = _candidates(centers, size, locations.dtype)
    _, width = _grid(size)
    row, column = ((locations + _MARGIN) / _CELL).floor().unbind(1)
    inside = (row >= 0) & (row < len(counts) // width) & (column >= 0) & (column < width)  # False for NaN
    cell = torch.where(inside, row * width + column, 0).long()
    count = torch.where(inside, counts[cell], len(centers) + _CANDIDATES[-1] + 1)
    nearest, unsure = candidates[cell, 0], torch.zeros_like(inside)
    chunk = _distances_per_chunk(locations)
    # of a fixed number of sizes: the host waits for each
    for fewer, most in zip(_CANDIDATES, (*_CANDIDATES[1:], None)):
        rows = ((count > fewer) & (count <= most) if most else count > fewer).nonzero()[:, 0]
        for part in rows.split(max(1, chunk // (most or len(centers)))):
            of_part = candidates[cell[part], :most] if most else None
            nearest[part], unsure[part] = _nearest(centers, locations[part], of_part)
    return nearest, unsure


def _grid(size: tuple[int, int]) -> tuple[int, int]:
    """Rows and columns of cells over the image and a margin around it, where offsets at its border point to."""
    height, width = (-(-(length + 2 * _MARGIN) // _CELL) for length in size)
    return height, width


def _candidates(centers: Tensor, size: tuple[int, int], dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Centres that may be nearest to a location of each cell, nearest to the cell's middle first, and their number.

    From the middle, such a centre is at most a cell's diagonal farther than the nearest one: half of it is what a
    location lies nearer to one, the other half farther from the other.

    Returns:
        int64 [cells, at most the last of ``_CANDIDATES``] and int64 [cells].
    """
    rows, columns = ((torch.arange(n, device=centers.device, dtype=dtype) + 0.5) * _CELL - _MARGIN for n in _grid(size))
    middles = torch.cartesian_prod(rows, columns)
    parts = []
    for part in middles.split(max(1, _distances_per_chunk(centers) // len(centers))):
        distances = torch.cdist(part, centers.to(dtype), compute_mode="donot_use_mm_for_euclid_dist")
        found = distances.topk(min(_CANDIDATES[-1], len(centers)), largest=False)
        reach = found.values[:, :1] + _CELL * 2**0.5 + _SLACK
        parts.append((found.indices, (distances <= reach).sum(dim=1)))
    indices, counts = zip(*parts)
    return torch.cat(indices), torch.cat(counts)


def _nearest(centers: Tensor, locations: Tensor, candidates: Tensor | None) -> tuple[Tensor, Tensor]:
    """Index [P] of the centre nearest to each of P locations [P, 2], and whether that is unsure.

    Squares need no roots, but the rounding of roots decides near ties in Detectron2 (about one pixel in a million), so
    these are left to the very norm that it takes, like locations that are not finite.

    Args:
        candidates: int64 [P, L], the only centres that may be; None: any may.
    """
    y, x = centers.to(locations.dtype).unbind(1)
    if candidates is not None:
        y, x = y[candidates], x[candidates]
    squares = (locations[:, :1] - y).square_().add_((locations[:, 1:] - x).square_())
    minimum, nearest = squares.min(dim=1)
    unsure = (squares <= (minimum * (1 + _TIE_TOLERANCE))[:, None]).sum(dim=1) != 1
    return nearest if candidates is None else candidates.gather(1, nearest[:, None])[:, 0], unsure
