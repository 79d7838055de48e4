"""Labels that say less than a class: a pixel of a union is of one of its classes, and nobody says of which.

Its loss is that of the sum of its classes' probabilities, -log sum over U of p_c. Its gradient at the logits is p - q,
q the probabilities within U: what a label of each class of U would give, weighted by how likely the network finds it.

Where losses are summed by class, a pixel of a union counts for the class of U that the network finds most probable
(ours).

Shape legend: B images, C classes, H x W pixels. Labels 0..C-1 are classes, C + u is union u.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

#: Of each union the contiguous ids of its classes.
Unions = Sequence[tuple[int, ...]]


def most_probable(labels: Tensor, scores: Tensor, unions: Unions) -> Tensor:
    """``labels`` with every union replaced by its class of the highest score.

    Args:
        labels: [B, H, W] int64; other values stay.
        scores: [B, C, H, W], such as logits.
    """
    for inside, members in _occurring(labels, scores.shape[1], unions):
        best = members[scores.detach()[:, members].argmax(dim=1)]
        labels = torch.where(inside, best, labels)
    return labels


def union_losses(losses: Tensor, log_probabilities: Tensor, labels: Tensor, unions: Unions) -> Tensor:
    """``losses`` [B, H, W], at pixels of unions -log sum p_c of their classes.

    Args:
        log_probabilities: [B, C, H, W].
        labels: [B, H, W] int64, with unions.
    """
    for inside, members in _occurring(labels, log_probabilities.shape[1], unions):
        losses = torch.where(inside, -log_probabilities[:, members].logsumexp(dim=1), losses)
    return losses


def subtract_labels(probabilities: Tensor, labels: Tensor, unions: Unions) -> Tensor:
    """p - q at pixels of unions, in place; others stay.

    Args:
        probabilities: [B, C, H, W], p.
        labels: [B, H, W] int64, with unions.
    """
    for inside, members in _occurring(labels, probabilities.shape[1], unions):
        within = probabilities[:, members]
        share = within / within.sum(dim=1, keepdim=True).clamp(min=torch.finfo(within.dtype).tiny)
        probabilities[:, members] = torch.where(inside.unsqueeze(1), within - share, within)
    return probabilities


def _occurring(labels: Tensor, num_classes: int, unions: Unions) -> Iterator[tuple[Tensor, Tensor]]:
    """Where the labels are each union, and its classes; the host does not wait for the copy."""
    for number, members in enumerate(unions):
        yield labels == num_classes + number, torch.tensor(members).to(labels.device, non_blocking=True)
