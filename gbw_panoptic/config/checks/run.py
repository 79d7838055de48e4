"""The optimisation, the machine, and files."""

import importlib.util
import os
import re
from typing import Iterator

from ...files import sha256
from ...packaged_weights import local_file
from ..kinds import refusal


def execution_problems(cfg) -> Iterator[str]:
    """One sentence for each setting that the machine or the schedule has no use for."""
    if cfg.SOLVER.AMP.ENABLED and cfg.SOLVER.AMP.PRECISION == "float16" and cfg.MODEL.DEVICE == "cpu":
        yield refusal(
            cfg, "SOLVER.AMP.PRECISION", "bfloat16 on a CPU, where float16 has too few operations",
            "set it to bfloat16, or SOLVER.AMP.ENABLED False",
        )  # fmt: skip
    if cfg.SOLVER.REFERENCE_WORLD_SIZE:
        yield refusal(
            cfg, "SOLVER.REFERENCE_WORLD_SIZE", "0, since it would change batch and schedule with the machine",
            "set SOLVER.IMS_PER_BATCH, SOLVER.ACCUMULATION_STEPS and SOLVER.REFERENCE_BATCH instead",
        )  # fmt: skip
    if cfg.SOLVER.OPTIMIZER == "SGD" and cfg.SOLVER.NESTEROV and not cfg.SOLVER.MOMENTUM:
        yield refusal(cfg, "SOLVER.NESTEROV", "False with SOLVER.MOMENTUM 0", "set one of them")


def tracking_problems(cfg) -> Iterator[str]:
    """One sentence for each tracker that is wanted and absent."""
    for package, install in (("wandb", "wandb"), ("mlflow", "'gbw-panoptic[mlflow]'")):
        wanted = cfg.TRACKING[package.upper()]
        found = importlib.util.find_spec(package) if wanted else None
        if wanted and (found is None or found.origin is None):  # no origin: a folder that wandb has written
            yield (
                f"TRACKING.{package.upper()}: expected the package {package}, found none; `pip install {install}`, or "
                "set it to False (metrics.json and TensorBoard are written either way)."
            )


def file_problems(cfg) -> Iterator[str]:
    """One sentence for each file that cannot be read or written."""
    path = local_file(cfg.MODEL.WEIGHTS)
    if path and not os.path.isfile(path):
        yield (
            f"MODEL.WEIGHTS: expected a local .pth file, found nothing at {cfg.MODEL.WEIGHTS}; {_origin(path)}correct "
            "the path, or set it to '' to start from random weights."
        )
    elif path and cfg.MODEL.WEIGHTS_SHA256:
        found = sha256(path)
        if found != cfg.MODEL.WEIGHTS_SHA256.lower():
            yield (
                f"MODEL.WEIGHTS_SHA256: expected {cfg.MODEL.WEIGHTS_SHA256}, found {found} of {cfg.MODEL.WEIGHTS}; "
                "fetch the file again from a source that you trust, or correct the hash."
            )
    folder = os.path.abspath(cfg.OUTPUT_DIR)
    while not os.path.exists(folder):
        folder = os.path.dirname(folder)
    if not os.path.isdir(folder) or not os.access(folder, os.W_OK):
        yield f"OUTPUT_DIR: expected a folder that can be written, found {cfg.OUTPUT_DIR}; choose another one."


def _origin(path: str) -> str:
    """Where a file of torchvision's, by its name, can be had."""
    name = os.path.basename(path)
    known = re.fullmatch(r"[a-z0-9_]+-[0-9a-f]{8}\.pth", name)
    return f"download https://download.pytorch.org/models/{name} (torchvision's), " if known else ""
