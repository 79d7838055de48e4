"""A training step of every adaptation strategy against a supervised step of the same model, images and crop."""

import argparse
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from detectron2.utils.events import EventStorage

from gbw_panoptic.data import register_all
from gbw_panoptic.data.preparation import prepare
from gbw_panoptic.engine import build_trainer
from gbw_panoptic.engine.trainer import DomainAdaptationTrainer
from gbw_panoptic.engine.setup import adapt_to_machine, load_config
from gbw_panoptic.streets import generate

from .timing import Comparison, alternate

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
_STRATEGIES = ("entropy", "adversarial", "self_training", "self_training_gbw")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--strategies", nargs="*", default=list(_STRATEGIES), metavar="NAME", help="of configs/streets")
    parser.add_argument(
        "--switches",
        nargs="*",
        default=[],
        metavar="KEY",
        help="of the supervised step: MODEL.CHANNELS_LAST, MODEL.COMPILE",
    )
    parser.add_argument("--images", type=int, default=8, help="generated images of each domain, 128x256")


def main(arguments: argparse.Namespace) -> Iterator[Comparison]:
    with streets(arguments) as folder:
        yield from _compare(arguments, folder)


@contextmanager
def streets(arguments: argparse.Namespace) -> Iterator[str]:
    """A folder with generated data, registered for as long as it is there."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        generate(
            root, size=(128, 256), source=arguments.images, target_train=arguments.images, target_val=1,
            seed=arguments.seed, formats=("synthia", "cityscapes"),
        )  # fmt: skip
        for name in ("synthia", "cityscapes"):
            prepare(name, root, workers=1)
        register_all(str(root))
        try:
            yield folder
        finally:
            register_all()


def _compare(arguments: argparse.Namespace, folder: str) -> Iterator[Comparison]:
    supervised = training_step("streets/source_only", folder, arguments.seed)
    for key in arguments.switches:
        switched = training_step("streets/source_only", folder, arguments.seed, key, "True")
        seconds = alternate(
            {"off": supervised, "on": switched}, repeats=arguments.repeats, label=key, clock=arguments.clock
        )
        yield Comparison(f"Supervised step with {key}", "off", "on", seconds["off"], seconds["on"])
    for name in arguments.strategies:
        seconds = alternate(
            {"supervised": supervised, "adaptation": training_step(f"streets/{name}", folder, arguments.seed)},
            repeats=arguments.repeats, label=name, clock=arguments.clock,
        )  # fmt: skip
        yield Comparison(
            f"Step of {name}, ResNet-18 at 128x128", "source only", name, seconds["supervised"], seconds["adaptation"],
            note="twice the images of a supervised step, and more forward passes: below 1 is expected",
        )  # fmt: skip


def training_step(name: str, folder: str, seed: int, *options: str) -> Callable[[], None]:
    """One true training step, data loading included, of a trainer that goes on every time; nothing is written."""
    return trainer_and_step(name, folder, seed, *options)[1]


def trainer_and_step(
    name: str, folder: str, seed: int, *options: str
) -> tuple[DomainAdaptationTrainer, Callable[[], None]]:
    """A trainer that goes on with every call of its :func:`training_step`."""
    options = ["OUTPUT_DIR", folder, "SEED", str(seed), "MODEL.DEVICE", "cpu", *options]
    cfg = load_config(str(CONFIGS / f"{name}.yaml"), options)
    adapt_to_machine(cfg)
    trainer = build_trainer(cfg)
    trainer.iter = trainer.start_iter = 0
    trainer.storage = EventStorage(0)
    trainer._batches = iter(trainer.loader)

    def step() -> None:
        with trainer.storage:
            trainer.run_step()
            trainer.storage.step()
        trainer.iter += 1

    return trainer, step
