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
    """``model.pt2`` in ``folder``: ``torch.export.load(path).module()(image)`` with uint8 [H, W, 3] RGB of any size from 32 x 32."""
    path, example = folder / NAME, torch.zeros(64, 96, 3, dtype=torch.uint8)
    with traceable(), torch.no_grad():
        shapes = ({0: Dim("height", min=32), 1: Dim("width", min=32)},)
        program = torch.export.export(graph_of(model), (example,), dynamic_shapes=shapes)
    with files.replacing(path, suffix=".tmp.pt2") as temporary:
        torch.export.save(program, temporary)
    return path
