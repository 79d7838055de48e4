"""Which query is to predict which segment: the least total cost (Mask2Former, arXiv 2112.01527, section 3; DETR).

Shape legend: B images, L prediction sets, C classes, Q queries, N segments of an image, P points, h x w cells of masks.
"""

from dataclasses import dataclass
from typing import Sequence

import torch
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from ...losses import Unions
from .points import TargetMaps, at_points, masks_at_points, nearest_at_points, random_points

#: Cost of a pair whose cost is not finite: above every finite one, so that it is taken last.
_NO_PAIR = 1e6


@dataclass(frozen=True)
class QueryMatches:
    """Pairs of one prediction set, of all images; M = sum over the images of min(Q, N).

    Attributes:
        images, queries, segments: [M] int64.
    """

    images: Tensor
    queries: Tensor
    segments: Tensor


@dataclass(frozen=True)
class CostWeights:
    """Factors of the costs, equal to those of the losses."""

    classification: float
    mask: float
    dice: float


@torch.no_grad()
def match(
    class_logits: Sequence[Tensor],
    mask_logits: Sequence[Tensor],
    classes: Sequence[Tensor],
    maps: TargetMaps,
    *,
    num_points: int,
    weights: CostWeights,
    unions: Unions = (),
) -> list[QueryMatches]:
    """Matches of every prediction set. One copy of all costs to the host; each image's points serve all sets (ours).

    Args:
        class_logits: L tensors [B, Q, C + 1]; mask_logits: L tensors [B, Q, h, w].
        classes: B tensors [N], of classes and unions.
        num_points: P.
    """
    costs = []
    for image, of_image in enumerate(classes):
        if len(of_image) == 0:
            continue
        points = random_points(num_points, of_image.device)
        targets = masks_at_points(maps.ids[image], len(of_image), points)
        counts = nearest_at_points(maps.counts[image], points).float()
        for set_classes, set_masks in zip(class_logits, mask_logits):
            logits = at_points(set_masks[image].float(), points)
            costs.append(pair_costs(set_classes[image].float(), logits, of_image, targets, counts, weights, unions))
    pairs = _assign(costs)
    device = mask_logits[0].device
    result, num_sets = [], len(class_logits)
    images = [image for image, of_image in enumerate(classes) if len(of_image)]
    for index in range(num_sets):
        of_set = pairs[index::num_sets]
        rows = [(image, q, s) for image, matched in zip(images, of_set) for q, s in zip(*matched)]
        table = torch.tensor(rows, dtype=torch.int64).reshape(-1, 3).to(device, non_blocking=True)
        result.append(QueryMatches(*table.unbind(1)))
    return result


def pair_costs(
    class_logits: Tensor,
    mask_logits: Tensor,
    classes: Tensor,
    targets: Tensor,
    counts: Tensor,
    weights: CostWeights,
    unions: Unions = (),
) -> Tensor:
    """[Q, N] costs of one image in float32: -probability of the class, mean cross entropy and dice over the points.

    Args:
        class_logits: [Q, C + 1]; mask_logits: [Q, P] at the points.
        classes: [N], C + u for union u, whose probability is the sum of its classes'; targets: [N, P] masks at the
            points.
        counts: [P], 1 where a point counts, else 0.
    """
    with torch.autocast(mask_logits.device.type, enabled=False):
        inside = targets * counts
        # softplus(-x) inside and softplus(x) outside; the former is softplus(x) - x
        cross_entropy = (F.softplus(mask_logits) @ counts)[:, None] - mask_logits @ inside.T
        probability = mask_logits.sigmoid()
        overlap = 2 * probability @ inside.T + 1
        dice = 1 - overlap / ((probability @ counts)[:, None] + inside.sum(dim=1) + 1)
        cost = weights.classification * -_label_probabilities(class_logits, unions)[:, classes]
        cost = cost + weights.mask * cross_entropy / counts.sum().clamp(min=1) + weights.dice * dice
    return torch.where(cost.isfinite(), cost, _NO_PAIR)


def _label_probabilities(class_logits: Tensor, unions: Unions) -> Tensor:
    """[Q, C + 1] softmax; with unions [Q, C + U], without no-object."""
    probabilities = class_logits.softmax(dim=-1)
    if not unions:
        return probabilities
    device = probabilities.device  # an index that is a list, too, would be a copy that the host waits for
    indices = [torch.tensor(members).to(device, non_blocking=True) for members in unions]
    sums = [probabilities.index_select(1, index).sum(dim=1, keepdim=True) for index in indices]
    return torch.cat((probabilities[:, :-1], *sums), dim=1)


def _assign(costs: Sequence[Tensor]) -> list[tuple[list[int], list[int]]]:
    """Rows and columns of the least total cost of each matrix; one copy to the host."""
    if not costs:
        return []
    flat = torch.cat([cost.flatten() for cost in costs]).cpu()
    parts = flat.split([cost.numel() for cost in costs])
    matrices = (part.view(cost.shape).numpy() for part, cost in zip(parts, costs))
    return [tuple(side.tolist() for side in linear_sum_assignment(matrix)) for matrix in matrices]
