"""Several processes: torchrun and --num-gpus, and what becomes of a job of which one process dies."""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch.distributed as dist
import torch.multiprocessing as mp

from detectron2.utils import comm

from gbw_panoptic.engine import launch as launching
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


@pytest.mark.parametrize(
    "name, value",
    [
        ("RANK", "one"),
        ("WORLD_SIZE", ""),
        ("RANK", "-1"),
        ("LOCAL_WORLD_SIZE", "2.0"),
        ("MASTER_PORT", "tcp"),
        ("RANK", "9" * 80),
    ],
)
def test_garbage_in_the_environment_is_one_sentence(monkeypatch, name, value):
    sound = dict(RANK=0, LOCAL_RANK=0, WORLD_SIZE=1, LOCAL_WORLD_SIZE=1, MASTER_ADDR="127.0.0.1", MASTER_PORT=1)
    for key, text in {**sound, name: value}.items():
        monkeypatch.setenv(key, str(text))
    with pytest.raises(
        UserError, match=f"{name}: expected a whole number in this environment variable of torchrun, found '{value}'"
    ):
        launch(lambda args: None, arguments(), device="cpu")


@pytest.mark.parametrize("missing", ["MASTER_ADDR", "LOCAL_RANK"])
def test_one_process_of_many_that_is_not_told_how_they_meet_is_refused(monkeypatch, missing):
    for key, text in dict(RANK=0, LOCAL_RANK=0, WORLD_SIZE=2, MASTER_ADDR="127.0.0.1", MASTER_PORT=1).items():
        monkeypatch.setenv(key, str(text))
    monkeypatch.delenv(missing)
    with pytest.raises(UserError, match=f"found no {missing}; start the job by torchrun, or unset RANK and WORLD_SIZE"):
        launch(lambda args: None, arguments(), device="cpu")
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert launch(lambda args: None, arguments(), device="cpu") is None


@pytest.mark.parametrize(
    "numbers", [dict(RANK=2), dict(RANK=1, LOCAL_WORLD_SIZE=3), dict(LOCAL_WORLD_SIZE=0), dict(MASTER_PORT=99999)]
)
def test_a_rank_beyond_the_world_is_one_sentence(monkeypatch, numbers):
    sound = dict(RANK=0, LOCAL_RANK=0, WORLD_SIZE=2, LOCAL_WORLD_SIZE=2, MASTER_ADDR="127.0.0.1", MASTER_PORT=1)
    for key, text in {**sound, **numbers}.items():
        monkeypatch.setenv(key, str(text))
    with pytest.raises(UserError, match="expected RANK below WORLD_SIZE|MASTER_PORT: expected a port"):
        launch(lambda args: None, arguments(), device="cpu")


@pytest.mark.parametrize(
    "changes, words",
    [
        (
            dict(num_machines=2, machine_rank=2),
            "--machine-rank: expected one of 0..1, a number below --num-machines, found 2",
        ),
        (dict(machine_rank=-1), "--machine-rank: expected one of 0..0"),
        (dict(num_gpus=0), "--num-gpus: expected at least 1, found 0"),
        (dict(num_machines=0), "--num-machines: expected at least 1, found 0"),
    ],
)
def test_numbers_that_nobody_would_wait_for_are_refused(changes, words):
    with pytest.raises(UserError, match=words):
        launch(lambda args: None, argparse.Namespace(**{**vars(arguments()), **changes}), device="cpu")


def _save_slowly(rank, folder):
    def stop(number, frame):
        time.sleep(1)
        Path(folder, f"saved{rank}").touch()
        sys.exit(128 + number)

    signal.signal(signal.SIGTERM, stop)
    Path(folder, f"ready{rank}").touch()
    time.sleep(60)


def test_a_launcher_takes_its_processes_along_and_leaves_after_them(tmp_path):
    before = signal.getsignal(signal.SIGTERM)
    with launching._Launcher() as launcher, pytest.raises(mp.ProcessExitedException) as ended:
        context = mp.start_processes(_save_slowly, (str(tmp_path),), nprocs=2, join=False, start_method="fork")
        while len(list(tmp_path.glob("ready*"))) < 2:
            time.sleep(0.01)
        signal.raise_signal(signal.SIGTERM)  # heard before it knows its processes
        launcher.wait(context)
    assert ended.value.exit_code == 143 and not any(process.is_alive() for process in context.processes)
    assert {path.name for path in tmp_path.glob("saved*")} == {"saved0", "saved1"}
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_process_whose_launcher_was_killed_does_not_begin():
    with pytest.raises(SystemExit):
        launching._spawned(0, pytest.fail, arguments(2), "tcp://127.0.0.1:1", False, os.getpid())  # not its parent


@pytest.mark.slow
@pytest.mark.parametrize("way", ["torchrun", "num_gpus"])
def test_a_scheduler_s_signal_to_all_processes_leaves_a_checkpoint_and_no_process(streets_root, tmp_path, way):
    from tiny_runs import TINY

    options = [
        str(x) for x in (*TINY, "SOLVER.IMS_PER_BATCH", 2, "SOLVER.MAX_ITER", 100000, "DATALOADER.NUM_WORKERS", 0)
    ]
    train = [str(ROOT / "tools" / "train_net.py"), "--config-file", str(ROOT / "configs/quick/source_only.yaml")]
    options += ["OUTPUT_DIR", str(tmp_path / "run"), "MODEL.WEIGHTS", "", "SOLVER.CHECKPOINT_PERIOD", "100000"]
    command = torchrun(*train, *options) if way == "torchrun" else [sys.executable, *train, "--num-gpus", "2", *options]
    with open(tmp_path / "said", "w") as said:
        job = subprocess.Popen(
            command, env=environment(DETECTRON2_DATASETS=str(streets_root)), stderr=said, start_new_session=True
        )
    deadline = time.monotonic() + 300
    while not (tmp_path / "run/metrics.json").is_file() or (tmp_path / "run/metrics.json").stat().st_size == 0:
        assert time.monotonic() < deadline and job.poll() is None, (tmp_path / "said").read_text()[-3000:]
        time.sleep(0.2)
    os.killpg(job.pid, signal.SIGTERM) if way == "torchrun" else job.terminate()
    assert job.wait(120) != 0
    assert (tmp_path / "run" / "last_checkpoint").is_file()
    assert (tmp_path / "said").read_text().count("stopped by SIGTERM after iteration") == 1
    assert_no_process_left(job)


def assert_no_process_left(job):
    """Python's tracker of resources leaves a moment later."""
    deadline = time.monotonic() + 30
    with pytest.raises(ProcessLookupError):
        while time.monotonic() < deadline:
            os.killpg(job.pid, 0)
            time.sleep(0.1)


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["the first process", "both processes", "the log"])
def test_a_signal_while_a_launcher_starts_leaves_no_process(streets_root, tmp_path, moment):
    """Processes that are being started, importing or building: nothing trains on behind a launcher that has gone."""
    from tiny_runs import TINY

    options = [
        str(x) for x in (*TINY, "SOLVER.IMS_PER_BATCH", 2, "SOLVER.MAX_ITER", 100000, "DATALOADER.NUM_WORKERS", 0)
    ]
    train = [
        str(ROOT / "tools" / "train_net.py"),
        "--config-file",
        str(ROOT / "configs/quick/source_only.yaml"),
        "--num-gpus",
        "2",
    ]
    options += ["OUTPUT_DIR", str(tmp_path / "run"), "MODEL.WEIGHTS", ""]
    environ = environment(DETECTRON2_DATASETS=str(streets_root))
    with open(tmp_path / "said", "w") as said:
        job = subprocess.Popen(
            [sys.executable, *train, *options], env=environ, stdout=said, stderr=said, start_new_session=True
        )

    def ranks():
        """Children of the launcher, but for Python's tracker of resources."""
        pids = Path(f"/proc/{job.pid}/task/{job.pid}/children").read_text().split()
        return [pid for pid in pids if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]

    reached = {
        "the first process": lambda: len(ranks()) >= 1, "both processes": lambda: len(ranks()) == 2,
        "the log": (tmp_path / "run" / "log.txt").is_file,
    }[moment]  # fmt: skip
    deadline = time.monotonic() + 300
    while not reached():
        assert time.monotonic() < deadline and job.poll() is None, (tmp_path / "said").read_text()[-3000:]
        time.sleep(0.02)
    job.terminate()
    assert job.wait(120) != 0 and "Traceback" not in (tmp_path / "said").read_text()
    assert_no_process_left(job)


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
