"""Mean teacher: an exponential moving average of the student (Tarvainen and Valpola, arXiv 1703.01780)."""

import copy

import torch
from torch import nn


def unwrapped(model: nn.Module) -> nn.Module:
    """The model inside a data-parallel wrapper."""
    return model.module if hasattr(model, "module") else model


class MeanTeacher:
    """Holds the averaged copy, always in evaluation mode (the published code leaves batch norm in training mode)."""

    def __init__(self, student: nn.Module, *, decay: float) -> None:
        """
        Args:
            decay: alpha in [0, 1); the effective value is min(1 - 1 / (t + 1), alpha), so that the first update copies.
        """
        if not 0 <= decay < 1:
            raise ValueError(f"Expected SELF_TRAINING.EMA_DECAY in [0, 1), but got {decay}.")
        self.decay = decay
        self.model = copy.deepcopy(unwrapped(student)).eval().requires_grad_(False)

    @torch.no_grad()
    def update(self, student: nn.Module, iteration: int) -> None:
        """teacher <- a teacher + (1 - a) student, matched by name.

        Floating tensors are averaged, the statistics of batch norm among them; integer and boolean buffers are copied:
        averaging an index or a counter makes nonsense of it.
        """
        decay = min(1 - 1 / (iteration + 1), self.decay)
        student_state = unwrapped(student).state_dict()
        averaged, sources = [], []
        for name, tensor in self.model.state_dict().items():
            if tensor.is_floating_point():
                averaged.append(tensor)
                sources.append(student_state[name])
            else:
                tensor.copy_(student_state[name])
        torch._foreach_mul_(averaged, decay)
        torch._foreach_add_(averaged, sources, alpha=1 - decay)
