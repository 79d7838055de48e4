"""Which files a model comes from, and tensors that fit it or are refused."""

import logging
from pathlib import Path
from typing import Mapping

from torch import Tensor, nn

from ..engine.checkpoint import read_checkpoint
from ..errors import UserError

#: Buffers of training that inference does not need.
_TRAINING_ONLY = "weightings."


def find_run(folder: str) -> tuple[str, str]:
    """Configuration and last checkpoint of a run's OUTPUT_DIR, or of the ``run`` folder in it (tools/demo.py).

    Raises:
        UserError: one of the two files is absent.
    """
    for run in (Path(folder), Path(folder, "run")):
        config, pointer = run / "config.yaml", run / "last_checkpoint"
        if not config.is_file():
            continue
        weights = run / (pointer.read_text().strip() if pointer.is_file() else "model_final.pth")
        if not weights.is_file():
            raise UserError(f"--run: expected a checkpoint at {weights}, found none; train until the first is saved.")
        return str(config), str(weights)
    raise UserError(
        f"--run: expected the OUTPUT_DIR of a run, with config.yaml and a checkpoint, found none at {folder}; correct "
        "the path, or give --config-file and --weights."
    )


def load_weights(model: nn.Module, filename: str, name: str | None, *, default: str) -> str:
    """Load the student or the teacher of a checkpoint into ``model``, every tensor of it.

    Args:
        name: ``student`` or ``teacher``; None: ``default`` if the checkpoint holds it, else the student.

    Returns:
        which of the two it was.

    Raises:
        UserError: the checkpoint lacks this model, or does not fit: with some weights random, predictions mean nothing.
    """
    data = read_checkpoint(filename)
    keys = {"student": "model", "teacher": "teacher"}
    if name is None and keys[default] not in data:
        logging.getLogger("gbw_panoptic").warning("%s holds no %s: the student predicts.", filename, default)
    name = name or (default if keys[default] in data else "student")
    if keys[name] not in data:
        raise UserError(f"--model {name}: expected a {name} in {filename}, found none; take --model student.")
    load_state(model, data[keys[name]], filename)
    return name


def load_state(model: nn.Module, state: Mapping[str, Tensor], origin: str) -> None:
    """Load a state dict into ``model``, every tensor of it but the buffers of training.

    Args:
        origin: where the state is from, for the message.

    Raises:
        UserError: it does not fit.
    """
    state = {key: tensor for key, tensor in state.items() if not key.startswith(_TRAINING_ONLY)}
    try:
        missing = model.load_state_dict(state, strict=False).missing_keys
    except RuntimeError as error:  # a tensor of another shape
        raise _misfit(origin, str(error).splitlines()[1].strip().rstrip(".")) from None
    missing = [key for key in missing if not key.startswith(_TRAINING_ONLY)]
    if missing:
        raise _misfit(origin, f"none of {len(missing)}, first {missing[0]}")


def _misfit(filename: str, found: str) -> UserError:
    return UserError(
        f"expected every tensor of the configured model in {filename}, found {found}; give the configuration with "
        "which the checkpoint was trained."
    )
