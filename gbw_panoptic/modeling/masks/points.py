"""Points at which masks are compared (PointRend, arXiv 1912.08193); those where nothing is known count nothing.

All masks of an image, of every prediction set, choose among the same points (ours): what the targets are there is
looked up once. Each mask's own points are distributed as if it had drawn for itself, so every expected loss is the
same.

Coordinates are (x, y) in 0..1 of the padded input. All draws are from torch's global generator, which the trainer seeds
in every step.

Shape legend: B images, N segments of an image, M masks, P points, H x W pixels of the padded input, h x w cells of
predicted masks.
"""

from dataclasses import dataclass
from typing import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ...structures.segments import SegmentTargets


class TargetMaps:
    """The segments of a batch as maps of one size, which cost the same however many segments there are.

    Attributes:
        ids: [B, H, W], segment 0..N-1 of its image; -1 = none. int16, which halves what the look-ups read.
        counts: [B, H, W] bool, pixels that count in losses and costs; never in padding.
        trusted: [B, H, W] bool, those of them that count in losses: the teacher is confident enough.
    """

    def __init__(self, targets: Sequence[SegmentTargets], size: tuple[int, int], *, min_confidence: float) -> None:
        """
        Args:
            size: (H, W) of the padded input.
            min_confidence: in 0..1; pixels of less ``SegmentTargets.confidence`` are not trusted.
        """
        dtype = torch.int16 if all(len(x.masks) < 2**15 for x in targets) else torch.int64
        self.ids = torch.stack([_padded(_segment_ids(x.masks).to(dtype), size, -1) for x in targets])
        self.counts = torch.stack([_padded(x.valid, size, False) for x in targets])
        trusted = [_padded(x.valid & (x.confidence >= min_confidence), size, False) for x in targets]
        self.trusted = torch.stack(trusted)


def _segment_ids(masks: Tensor) -> Tensor:
    """[H, W] int64 from disjoint masks [N, H, W]: 0..N-1, -1 = none."""
    if len(masks) == 0:
        return torch.full(masks.shape[1:], -1, dtype=torch.int64, device=masks.device)
    return torch.where(masks.any(dim=0), masks.to(torch.uint8).max(dim=0).indices, -1)


def _padded(x: Tensor, size: tuple[int, int], value: int | bool) -> Tensor:
    return F.pad(x, (0, size[1] - x.shape[1], 0, size[0] - x.shape[0]), value=value)


def random_points(num_points: int, device: torch.device) -> Tensor:
    """[P, 2] uniform in 0..1."""
    return torch.rand(1, num_points, 2, device=device)[0]


def at_points(maps: Tensor, points: Tensor) -> Tensor:
    """Bilinear values [M, P] of [M, h, w] maps at points [P, 2]; 0 beyond the border, as released."""
    return F.grid_sample(maps[None], 2 * points[None, None] - 1, align_corners=False)[0, :, 0]


def nearest_at_points(values: Tensor, points: Tensor) -> Tensor:
    """[P] values of the pixels of [H, W] that the points [P, 2] lie in."""
    height, width = values.shape
    column = (points[:, 0] * width).long().clamp_(max=width - 1)
    row = (points[:, 1] * height).long().clamp_(max=height - 1)
    return values.flatten().index_select(0, row * width + column)


def masks_at_points(ids: Tensor, num_segments: int, points: Tensor) -> Tensor:
    """Bilinear values [N, P] in 0..1 of the masks of all segments of an image, from its map of ids.

    Equal to sampling the masks themselves, without making them: each of the four pixels around a point gives its share
    to its segment.

    Args:
        ids: [H, W] integer, -1 = none; points: [P, 2] in 0..1.
    """
    height, width = ids.shape
    framed = F.pad(ids, (1, 1, 1, 1), value=-1).flatten()  # so that the four pixels of every point are there
    x, y = points[:, 0] * width - 0.5, points[:, 1] * height - 0.5
    left, top = x.floor(), y.floor()
    first = (top.long() + 1) * (width + 2) + left.long() + 1
    right_share, lower_share = x - left, y - top
    values = points.new_zeros(num_segments + 1, len(points))  # the last row is that of no segment
    for step_x, share_x in ((0, 1 - right_share), (1, right_share)):
        for step_y, share_y in ((0, 1 - lower_share), (1, lower_share)):
            found = framed.index_select(0, first + (step_y * (width + 2) + step_x)).long()
            found = torch.where(found < 0, num_segments, found)
            values.scatter_add_(0, found[None], (share_x * share_y)[None])
    return values[:num_segments]


@dataclass(frozen=True)
class Candidates:
    """Points of one image among which its masks choose theirs.

    Attributes:
        points: [P', 2]; targets: [N, P'] in 0..1, the segments there; counts: [P'] bool, whether a point counts.
        num_uniform: the last so many are every mask's.
    """

    points: Tensor
    targets: Tensor
    counts: Tensor
    num_uniform: int

    @torch.no_grad()
    def chosen(self, logits: Tensor, num_points: int) -> Tensor:
        """[M, P] int64 indices: the points of least \\|logit\\|, then the uniform ones.

        Points that do not count are taken last (MC-PanDA fills up with them).

        Args:
            logits: [M, P'].
        """
        total = len(self.points)
        contested = total - self.num_uniform
        certainty = torch.where(self.counts[:contested], logits[:, :contested].abs(), float("inf"))
        uncertain = certainty.topk(num_points - self.num_uniform, dim=1, largest=False, sorted=False).indices
        uniform = torch.arange(contested, total, device=logits.device).expand(len(logits), -1)
        return torch.cat((uncertain, uniform), dim=1)


def draw_candidates(
    maps: TargetMaps, image: int, num_segments: int, *, num_points: int, oversample: float, importance: float
) -> Candidates:
    """Candidates of one image of the batch.

    Args:
        num_points: P of a mask.
        oversample: P times this many uniform points are candidates for the uncertain ones.
        importance: share of P taken from them; the rest is uniform.
    """
    device, num_uniform = maps.ids.device, num_points - int(importance * num_points)
    points = torch.cat((random_points(int(oversample * num_points), device), random_points(num_uniform, device)))
    targets = masks_at_points(maps.ids[image], num_segments, points)
    return Candidates(points, targets, nearest_at_points(maps.trusted[image], points), num_uniform)
