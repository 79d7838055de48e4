"""A trained model as torch.export's program: PyTorch without this project, RGB image in, classes and panoptic map out."""

from pathlib import Path

import torch
from torch.export import Dim

from .. import files
from ..inference.model import PanopticModel
from .graphs import graph_of
from .preparing import traceable

NAME = "model.pt2"


def write_program(model: PanopticModel, folder: Path) -> Path:
    """``model.pt2`` in ``folder``: ``torch.export.load(path).module()(image)`` with uint8 [H, W, 3] RGB of any size from 64 x 64."""
    path, example = folder / NAME, torch.zeros(70, 101, 3, dtype=torch.uint8)
    with traceable(), torch.no_grad():
        shapes = ({0: Dim.DYNAMIC, 1: Dim.DYNAMIC},)
        program = torch.export.export(graph_of(model), (example,), dynamic_shapes=shapes)
    with files.replacing(path, suffix=".tmp.pt2") as temporary:
        torch.export.save(program, temporary)
    return path
