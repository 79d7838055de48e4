"""Which files a model comes from, and tensors that fit it or are refused."""

import logging
from pathlib import Path
from typing import Mapping

from torch import nn

from ..engine.checkpoint import load_weights
from ..engine.reading import last_checkpoint, read_checkpoint
from ..errors import UserError, about


def find_run(folder: str) -> tuple[str, str]:
    """Configuration and last checkpoint of a run's OUTPUT_DIR, or of the ``run`` folder in it (tools/demo.py).

    Raises:
        UserError: one of the two files is absent.
    """
    for run in (Path(folder), Path(folder, "run")):
        config = run / "config.yaml"
        if not config.is_file():
            continue
        with about("--run"):
            weights = Path(last_checkpoint(run) or run / "model_final.pth")
        if not weights.is_file():
            raise UserError(f"--run: expected a checkpoint at {weights}, found none; train until the first is saved.")
        return str(config), str(weights)
    raise UserError(
        f"--run: expected the OUTPUT_DIR of a run, with config.yaml and a checkpoint, found none at {folder}; correct "
        "the path, or give --config-file and --weights."
    )


def load_for_prediction(
    model: nn.Module, filename: str, name: str | None, *, default: str, settings: Mapping[str, object] | None = None
) -> str:
    """Load the student or the teacher of a checkpoint into ``model``, every tensor of it.

    Args:
        name: ``student`` or ``teacher``; None: ``default`` if the checkpoint holds it, else the student.
        settings: with which the model predicts, to be compared with those of the checkpoint.

    Returns:
        which of the two it was.

    Raises:
        UserError: the checkpoint lacks this model, or does not fit: with some weights random, predictions mean nothing.
    """
    contents = read_checkpoint(filename)
    keys = {"student": "model", "teacher": "teacher"}
    if name is None and keys[default] not in contents:
        logging.getLogger("gbw_panoptic").warning("%s holds no %s: the student predicts.", filename, default)
    name = name or (default if keys[default] in contents else "student")
    if keys[name] not in contents:
        raise UserError(f"--model {name}: expected a {name} in {filename}, found none; take --model student.")
    load_weights(model, contents, filename, part=keys[name], settings=settings)
    return name
