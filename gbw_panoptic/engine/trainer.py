"""One short step; everything else is a hook."""

import json
import os
import time
from typing import Callable

import numpy as np
import torch
from torch import Tensor, nn

from detectron2.engine import TrainerBase
from detectron2.utils import comm

from ..adaptation import Strategy
from ..data.loader import DomainBatch, DomainLoader
from ..errors import UserError
from .hooks import truncate_metrics


class DomainAdaptationTrainer(TrainerBase):
    """Trains a model with any adaptation strategy.

    Everything random in a step is a pure function of (seed, iteration, rank): samples are drawn by position, mixing and
    augmentation by (seed, iteration), and the global generators (dropout) are seeded anew in every step. So iteration and
    seed are the whole random state, and a resumed run repeats an uninterrupted one whatever ran in between.
    """

    def __init__(
        self,
        *,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        loader: DomainLoader,
        strategy: Strategy,
        seed: int,
        amp: bool,
        output_dir: str,
        source_style: Callable[[DomainBatch], DomainBatch] | None = None,
    ) -> None:
        """
        Args:
            amp: autocast to bfloat16 (no loss scaling needed); losses are computed in float32 either way.
            output_dir: where a report on non-finite losses goes.
            source_style: applied to every batch before the strategy sees it.
        """
        super().__init__()
        self.model = model.train()
        self.optimizer = optimizer
        self.loader = loader
        self.strategy = strategy
        self.seed = seed
        self.amp = amp
        self.output_dir = output_dir
        self.source_style = source_style
        self.resumed = False  # whether it continues what OUTPUT_DIR holds, be it from the beginning
        self._batches = None

    def run_step(self) -> None:
        start = time.perf_counter()
        batch = next(self._batches)
        data_time = time.perf_counter() - start
        if self.source_style is not None:
            batch = self.source_style(batch)

        seed_step(self.seed, self.iter)
        self.optimizer.zero_grad()
        losses: dict[str, Tensor] = {}
        with torch.autocast(next(self.model.parameters()).device.type, torch.bfloat16, enabled=self.amp):
            for terms in self.strategy.terms(self.model, batch, self.iter):
                sum(terms.values()).backward()
                losses.update({name: value.detach() for name, value in terms.items()})

        self._check_and_log(losses, batch, data_time)
        self.optimizer.step()
        self.strategy.after_step(self.iter)

    def before_train(self) -> None:
        if self.resumed and comm.is_main_process():  # what came after the checkpoint is written again
            truncate_metrics(os.path.join(self.output_dir, "metrics.json"), self.start_iter - 1)
        self.restart_loader()
        super().before_train()

    def after_train(self) -> None:
        if self._batches is not None:
            self._batches.close()  # left to the garbage collector, every worker takes five seconds to end
        super().after_train()

    def restart_loader(self) -> None:
        """Forget what was prefetched: the next batch is made anew, with what files say by then."""
        self._batches = iter(self.loader)

    def _check_and_log(self, losses: dict[str, Tensor], batch: DomainBatch, data_time: float) -> None:
        """Stop before the update when a loss or a gradient is not finite. The one host synchronisation of the step."""
        named = {**losses, **self.strategy.health, "gradient_norm": gradient_norm(self.model)}
        values = dict(zip(named, torch.stack([value.float() for value in named.values()]).tolist()))
        gradients = [name for name in values if name.endswith("gradient_norm")]
        bad = [name for name in losses if not np.isfinite(values[name])]
        bad = bad or [name for name in gradients if not np.isfinite(values[name])]  # the latter follow from the former
        gathered = comm.gather((values, bad, data_time))
        if any(rank_bad for rank_bad in comm.all_gather(bad)):
            self._stop(bad, values, batch)
        if comm.is_main_process():
            means = {name: float(np.mean([rank[0][name] for rank in gathered])) for name in values}
            self.storage.put_scalar("data_time", max(rank[2] for rank in gathered))
            self.storage.put_scalar("total_loss", sum(means[name] for name in losses))
            self.storage.put_scalars(**means)

    def _stop(self, bad: list[str], values: dict[str, float], batch: DomainBatch) -> None:
        path = os.path.join(self.output_dir, f"nan_report_rank{comm.get_rank()}.json")
        report = {
            "iteration": self.iter,
            "non_finite": bad,
            "losses": {name: repr(value) for name, value in values.items()},
            "learning_rate": [group["lr"] for group in self.optimizer.param_groups],
            "source_files": [sample["file_name"] for sample in batch.source],
            "target_files": [sample["file_name"] for sample in batch.target],
        }
        with open(path, "w") as file:
            json.dump(report, file, indent=2)
        raise UserError(
            f"Expected finite losses and gradients, found a non-finite value in {', '.join(bad) or 'another rank'} at iteration "
            f"{self.iter}; nothing was updated: see {path}, lower SOLVER.BASE_LR, or resume from the last checkpoint."
        )

    def state_dict(self) -> dict:
        return {
            **super().state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "loader": self.loader.state_dict(),
            "rng": {"seed": self.seed, "iteration": self.iter},
        }

    def load_state_dict(self, state_dict: dict) -> None:
        super().load_state_dict(state_dict)
        self.optimizer.load_state_dict(state_dict["optimizer"])
        self.loader.load_state_dict(state_dict["loader"])
        if state_dict["rng"]["seed"] != self.seed:
            raise UserError(
                f"Expected SEED {state_dict['rng']['seed']} (the checkpoint's), found {self.seed}; set SEED to the "
                "checkpoint's or start anew without --resume."
            )
        self.start_iter = self.iter + 1


def seed_step(seed: int, iteration: int) -> None:
    """Seed torch's global generators with a pure function of (seed, iteration, rank)."""
    state = np.random.SeedSequence((seed, iteration, comm.get_rank())).generate_state(1, np.uint64)[0]
    torch.manual_seed(int(state >> np.uint64(1)))


def gradient_norm(model: nn.Module) -> Tensor:
    """Euclidean norm of all gradients, not finite if one of them is not."""
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    return torch.stack(torch._foreach_norm(gradients)).float().norm()
