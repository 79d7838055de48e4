"""The quadratic program of gradient-based class weighting, solved in closed form.

Shape legend: C classes, K classes present.
"""

from itertools import accumulate

import torch
from torch import Tensor

#: Scores that spread by less than this share of their root mean square are nearly equal: their weights come near to 1.
NOISE = 0.25


def gbw_weights(gradient_norms: Tensor, lam: float, present: Tensor | None = None) -> Tensor:
    """Class weights from the gradient magnitudes of the class losses.

    Solves  argmin_w  lam * ||w||^2 - sum_c g_c^2 w_c  subject to  w >= 0, sum_c w_c = K  (arXiv 2407.01327; the class
    version of LOW, Santiago et al. 2021). The solution is the Euclidean projection of v = g^2 / (2 lam) onto the
    simplex of sum K. The closed form is ours; the publications call a solver. It is exact, stays on the device, needs
    no host synchronisation, O(C log C).

    Args:
        gradient_norms: [C] float >= 0, g. Squared here, never normalised.
        lam: > 0. Large pulls every weight to 1; towards 0 all weight goes to the largest gradient.
        present: [C] bool, the classes that take part; all when absent.

    Returns:
        [C] weights >= 0 that sum to K over the present classes; absent classes get 1. float32 at least.

    Raises:
        ValueError: ``lam`` is not positive, or shapes disagree.
    """
    if not lam > 0:
        raise ValueError(f"Expected lam > 0 (GBW.LAMBDA), but got {lam}.")
    if gradient_norms.dim() != 1 or (present is not None and present.shape != gradient_norms.shape):
        raise ValueError(
            f"Expected gradient_norms [C] and present of the same shape, but got {tuple(gradient_norms.shape)} and "
            f"{None if present is None else tuple(present.shape)}."
        )
    dtype = torch.promote_types(gradient_norms.dtype, torch.float32)
    if _is_on_host(gradient_norms):
        members = [True] * len(gradient_norms) if present is None else present.tolist()
        return torch.tensor(_weights_on_host(gradient_norms.tolist(), lam, members), dtype=dtype)
    g = gradient_norms.detach().double()  # 19 numbers: double costs nothing and keeps 1e-6 over any scale
    if present is None:
        return _project(_shifted(g, lam), len(g)).to(dtype)
    return _project_present(_shifted(torch.where(present, g, 0), lam), present).to(dtype)


def score_weights(scores: Tensor, lam: float, present: Tensor, *, scale_free: bool = False) -> Tensor:
    """The same program for scores s_c of either sign in the place of g_c^2 (ours): argmin_w  lam ||w||^2 - sum_c s_c
    w_c.

    With ``scale_free``, lam is in units of the spread of the scores: their standard deviation over the present classes,
    or :data:`NOISE` of their root mean square, if that is more. So no factor of all scores moves a
    weight, the weights' standard deviation is 1 / (2 lam) (less, where classes have weight 0 or scores hardly differ),
    and no weight is above 1 + sqrt(K - 1) / (2 lam).

    Args:
        scores: [C] float.
        lam, present: see :func:`gbw_weights`.

    Returns:
        [C] float64, as :func:`gbw_weights`.
    """
    s = torch.where(present, scores.detach().double(), 0)
    if scale_free:
        s = _in_spreads(s, present)
    largest = s.masked_fill(~present, -torch.inf).max()
    return _project_present((s - largest).div_(2 * lam), present)


def _in_spreads(scores: Tensor, present: Tensor) -> Tensor:
    """Deviations of the present scores from their mean, in units of their spread; 0 for absent classes."""
    count = present.sum().clamp(min=1)
    scores = scores / _or_one(scores.abs().max())  # squares of what is tiny would be 0
    deviations = torch.where(present, scores - scores.sum() / count, 0)
    deviation, size = ((x.square().sum() / count).sqrt() for x in (deviations, scores))
    return deviations / _or_one(torch.maximum(deviation, NOISE * size))


def _or_one(x: Tensor) -> Tensor:
    return torch.where(x > 0, x, 1)


def _project_present(v: Tensor, present: Tensor) -> Tensor:
    """:func:`_project` of the present classes; the others get 1."""
    return _project(v.masked_fill_(~present, -torch.inf), present.sum()).masked_fill_(~present, 1)


def _shifted(g: Tensor, lam: float) -> Tensor:
    """v - max v: the projection does not see the shift, float arithmetic on large ties does."""
    largest = g.max()
    return (g - largest).mul_(g + largest).div_(2 * lam)


def _project(v: Tensor, total: Tensor | int) -> Tensor:
    """Project the finite entries of v onto {w >= 0, sum w = total} (Held, Wolfe, Crowder 1974; Duchi et al. 2008).

    The threshold is the mean excess of the largest r entries at that r where it is largest: while the next entry is
    above the mean excess so far, it raises it, and from there on every entry lowers it.
    """
    rank = torch.arange(1, len(v) + 1, dtype=v.dtype, device=v.device)
    excess = v.sort(descending=True).values.cumsum(0).sub_(total).div_(rank)
    return (v - excess.max()).clamp_(min=0)


def _is_on_host(x: Tensor) -> bool:
    """Whether the values of x can be read at once: not on another device, in a trace or in a fake tensor."""
    return type(x) is Tensor and x.device.type == "cpu" and not torch.compiler.is_compiling()


def _weights_on_host(g: list[float], lam: float, present: list[bool]) -> list[float]:
    inside = [value for value, is_member in zip(g, present) if is_member]
    largest, total = max(inside, default=0.0), len(inside)
    v = [(value - largest) * (value + largest) / (2 * lam) for value in inside]
    sums = accumulate(sorted(v, reverse=True))
    threshold = max(((largest_r - total) / r for r, largest_r in enumerate(sums, 1)), default=0.0)
    weights = iter(v)
    return [max(next(weights) - threshold, 0.0) if is_member else 1.0 for is_member in present]
