"""Losses of a domain discriminator, and what it looks at.

Shape legend: B images, C classes, H x W pixels, h x w outputs of the discriminator.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

#: ADVERSARIAL.GAN: binary cross entropy (Goodfellow et al. 2014) or squared error (least squares, Mao et al. 2017).
GANS = ("vanilla", "least_squares")
#: ADVERSARIAL.ALIGN: softmax maps (AdaptSegNet, arXiv 1802.10349) or self-information maps (ADVENT, arXiv 1811.12833).
ALIGNED_MAPS = ("softmax", "entropy")
#: Labels of the domains, as in both papers' code.
SOURCE, TARGET = 0.0, 1.0


def domain_loss(outputs: Tensor, domain: float, *, gan: str) -> Tensor:
    """Mean loss of calling every position of ``outputs`` ``domain``.

    Args:
        outputs: [B, 1, h, w] float, raw outputs of a discriminator.
        domain: :data:`SOURCE` or :data:`TARGET`; the generator asks for :data:`SOURCE` on target images.
        gan: one of :data:`GANS`.

    Returns:
        float32 scalar.
    """
    outputs = outputs.float()
    wanted = torch.full_like(outputs, domain)
    if gan == "least_squares":
        return F.mse_loss(outputs, wanted)
    return F.binary_cross_entropy_with_logits(outputs, wanted)


def domain_accuracy(outputs: Tensor, domain: float, *, gan: str) -> Tensor:
    """Share of positions on the right side of the decision, a scalar in 0..1."""
    middle = (SOURCE + TARGET) / 2 if gan == "least_squares" else 0.0  # probability 1/2
    return ((outputs > middle) == (domain == TARGET)).float().mean()


def aligned_map(logits: Tensor, kind: str) -> Tensor:
    """What the discriminator sees of the semantic prediction, differentiably.

    ``softmax`` is p; ``entropy`` the weighted self-information -p log2 p / log2 C (ADVENT, eq. 5).

    Args:
        logits: [B, C, H, W] float.
        kind: one of :data:`ALIGNED_MAPS`.

    Returns:
        [B, C, H, W] float32 in 0..1.
    """
    log_p = F.log_softmax(logits.float(), dim=1)
    if kind == "softmax":
        return log_p.exp()
    return log_p.exp() * log_p * (-1 / math.log(logits.shape[1]))
