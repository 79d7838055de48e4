"""Gradient magnitudes of the class losses, from one Jacobian: which errors of a class they see.

Of a loss on logits, the sums of the class gradients [C, C] divided by the counts are J[y, c] = dL_y / db_c: how the
mean loss of class y changes with the bias of logit channel c. For cross entropy J[c, c] is minus what class c misses of
its own pixels, and J[y, c] what it takes of those of y, as mean probabilities.

Shape legend: C classes, D entries of a class gradient.
"""

from torch import Tensor

#: GBW.ERRORS: of a class's own pixels (row c of J); those and what is wrongly taken for it (column c); the same, the
#: latter counting against it.
ERRORS = ("misses", "both", "signed")


def magnitudes(gradient: Tensor, count: Tensor, errors: str = "misses") -> Tensor:
    """g of every class; of ``signed``, below 0 where a class takes more than it misses.

    ``misses``: g_c = || J[c, :] ||, the gradient of the class's own loss. ``both``: || J[:, c] ||, that of all class
    losses at the class's channel. ``signed``: g_c |g_c| = J[c, c]^2 - sum_{y != c} J[y, c]^2.

    Args:
        gradient: [C, D] float64 sums over the pixels of each class; D >= C and the channels first, but for ``misses``.
        count: [C] pixels; absent classes have gradient 0.
        errors: one of :data:`ERRORS`.

    Returns:
        [C] float64.
    """
    if errors == "misses":
        return gradient.norm(dim=1) / count.clamp(min=1)
    squares = _of_channels(gradient / count.clamp(min=1).unsqueeze(1)).square()
    column = squares.sum(0)
    if errors == "both":
        return column.sqrt()
    score = 2 * squares.diagonal() - column
    return score.sign() * score.abs().sqrt()


def excess_of_predictions(gradient: Tensor, count: Tensor) -> Tensor:
    """Mass predicted for each class beyond its labels, over their number: 1 where it is predicted twice as often as it
    occurs.

    Of cross entropy, whose gradient at a logit is q (p - e): the sum over all labelled pixels is predicted minus
    labelled mass.

    Args:
        gradient: [C, D >= C] float64 sums over the pixels of each class.
        count: [C] pixels.

    Returns:
        [C] float64, at least -1 for pixel weights q of at most 1.
    """
    return _of_channels(gradient).sum(0) / count.clamp(min=1)


def _of_channels(gradient: Tensor) -> Tensor:
    """[C, C]: without the channel of no object, which follows behind the classes."""
    return gradient[:, : len(gradient)]
