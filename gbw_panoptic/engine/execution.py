"""How a step is computed, not what: precision, memory format, compilation, data parallelism."""

import torch
from detectron2.engine import create_ddp_model
from detectron2.utils import comm
from torch import nn

from ..machine import computes_bfloat16
from .solver import configured_learning_rate

PRECISIONS = {"bfloat16": torch.bfloat16, "float16": torch.float16}


#: Backbones of depthwise convolutions, which gain nothing by bfloat16 on a CPU or lose by it (`tools/benchmark.py
#: precision`).
_FLOAT32_ON_CPU = ("build_mit_backbone", "build_timm_backbone")


class LossScaler:
    """The factor of the losses that keeps float16 gradients from underflow, by the rule and the defaults of torch's
    ``GradScaler``.

    That one reads a flag of its own from the device for every optimizer; here the trainer's one check of finite
    gradients serves both. The scale is a number of the host.
    """

    growth, backoff, growth_interval, smallest = 2.0, 0.5, 2000, 1.0

    def __init__(self, scale: float = 2.0**16) -> None:
        self.scale = scale
        self.good_steps = 0

    @property
    def may_shrink(self) -> bool:
        """Whether a smaller scale may mend a gradient that is not finite; otherwise training has failed."""
        return self.scale > self.smallest

    def update(self, overflow: bool) -> None:
        """Behind every step: smaller at once where gradients were not finite, larger after many good steps."""
        self.good_steps = 0 if overflow else self.good_steps + 1
        if overflow:
            self.scale *= self.backoff
        elif self.good_steps == self.growth_interval:
            self.scale *= self.growth
            self.good_steps = 0

    def state_dict(self) -> dict[str, float]:
        return {"scale": self.scale, "good_steps": self.good_steps}

    def load_state_dict(self, state: dict[str, float]) -> None:
        self.scale, self.good_steps = state["scale"], state["good_steps"]


def automatic_execution(cfg) -> dict[str, bool]:
    """Values of the keys that say auto: mixed precision where MODEL.DEVICE computes it and the network gains by it,
    channels last where it is mixed.

    In float32, channels last gains nothing on a CPU; in bfloat16 on one with AMX, a third of a step of a ResNet-50.
    """
    mixed = cfg.SOLVER.AMP.ENABLED
    if mixed == "auto":
        is_half = cfg.SOLVER.AMP.PRECISION == "float16"
        mixed = cfg.MODEL.DEVICE.startswith("cuda") if is_half else computes_bfloat16(cfg.MODEL.DEVICE)
        mixed = mixed and not (cfg.MODEL.DEVICE == "cpu" and cfg.MODEL.BACKBONE.NAME in _FLOAT32_ON_CPU)
    wanted = {"SOLVER.AMP.ENABLED": cfg.SOLVER.AMP.ENABLED, "MODEL.CHANNELS_LAST": cfg.MODEL.CHANNELS_LAST}
    return {name: mixed for name, value in wanted.items() if value == "auto"}


def build_precision(cfg) -> tuple[torch.dtype | None, LossScaler | None]:
    """The type of autocast (None: float32) and, where it needs one, a loss scaler."""
    if not cfg.SOLVER.AMP.ENABLED:
        return None, None
    dtype = PRECISIONS[cfg.SOLVER.AMP.PRECISION]
    return dtype, LossScaler() if dtype == torch.float16 else None


def precision_warning(cfg) -> str | None:
    """A warning where autocast costs time instead of saving it."""
    if not cfg.SOLVER.AMP.ENABLED or cfg.SOLVER.AMP.PRECISION != "bfloat16" or computes_bfloat16(cfg.MODEL.DEVICE):
        return None
    return (
        f"SOLVER.AMP.PRECISION bfloat16: expected MODEL.DEVICE {cfg.MODEL.DEVICE} to have instructions for it, found "
        "none: steps will be slower than in float32, by half or several times; set SOLVER.AMP.ENABLED False."
    )


def build_execution(cfg, model: nn.Module) -> nn.Module:
    """``model`` as MODEL.CHANNELS_LAST and MODEL.COMPILE ask for it, in place; its state has the same names and
    shapes."""
    if cfg.MODEL.CHANNELS_LAST:
        model.to(memory_format=torch.channels_last)
    if cfg.MODEL.COMPILE:
        compile_backbone(model)
    return model


def compile_backbone(model: nn.Module, *, backend: str = "inductor") -> None:
    """The backbone alone: heads and losses take lists of samples, of which every length would be compiled anew."""
    model.backbone.compile(backend=backend)


def data_parallel(model: nn.Module, *, every_parameter: bool) -> nn.Module:
    """The wrapper where there are several ranks.

    Args:
        every_parameter: every backward pass reaches all of them; terms on unlabelled images leave the instance heads
            out.
    """
    device = next(model.parameters()).device
    options = {"device_ids": [device.index] if device.type == "cuda" else None}
    return create_ddp_model(model, broadcast_buffers=False, find_unused_parameters=not every_parameter, **options)


def update_description(cfg) -> str:
    """One line on how an update is made."""
    images, steps, ranks = cfg.SOLVER.IMS_PER_BATCH, cfg.SOLVER.ACCUMULATION_STEPS, comm.get_world_size()
    rate, reference = configured_learning_rate(cfg), cfg.SOLVER.REFERENCE_BATCH
    scaled = f" ({cfg.SOLVER.BASE_LR:g} x {images} / {reference})" if reference else ""
    precision = f"autocast to {cfg.SOLVER.AMP.PRECISION}" if cfg.SOLVER.AMP.ENABLED else "float32"
    return (
        f"An update sees {images} source images: {ranks} process(es) x {steps} micro-batch(es) x "
        f"{images // (ranks * steps)}; learning rate {rate:g}{scaled}; {precision}; channels last "
        f"{'on' if cfg.MODEL.CHANNELS_LAST else 'off'}; backbone {'' if cfg.MODEL.COMPILE else 'not '}compiled; "
        f"{cfg.MODEL.DEVICE}."
    )
