"""The recipes for clusters and clouds name commands that tools/reproduce.py takes."""

import shlex
import string
from pathlib import Path

import pytest
import reproduce
import yaml
from studies.reproduction.rows import ROWS

ROOT = Path(__file__).parents[2]
ROW = "edaps_synthia_to_cityscapes"


def parsed(command: list[str], monkeypatch):
    monkeypatch.setattr("sys.argv", command)
    return reproduce.parse()


def test_slurm_has_one_job_for_each_benchmark_and_seed(run_tool, monkeypatch):
    other = next(name for name in ROWS if name != ROW)
    flags = ("--seeds", 0, 3, "--num-gpus", 2, "--weights", "my weights", "--methods", "GBW")
    done = run_tool("tools/recipes/slurm.py", "--dry-run", ROW, other, *flags)
    assert done.returncode == 0, done.stderr
    jobs = [parsed(shlex.split(line)[1:], monkeypatch) for line in done.stdout.splitlines()]
    assert [(job.rows, job.seeds) for job in jobs] == [([row], [seed]) for row in (ROW, other) for seed in (0, 3)]
    assert all((job.num_gpus, job.weights, job.methods) == (2, "my weights", ["GBW"]) for job in jobs)


def test_slurm_hands_its_jobs_to_submitit(run_tool, monkeypatch, tmp_path):
    submitit = pytest.importorskip("submitit")
    kept = {}

    class Executor(submitit.AutoExecutor):
        """Writes the script for Slurm and starts nothing."""

        def submit(self, function):
            kept["command"] = function.command
            return type("Job", (), {"job_id": "17"})

        def update_parameters(self, **parameters):
            super().update_parameters(**parameters)
            kept["script"] = self._executor._make_submission_file_text("run", "id")

    monkeypatch.setattr(submitit, "AutoExecutor", lambda folder: Executor(folder=folder, cluster="slurm"))
    monkeypatch.setattr("submitit.slurm.slurm.SlurmExecutor.affinity", lambda *_: 2)
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    done = run_tool(
        "tools/recipes/slurm.py", ROW, "--seeds", 5, "--hours", 1.5, "--partition", "fast", "--logs", tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("17: ") and kept["command"][-5:] == [ROW, "--seeds", "5", "--num-gpus", "1"]
    wanted = ("--time=90", "--partition=fast", "--gpus-per-node=1", "--mem=64GB", "--cpus-per-task=8")
    assert all(f"#SBATCH {line}" in kept["script"] for line in wanted), kept["script"]


def test_skypilot_runs_a_command_that_parses(monkeypatch):
    task = yaml.safe_load((ROOT / "tools" / "recipes" / "skypilot.yaml").read_text())
    assert set(task) == {"name", "resources", "workdir", "envs", "file_mounts", "setup", "run"}
    assert task["setup"].split() == ["make", "setup"] and task["envs"]["BENCHMARK"] in ROWS
    text = string.Template(task["run"]).substitute(task["envs"], SKYPILOT_NUM_GPUS_PER_NODE=4)
    arguments = parsed(shlex.split(text.splitlines()[1])[1:], monkeypatch)
    assert (arguments.rows, arguments.seeds, arguments.num_gpus) == ([ROW], [0, 1, 2], 4)
    mounted = task["file_mounts"]
    assert all(any(str(path).startswith(mount) for mount in mounted) for path in (arguments.output, arguments.weights))
