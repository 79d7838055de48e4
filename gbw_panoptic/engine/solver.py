"""Optimizer and learning-rate schedule from the configuration."""

from collections import defaultdict
from collections.abc import Callable

import torch
from detectron2.solver.build import maybe_add_gradient_clipping
from torch import nn

from ..errors import UserError

_NORMS = (
    nn.modules.batchnorm._NormBase,
    nn.GroupNorm,
    nn.LayerNorm,
)
#: Last part of the names of parameters that decay as embeddings do: Swin's tables, Mask2Former's level embedding, a
#: ViT's positions and tokens.
_EMBEDDINGS = (
    "relative_position_bias_table", "absolute_pos_embed", "level_embed", "pos_embed", "cls_token", "reg_token",
)  # fmt: skip
_BACKBONE = "backbone"
#: SOLVER.CLIP_GRADIENTS.CLIP_TYPE of ours: one norm over all parameters (Detectron2's "norm" is of each).
FULL_MODEL = "full_model"


def parameter_groups(
    model: nn.Module,
    *,
    base_lr: float,
    backbone_multiplier: float,
    weight_decay: float,
    weight_decay_norm: float,
    weight_decay_embed: float,
    layer_decay: float = 1.0,
) -> list[dict]:
    """Trainable parameters grouped by learning rate and weight decay.

    Args:
        backbone_multiplier: factor of the learning rate of ``model.backbone`` (DAFormer: 0.1 of the heads' rate).
        weight_decay_norm: weight decay of the parameters of normalisation layers, and of a ViT's biases and factors.
        weight_decay_embed: of embeddings, relative position tables, and a ViT's positions and tokens.
        layer_decay: factor of the learning rate for every layer of the backbone between a parameter and the heads.
    """
    groups: dict[tuple[float, float], list] = defaultdict(list)
    seen = set()
    backbone_rate = _rate_in_backbone(model, backbone_multiplier, layer_decay)
    vectors_decay = getattr(getattr(model, _BACKBONE, None), "decays_vectors", True)
    for module_name, module in model.named_modules():
        in_backbone = module_name.startswith(_BACKBONE)
        for name, parameter in module.named_parameters(recurse=False):
            rate = base_lr * (backbone_rate(f"{module_name}.{name}") if in_backbone else 1.0)
            is_free = isinstance(module, _NORMS) or in_backbone and parameter.ndim == 1 and not vectors_decay
            decay = weight_decay_norm if is_free else weight_decay
            if isinstance(module, nn.Embedding) or name in _EMBEDDINGS:
                decay = weight_decay_embed
            if parameter.requires_grad and parameter not in seen:
                seen.add(parameter)
                groups[rate, decay].append(parameter)
    return [{"params": params, "lr": lr, "weight_decay": decay} for (lr, decay), params in groups.items()]


def _rate_in_backbone(model: nn.Module, multiplier: float, layer_decay: float) -> Callable[[str], float]:
    """Name of a parameter of the backbone -> factor of its learning rate; what is as new as the heads learns as they
    do.

    Raises:
        UserError: a decay by layers, of a backbone that does not tell them apart.
    """
    layers_above = getattr(getattr(model, _BACKBONE, None), "layers_above", lambda name: 0)

    def factor(name: str) -> float:
        layers = layers_above(name.removeprefix(f"{_BACKBONE}."))
        return 1.0 if layers is None else multiplier * layer_decay**layers

    if layer_decay != 1 and not any(layers_above(name) for name, _ in model.backbone.named_parameters()):
        raise UserError(
            "SOLVER.LAYER_DECAY: expected 1.0 with a backbone whose layers have one learning rate, found "
            f"{layer_decay}; set it to 1.0, or MODEL.BACKBONE.NAME build_vit_backbone."
        )
    return factor


def configured_learning_rate(cfg) -> float:
    """SOLVER.BASE_LR; with SOLVER.REFERENCE_BATCH in proportion to the images of an update (linear scaling, arXiv
    1706.02677)."""
    reference = cfg.SOLVER.REFERENCE_BATCH
    return cfg.SOLVER.BASE_LR * (cfg.SOLVER.IMS_PER_BATCH / reference if reference else 1)


def build_optimizer(cfg, model: nn.Module) -> torch.optim.Optimizer:
    """SOLVER.OPTIMIZER: SGD, ADAM or ADAMW, with Detectron2's gradient clipping or that of the whole model.

    The update of a parameter is one kernel (``fused``), not ten. A checkpoint keeps the kind it was made with.
    """
    rate = configured_learning_rate(cfg)
    groups = parameter_groups(
        model,
        base_lr=rate,
        backbone_multiplier=cfg.SOLVER.BACKBONE_MULTIPLIER,
        weight_decay=cfg.SOLVER.WEIGHT_DECAY,
        weight_decay_norm=cfg.SOLVER.WEIGHT_DECAY_NORM,
        weight_decay_embed=cfg.SOLVER.WEIGHT_DECAY_EMBED,
        layer_decay=cfg.SOLVER.LAYER_DECAY,
    )
    clipping = cfg.SOLVER.CLIP_GRADIENTS
    clips_model = clipping.ENABLED and clipping.CLIP_TYPE == FULL_MODEL
    if cfg.SOLVER.OPTIMIZER == "SGD":
        kind, options = torch.optim.SGD, {"momentum": cfg.SOLVER.MOMENTUM, "nesterov": cfg.SOLVER.NESTEROV}
    else:
        kind, options = {"ADAM": torch.optim.Adam, "ADAMW": torch.optim.AdamW}[cfg.SOLVER.OPTIMIZER], {}
    if not clips_model:
        kind = maybe_add_gradient_clipping(cfg, kind)
    optimizer = kind(groups, rate, fused=True, **options)
    if clips_model:
        clip_full_model(optimizer, clipping.CLIP_VALUE, norm_type=clipping.NORM_TYPE)
    return optimizer


def clip_full_model(optimizer: torch.optim.Optimizer, max_norm: float, *, norm_type: float) -> None:
    """Every step of ``optimizer`` first scales the gradients of all parameters to a joint norm of at most this."""

    def clip(stepped: torch.optim.Optimizer, args: tuple, kwargs: dict) -> None:
        parameters = [parameter for group in stepped.param_groups for parameter in group["params"]]
        torch.nn.utils.clip_grad_norm_(parameters, max_norm, norm_type)

    optimizer.register_step_pre_hook(clip)
