"""A step of self-training against the sum of its parts: the student's two passes with their losses, the teacher's
one."""

import argparse
from collections.abc import Callable, Iterator

from gbw_panoptic.engine.trainer import DomainAdaptationTrainer

from .step import streets, trainer_and_step
from .timing import Comparison, alternate

_CONFIGS = ("streets/self_training", "streets/mask2former_self_training")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(repeats=5)
    parser.add_argument("--configs", nargs="+", default=list(_CONFIGS), metavar="NAME", help="below configs/")
    parser.add_argument("--images", type=int, default=8, help="generated images of each domain, 128x256")
    parser.add_argument("--opts", nargs="*", default=[], metavar="KEY VALUE", help="overrides of both")


def main(arguments: argparse.Namespace) -> Iterator[Comparison]:
    with streets(arguments) as folder:
        for name in arguments.configs:
            trainer, step = trainer_and_step(name, folder, arguments.seed, "MODEL.WEIGHTS", "", *arguments.opts)
            ways = {"parts": _parts(trainer), "step": step}
            seconds = alternate(ways, repeats=arguments.repeats, label=name[-20:], clock=arguments.clock)
            yield Comparison(
                f"Step of {name}", "sum of its parts", "step", seconds["parts"], seconds["step"], goal=1 / 1.1,
                note="parts: three forward and two backward passes, with losses",
            )  # fmt: skip


def _parts(trainer: DomainAdaptationTrainer) -> Callable[[], None]:
    """What the networks compute in a step, on one batch."""
    model, strategy, batch = trainer.model, trainer.strategy, next(trainer._batches)
    strategy.before_step(model, 0)
    teacher = strategy.teacher.model
    targets, _ = strategy.labeller(teacher, batch.target, with_instances="instance_ids" in batch.source[0])
    mixed = strategy.mixed(batch.source, targets, 0)

    def parts() -> None:
        trainer.optimizer.zero_grad()
        sum(model(batch.source, branch="source").values()).backward()
        teacher.predict(batch.target)
        sum(model(mixed, branch="mixed").values()).backward()

    return parts
