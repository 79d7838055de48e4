"""The quadratic program of gradient-based class weighting, solved in closed form.

Shape legend: C classes, K classes present.
"""

import torch
from torch import Tensor


def gbw_weights(gradient_norms: Tensor, lam: float, present: Tensor | None = None) -> Tensor:
    """Class weights from the gradient magnitudes of the class losses.

    Solves  argmin_w  lam * ||w||^2 - sum_c g_c^2 w_c  subject to  w >= 0, sum_c w_c = K  (arXiv 2407.01327; the class
    version of LOW, Santiago et al. 2021). The solution is the Euclidean projection of v = g^2 / (2 lam) onto the
    simplex of sum K. The closed form is ours; the publications call a solver. It is exact, stays on the device, needs no
    host synchronisation, O(C log C).

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
    g = gradient_norms.detach().double()  # 19 numbers: double costs nothing and keeps 1e-6 over any scale
    if present is None:
        present = torch.ones_like(g, dtype=torch.bool)
    largest = torch.where(present, g, 0).max()
    # v - max v; the projection does not see the shift, float arithmetic on large ties does
    v = torch.where(present, (g - largest) * (g + largest) / (2 * lam), -torch.inf)
    weights = torch.where(present, _project(v, present), 1)
    return weights.to(torch.promote_types(gradient_norms.dtype, torch.float32))


def _project(v: Tensor, present: Tensor) -> Tensor:
    """Project the present entries of v onto {w >= 0, sum w = K} (Held, Wolfe, Crowder 1974; Duchi et al. 2008)."""
    total = present.sum()
    rank = torch.arange(1, len(v) + 1, device=v.device)
    descending = v.sort(descending=True).values
    member = rank <= total
    cumulative = torch.where(member, descending, 0).cumsum(0)
    threshold = (cumulative - total) / rank
    support = (member & (descending > threshold)).sum().clamp(min=1)
    theta = threshold.gather(0, (support - 1).unsqueeze(0))
    return (v - theta).clamp(min=0)
