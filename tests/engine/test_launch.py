"""Several processes: torchrun and --num-gpus, and what becomes of a job of which one process dies."""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch.distributed as dist

from detectron2.utils import comm

from gbw_panoptic.engine.launch import launch
from gbw_panoptic.errors import UserError, explained

ROOT = Path(__file__).parents[2]
#: Faults of rank 1, in the second of many collectives.
FAULTS = {
    "sentence": "raise UserError('expected a file, found none')",
    "traceback": "raise ZeroDivisionError('a fault of ours')",
    "killed": "os.kill(os.getpid(), 9)",
}
PROGRAM = """
import argparse, os, sys
import torch, torch.distributed as dist
from detectron2.utils import comm
from gbw_panoptic import cli
from gbw_panoptic.engine.launch import launch
from gbw_panoptic.errors import UserError

def main(args):
    for step in range(1000):
        if step == 1 and comm.get_rank() == 1:
            {fault}
        dist.all_reduce(torch.ones(1))

if __name__ == "__main__":
    num_gpus = int(sys.argv[1])
    args = argparse.Namespace(num_gpus=num_gpus, num_machines=1, machine_rank=0, dist_url="auto")
    cli.run(lambda: launch(main, args, device="cpu"))
"""


def arguments(num_gpus=1):
    return argparse.Namespace(num_gpus=num_gpus, num_machines=1, machine_rank=0, dist_url="auto")


def environment(**more):
    kept = {k: v for k, v in os.environ.items() if k not in ("RANK", "LOCAL_RANK", "WORLD_SIZE")}
    return {**kept, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **more}


def torchrun(*command, processes=2):
    return [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes), *command]


def test_one_process_needs_no_group():
    seen = []
    launch(lambda args: seen.append((args.num_gpus, dist.is_initialized())), arguments(), device="cpu")
    assert seen == [(1, False)]


def test_two_ways_at_once_are_refused(monkeypatch):
    for name, value in dict(RANK=0, LOCAL_RANK=0, WORLD_SIZE=2, MASTER_ADDR="127.0.0.1", MASTER_PORT=1).items():
        monkeypatch.setenv(name, str(value))
    with pytest.raises(UserError, match="either torchrun or --num-gpus"):
        launch(lambda args: None, arguments(2), device="cpu")


def test_a_peer_that_has_gone_is_one_sentence():
    assert "one has ended" in str(explained(RuntimeError("[pair.cc:534] Connection closed by peer [127.0.0.1]:1")))
    assert explained(RuntimeError("shape mismatch")) is None


def _note_rank(args):
    path = Path(args.folder) / str(comm.get_rank())
    path.write_text(json.dumps([comm.get_world_size(), comm.get_local_rank(), comm.get_local_size()]))


@pytest.mark.slow
def test_num_gpus_starts_processes_without_gpus_too(tmp_path):
    args = arguments(2)
    args.folder = str(tmp_path)
    launch(_note_rank, args, device="cpu")
    noted = {path.name: json.loads(path.read_text()) for path in tmp_path.iterdir()}
    assert noted == {"0": [2, 0, 2], "1": [2, 1, 2]}


@pytest.mark.slow
@pytest.mark.parametrize(
    "way, fault",
    [("torchrun", "sentence"), ("torchrun", "killed"), ("num_gpus", "sentence"), ("num_gpus", "traceback")],
)
def test_a_rank_that_dies_ends_the_job_with_its_error(tmp_path, way, fault):
    program = tmp_path / "program.py"
    program.write_text(PROGRAM.format(fault=FAULTS[fault]))
    command = torchrun(str(program), "1") if way == "torchrun" else [sys.executable, str(program), "2"]
    begin = time.monotonic()
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=300)
    assert time.monotonic() - begin < 240  # far below the 30 minutes of a collective's timeout
    assert done.returncode != 0
    said = {"sentence": "error: expected a file, found none", "traceback": "ZeroDivisionError: a fault of ours",
            "killed": "SIGKILL"}[fault]  # fmt: skip
    assert said in done.stderr
    if (way, fault) == ("num_gpus", "sentence"):
        assert "Traceback" not in done.stderr and done.returncode == 2


@pytest.mark.slow
@pytest.mark.parametrize("way", ["torchrun", "num_gpus"])
def test_train_net_on_two_ranks(streets_root, tmp_path, way):
    from tiny_runs import TINY

    options = [str(x) for x in (*TINY, "SOLVER.IMS_PER_BATCH", 2, "SOLVER.MAX_ITER", 2, "DATALOADER.NUM_WORKERS", 0)]
    train = [str(ROOT / "tools" / "train_net.py"), "--config-file", str(ROOT / "configs/quick/self_training_gbw.yaml")]
    options += ["OUTPUT_DIR", str(tmp_path / "run"), "DATASETS.TEST", "('cityscapes_uda_panoptic_val',)"]
    command = torchrun(*train, *options) if way == "torchrun" else [sys.executable, *train, "--num-gpus", "2", *options]
    env = environment(DETECTRON2_DATASETS=str(streets_root))
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    result = json.loads((tmp_path / "run" / "inference" / "student.json").read_text())
    assert result["images"] == 3  # an odd number: each is counted once
    assert (tmp_path / "run" / "log.txt.rank1").exists() and (tmp_path / "run" / "model_final.pth").exists()
