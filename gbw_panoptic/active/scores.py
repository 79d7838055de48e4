"""How much a label at each pixel would tell: RIPU (Xie et al., CVPR 2022) and CBDA (Schachtsiek et al., arXiv
2311.14146).

Scores see a model only through its class probabilities. Windows of radius k are (2k+1) x (2k+1) squares clipped at the
border; their sums are differences of running sums, so that the cost does not depend on k.

Shape legend: C classes, H x W pixels; probabilities [C, H, W] sum to 1 over C.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def box_sum(values: Tensor, radius: int) -> Tensor:
    """Sum of ``values`` [..., H, W] over the window of ``radius`` around each pixel.

    Returns:
        [..., H, W]: int32 for integers and booleans; the type of ``values`` for floats, which are summed in float64.
    """
    running = torch.float64 if values.is_floating_point() else torch.int32
    sums, side = values, 2 * radius + 1
    for _ in range(2):  # along rows of memory both times: running sums down the columns take five times as long
        length = sums.shape[-1]
        total = F.pad(sums, (radius + 1, radius)).cumsum(-1, dtype=running)
        sums = (total.narrow(-1, side, length) - total.narrow(-1, 0, length)).mT.contiguous()
    return sums.to(values.dtype) if values.is_floating_point() else sums


def box_count(height: int, width: int, radius: int, device: torch.device | None = None) -> Tensor:
    """Pixels of the clipped window around each pixel, int32 [H, W]."""
    sides = []
    for length in (height, width):
        position = torch.arange(length, device=device)
        sides.append((position + radius).clamp_(max=length - 1) - (position - radius).clamp_(min=0) + 1)
    return (sides[0][:, None] * sides[1]).int()


def predicted_classes(probabilities: Tensor) -> Tensor:
    """The likeliest class of each pixel, int64 [H, W]; ``argmax`` takes three times as long on a CPU."""
    return probabilities.max(0).indices


def pixel_entropy(probabilities: Tensor) -> Tensor:
    """Entropy of each pixel's prediction divided by ln C, float32 [H, W] in [0, 1]."""
    probabilities = probabilities.float()
    return -torch.xlogy(probabilities, probabilities).sum(0) / math.log(len(probabilities))


def prediction_uncertainty(probabilities: Tensor, radius: int) -> Tensor:
    """U of RIPU: mean of :func:`pixel_entropy` over the window, float32 [H, W] in [0, 1]."""
    height, width = probabilities.shape[1:]
    return box_sum(pixel_entropy(probabilities), radius) / box_count(height, width, radius, probabilities.device)


def region_impurity(probabilities: Tensor, radius: int) -> Tensor:
    """P of RIPU: entropy, divided by ln C, of the shares that the classes' argmax has in the window, float32 [H, W] in
    [0, 1].

    One class at a time: no [C, H, W] map is made. With n_c pixels of class c among the n of a window, the entropy is
    (n ln n - sum_c n_c ln n_c) / n: logarithms are looked up, and a window of one class has exactly 0.
    """
    predicted = predicted_classes(probabilities)
    count = box_count(*predicted.shape, radius, predicted.device)
    integers = torch.arange((2 * radius + 1) ** 2 + 1, dtype=torch.float64, device=predicted.device)
    table = torch.xlogy(integers, integers)
    total = torch.zeros(predicted.numel(), dtype=torch.float64, device=predicted.device)
    for class_id in range(len(probabilities)):
        total += table.index_select(0, box_sum(predicted == class_id, radius).flatten())
    entropy = (table.index_select(0, count.flatten()) - total).view_as(predicted) / count
    return (entropy / math.log(len(probabilities))).float()


def ripu_region_score(probabilities: Tensor, radius: int = 1) -> Tensor:
    """A = P * U of RIPU's region mode, float32 [H, W]: what a label of the whole window is worth."""
    return region_impurity(probabilities, radius) * prediction_uncertainty(probabilities, radius)


def ripu_pixel_score(probabilities: Tensor, radius: int = 32) -> Tensor:
    """Entropy of the pixel times impurity of its window, RIPU's pixel mode, float32 [H, W]: what one label is worth."""
    return region_impurity(probabilities, radius) * pixel_entropy(probabilities)


def class_balance_weights(bought: Tensor, prior: Tensor, gamma: float = 1.0) -> Tensor:
    """omega_c of CBDA: ((n_c + n0_c) / mean)^-gamma, scaled to mean 1 (the formula is ours; the paper gives none in
    public).

    Args:
        bought: [C] n_c, target pixels of each class that were bought so far.
        prior: [C] n0_c, counts that stand in for what was not bought yet; below 1 they count as 1.
        gamma: 0 makes all weights 1; larger values favour rare classes more.

    Returns:
        [C] float64, positive.
    """
    count = bought.double() + prior.double().clamp(min=1)
    weights = (count / count.mean()) ** -gamma
    return weights / weights.mean()


def class_balanced_score(score: Tensor, probabilities: Tensor, weights: Tensor, *, soft: bool = True) -> Tensor:
    """CBDA: ``score`` [H, W] times the weight of the pixel's class, float32 [H, W].

    Args:
        weights: [C] from :func:`class_balance_weights`.
        soft: the mean of the weights under the prediction; else the weight of its argmax.
    """
    weights = weights.to(probabilities.device, torch.float32)
    factor = (
        torch.tensordot(weights, probabilities.float(), dims=1) if soft else weights[predicted_classes(probabilities)]
    )
    return score * factor
