"""Optimizer and learning-rate schedule from the configuration."""

from collections import defaultdict

import torch
from torch import nn

from detectron2.solver.build import maybe_add_gradient_clipping

_NORMS = (
    nn.modules.batchnorm._NormBase,
    nn.GroupNorm,
    nn.LayerNorm,
)


def parameter_groups(
    model: nn.Module, *, base_lr: float, backbone_multiplier: float, weight_decay: float, weight_decay_norm: float
) -> list[dict]:
    """Trainable parameters grouped by learning rate and weight decay.

    Args:
        backbone_multiplier: factor of the learning rate of ``model.backbone`` (DAFormer: 0.1 of the heads' rate).
        weight_decay_norm: weight decay of the parameters of normalisation layers.
    """
    groups: dict[tuple[float, float], list] = defaultdict(list)
    seen = set()
    for module_name, module in model.named_modules():
        rate = base_lr * (backbone_multiplier if module_name.startswith("backbone") else 1.0)
        decay = weight_decay_norm if isinstance(module, _NORMS) else weight_decay
        for parameter in module.parameters(recurse=False):
            if parameter.requires_grad and parameter not in seen:
                seen.add(parameter)
                groups[rate, decay].append(parameter)
    return [{"params": params, "lr": lr, "weight_decay": decay} for (lr, decay), params in groups.items()]


def build_optimizer(cfg, model: nn.Module) -> torch.optim.Optimizer:
    """SOLVER.OPTIMIZER: SGD, ADAM or ADAMW, with Detectron2's gradient clipping."""
    groups = parameter_groups(
        model,
        base_lr=cfg.SOLVER.BASE_LR,
        backbone_multiplier=cfg.SOLVER.BACKBONE_MULTIPLIER,
        weight_decay=cfg.SOLVER.WEIGHT_DECAY,
        weight_decay_norm=cfg.SOLVER.WEIGHT_DECAY_NORM,
    )
    if cfg.SOLVER.OPTIMIZER == "SGD":
        optimizer = maybe_add_gradient_clipping(cfg, torch.optim.SGD)(
            groups, cfg.SOLVER.BASE_LR, momentum=cfg.SOLVER.MOMENTUM, nesterov=cfg.SOLVER.NESTEROV
        )
    else:
        kind = {"ADAM": torch.optim.Adam, "ADAMW": torch.optim.AdamW}[cfg.SOLVER.OPTIMIZER]
        optimizer = maybe_add_gradient_clipping(cfg, kind)(groups, cfg.SOLVER.BASE_LR)
    return optimizer
