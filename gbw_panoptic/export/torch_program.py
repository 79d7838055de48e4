"""A trained model as torch.export's program: PyTorch without this project, RGB image in, classes and panoptic map
out."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from .. import files
from ..inference.model import PanopticModel
from .graphs import graph_of, require_same, traced

NAME = "model.pt2"


def write_program(model: PanopticModel, folder: Path) -> Path:
    """``model.pt2`` in ``folder``: ``torch.export.load(path).module()(image)`` with uint8 [H, W, 3] RGB of any size
    from 64 x 64.

    Raises:
        UserError: what was written gives other maps than the model.
    """
    path, graph = folder / NAME, graph_of(model)
    program = traced(graph)
    with files.replacing(path, suffix=".tmp.pt2") as temporary:
        torch.export.save(program, temporary)
        require_same(graph, runner(temporary))
    return path


def runner(path: Path) -> Callable[[np.ndarray], list[np.ndarray]]:
    """A function from uint8 [H, W, 3] RGB to the maps of a file."""
    module = torch.export.load(path).module()
    return lambda image: [x.numpy() for x in module(torch.from_numpy(image))]
