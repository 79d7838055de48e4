"""Merging of trained models: layer-wise around an anchor (Alcover-Couso et al., arXiv 2409.15813), or a uniform
average.

Shape legend: N models, L layers of the backbone; a state is a model's state dict.
"""

import math
from typing import Callable, Iterable, Mapping, Sequence

import torch
from fvcore.nn.precise_bn import get_bn_modules, update_bn_stats
from torch import Tensor, nn

from ..errors import UserError

_BACKBONE = "backbone."
#: Depth in 0..1 -> how far the anchor's weight has gone from 1 / N to 1. The paper merges early layers uniformly and
#: leans to the anchor in later ones; the schedules are ours.
SCHEDULES: dict[str, Callable[[float], float]] = {
    "linear": lambda depth: depth,
    "cosine": lambda depth: (1 - math.cos(math.pi * depth)) / 2,
}


def merge_layer_wise(anchor: Mapping[str, Tensor], others: Sequence[Mapping[str, Tensor]], schedule: str) -> dict:
    """theta_l = w_l theta_l^anchor + (1 - w_l) / (N - 1) * sum of the others' theta_l, in the backbone; all else is the
    anchor's.

    w_l goes from 1 / N in the first to 1 in the last layer, by ``schedule`` (of :data:`SCHEDULES`).

    Raises:
        UserError: the backbones differ.
    """
    depth = layer_depths(anchor)
    _check_backbones(anchor, others, depth)
    count = len(others) + 1
    merged = dict(anchor)
    for name in depth:
        own = 1 / count + (1 - 1 / count) * SCHEDULES[schedule](depth[name])
        weights = [own, *[(1 - own) / (count - 1)] * (count - 1)]
        merged[name] = _average(name, [anchor, *others], weights)
    return merged


def merge_uniformly(states: Sequence[Mapping[str, Tensor]]) -> dict:
    """The plain average of all entries (a uniform soup); batch-norm statistics are pooled, integers are the first's.

    Raises:
        UserError: the models differ.
    """
    first = states[0]
    for index, state in enumerate(states[1:], 1):
        different = {k for k in first.keys() | state.keys() if k not in first or k not in state}
        different |= {k for k in first.keys() & state.keys() if first[k].shape != state[k].shape}
        if different:
            raise UserError(
                f"Expected models of one configuration for a uniform average, found that number {index + 1} differs in "
                f"{sorted(different)[0]} and {len(different) - 1} more entries; merge layer-wise around an anchor "
                "instead."
            )
    return {name: _average(name, states, [1 / len(states)] * len(states)) for name in first}


def layer_depths(state: Mapping[str, Tensor]) -> dict[str, float]:
    """Entry of the backbone -> depth of its layer, 0 for the first and 1 for the last; entries of one module are one
    layer."""
    layers = {name: name.rpartition(".")[0] for name in state if name.startswith(_BACKBONE)}
    order = {layer: index for index, layer in enumerate(dict.fromkeys(layers.values()))}
    last = max(len(order) - 1, 1)
    return {name: order[layer] / last for name, layer in layers.items()}


def _average(name: str, states: Sequence[Mapping[str, Tensor]], weights: Sequence[float]) -> Tensor:
    values = [state[name] for state in states]
    if not values[0].is_floating_point():
        return values[0]
    mean = _weighted(values, weights)
    if not name.endswith(".running_var"):
        return mean.to(values[0].dtype)
    means = [state[name.removesuffix("var") + "mean"] for state in states]  # moments of the mixture
    spread = _weighted([m.double().square() for m in means], weights) - _weighted(means, weights).square()
    return (mean + spread.clamp(min=0)).to(values[0].dtype)


def _weighted(values: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    return sum(weight * value.double() for weight, value in zip(weights, values, strict=True))


def _check_backbones(
    anchor: Mapping[str, Tensor], others: Sequence[Mapping[str, Tensor]], names: Iterable[str]
) -> None:
    names = list(names)
    if not names:
        raise UserError(
            "Expected a model with a backbone, found none in the anchor; give a checkpoint of this project."
        )
    for index, other in enumerate(others, 1):
        more = [name for name in other if name.startswith(_BACKBONE) and name not in anchor]
        wrong = [name for name in names if name not in other or other[name].shape != anchor[name].shape] + more
        if wrong:
            raise UserError(
                f"Expected backbones of one architecture, found that model {index} has another {wrong[0]} than the "
                f"anchor ({len(wrong)} of {len(names)} entries differ); merge models that share their backbone."
            )


def reestimate_batch_norm(model: nn.Module, batches: Iterable[list[dict]], count: int) -> int:
    """Replace the running statistics of all batch-norm layers by those of ``count`` batches of unlabelled images.

    Everything else stays as it is; nothing is dropped (dropout, drop path). Returns the number of such layers.
    """
    training = {module: module.training for module in model.modules()}
    for module in model.modules():
        module.training = module is model or isinstance(module, nn.modules.batchnorm._BatchNorm)
    layers = get_bn_modules(model)
    with torch.no_grad():
        update_bn_stats(model, batches, count, progress="tqdm")
    for module, mode in training.items():
        module.training = mode
    return len(layers)
