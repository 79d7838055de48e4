"""Checkpoints that are written whole or not at all, and load without executing anything."""

import os
import pickle

import torch
from torch import nn

from detectron2.checkpoint import DetectionCheckpointer

from ..errors import UserError
from ..modeling.backbones.packaged import local_file
from ..modeling.optional import import_optional
from .public_masks import fit_published


class SafeCheckpointer(DetectionCheckpointer):
    """Writes to a temporary name, syncs and renames; loads tensors and plain values only (``weights_only``).

    Attributes:
        contents: top-level keys of the file that was loaded last.
        misfits: names of the model's tensors that it lacked, had beside them, or had in another shape.
    """

    contents: frozenset[str] = frozenset()
    misfits: tuple[str, ...] = ()

    def save(self, name: str, **kwargs) -> None:
        if not self.save_dir or not self.save_to_disk:
            return
        data = {"model": self.model.state_dict()}
        data.update({key: checkpointable.state_dict() for key, checkpointable in self.checkpointables.items()})
        data.update(kwargs)
        path = os.path.join(self.save_dir, f"{name}.pth")
        self.logger.info("Saving checkpoint to %s", path)
        self._write(path, lambda file: torch.save(data, file))
        self.tag_last_checkpoint(os.path.basename(path))

    def tag_last_checkpoint(self, last_filename_basename: str) -> None:
        path = os.path.join(self.save_dir, "last_checkpoint")
        self._write(path, lambda file: file.write(last_filename_basename.encode()))

    def _write(self, path: str, write) -> None:
        temporary = f"{path}.tmp"
        try:
            with open(temporary, "wb") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
            _sync_folder(self.save_dir)
        except (OSError, RuntimeError) as error:  # torch reports a full disk as RuntimeError
            if os.path.exists(temporary):
                os.remove(temporary)
            raise UserError(
                f"Expected to write {path}, found: {_reason(error)}; free disk space or mend the folder's "
                "permissions, then --resume (earlier checkpoints are whole)."
            ) from error

    def load(self, path: str, *args, **kwargs) -> dict:
        path = local_file(path)
        if path and not os.path.isfile(path):
            raise UserError(f"Expected a weights file at {path}, found none; give a local .pth file in MODEL.WEIGHTS.")
        return super().load(path, *args, **kwargs)

    def _load_file(self, filename: str) -> dict:
        data = read_checkpoint(filename)
        data["model"] = fit_published(data["model"], self.model, filename)
        self.contents = frozenset(data)
        return data

    def _load_model(self, checkpoint: dict):
        result = super()._load_model(checkpoint)
        shapes = [name for name, *_ in result.incorrect_shapes]
        self.misfits = (*result.missing_keys, *result.unexpected_keys, *shapes)
        return result


def _reason(error: BaseException) -> str:
    """torch's own words say nothing of the disk, but what it failed at is behind them."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, OSError):
        cause = cause.__context__
    return str(error).splitlines()[0] if cause is None else cause.strerror or str(cause)


def _sync_folder(path: str) -> None:
    """A new name is on the disk only when its folder is."""
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def read_checkpoint(filename: str) -> dict:
    """Contents of a checkpoint or a bare state dict (which becomes ``model``), on the CPU; nothing in it is executed.

    A ``.safetensors`` file is read as such; other projects' ``state_dict`` counts as ``model``; ``package://...`` names the
    weights of an installed package.

    Raises:
        UserError: the file is absent, damaged or holds more than tensors and plain values.
    """
    filename = local_file(filename)
    if not os.path.isfile(filename):
        raise UserError(f"Expected a weights file at {filename}, found none; give a local .pth file.")
    if filename.endswith(".pkl"):
        raise UserError(
            f"Expected a .pth or .safetensors file, found the pickle {filename}, which could run code and was not read; if you "
            "trust its source, convert it once: python -c \"import pickle, torch; weights = pickle.load(open('"
            f"{filename}', 'rb'), encoding='latin1')['model']; torch.save({{k: torch.as_tensor(v) for k, v in "
            "weights.items()}, 'weights.pth')\"."
        )
    try:
        data = _read(filename)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise UserError(
            f"Expected {filename} to hold tensors and plain values only (a .pth file of torch.save), found a file that "
            "would run code or cannot be read; nothing was executed: use weights from a source that you trust, "
            "re-saved as a state dict."
        ) from error
    if not isinstance(data, dict):
        raise UserError(f"Expected a state dict in {filename}, found {type(data).__name__}; re-save it as one.")
    if "model" in data:
        return data
    return {"model": data["state_dict"] if "state_dict" in data else data}


def _read(filename: str) -> dict:
    if not filename.endswith(".safetensors"):
        return torch.load(filename, map_location="cpu", weights_only=True)
    otherwise = "re-save them as a .pth file of torch.save"
    safetensors = import_optional("safetensors", wanted_by=f"the weights {filename}", otherwise=otherwise)
    try:
        with safetensors.safe_open(filename, "pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}
    except safetensors.SafetensorError as error:
        raise ValueError(str(error)) from error


def load_weights(model: nn.Module, path: str, *, key: str) -> None:
    """Load another run's student, or published weights of the whole model, into ``model``; buffers that it lacks (of class
    weightings) stay as they are.

    Args:
        key: of the configuration, which names ``path``.

    Raises:
        UserError: the file cannot be read, or lacks a parameter of the model or has it in another shape.
    """
    try:
        state = fit_published(read_checkpoint(path)["model"], model, path)
    except UserError as error:
        raise UserError(str(error).replace("MODEL.WEIGHTS", key, 1)) from error
    own = model.state_dict()
    wrong = [name for name, _ in model.named_parameters() if getattr(state.get(name), "shape", None) != own[name].shape]
    if wrong:
        raise UserError(
            f"{key}: expected weights of the same model, found {len(wrong)} parameters missing or of another "
            f"shape in {path}, {wrong[0]} among them; give a checkpoint of a run with this MODEL configuration."
        )
    same = {name: value for name, value in state.items() if name in own and value.shape == own[name].shape}
    model.load_state_dict(same, strict=False)
