"""One short step; everything else is a hook."""

import json
import os
import time
from contextlib import nullcontext
from typing import Callable, Iterator

import numpy as np
import torch
from detectron2.engine import TrainerBase
from detectron2.utils import comm
from torch import Tensor, nn

from ..adaptation import Strategy
from ..adaptation.mean_teacher.teacher import unwrapped
from ..adaptation.strategy import prefixed
from ..data.loader import DomainLoader
from ..errors import UserError
from ..structures.samples import DomainBatch
from .execution import LossScaler
from .hooks import METRICS, truncate_metrics
from .resuming import adopted, describe_fault


class DomainAdaptationTrainer(TrainerBase):
    """Trains a model with any adaptation strategy.

    Everything random in a step is a pure function of (seed, iteration, rank): samples are drawn by position, mixing and
    augmentation by (seed, iteration), and the global generators (dropout) are seeded anew in every step. So iteration
    and seed are the whole random state, and a resumed run repeats an uninterrupted one whatever ran in between.
    """

    def __init__(
        self,
        *,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        loader: DomainLoader,
        strategy: Strategy,
        seed: int,
        output_dir: str,
        accumulation_steps: int = 1,
        autocast: torch.dtype | None = None,
        scaler: LossScaler | None = None,
        source_style: Callable[[DomainBatch], DomainBatch] | None = None,
        labelled_weight: float = 1.0,
    ) -> None:
        """
        Args:
            output_dir: where a report on non-finite losses goes.
            accumulation_steps: micro-batches whose gradients' mean makes an update.
            autocast: lower precision, None for none; losses are computed in float32 either way.
            scaler: of the losses, for float16.
            source_style: applied to every batch before the strategy sees it.
            labelled_weight: factor of the losses on target images with labels, beside those of any strategy.
        """
        super().__init__()
        self.model = model.train()
        self.optimizer = optimizer
        self.loader = loader
        self.strategy = strategy
        self.seed = seed
        self.output_dir = output_dir
        self.accumulation_steps = accumulation_steps
        self.autocast = autocast
        self.scaler = scaler
        self.source_style = source_style
        self.labelled_weight = labelled_weight
        self.resumed = False  # whether it continues what OUTPUT_DIR holds, be it from the beginning
        self._batches = None

    def run_step(self) -> None:
        """One update of the model: gradients are means over the micro-batches, and are checked before they are applied.

        1. The strategy prepares the step (a teacher follows the student).
        2. Each micro-batch gives its losses; every one is back-propagated before the next is made.
        3. Losses and gradients of all ranks are checked and logged; one that is not finite ends the run, or skips the
           update where a smaller loss scale may help.
        4. The optimizer and the strategy update what they train.
        """
        self.optimizer.zero_grad()
        self.strategy.before_step(self.model, self.iter)
        batches, means, losses, data_time = [], {}, [], 0.0
        for micro in range(self.accumulation_steps):
            start = time.perf_counter()
            batches.append(next(self._batches))
            data_time += time.perf_counter() - start
            seed_step(self.seed, self.iter * self.accumulation_steps + micro)
            of_batch = self._backward(batches[-1], last=micro == self.accumulation_steps - 1)
            losses = list(of_batch)
            for name, value in {**of_batch, **self.strategy.health}.items():
                means[name] = means.get(name, 0) + value / self.accumulation_steps

        self._unscale()
        if self._check_and_log(means, losses, batches, data_time):
            self.optimizer.step()
            self.strategy.after_step(self.iter)

    def _backward(self, batch: DomainBatch, *, last: bool) -> dict[str, Tensor]:
        """Adds one micro-batch's part to the gradients; the ranks average them in the last one. Its losses,
        detached."""
        if self.source_style is not None:
            batch = self.source_style(batch)
        losses: dict[str, Tensor] = {}
        factor = (self.scaler.scale if self.scaler else 1.0) / self.accumulation_steps
        self.strategy.loss_scale = factor
        device, enabled = next(self.model.parameters()).device.type, self.autocast is not None
        local = not last and hasattr(self.model, "no_sync")
        with self.model.no_sync() if local else nullcontext(), torch.autocast(device, self.autocast, enabled=enabled):
            for terms in self._terms(batch):
                (factor * sum(terms.values())).backward()
                losses.update({name: value.detach() for name, value in terms.items()})
        return losses

    def _terms(self, batch: DomainBatch) -> Iterator[dict[str, Tensor]]:
        """Those of the strategy, then those of target images with labels, whose class weights are the branch
        ``target``'s."""
        yield from self.strategy.terms(self.model, batch, self.iter)
        if batch.labelled:
            yield prefixed("labelled", self.model(batch.labelled, branch="target"), self.labelled_weight)

    def _unscale(self) -> None:
        if self.scaler:
            modules = (self.model, *self.strategy.trained.values())
            torch._foreach_mul_([g for module in modules for g in gradients(module)], 1 / self.scaler.scale)

    def before_train(self) -> None:
        if self.resumed and comm.is_main_process():  # what came after the checkpoint is written again
            truncate_metrics(os.path.join(self.output_dir, METRICS), self.start_iter - 1)
        self.restart_loader()
        super().before_train()

    def after_train(self) -> None:
        if self._batches is not None:
            self._batches.close()  # left to the garbage collector, every worker takes five seconds to end
        super().after_train()

    def restart_loader(self) -> None:
        """Forget what was prefetched: the next batch is made anew, with what files say by then."""
        self._batches = iter(self.loader)

    def _check_and_log(
        self, means: dict[str, Tensor], losses: list[str], batches: list[DomainBatch], data_time: float
    ) -> bool:
        """Whether to update. The one host synchronisation of the step: losses, health and norms of gradients in one
        copy.

        A loss that is not finite, on any rank, stops the training; a gradient, too, unless a smaller loss scale may
        help.
        """
        norms = {f"{name}/gradient_norm": gradient_norm(module) for name, module in self.strategy.trained.items()}
        named = {**means, **norms, "gradient_norm": gradient_norm(self.model)}
        values = dict(zip(named, torch.stack([value.float() for value in named.values()]).tolist()))
        bad = [name for name in losses if not np.isfinite(values[name])]
        overflow = [name for name in values if name.endswith("gradient_norm") and not np.isfinite(values[name])]
        gathered = comm.all_gather((values, bad, overflow, data_time))
        overflows = any(of_rank[2] for of_rank in gathered)
        if any(of_rank[1] for of_rank in gathered) or (overflows and not (self.scaler and self.scaler.may_shrink)):
            self._stop(bad or overflow, values, batches)  # the latter follow from the former
        if self.scaler:
            self.scaler.update(overflows)
            self.storage.put_scalar("loss_scale", self.scaler.scale, smoothing_hint=False)
        if comm.is_main_process():
            finite = {name: [rank[0][name] for rank in gathered if np.isfinite(rank[0][name])] for name in values}
            mean = {name: float(np.mean(of_ranks)) for name, of_ranks in finite.items() if of_ranks}
            self.storage.put_scalar("data_time", max(rank[3] for rank in gathered))
            self.storage.put_scalar("total_loss", sum(mean[name] for name in losses))
            self.storage.put_scalars(**mean)
        return not overflows

    def _stop(self, bad: list[str], values: dict[str, float], batches: list[DomainBatch]) -> None:
        path = os.path.join(self.output_dir, f"nan_report_rank{comm.get_rank()}.json")
        report = {
            "iteration": self.iter,
            "non_finite": bad,
            "losses": {name: repr(value) for name, value in values.items()},
            "learning_rate": [group["lr"] for group in self.optimizer.param_groups],
            "source_files": [sample["file_name"] for batch in batches for sample in batch.source],
            "target_files": [sample["file_name"] for batch in batches for sample in batch.target],
        }
        with open(path, "w") as file:
            json.dump(report, file, indent=2)
        raise UserError(
            f"Expected finite losses and gradients, found a non-finite value in {', '.join(bad) or 'another rank'} at "
            f"iteration {self.iter}; nothing was updated: see {path}, lower SOLVER.BASE_LR, or resume from the last "
            "checkpoint."
        )

    def state_dict(self) -> dict:
        return {
            **super().state_dict(),
            **({"loss_scaler": self.scaler.state_dict()} if self.scaler else {}),
            "optimizer": self.optimizer.state_dict(),
            "parameters": self._parameter_names(),
            "loader": self.loader.state_dict(),
            "rng": {"seed": self.seed, "iteration": self.iter},
        }

    def _parameter_names(self) -> list[str]:
        """In the order in which the optimizer counts them, which depends on the settings of its groups."""
        names = {parameter: name for name, parameter in unwrapped(self.model).named_parameters()}
        return [names[parameter] for group in self.optimizer.param_groups for parameter in group["params"]]

    def load_state_dict(self, state_dict: dict) -> None:
        """
        Raises:
            UserError: the state is not this training's: another optimizer's, another seed's or a damaged one.
        """
        state_dict = adopted(state_dict, self.optimizer, self._parameter_names())
        fault = describe_fault(state_dict, self.optimizer)
        if fault:
            raise UserError(
                f"--resume: expected the state of this training in the checkpoint, found {fault}; resume with the "
                "settings of the run that wrote it, or start anew with it as MODEL.WEIGHTS."
            )
        super().load_state_dict(state_dict)
        self.optimizer.load_state_dict(state_dict["optimizer"])
        self.loader.load_state_dict(state_dict["loader"])
        if self.scaler and "loss_scaler" in state_dict:  # a run that was begun in another precision has none
            self.scaler.load_state_dict(state_dict["loss_scaler"])
        if state_dict["rng"]["seed"] != self.seed:
            raise UserError(
                f"Expected SEED {state_dict['rng']['seed']} (the checkpoint's), found {self.seed}; set SEED to the "
                "checkpoint's or start anew without --resume."
            )
        self.start_iter = self.iter + 1


def seed_step(seed: int, number: int) -> None:
    """Seed torch's global generators with a pure function of (seed, number of the micro-batch, rank)."""
    state = np.random.SeedSequence((seed, number, comm.get_rank())).generate_state(1, np.uint64)[0]
    torch.manual_seed(int(state >> np.uint64(1)))


def gradients(module: nn.Module) -> list[Tensor]:
    """Those of its parameters that have one."""
    return [parameter.grad for parameter in module.parameters() if parameter.grad is not None]


def gradient_norm(module: nn.Module) -> Tensor:
    """Euclidean norm of all gradients, not finite if one of them is not."""
    return torch.stack(torch._foreach_norm(gradients(module))).float().norm()
