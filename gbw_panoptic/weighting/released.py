"""The reading of gradient-based class weighting that its authors' released code has (RobertoAlcoverCouso/GBPCW).

Written from its formulas; docs/methods.md compares the readings.

Shape legend: C classes.
"""

import torch
from torch import Tensor

from ..losses import SQUARES
from .base import BRANCHES, DynamicWeighting
from .simplex import gbw_weights


class ReleasedGradientWeighting(DynamicWeighting):
    """Weights from the gradient of all class losses together, at the logit channel of each class.

    With p = softmax(z), e the one-hot label, n_y the pixels of class y over all ranks, i the pixels of the batch:

        F    = sum_y 1 / (n_y + 1) * sum_{i: y_i = y} -log p_iy
        g_c  = || dF / dz[:, c] || = sqrt( sum_i (p_ic - e_ic)^2 / (n_{y_i} + 1)^2 )
        w    = argmin lam ||w||^2 - sum_c (g_c^2 + lam) w_c,  w >= 0,  sum over all C classes = C

    All C classes are in the program, absent ones, too. The confidences of pixels are not in g. There is no state over
    time: each loss has a program of its own. The squares are summed for each pair of a label and a channel, so that one
    collective brings counts and sums together: the +1 and the norm come after it (ours; the released code has one
    program a process). No host synchronisation. Steps whose g is not finite are counted; their weights are 1 (ours).
    """

    gradient = SQUARES
    in_skipped_steps = "the class weights were 1 there"

    @torch.no_grad()
    def class_weights(self, count: Tensor, gradient: Tensor | None, branch: str) -> Tensor:
        """[C] weights from the pixel counts [C] and the summed squares [C labels, C channels] of all ranks."""
        if gradient is None:
            raise ValueError("Expected squared residuals (PerClassLoss.gradient) for GBW, but the head supplied none.")
        g = (gradient.double() / (count + 1).square().unsqueeze(1)).sum(0).sqrt()
        finite = torch.isfinite(g).all()
        # the + lam of the linear term adds a constant where sum w is fixed: it moves no weight
        weights = torch.where(finite, gbw_weights(g, self.lam), 1)
        self.remember(BRANCHES.index(branch), weights, torch.ones_like(count, dtype=torch.bool), finite)
        share = count / count.sum().clamp(min=1)
        self.statistics[branch] = {
            "weight": weights.float(),
            "gradient": torch.where(finite, g, 0).float(),
            "share": share,
        }
        return weights.to(count.dtype)
