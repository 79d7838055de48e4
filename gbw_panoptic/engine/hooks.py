"""What happens around a step."""

import json
import os

from torch import nn

from detectron2.engine import HookBase

from ..adaptation.teacher import unwrapped
from ..weighting import ClassWeighting


class ClassWeightLogger(HookBase):
    """Puts weight, gradient and pixel share of every class, branch and head into the log."""

    def __init__(self, model: nn.Module, class_names: tuple[str, ...], *, period: int) -> None:
        self.weightings = {
            name.rsplit(".", 1)[-1]: module
            for name, module in unwrapped(model).named_modules()
            if isinstance(module, ClassWeighting)
        }
        self.class_names = class_names
        self.period = period

    def after_step(self) -> None:
        last = self.trainer.iter == self.trainer.max_iter - 1
        if self.trainer.iter % self.period and not last:
            return
        for head, weighting in self.weightings.items():
            for branch, statistics in weighting.statistics.items():
                for kind, values in statistics.items():
                    named = zip(self.class_names, values.tolist())
                    scalars = {f"gbw/{branch}/{head}/{kind}/{name}": value for name, value in named}
                    self.trainer.storage.put_scalars(**scalars, smoothing_hint=False)


def truncate_metrics(path: str, iteration: int) -> None:
    """Cut metrics.json behind the lines up to ``iteration``: a resumed run writes the rest again.

    In place, since a writer may hold the file open; one system call, so a kill leaves the old file or the new one.
    """
    if not os.path.isfile(path):
        return
    end = 0
    with open(path, "rb") as file:
        for line in file:
            try:
                if json.loads(line)["iteration"] > iteration:
                    break
            except (json.JSONDecodeError, KeyError, TypeError):
                break  # the line that a killed process left half written
            end += len(line)
    os.truncate(path, end)
