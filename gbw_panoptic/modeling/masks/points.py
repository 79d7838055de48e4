"""Points at which masks are compared (PointRend, arXiv 1912.08193); those where nothing is known count nothing.

Coordinates are (x, y) in 0..1 of the padded input. All draws are from torch's global generator, which the trainer seeds
in every step.

Shape legend: B images, M masks, P points, H x W pixels of the padded input, h x w cells of predicted masks.
"""

from typing import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ...structures.segments import SegmentTargets


class TargetMaps:
    """The segments of a batch as maps of one size, which cost the same however many segments there are.

    Attributes:
        ids: [B, H, W], segment 0..N-1 of its image; -1 = none. int16, which halves what the gathers read.
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


def random_points(num_masks: int, num_points: int, device: torch.device) -> Tensor:
    """[M, P, 2] uniform in 0..1."""
    return torch.rand(num_masks, num_points, 2, device=device)


def at_points(maps: Tensor, points: Tensor) -> Tensor:
    """Bilinear values [M, P] of [M, h, w] maps at points [M, P, 2]; 0 beyond the border, as released."""
    return F.grid_sample(maps[:, None], 2 * points[:, None] - 1, align_corners=False)[:, 0, 0]


def nearest_at_points(maps: Tensor, images: Tensor, points: Tensor) -> Tensor:
    """[M, P] values of the pixels of ``maps`` [B, H, W] that the points [M, P, 2] of the ``images`` [M] lie in."""
    height, width = maps.shape[-2:]
    column = (points[..., 0] * width).int().clamp_(max=width - 1)
    row = (points[..., 1] * height).int().clamp_(max=height - 1)
    return _gathered(maps, images, row, column)


def _gathered(maps: Tensor, images: Tensor, row: Tensor, column: Tensor) -> Tensor:
    """``maps[images[:, None], row, column]``: by one flat int32 index, which costs a third of three int64 ones."""
    height, width = maps.shape[-2:]
    index = row * width + column + (images * (height * width)).int()[:, None]
    return maps.flatten().index_select(0, index.flatten()).view(index.shape)


def masks_at_points(ids: Tensor, images: Tensor, segments: Tensor, points: Tensor) -> Tensor:
    """Bilinear values [M, P] in 0..1 of the masks of ``segments`` [M] in the ``images`` [M], from their maps of ids.

    Equal to sampling the masks themselves, without making them: each of the four pixels around a point belongs to the
    segment or not.

    Args:
        ids: [B, H, W] integer, -1 = none; points: [M, P, 2] in 0..1.
    """
    height, width = ids.shape[-2:]
    framed = F.pad(ids, (1, 1, 1, 1), value=-1)  # so that the four pixels of every point are there
    segments = segments.to(ids.dtype)[:, None]
    x, y = points[..., 0] * width - 0.5, points[..., 1] * height - 0.5
    left, top = x.floor(), y.floor()
    column, row = left.int() + 1, top.int() + 1
    right_share, lower_share = x - left, y - top
    values = torch.zeros_like(x)
    for step_x, share_x in ((0, 1 - right_share), (1, right_share)):
        for step_y, share_y in ((0, 1 - lower_share), (1, lower_share)):
            values += share_x * share_y * (_gathered(framed, images, row + step_y, column + step_x) == segments)
    return values


@torch.no_grad()
def uncertain_points(
    mask_logits: Tensor, trusted: Tensor, images: Tensor, *, num_points: int, oversample: float, importance: float
) -> tuple[Tensor, Tensor]:
    """Points for the loss of each mask: most where its prediction is least certain, the rest uniform.

    Args:
        mask_logits: [M, h, w].
        trusted: [B, H, W] bool; points elsewhere are chosen last, and count nothing (MC-PanDA fills up with them).
        images: [M] int64, the image of each mask.
        num_points: P.
        oversample: P times this many uniform points are candidates.
        importance: share of P taken from them by least \\|logit\\|.

    Returns:
        points [M, P, 2], and [M, P] float32: 1 where a point counts, else 0.
    """
    num_masks, device = len(mask_logits), mask_logits.device
    num_certain = int(importance * num_points)
    candidates = random_points(num_masks, int(oversample * num_points), device)
    certainty = at_points(mask_logits, candidates).abs()
    certainty = torch.where(nearest_at_points(trusted, images, candidates), certainty, float("inf"))
    chosen = certainty.topk(num_certain, dim=1, largest=False, sorted=False).indices
    points = torch.cat(
        (
            candidates.gather(1, chosen[..., None].expand(-1, -1, 2)),
            random_points(num_masks, num_points - num_certain, device),
        ),
        dim=1,
    )
    return points, nearest_at_points(trusted, images, points).float()
