"""Measure what this project claims to be fast, each against what a user would otherwise run.

    python tools/benchmark.py pq [--json pq.json]
    python tools/benchmark.py --help            the list of benchmarks
    python tools/benchmark.py pq --help         the options of one

Both sides run in one process by turns; medians and their ratio are printed. docs/benchmarks.md holds the results.
"""

import _environment  # noqa: F401  (first: says what is missing)

import argparse
import importlib
import pkgutil
from types import ModuleType

import benchmarks
import cv2
import torch
from benchmarks.timing import CLOCKS, environment

from gbw_panoptic import cli, files
from gbw_panoptic.machine import keep_freed_memory


def main() -> None:
    arguments = parse()
    torch.set_num_threads(arguments.threads)
    cv2.setNumThreads(arguments.threads)
    keep_freed_memory()  # as tools/train_net.py does; for both sides
    where = environment()
    print(", ".join(f"{name} {value}" for name, value in where.items()) + f"; {arguments.clock} time", flush=True)
    comparisons = []
    for comparison in load(arguments.benchmark).main(arguments):
        print(comparison.as_row() if arguments.markdown else f"\n{comparison}", flush=True)
        comparisons.append(comparison.as_json())
    if arguments.json:
        command = {key: value for key, value in vars(arguments).items() if key != "json"}
        files.write_json(arguments.json, {"environment": where, "arguments": command, "comparisons": comparisons})


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    parser = cli.described_parser(__doc__)
    commands = parser.add_subparsers(dest="benchmark", required=True, metavar="BENCHMARK")
    for name in benchmark_names():
        module = load(name)
        help_text = module.__doc__.strip().split("\n")[0]
        command = commands.add_parser(name, help=help_text, description=help_text)
        command.add_argument("--repeats", type=int, default=11, help="timed runs of each side (default %(default)s)")
        command.add_argument("--clock", choices=CLOCKS, default="wall", help="cpu: CPU time, for a busy machine")
        command.add_argument("--threads", type=int, default=1, help="of torch and OpenCV (default %(default)s)")
        command.add_argument("--seed", type=int, default=0)
        command.add_argument("--markdown", action="store_true", help="print rows of docs/benchmarks.md's table")
        command.add_argument("--json", metavar="FILE", help="write all numbers there, too")
        module.add_arguments(command)
    return parser.parse_args(argv)


def benchmark_names() -> list[str]:
    """Modules of ``tools/benchmarks`` that are benchmarks; the others serve them."""
    names = sorted(module.name for module in pkgutil.iter_modules(benchmarks.__path__))
    return [name for name in names if hasattr(load(name), "add_arguments")]


def load(name: str) -> ModuleType:
    """The module of one benchmark."""
    return importlib.import_module(f"benchmarks.{name}")


if __name__ == "__main__":
    cli.run(main)
