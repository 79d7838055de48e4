"""Decoded images and labels, kept in files that are mapped into memory: a crop then reads its own rows and decodes
nothing."""

import hashlib
import logging
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

from .. import files

logger = logging.getLogger(__name__)
_VERSION = 1  # of what the arrays mean


class RawCache:
    """A folder of arrays, filled as they are asked for; a pure function of files and facts, so that any number of
    processes share it.

    An array is found by the path, the size and the time of change of its file: one that is replaced is decoded anew.
    """

    def __init__(self, folder: str | os.PathLike = "") -> None:
        """
        Args:
            folder: for the arrays; "": none is kept.
        """
        self._folder = Path(folder) if folder else None

    def __call__(self, decode: Callable[[], np.ndarray], path: str | os.PathLike, *facts: object) -> np.ndarray:
        """What ``decode`` makes of the file at ``path`` and of ``facts``, perhaps read-only."""
        place = self._place(path, facts)
        found = None if place is None else _mapped(place)
        if found is None:
            found = decode()
            if place is not None:
                self._keep(place, found)
        return found

    def _place(self, path: str | os.PathLike, facts: tuple) -> Path | None:
        if self._folder is None:
            return None
        try:
            status = os.stat(path)
        except (OSError, ValueError):  # whoever decodes it says so
            return None
        origin = (_VERSION, os.path.abspath(path), status.st_size, status.st_mtime_ns, *facts)
        name = hashlib.sha256(repr(origin).encode()).hexdigest()
        return self._folder / name[:2] / f"{name}.npy"

    def _keep(self, place: Path, array: np.ndarray) -> None:
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            with files.replacing(place) as temporary, open(temporary, "wb") as file:
                np.save(file, array, allow_pickle=False)
        except OSError as error:  # a full disk is no reason to stop a training
            logger.warning("DATALOADER.RAW_CACHE %s: %s; going on without it.", self._folder, error.strerror or error)
            self._folder = None


def _mapped(place: Path) -> np.ndarray | None:
    try:
        return np.asarray(np.load(place, mmap_mode="r", allow_pickle=False))
    except (OSError, ValueError, EOFError):  # not there yet, or damaged: made anew
        return None
