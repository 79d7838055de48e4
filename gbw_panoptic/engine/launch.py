"""One process or many: by torchrun, by Detectron2's ``--num-gpus`` and ``--num-machines``, on GPUs (NCCL) or CPUs
(gloo)."""

import argparse
import os
import signal
import socket
import sys
from contextlib import suppress
from datetime import timedelta
from typing import Callable

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from detectron2.utils import comm

from .. import cli
from ..errors import EXIT_CODE, UserError

Main = Callable[[argparse.Namespace], None]

_TIMEOUT = timedelta(minutes=30)  # Detectron2's; one rank may evaluate or write for long
#: What torchrun (and any scheduler that follows it) tells a process.
_ENVIRONMENT = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


def launch(main: Main, args: argparse.Namespace, *, device: str) -> None:
    """Call ``main(args)`` on every rank.

    Under torchrun this process is one rank of those that it has started; else ``args.num_gpus`` processes are started
    on each of ``args.num_machines`` machines (on CPUs, too). A rank that ends with an error ends the others and the
    job.

    Args:
        device: MODEL.DEVICE, which decides between NCCL and gloo.

    Raises:
        UserError: the two ways are mixed, the numbers of processes and machines are none, or this machine has fewer
            GPUs than ranks.
    """
    _check_numbers(args)
    _check_environment()
    on_gpus = device.startswith("cuda") and torch.cuda.is_available()
    world_size = args.num_gpus * args.num_machines
    if all(name in os.environ for name in _ENVIRONMENT):
        if world_size > 1:
            raise UserError(
                "expected either torchrun or --num-gpus and --num-machines, found both; let torchrun alone say how "
                "many processes there are"
            )
        rank, size, local_size = _numbers_of_torchrun()
        _check_devices(local_size, on_gpus)
        _join("env://", rank, size, local_size, on_gpus)
        main(args)
        _leave()
    elif world_size > 1:
        _check_devices(args.num_gpus, on_gpus)
        _spawn(main, args, on_gpus)
    else:
        main(args)


def _spawn(main: Main, args: argparse.Namespace, on_gpus: bool) -> None:
    url = args.dist_url
    if args.num_machines == 1:  # Detectron2's default is one port for all jobs of a user: two of them would meet
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            url = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    with _Launcher() as launcher:
        try:
            launcher.wait(
                mp.start_processes(_spawned, (main, args, url, on_gpus, os.getpid()), nprocs=args.num_gpus, join=False)
            )
        except mp.ProcessExitedException as error:  # the rank itself has said why
            sys.exit(error.exit_code if error.exit_code > 0 else 128 - error.exit_code)


class _Launcher:
    """Passes SIGTERM and SIGINT on to its processes, and leaves after them."""

    def __init__(self) -> None:
        self._received: list[int] = []
        self._processes: list = []
        self._handlers: dict[int, object] = {}

    def __enter__(self) -> "_Launcher":
        heard = [number for number in (signal.SIGTERM, signal.SIGINT) if signal.getsignal(number) is not signal.SIG_IGN]
        self._handlers = {number: signal.signal(number, self._receive) for number in heard}
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def wait(self, context: mp.ProcessContext) -> None:
        """Until all processes have ended; with the exception of the first one that failed."""
        self._processes = context.processes
        for number in self._received:  # while they were being started
            self._pass_on(number)
        while not context.join():
            pass

    def _receive(self, number: int, frame: object) -> None:
        self._received.append(number)
        self._pass_on(number)

    def _pass_on(self, number: int) -> None:
        for process in self._processes:
            with suppress(ProcessLookupError):
                os.kill(process.pid, number)


def _spawned(local_rank: int, main: Main, args: argparse.Namespace, url: str, on_gpus: bool, launcher: int) -> None:
    rank = args.machine_rank * args.num_gpus + local_rank
    if os.getppid() != launcher:  # it was killed before this process could be told to die with it
        sys.exit(EXIT_CODE)

    def run() -> None:
        _join(url, rank, args.num_gpus * args.num_machines, args.num_gpus, on_gpus)
        main(args)
        _leave()

    try:
        cli.run(run)
    except SystemExit as end:
        if end.code != EXIT_CODE:
            raise
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(EXIT_CODE)  # an ordinary exit may be aborted by gloo's threads, and the launcher would pass that on


def _check_numbers(args: argparse.Namespace) -> None:
    for flag, value in (("--num-gpus", args.num_gpus), ("--num-machines", args.num_machines)):
        if value < 1:
            raise UserError(f"{flag}: expected at least 1, found {value}; change it")
    if not 0 <= args.machine_rank < args.num_machines:
        raise UserError(
            f"--machine-rank: expected one of 0..{args.num_machines - 1}, a number below --num-machines, found "
            f"{args.machine_rank}; the others would wait for a machine that is not there"
        )


def _check_environment() -> None:
    """Raise UserError where a scheduler says that there are several processes, and not how they meet."""
    missing = [name for name in _ENVIRONMENT if name not in os.environ]
    if missing and "RANK" in os.environ and os.environ.get("WORLD_SIZE", "1") != "1":
        raise UserError(
            f"expected {', '.join(_ENVIRONMENT)} in the environment of a process of many, found no "
            f"{' and no '.join(missing)}; start the job by torchrun, or unset RANK and WORLD_SIZE"
        )


def _numbers_of_torchrun() -> tuple[int, int, int]:
    """Rank, world size and local world size, as the environment says."""
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_PORT")
    texts = {name: os.environ.get(name, "1") for name in names}
    for name, text in texts.items():
        if not (text.isascii() and text.isdigit() and len(text) < 10):
            raise UserError(
                f"{name}: expected a whole number in this environment variable of torchrun, found {text[:80]!r}; unset "
                "it"
            )
    rank, size, _, local_size, port = (int(text) for text in texts.values())
    if port > 65535:
        raise UserError(
            f"MASTER_PORT: expected a port of 1 to 65535 in this environment variable of torchrun, found {port}; unset "
            "it"
        )
    if rank >= size or not 1 <= local_size <= size:
        raise UserError(
            f"expected RANK below WORLD_SIZE and LOCAL_WORLD_SIZE of 1 to WORLD_SIZE, found {rank}, {size} and "
            f"{local_size} in the environment; unset them, or start the job by torchrun"
        )
    return rank, size, local_size


def _check_devices(local_size: int, on_gpus: bool) -> None:
    if on_gpus and local_size > torch.cuda.device_count():
        raise UserError(
            f"expected a GPU for each of the {local_size} processes on this machine, found "
            f"{torch.cuda.device_count()}; start fewer, or set MODEL.DEVICE cpu"
        )


def _join(url: str, rank: int, world_size: int, local_size: int, on_gpus: bool) -> None:
    """Become one rank of many; ranks of one machine have numbers in a row."""
    if on_gpus:
        torch.cuda.set_device(rank % local_size)
    if world_size == 1:
        return
    dist.init_process_group(
        "nccl" if on_gpus else "gloo", init_method=url, rank=rank, world_size=world_size, timeout=_TIMEOUT
    )
    for first in range(0, world_size, local_size):  # every rank makes every group: it is a collective
        group = dist.new_group(list(range(first, first + local_size)))
        if first <= rank < first + local_size:
            comm._LOCAL_PROCESS_GROUP = group
    comm.synchronize()


def _leave() -> None:
    """After success alone: a rank that failed must not wait for the others."""
    if dist.is_initialized():
        dist.destroy_process_group()
        comm._LOCAL_PROCESS_GROUP = None
