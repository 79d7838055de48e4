"""Run a function on two ranks (gloo, CPU)."""

import torch.distributed as dist
import torch.multiprocessing as mp

WORLD_SIZE = 2


def _rank(rank, function, file, arguments, results):
    dist.init_process_group("gloo", init_method=f"file://{file}", rank=rank, world_size=WORLD_SIZE)
    results[rank] = function(rank, *arguments)
    dist.destroy_process_group()


def on_two_ranks(function, tmp_path, *arguments, start_method="spawn"):
    """[function(0, *arguments), function(1, *arguments)], each in a process of its own.

    ``fork`` saves the imports; only where no rank runs a backward pass, which a forked process cannot.
    """
    with mp.Manager() as manager:
        results = manager.dict()
        rank_arguments = (function, tmp_path / "rendezvous", arguments, results)
        mp.start_processes(_rank, rank_arguments, nprocs=WORLD_SIZE, start_method=start_method)
        return [results[rank] for rank in range(WORLD_SIZE)]
