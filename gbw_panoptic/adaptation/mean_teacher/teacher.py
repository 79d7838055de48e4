"""Mean teacher: an exponential moving average of the student (Tarvainen and Valpola, arXiv 1703.01780)."""

import copy

import torch
from torch import nn

from ...structures.model import TrainedModel


def unwrapped(model: TrainedModel) -> nn.Module:
    """The model inside a data-parallel wrapper."""
    return model.module if hasattr(model, "module") else model


class MeanTeacher:
    """Holds the averaged copy, always in evaluation mode (the published code leaves batch norm in training mode)."""

    def __init__(self, student: nn.Module, *, decay: float, burn_in_iters: int = 0) -> None:
        """
        Args:
            decay: alpha in [0, 1); the effective value is min(1 - 1 / (t + 1), alpha), so that the first update copies.
            burn_in_iters: k > 0: the teacher, which has weights of its own then, stays fixed for k iterations;
                iteration k copies the student, and later ones average with alpha itself (MC-PanDA, arXiv 2407.14110).
        """
        if not 0 <= decay < 1:
            raise ValueError(f"Expected SELF_TRAINING.EMA_DECAY in [0, 1), but got {decay}.")
        self.decay = decay
        self.burn_in_iters = burn_in_iters
        self.model = copy.deepcopy(unwrapped(student)).eval().requires_grad_(False)

    @torch.no_grad()
    def update(self, student: TrainedModel, iteration: int) -> None:
        """teacher <- a teacher + (1 - a) student, matched by name.

        Floating tensors are averaged, the statistics of batch norm among them; integer and boolean buffers are copied:
        averaging an index or a counter makes nonsense of it.
        """
        decay = self.decay_at(iteration)
        if decay == 1:
            return
        student_state = unwrapped(student).state_dict()
        averaged, sources = [], []
        for name, tensor in self.model.state_dict().items():
            if tensor.is_floating_point():
                averaged.append(tensor)
                sources.append(student_state[name])
            else:
                tensor.copy_(student_state[name])
        # a tensor is in the cache when the second comes
        at_a_time = 1 if averaged[0].device.type == "cpu" else len(averaged)
        for start in range(0, len(averaged), at_a_time):
            some = slice(start, start + at_a_time)
            torch._foreach_mul_(averaged[some], decay)
            torch._foreach_add_(averaged[some], sources[some], alpha=1 - decay)

    def decay_at(self, iteration: int) -> float:
        """Share of the teacher that an update keeps: 1 within the burn-in, 0 at its end; without one, the ramp."""
        if iteration < self.burn_in_iters:
            return 1.0
        ramp = 1.0 if self.burn_in_iters else 1 - 1 / (iteration + 1)
        return 0.0 if iteration == self.burn_in_iters else min(ramp, self.decay)
