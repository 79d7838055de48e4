"""A training step on the CPU that keeps freed memory against one that gives it back to the system; each in its own
process."""

import argparse
import resource
from collections.abc import Iterator
from multiprocessing.connection import Connection

import torch
import torch.multiprocessing as mp

from gbw_panoptic import cli
from gbw_panoptic.data import register_all
from gbw_panoptic.engine.setup import load_config
from gbw_panoptic.errors import UserError
from gbw_panoptic.machine import keep_freed_memory

from .step import CONFIGS, streets, training_step
from .timing import CLOCKS, Comparison

_WARM_UP = 3  # steps until a process has touched what it keeps


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--configs", nargs="+", default=["streets/self_training_gbw"], metavar="NAME", help="below configs/"
    )
    parser.add_argument("--images", type=int, default=8, help="generated images of each domain, 128x256")


def main(arguments: argparse.Namespace) -> Iterator[Comparison]:
    for name in arguments.configs:  # here, where a wrong name is one sentence
        load_config(str(CONFIGS / f"{name}.yaml"), [])
    with streets(arguments) as folder:
        for name in arguments.configs:
            yield _compare(name, folder, arguments)


def _compare(name: str, folder: str, arguments: argparse.Namespace) -> Comparison:
    context = mp.get_context("spawn")
    ways = {}
    for keep in (False, True):
        here, there = context.Pipe()
        options = (there, keep, name, folder, arguments.seed, arguments.clock, torch.get_num_threads())
        context.Process(target=_serve, args=options, daemon=True).start()
        there.close()  # so that a process that has died is an end of file here
        ways[keep] = here
    seconds, faults = {False: [], True: []}, {}
    with cli.progress(_WARM_UP + arguments.repeats, f"memory, {name}", unit="run") as bar:
        for repeat in range(-_WARM_UP, arguments.repeats):
            for keep, connection in ways.items():
                try:
                    connection.send(True)
                    took, faults[keep] = connection.recv()
                except (EOFError, ConnectionError) as error:
                    raise UserError(
                        f"Expected both processes to train {name}, found that one has died; see above."
                    ) from error
                if repeat >= 0:
                    seconds[keep].append(took)
            bar.update()
    for connection in ways.values():
        connection.send(False)
    return Comparison(
        f"Step of {name} that keeps freed memory", "gives it back", "keeps it", tuple(seconds[False]),
        tuple(seconds[True]),
        note=f"page faults of the last step {faults[False]} and {faults[True]}",
    )  # fmt: skip


def _serve(connection: Connection, keep: bool, name: str, folder: str, seed: int, clock: str, threads: int) -> None:
    """One training step for every True that comes; answers with its seconds and page faults."""
    torch.set_num_threads(threads)
    register_all(folder)
    if keep:
        keep_freed_memory()
    step, now = training_step(name, folder, seed), CLOCKS[clock]
    while connection.recv():
        faults, start = resource.getrusage(resource.RUSAGE_SELF).ru_minflt, now()
        step()
        connection.send((now() - start, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - faults))
