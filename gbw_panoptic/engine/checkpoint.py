"""Checkpoints that are written whole or not at all, and load without executing anything."""

import os
from collections import Counter
from typing import IO, Callable, Iterator, Mapping, Sequence

import torch
from detectron2.checkpoint import DetectionCheckpointer
from torch import Tensor, nn

from ..errors import UserError, about
from ..files import require_replaceable
from ..modeling.published.fitting import Fit, exact, finite, load_whole, not_finite, starting
from ..packaged_weights import local_file
from .reading import last_checkpoint, read_checkpoint
from .settings import check_meaning

#: Parts that checkpoints of older versions have not.
YOUNG_PARTS = ("settings", "description")


class SafeCheckpointer(DetectionCheckpointer):
    """Writes to a temporary name, syncs and renames; loads tensors and plain values only (``weights_only``).

    Attributes:
        contents: top-level keys of the file that was loaded last.
        misfits: names of tensors that only the model or only the file has, or that have another shape in the file.
    """

    contents: frozenset[str] = frozenset()
    misfits: tuple[str, ...] = ()
    _fit: Fit = staticmethod(starting)
    _told_sizes = False

    def save(self, name: str, **kwargs) -> None:
        """
        Raises:
            UserError: a weight is not finite, or the disk refuses; earlier checkpoints stay as they are.
        """
        if not self.save_dir or not self.save_to_disk:
            return
        data = {"model": self.model.state_dict()}
        data.update({key: checkpointable.state_dict() for key, checkpointable in self.checkpointables.items()})
        data.update(kwargs)
        path = os.path.join(self.save_dir, f"{name}.pth")
        _check_finite(data, path)
        self._tell_sizes(data)
        self.logger.info("Saving checkpoint to %s", path)
        self._write(path, lambda file: torch.save(data, file))
        self.tag_last_checkpoint(os.path.basename(path))

    def tag_last_checkpoint(self, last_filename_basename: str) -> None:
        path = os.path.join(self.save_dir, "last_checkpoint")
        self._write(path, lambda file: file.write(last_filename_basename.encode()))

    def _write(self, path: str, write: Callable[[IO[bytes]], object]) -> None:
        write_synced(path, write, remedy="then --resume (earlier checkpoints are whole)")

    def _tell_sizes(self, data: Mapping[str, object]) -> None:
        if self._told_sizes:
            return
        self._told_sizes = True
        sizes = {part: size / 2**20 for part, size in sizes_by_part(data).items()}
        self.logger.info(
            "A checkpoint of this run holds %s: %.1f MB; tools/merge_checkpoints.py --anchor CHECKPOINT --model "
            "student --output FILE writes a model alone, for evaluation and prediction.",
            ", ".join(f"{part} {size:.1f} MB" for part, size in sizes.items()), sum(sizes.values()),
        )  # fmt: skip

    def _log_incompatible_keys(self, incompatible) -> None:
        """A line for what the file lacks and one for what it has beside, by part; ``fit`` has decided that they may
        differ."""
        for names, words in (
            (incompatible.missing_keys, "Not in the file, so that they keep their values"),
            (incompatible.unexpected_keys, "In the file, and not in the model"),
        ):
            counts = Counter(name.partition(".")[0] for name in names)
            if counts:
                parts = ", ".join(f"{part} ({count} tensors)" for part, count in sorted(counts.items()))
                self.logger.info("%s: %s.", words, parts)

    def load(self, path: str, checkpointables: Sequence[str] | None = None, *, fit: Fit = starting) -> dict:
        """
        Args:
            checkpointables: which of the parts beside the model are loaded, if the file has them; None: all.
            fit: what the model may take from the file.

        Returns:
            the parts of the file that were not loaded.

        Raises:
            UserError: the file cannot be read, or its weights do not fit.
        """
        path = local_file(path)
        if path and not os.path.isfile(path):
            raise UserError(f"Expected a weights file at {path}, found none; give a local .pth file in MODEL.WEIGHTS.")
        self._fit = fit
        return super().load(path, checkpointables)

    def resume_or_load(self, path: str, *, resume: bool = True) -> dict:
        if resume and self.has_checkpoint():
            return self.load(self.get_checkpoint_file(), fit=exact)
        return self.load(path, checkpointables=[])

    def has_checkpoint(self) -> bool:
        return bool(self.get_checkpoint_file())

    def get_checkpoint_file(self) -> str:
        return last_checkpoint(self.save_dir)

    def _load_file(self, filename: str) -> dict:
        data = read_checkpoint(filename)
        for part in set(self.checkpointables) & data.keys():
            if _is_state(data[part]):
                finite(data[part], filename)
        with about("MODEL.WEIGHTS" if self._fit is starting else ""):
            data["model"] = self._fit(data["model"], self.model, filename)
        self.contents = frozenset(data)
        return data

    def _load_model(self, checkpoint: dict):
        result = super()._load_model(checkpoint)
        shapes = [name for name, *_ in result.incorrect_shapes]
        self.misfits = (*result.missing_keys, *result.unexpected_keys, *shapes)
        return result


def write_synced(path: str, write: Callable[[IO[bytes]], object], *, remedy: str) -> None:
    """Write a file so that ``path`` is at any moment absent, the old file or the whole new one, also over a loss of
    power.

    Args:
        remedy: what else to do, for the message.

    Raises:
        UserError: the disk or the folder refuses.
    """
    require_replaceable(path)
    temporary = f"{path}.tmp"
    try:
        with open(temporary, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        _sync_folder(os.path.dirname(path) or ".")
    except (OSError, RuntimeError) as error:  # torch reports a full disk as RuntimeError
        if os.path.exists(temporary):
            os.remove(temporary)
        raise UserError(
            f"Expected to write {path}, found: {_reason(error)}; free disk space or mend the folder and its "
            f"permissions, {remedy}."
        ) from error


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


def _check_finite(data: Mapping[str, object], path: str) -> None:
    """
    Raises:
        UserError: the last update made a weight NaN or infinite, which no loss has seen yet.
    """
    for part, state in data.items():
        if part != "trainer" and _is_state(state) and (bad := not_finite(state)):
            raise UserError(
                f"Expected finite weights for {path}, found NaN or infinite values in {len(bad)} tensors of the "
                f"{_name(part)}, {bad[0]} among them; nothing was written: lower SOLVER.BASE_LR, then --resume from "
                "the checkpoint before."
            )


def sizes_by_part(data: Mapping[str, object]) -> dict[str, int]:
    """Bytes of the tensors in each part of a checkpoint, by the names that people use; parts without any are left
    out."""
    sizes: dict[str, int] = {}
    for part, value in data.items():
        name = "optimizer" if part == "trainer" else _name(part)
        sizes[name] = sizes.get(name, 0) + sum(tensor.nbytes for tensor in _tensors(value))
    return {name: size for name, size in sizes.items() if size}


def _name(part: str) -> str:
    return "student" if part == "model" else part


def _is_state(value: object) -> bool:
    return isinstance(value, Mapping) and all(isinstance(tensor, Tensor) for tensor in value.values())


def _tensors(value: object) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from _tensors(part)
    elif isinstance(value, (list, tuple)):
        for part in value:
            yield from _tensors(part)


def load_weights(
    model: nn.Module,
    contents: Mapping[str, object],
    origin: str,
    *,
    part: str = "model",
    key: str = "",
    settings: Mapping[str, object] | None = None,
) -> None:
    """Load a whole model of a checkpoint, or published weights of one; buffers that they lack (of class weightings)
    stay as they are.

    Args:
        contents: of :func:`read_checkpoint`.
        origin: where they are from, for messages.
        part: of the contents, ``model`` (the student) or ``teacher``.
        key: of the configuration or the command line, which names the file, for messages.
        settings: with which the model is used; those with which it was trained must mean the same.

    Raises:
        UserError: the file lacks a tensor of the model or has it in another shape, or other settings.
    """
    with about(key):
        check_meaning(settings or {}, contents, origin)
        load_whole(model, contents[part], origin)
