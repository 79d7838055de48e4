"""Balanced learning by alignment of logits (BLDA, Li et al., arXiv 2512.06886), as a shaping of cross entropy.

For label y and channel c, F_yc is the distribution function of logit z_c over the pixels of class y. The anchors are
that of all logits of the true class, and that of all others, both of the source. With F_p for c = y and F_n else,

    Delta_yc(z) = anchor^-1(F_yc(z)) - z,    loss = cross entropy of z - t Delta_y(z), Delta detached.

So the logits of all classes are seen as if they were distributed alike: a class whose logits are low has a larger loss.

Shape legend: B images, C classes, H x W pixels, K components of a mixture, Y classes that are fitted, M samples of
each.
"""

import torch
from torch import Tensor

from ..distributed import add_over_ranks, world_size
from ..structures.per_class_loss import group_counts
from .shaping import LossShaping

SOURCE, TARGET = 0, 1
#: The published code's: components, pixels of a class that is fitted, EM steps of a call, share that old parameters
#: keep in the end and calls until then, what a posterior has at least, least variance, range of a distribution function
#: that is inverted.
_COMPONENTS, _MIN_PIXELS, _STEPS, _DECAY, _RAMP, _FLOOR, _MIN_VARIANCE, _RANGE = (
    5,
    500,
    3,
    0.99,
    1500,
    1e-7,
    1e-4,
    (0.01, 0.99),
)
#: Points of a tabulated Delta (ours; the published code evaluates every pixel) and of an anchor that is inverted.
_TABLE, _INVERSE = 256, 1000
#: Numbers that are computed at a time where there are many classes: bounds what a step takes beside its results.
_NUMBERS = 1 << 22


class LogitAlignment(LossShaping):
    """Mixtures of each pair of a label and a channel, of both domains, and of the two anchors, estimated online.

    Pixels of weight 1 are the source's, those of a weight between 0 and 1 the target's, as published; others are not
    shifted. The mixtures are in the checkpoint, and those of several ranks are fitted together (ours; published:
    neither).
    """

    def __init__(self, *, num_classes: int, strength: float = 0.1) -> None:
        """
        Args:
            strength: t >= 0.
        """
        super().__init__()
        if not strength >= 0:
            raise ValueError(f"Expected BLDA_STRENGTH >= 0, but got {strength}.")
        self.strength = strength
        # weights, means (published: random; here the normal distribution's quantiles), variances
        quantiles = torch.special.ndtri((torch.arange(_COMPONENTS) + 0.5) / _COMPONENTS)
        start = torch.stack((torch.full_like(quantiles, 1 / _COMPONENTS), quantiles, torch.ones_like(quantiles)), dim=1)
        # three dimensions: the channels-last format of the network is of four, and refuses five
        self.register_buffer("components", start.repeat(2 * num_classes**2, 1, 1))
        self.register_buffer("anchors", start.repeat(2, 1, 1))
        self.register_buffer("calls", torch.zeros(2, dtype=torch.int64))
        self.register_buffer("fitted_at", torch.full((2, num_classes), -1))

    @property
    def mixtures(self) -> Tensor:
        """[2 domains, C labels, C channels, K, 3]: weight, mean and variance of each component; a view of the
        buffer."""
        classes = self.fitted_at.shape[1]
        return self.components.view(2, classes, classes, *self.components.shape[1:])

    @torch.no_grad()
    def adjustment(self, logits: Tensor, labels: Tensor, pixel_weights: Tensor | None = None) -> Tensor:
        domains = _domains(labels, pixel_weights)
        if self.training:
            for domain in (SOURCE, TARGET):
                self._fit(domain, logits, torch.where(domains == domain, labels, -1))
        shift = torch.zeros_like(logits)
        for domain in (SOURCE, TARGET):
            if (of_domain := domains == domain).any():
                shift = torch.where(of_domain.unsqueeze(1), self._delta(domain, logits, labels.clamp(min=0)), shift)
        return shift.mul_(-self.strength)

    def _fit(self, domain: int, logits: Tensor, labels: Tensor) -> None:
        """One update of a domain's mixtures and, of the source, of the anchors; the host waits for the counts."""
        counts = group_counts(labels, self.mixtures.shape[1])
        add_over_ranks(counts)
        classes = (counts >= _MIN_PIXELS).nonzero().flatten()
        if not len(classes):
            return
        size = int(counts[classes].min()) // world_size()
        samples, known = _samples(logits, labels, classes, size)
        calls, since = self.calls[domain].double(), self.calls[domain] - self.fitted_at[domain, classes]
        kept = _DECAY * (calls / _RAMP).clamp(max=1)
        parts = max(1, _NUMBERS // (samples[0].numel() * _COMPONENTS))
        arguments = (self.mixtures[domain, classes], samples, known.unsqueeze(1))
        fit = torch.cat([expectation_maximisation(*some) for some in zip(*(a.split(parts) for a in arguments))])
        keep = (kept**since).float().view(-1, 1, 1, 1)
        self.mixtures[domain, classes] = keep * self.mixtures[domain, classes] + (1 - keep) * fit
        self.fitted_at[domain, classes] = self.calls[domain]
        if domain == SOURCE:
            pairs, known = _anchor_samples(samples, known, classes)
            fit = expectation_maximisation(self.anchors, pairs, known)
            self.anchors.copy_(kept.float() * self.anchors + (1 - kept.float()) * fit)
        self.calls[domain] += 1

    def _delta(self, domain: int, logits: Tensor, labels: Tensor) -> Tensor:
        """[B, C, H, W] Delta of the pixels' labels; 0 of pairs that were never fitted."""
        low, high = logits.min(), logits.max()
        grid = low + (high - low) * torch.linspace(0, 1, _TABLE, device=logits.device)
        table = self.table(domain, grid)
        channels = torch.arange(logits.shape[1], device=logits.device).view(1, -1, 1, 1)
        rows, scale = labels.unsqueeze(1) * logits.shape[1], (_TABLE - 1) / (high - low).clamp(min=1e-6)
        parts, delta = max(1, _NUMBERS // labels.numel()), torch.empty_like(logits)
        for some, channel, found in zip(*(x.split(parts, dim=1) for x in (logits, channels, delta))):
            place = (some - low) * scale
            left = place.floor().clamp(0, _TABLE - 2)
            index, right = (rows + channel) * _TABLE + left.long(), place - left
            found.copy_(table.take(index) * (1 - right) + table.take(index + 1) * right)
        return delta

    def table(self, domain: int, z: Tensor) -> Tensor:
        """[C, C, T] Delta_yc at logits z [T]."""
        mixtures = self.mixtures[domain]
        diagonal = torch.eye(len(mixtures), dtype=torch.bool, device=z.device).unsqueeze(2)
        fitted = ((self.fitted_at[domain] >= 0) & (self.calls[SOURCE] > 0)).view(-1, 1, 1)
        parts = max(1, _NUMBERS // (mixtures[0, ..., 0].numel() * len(z)))
        return torch.cat([
            torch.where(are_fitted, torch.where(are_true, *self._anchored(distribution(some, z))) - z, 0)
            for some, are_true, are_fitted in zip(*(x.split(parts) for x in (mixtures, diagonal, fitted)))
        ])  # fmt: skip

    def _anchored(self, own: Tensor) -> tuple[Tensor, Tensor]:
        """Where the anchors of true and of other classes have the values of ``own``."""
        true, other = (inverse(anchor, own.clamp(*_RANGE)) for anchor in self.anchors)
        return true, other


def distribution(mixture: Tensor, z: Tensor) -> Tensor:
    """[..., T] distribution function of mixtures [..., K, 3] (weight, mean, variance) at z [T]."""
    weight, mean, variance = (part.unsqueeze(-1) for part in mixture.unbind(-1))
    return (weight * torch.special.ndtr((z - mean) * variance.rsqrt())).sum(-2)


def inverse(mixture: Tensor, probability: Tensor) -> Tensor:
    """Where the distribution function of a mixture [K, 3] has the values ``probability``, by linear interpolation."""
    _, mean, variance = mixture.unbind(-1)
    low, high = (mean - 3 * variance.sqrt()).min(), (mean + 3 * variance.sqrt()).max()
    z = low + (high - low) * torch.linspace(0, 1, _INVERSE, device=mixture.device)
    values = distribution(mixture, z)
    right = torch.searchsorted(values, probability.contiguous()).clamp(1, _INVERSE - 1)
    left = right - 1
    share = ((probability - values[left]) / (values[right] - values[left]).clamp(min=1e-12)).clamp(0, 1)
    return z[left] + share * (z[right] - z[left])


def expectation_maximisation(mixture: Tensor, samples: Tensor, known: Tensor) -> Tensor:
    """:data:`_STEPS` steps from ``mixture`` [..., K, 3] on samples [..., M] of all ranks; ``known`` [..., M]: which
    there are."""
    x, known = samples.unsqueeze(-1), known.unsqueeze(-1).to(samples.dtype)
    for _ in range(_STEPS):
        weight, mean, variance = (part.unsqueeze(-2) for part in mixture.unbind(-1))
        density = weight * torch.exp(-(x - mean).square() / (2 * variance)) * (2 * torch.pi * variance).rsqrt() + _FLOOR
        share = density / density.sum(-1, keepdim=True) * known
        sums = torch.stack((share.sum(-2), (share * x).sum(-2)))
        add_over_ranks(sums)
        total = sums[0].clamp(min=_FLOOR)
        mean = sums[1] / total
        squares = (share * (x - mean.unsqueeze(-2)).square()).sum(-2)
        add_over_ranks(squares)
        variance = (squares / total).clamp(min=_MIN_VARIANCE)
        mixture = torch.stack((total / total.sum(-1, keepdim=True), mean, variance), dim=-1)
    return mixture


def _domains(labels: Tensor, pixel_weights: Tensor | None) -> Tensor:
    """[B, H, W] int64: SOURCE, TARGET, or -1 for pixels that are not shifted."""
    if pixel_weights is None:
        return torch.where(labels >= 0, SOURCE, -1)
    of_target = (pixel_weights > 0) & (pixel_weights < 1)
    domains = torch.where(of_target, TARGET, torch.where(pixel_weights == 1, SOURCE, -1))
    return torch.where(labels >= 0, domains, -1)


def _samples(logits: Tensor, labels: Tensor, classes: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Logits [Y, C, M] of as many random pixels of each class, without replacement, and which of them there are [Y,
    M]."""
    flat, labels = logits.movedim(1, 0).flatten(1), labels.flatten()
    samples = logits.new_zeros(len(classes), len(flat), size)
    known = torch.zeros(len(classes), size, dtype=torch.bool, device=logits.device)
    for place, label in enumerate(classes):
        pixels = (labels == label).nonzero().flatten()
        pixels = pixels[torch.randperm(len(pixels), device=pixels.device)[:size]]
        samples[place, :, : len(pixels)], known[place, : len(pixels)] = flat[:, pixels], True
    return samples, known


def _anchor_samples(samples: Tensor, known: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
    """[2, Y M] the samples' true-class logits and as many random others (of one class the same), and which of them
    there are."""
    true = samples.gather(1, classes.view(-1, 1, 1).expand(-1, 1, samples.shape[2])).squeeze(1)
    step = torch.randint(1, max(samples.shape[1], 2), true.shape, device=true.device)
    channel = (classes.unsqueeze(1) + step) % samples.shape[1]
    other = samples.gather(1, channel.unsqueeze(1)).squeeze(1)
    return torch.stack((true.flatten(), other.flatten())), known.flatten().expand(2, -1)
