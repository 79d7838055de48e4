"""What an adaptation strategy is: it turns a batch of both domains into losses, one backward pass each."""

from types import MappingProxyType
from typing import Iterator, Mapping, Protocol

from torch import Tensor, nn

from ..structures.model import TrainedModel
from ..structures.samples import DomainBatch


class Stateful(Protocol):
    """What a checkpoint can hold: a module or an optimizer."""

    def state_dict(self) -> dict: ...

    def load_state_dict(self, state_dict: dict) -> object: ...


class Strategy(Protocol):
    """Sees a model only through its public calls.

    Attributes:
        health: name -> scalar tensor of the last step, for the log.
        modules: what a checkpoint holds beside the student, by name; a ``teacher`` is evaluated, too.
        trained: what it trains beside the model, by name: the caller checks the gradients and takes the scale out of
            them.
        loss_scale: set by the caller, what it multiplies the losses with before their backward pass.
    """

    health: dict[str, Tensor]
    modules: dict[str, Stateful]
    trained: Mapping[str, nn.Module] = MappingProxyType({})
    loss_scale: float = 1.0

    def before_step(self, model: TrainedModel, iteration: int) -> None:
        """Called once before the terms of an update, however many micro-batches it has."""

    def terms(self, model: TrainedModel, batch: DomainBatch, iteration: int) -> Iterator[dict[str, Tensor]]:
        """Yield dictionaries of scalar losses, named ``<branch>/<loss>``.

        The caller back-propagates the sum of each before it asks for the next: one graph is alive at a time, which
        keeps memory down and suits data-parallel wrappers. Called for every micro-batch of an update.
        """

    def after_step(self, iteration: int) -> None:
        """Called once the model is updated, which a non-finite loss prevents: what a strategy trains beside it."""


def prefixed(branch: str, losses: dict[str, Tensor], factor: float = 1.0) -> dict[str, Tensor]:
    """``{"loss_x": v}`` -> ``{"<branch>/loss_x": factor * v}``."""
    return {f"{branch}/{name}": value if factor == 1 else factor * value for name, value in losses.items()}


class SourceOnly(Strategy):
    """Supervised training on the labelled source: the baseline that every adaptation is measured against."""

    def __init__(self) -> None:
        self.health: dict[str, Tensor] = {}
        self.modules: dict[str, Stateful] = {}

    def terms(self, model: TrainedModel, batch: DomainBatch, iteration: int) -> Iterator[dict[str, Tensor]]:
        yield prefixed("source", model(batch.source, branch="source"))
