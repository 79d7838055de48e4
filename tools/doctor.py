"""Print the environment, then which data sets are there, what is missing and how to get it.

python tools/doctor.py [--root FOLDER] [--custom FILE]
"""

import _environment  # noqa: F401  (first: says what is missing)

import argparse
import importlib.metadata
import importlib.util
import os
import platform
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from gbw_panoptic import cli

PROJECT = "gbw-panoptic"
PACKAGES = ("torch", "torchvision", "numpy", "opencv-python-headless", "scipy", "pycocotools", "cityscapesScripts")
MIB = 2**20


def version(package: str) -> str | None:
    """Return the installed version of a distribution, None when it is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def describe_detectron2() -> str:
    """Return release and flavour of Detectron2; main calls itself 0.6 too, but has modules that v0.6 lacks."""
    if importlib.util.find_spec("detectron2") is None:
        return "not installed; run `make setup`"
    release = "main" if importlib.util.find_spec("detectron2.tracking") else "v0.6"
    compiled = importlib.util.find_spec("detectron2._C") is not None
    flavour = "with compiled operators" if compiled else "pure Python (no operator that this project needs is missing)"
    return f"{release}, {flavour}, {version('detectron2') or 'no metadata'}"


def describe_extras(requirements: list[str]) -> Iterator[tuple[str, str]]:
    """Yield each optional extra of the project with what is missing of it.

    Args:
        requirements: as in distribution metadata, e.g. ``'pytest; extra == "test"'``.
    """
    extras: dict[str, list[str]] = {}
    for requirement in requirements:
        extra = re.search(r"""extra\s*==\s*["']([^"']+)["']""", requirement)
        if extra:
            extras.setdefault(extra[1], []).append(re.match(r"[\w.-]+", requirement)[0])
    for extra, packages in extras.items():
        missing = [package for package in packages if version(package) is None]
        yield f"extra '{extra}'", f"missing: {', '.join(missing)}" if missing else "installed"


def describe_devices() -> Iterator[tuple[str, str]]:
    """Yield the CPU's threads and each CUDA device with its memory."""
    import torch

    waiting = ", ".join(f"{name}={os.environ.get(name, 'unset')}" for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT"))
    yield "CPU", f"{os.cpu_count()} cores, {torch.get_num_threads()} torch threads, {waiting}"
    if not torch.cuda.is_available():
        yield "CUDA", f"no device (torch was built for CUDA {torch.version.cuda or '-'})"
    for index in range(torch.cuda.device_count()):
        device = torch.cuda.get_device_properties(index)
        yield f"CUDA {index}", f"{device.name}, {device.total_memory // MIB} MiB, CUDA {torch.version.cuda}"


def describe_bfloat16() -> str:
    """Return whether ``SOLVER.AMP`` saves time on the device that training takes."""
    import torch

    from gbw_panoptic.machine import computes_bfloat16

    if torch.cuda.is_available():
        device, name, alternative = "cuda", "GPU", "set SOLVER.AMP.PRECISION float16"
    else:
        device, name, alternative = "cpu", "CPU", "leave SOLVER.AMP off"
    if computes_bfloat16(device):
        return f"the {name} has instructions for it: SOLVER.AMP saves time"
    return f"the {name} has no instructions for it: {alternative}"


def describe_environment() -> Iterator[tuple[str, str]]:
    """Yield name and description of everything that is installed."""
    yield "Python", f"{platform.python_version()} ({sys.executable})"
    yield "platform", platform.platform()
    for package in PACKAGES:
        yield package, version(package) or "not installed; run `make setup`"
    yield "Detectron2", describe_detectron2()
    if version("torch"):
        yield from describe_devices()
    if version("torch") and importlib.util.find_spec("detectron2"):
        yield "bfloat16", describe_bfloat16()
    if version(PROJECT):
        yield from describe_extras(importlib.metadata.requires(PROJECT) or [])


def print_data_sets(root: Path, custom: Path | None, taxonomy: str | None) -> None:
    """Print state and remedy of every known data set below ``root``; ``custom`` describes the user's own, of
    ``taxonomy``."""
    from gbw_panoptic.data.preparation import status

    print(f"\nData sets below {root}")
    found = status(root, custom, taxonomy)
    width = max(len(dataset.name) for dataset in found)
    for dataset in found:
        print(f"  {dataset.name:<{width}}  {dataset.state:<11} {dataset.detail}")
        if dataset.remedy:
            print(f"  {'':<{width}}  {'':<11} -> {dataset.remedy}")


def main() -> None:
    """Print both parts."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, default=Path(os.environ.get("DETECTRON2_DATASETS", "datasets")))
    parser.add_argument(
        "--custom", type=Path, help="YAML file of your own data sets (default: custom.yaml in the root)"
    )
    parser.add_argument("--taxonomy", help="name or file of their classes (default: cityscapes)")
    arguments = parser.parse_args()
    print("Environment")
    for name, description in describe_environment():
        print(f"  {name:<24} {description}")
    print_data_sets(arguments.root, arguments.custom, arguments.taxonomy)


if __name__ == "__main__":
    cli.run(main)
