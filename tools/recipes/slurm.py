"""tools/reproduce.py on a Slurm cluster: one job for each benchmark and seed, submitted by submitit.

    python tools/recipes/slurm.py --dry-run edaps_synthia_to_cityscapes --seeds 0 1 2
    python tools/recipes/slurm.py edaps_synthia_to_cityscapes --seeds 0 1 2 --partition gpu --hours 48 --num-gpus 4

Call it where the paths are those of the nodes. Every job trains all methods of its seed, which share a first stage. A
job that is stopped goes on from its last checkpoint when it is submitted again. Further flags are those of
reproduce.py. Needs `pip install 'gbw-panoptic[slurm]'`.
"""

import argparse
import shlex
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from gbw_panoptic import cli
from gbw_panoptic.optional import import_optional

ROOT = Path(__file__).resolve().parents[2]


def main() -> None:
    arguments, others = parse()
    jobs = commands(arguments, others)
    if arguments.dry_run:
        return print("\n".join(map(shlex.join, jobs)))
    submitit = import_optional(
        "submitit", wanted_by="slurm.py", otherwise="give --dry-run for the commands", install="'gbw-panoptic[slurm]'"
    )
    executor = submitit.AutoExecutor(folder=arguments.logs)
    executor.update_parameters(
        name="gbw-panoptic", timeout_min=round(60 * arguments.hours), gpus_per_node=arguments.num_gpus,
        cpus_per_task=arguments.cpus, mem_gb=arguments.memory, slurm_partition=arguments.partition,
    )  # fmt: skip
    with executor.batch():
        submitted = [executor.submit(submitit.helpers.CommandFunction(job, cwd=ROOT)) for job in jobs]
    for job, command in zip(submitted, jobs):
        print(f"{job.job_id}: {shlex.join(command)}")


def commands(arguments: argparse.Namespace, others: list[str]) -> list[list[str]]:
    """The command of every job."""
    tool = [sys.executable, str(ROOT / "tools" / "reproduce.py")]
    fixed = ["--num-gpus", str(arguments.num_gpus), *others]
    return [[*tool, row, "--seeds", str(seed), *fixed] for row in arguments.rows for seed in arguments.seeds]


def parse() -> tuple[argparse.Namespace, list[str]]:
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n")[0], epilog=__doc__.partition("\n\n")[2],
        formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False,
    )  # fmt: skip
    parser.add_argument("rows", nargs="+", metavar="BENCHMARK", help="see tools/reproduce.py --list")
    parser.add_argument("--seeds", nargs="+", type=cli.seed, default=[0, 1, 2])
    parser.add_argument("--num-gpus", type=int, default=1, help="of a job (default %(default)s)")
    parser.add_argument("--cpus", type=int, default=8, help="of a job (default %(default)s)")
    parser.add_argument("--memory", type=int, default=64, help="GB of a job (default %(default)s)")
    parser.add_argument("--hours", type=float, default=24, help="at most (default %(default)s)")
    parser.add_argument("--partition", help="default: the cluster's own")
    parser.add_argument("--logs", default="output/slurm", help="folder of the jobs' logs (default %(default)s)")
    parser.add_argument("--dry-run", action="store_true", help="only print the commands")
    return parser.parse_known_args()


if __name__ == "__main__":
    cli.run(main)
