"""Cross entropies that are shaped against class imbalance: focal, logit adjustment, seesaw.

Each is l = phi(-log softmax(z')_y), where z' = z + a detached adjustment and phi acts on one number a pixel. So the
gradient of all of them at the logits z is phi'(-log softmax(z')_y) * (softmax(z') - e_y): the closed form that
gradient-based class weighting needs, for the loss that is really minimised.

LDAM (arXiv 1906.07413) is not here: its margins are defined on the cosine logits of a normalised classifier, at scale
30. On free logits a margin of at most 0.5 is a factor of 1.65 in the odds, which the network outgrows by larger logits.

Shape legend: B images, C classes, H x W pixels of the loss.
"""

import math

import torch
import torch.nn.functional as F
from fvcore.common.registry import Registry
from torch import Tensor, nn

from ..distributed import add_over_ranks
from ..structures.per_class_loss import group_counts

#: The project's own; hard pixel mining is ``top_k`` of :func:`cross_entropy_per_class`.
LOSS_TYPES = ("cross_entropy", "hard_pixel_mining", "focal", "logit_adjustment", "seesaw", "blda")
#: Those of a user: subclasses of :class:`LossShaping`, by the name of the class, each made without arguments.
LOSS_REGISTRY = Registry("LOSS_SHAPING")


def loss_types() -> tuple[str, ...]:
    """Names of MODEL.SEM_SEG_HEAD.LOSS_TYPE, those of a user among them."""
    return (*LOSS_TYPES, *(name for name, _ in LOSS_REGISTRY))


class LossShaping(nn.Module):
    """The protocol. This class is cross entropy itself: no adjustment, phi the identity."""

    def adjustment(self, logits: Tensor, labels: Tensor, pixel_weights: Tensor | None = None) -> Tensor | None:
        """What is added to the logits, [B, C, H, W] or broadcast to it, detached; None for nothing.

        Args:
            logits: [B, C, H, W] float32.
            labels: [B, H, W] int64 in 0..C-1; -1 takes no part.
            pixel_weights: [B, H, W] float >= 0, confidences; 1 when absent.
        """
        return None

    def phi(self, nll: Tensor) -> Tensor:
        """[B, H, W] losses from the negative log-likelihood of the label, [B, H, W] >= 0."""
        return nll

    def slope(self, nll: Tensor) -> Tensor | None:
        """phi' at ``nll``, [B, H, W]; None where it is 1 everywhere."""
        return None


class Focal(LossShaping):
    """l = -(1 - p_y)^gamma log p_y (Lin et al., arXiv 1708.02002); gamma 0 is cross entropy."""

    def __init__(self, *, gamma: float = 2.0) -> None:
        super().__init__()
        if not gamma >= 0:
            raise ValueError(f"Expected FOCAL_GAMMA >= 0, but got {gamma}.")
        self.gamma = gamma

    def phi(self, nll: Tensor) -> Tensor:
        return _miss(nll).pow(self.gamma) * nll

    def slope(self, nll: Tensor) -> Tensor:
        miss = _miss(nll)
        return miss.pow(self.gamma) + self.gamma * miss.pow(self.gamma - 1) * torch.exp(-nll) * nll


class LogitAdjustment(LossShaping):
    """Cross entropy of z + tau log f, f the class frequencies of the source (Menon et al., arXiv 2007.07314).

    The unadjusted z, with which a model predicts, then estimates class-balanced posteriors. A class that does not occur
    in the source gets the largest adjustment (ours): with the log of an epsilon nothing would push its logit down, and
    the model would predict a class that it has never seen.
    """

    def __init__(self, *, pixels: Tensor, tau: float = 1.0) -> None:
        """
        Args:
            pixels: [C] number of source pixels of each class; at least one is above 0.
            tau: >= 0, strength.

        Raises:
            ValueError: no class has a pixel, or ``tau`` is negative.
        """
        super().__init__()
        if not tau >= 0:
            raise ValueError(f"Expected LOGIT_ADJUSTMENT_TAU >= 0, but got {tau}.")
        # not in the checkpoint: it follows from the configuration, and a model may continue from another loss
        values = tau * log_frequencies(pixels)
        self.register_buffer("values", values.float().view(1, -1, 1, 1), persistent=False)

    def adjustment(self, logits: Tensor, labels: Tensor, pixel_weights: Tensor | None = None) -> Tensor:
        return self.values


def log_frequencies(pixels: Tensor) -> Tensor:
    """[C] float64 logs of the shares of the source's pixels [C]; a class without any has the largest one
    (:class:`LogitAdjustment`).

    Raises:
        ValueError: no class has a pixel.
    """
    pixels = pixels.double()
    if not pixels.sum() > 0:
        raise ValueError("Expected a class with source pixels, but got none.")
    return (torch.where(pixels > 0, pixels, pixels.max()) / pixels.sum()).log()


class Seesaw(LossShaping):
    """Cross entropy of z_j + log(M_yj C_yj) (Wang et al., arXiv 2008.10032).

    M_yj = min(1, (N_j / N_y)^p) spares the rare classes j the push of frequent labels y; C_yj = max(1, (p_j / p_y)^q)
    brings it back where j is predicted instead of y. N counts the labelled pixels of all training calls so far, this
    one included, over all ranks and branches (pseudo labels, too, are what the classifier is trained on); it is in the
    checkpoint. A class without any pixel so far is not spared (ours): nothing else would push its logit down.
    """

    #: Floor of p_y in the compensation factor (that of mmdetection's implementation).
    EPSILON = 0.01

    def __init__(self, *, num_classes: int, p: float = 0.8, q: float = 2.0) -> None:
        super().__init__()
        if not (p >= 0 and q >= 0):
            raise ValueError(f"Expected SEESAW_P and SEESAW_Q >= 0, but got {p} and {q}.")
        self.p = p
        self.q = q
        self.register_buffer("counts", torch.zeros(num_classes, dtype=torch.int64))

    @torch.no_grad()
    def adjustment(self, logits: Tensor, labels: Tensor, pixel_weights: Tensor | None = None) -> Tensor:
        if self.training:
            self._count(labels)
        index = labels.clamp(min=0)
        log_counts = self.counts.clamp(min=1).double().log()
        ratios = (log_counts.view(1, -1) - log_counts.view(-1, 1)).clamp(max=0)  # [y, j]
        mitigation = self.p * torch.where(self.counts > 0, ratios, 0)
        log_p = F.log_softmax(logits, dim=1)
        own = log_p.gather(1, index.unsqueeze(1)).clamp(min=math.log(self.EPSILON))
        compensation = self.q * (log_p - own).clamp(min=0)
        return compensation.add_(mitigation.to(logits.dtype)[index].movedim(-1, 1))

    def _count(self, labels: Tensor) -> None:
        counts = group_counts(labels, len(self.counts))
        add_over_ranks(counts)
        self.counts += counts.long()


def _miss(nll: Tensor) -> Tensor:
    """1 - p from -log p, exact for confident pixels; above 0, where the powers below 1 have finite slopes."""
    return (-torch.expm1(-nll)).clamp(min=torch.finfo(nll.dtype).tiny)
