"""Reading of checkpoints and weight files: nothing in them is executed, and damage is one sentence.

torch's archives hold a checksum of every part, which ``torch.load`` does not look at; a single flipped bit would be
loaded as another value. They are compared here. Files of torch before 1.6 have none: MODEL.WEIGHTS_SHA256 is for those.
"""

import errno
import os
import pickle
import re
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Mapping

import torch
from torch import Tensor

from ..errors import UserError
from ..optional import import_optional
from ..packaged_weights import local_file

LAST = "last_checkpoint"
NUMBERED = re.compile(r"model_(\d{7})\.pth")
#: Keys of a checkpoint whose values are states of models, of which every door reads tensors alone.
_MODELS = ("model", "teacher")
#: Attribute of a part that is a folder: torch would read it as nothing.
_FOLDER = 0x10
#: What torch, pickle and zipfile raise for files that are not what they say.
_DAMAGED = (
    pickle.UnpicklingError, RuntimeError, EOFError, LookupError, ValueError, TypeError, AttributeError, AssertionError,
    OverflowError, NotImplementedError, struct.error, zipfile.BadZipFile, zlib.error,
)  # fmt: skip


def read_checkpoint(filename: str) -> dict:
    """Contents of a checkpoint or a bare state dict (which becomes ``model``), on the CPU; nothing in it is executed.

    A ``.safetensors`` file is read as such; other projects' ``state_dict`` counts as ``model``; ``package://...`` names
    the weights of an installed package.

    Raises:
        UserError: the file is absent, damaged or holds more than tensors and plain values.
    """
    filename = local_file(filename)
    if not os.path.isfile(filename):
        raise UserError(f"Expected a weights file at {filename}, found none; give a local .pth file.")
    if filename.endswith(".pkl"):
        raise UserError(
            f"Expected a .pth or .safetensors file, found the pickle {filename}, which could run code and was not "
            'read; if you trust its source, convert it once: python -c "import pickle, torch; weights = '
            f"pickle.load(open('{filename}', 'rb'), encoding='latin1')['model']; torch.save({{k: torch.as_tensor(v) "
            "for k, v in weights.items()}, 'weights.pth')\"."
        )
    _check_sums(filename)
    try:
        data = _read(filename)
    except UserError:
        raise
    except (*_DAMAGED, OSError) as error:
        _raise_what_is_the_disk_s(error)
        raise UserError(
            f"Expected {filename} to hold tensors and plain values only (a .pth file of torch.save), found a file that "
            "would run code or cannot be read; nothing was executed: use weights from a source that you trust, "
            f"re-saved as a state dict{or_an_earlier(filename)}."
        ) from error
    if not isinstance(data, dict):
        raise UserError(f"Expected a state dict in {filename}, found {type(data).__name__}; re-save it as one.")
    if "model" not in data:
        data = {"model": data["state_dict"] if "state_dict" in data else data}
    for key in set(_MODELS) & data.keys():
        _check_tensors(data[key], filename)
    return data


def _check_sums(filename: str) -> None:
    """
    Raises:
        UserError: a part of the archive is not what was written.
    """
    try:
        if not zipfile.is_zipfile(filename):
            return  # torch.load says what it is
        with zipfile.ZipFile(filename) as archive:
            folders = [part.filename for part in archive.infolist() if part.external_attr & _FOLDER]
            damaged = folders[0] if folders else archive.testzip()
    except (*_DAMAGED, OSError) as error:
        _raise_what_is_the_disk_s(error)
        damaged = "its table of contents"
    if damaged is not None:
        raise UserError(
            f"Expected a whole checkpoint, found that {filename} is damaged: {damaged} does not have its checksum; "
            f"copy the file again, or take another one{or_an_earlier(filename)}."
        )


def _raise_what_is_the_disk_s(error: Exception) -> None:
    """A file that is not what it says makes readers look beyond its ends (EINVAL); other errors of the system are no
    damage."""
    if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
        raise error


def _read(filename: str) -> object:
    if not filename.endswith(".safetensors"):
        return torch.load(filename, map_location="cpu", weights_only=True)
    otherwise = "re-save them as a .pth file of torch.save"
    safetensors = import_optional("safetensors", wanted_by=f"the weights {filename}", otherwise=otherwise)
    try:
        with safetensors.safe_open(filename, "pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}
    except safetensors.SafetensorError as error:
        raise ValueError(str(error)) from error


def _check_tensors(state: object, filename: str) -> None:
    """
    Raises:
        UserError: it is not a state dict: names of tensors that lie in memory.
    """
    found = f"{type(state).__name__}" if not isinstance(state, Mapping) else "none" if not state else ""
    if not found:
        wrong = [key for key, value in state.items() if not isinstance(key, str) or not _is_plain(value)]
        found = f"{type(state[wrong[0]]).__name__} under the name {str(wrong[0])[:80]!r}" if wrong else ""
    if found:
        raise UserError(
            f"Expected tensors with their names in {filename}, found {found}; re-save the weights as a state dict."
        )


def _is_plain(value: object) -> bool:
    return (
        isinstance(value, Tensor)
        and value.layout == torch.strided
        and value.device.type == "cpu"
        and not value.is_quantized
    )


def last_checkpoint(folder: str | os.PathLike) -> str:
    """Path of the checkpoint that ``last_checkpoint`` in a run's folder names; ``""`` where nothing is saved.

    The first checkpoint of a run that was killed before it wrote that file counts, too.

    Raises:
        UserError: the file does not hold the name of a checkpoint in this folder, or is lost.
    """
    pointer = Path(folder, LAST)
    if not os.path.lexists(pointer):
        names = checkpoints_in(folder)
        if len(names) > 1:
            raise UserError(
                f"Expected {pointer}, which names the checkpoint to go on from, found none; {_write_one_of(folder)}."
            )
        return str(Path(folder, names[0])) if names else ""
    if not pointer.is_file():
        raise UserError(
            f"Expected a file at {pointer}, found something else; remove it, then name a checkpoint there in one line."
        )
    with open(pointer, "rb") as file:
        content = file.read(256)
    try:
        name = content.decode().strip()
    except UnicodeDecodeError:
        name = "\0"
    if not name.endswith(".pth") or not name.isprintable() or Path(name).name != name:
        shown = ascii(name if name.isprintable() else content)[:60]
        raise UserError(f"Expected the name of a checkpoint in {pointer}, found {shown}; {_write_one_of(folder)}.")
    path = Path(folder, name)
    if not path.is_file():
        raise UserError(f"Expected a checkpoint at {path}, which {pointer} names, found none; {_write_one_of(folder)}.")
    return str(path)


def or_an_earlier(filename: str) -> str:
    """The end of a sentence: which whole checkpoints lie beside a damaged one, and how a run goes on from the last of
    them."""
    path = Path(filename)
    if not Path(path.parent, LAST).is_file():
        return ""
    others = [name for name in checkpoints_in(path.parent) if name != path.name]
    if not others:
        return ""
    last = f"to --resume from the last of them, write {others[-1]} into {path.parent / LAST}"
    return f" (beside it are {', '.join(others[-3:])}: {last})"


def checkpoints_in(folder: str | os.PathLike) -> list[str]:
    """Names of the numbered checkpoints in a run's folder, by iteration, and of the final one before them."""
    numbered = sorted(path.name for path in Path(folder).glob("model_*.pth") if NUMBERED.fullmatch(path.name))
    return [*(["model_final.pth"] if Path(folder, "model_final.pth").is_file() else []), *numbered]


def _write_one_of(folder: str | os.PathLike) -> str:
    names = checkpoints_in(folder)
    if not names:
        return "the folder has no checkpoint: start the run anew in another OUTPUT_DIR"
    return f"write the name of one that is there into it: {', '.join(names[-4:])}"
