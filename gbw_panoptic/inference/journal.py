"""Which inputs of an output folder are done, and of what content: what a resumed prediction keeps, whatever the clocks
say."""

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from .. import files
from ..errors import UserError
from ..names import printable
from .inputs import Input

SETTINGS_FILE, JOURNAL_FILE = "prediction.json", "prediction_journal.jsonl"
_FOLDERS = ("", "overlay", "labelIds", "panoptic", "panels", "confidence")


class Journal:
    """Lines of name, digest of the input and number of frames. Made by :func:`begin`, which knows the settings."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._done = dict(_entries(path))

    def frames(self, item: Input, origin: str) -> int | None:
        """How many frames of this very input are done (an image is one); None if it is not done."""
        digest, frames = self._done.get(item.name, ("", 0))
        return frames if digest == origin else None

    def finish(self, item: Input, origin: str, *, frames: int = 1) -> None:
        """Note that all results of an input are written."""
        with open(self.path, "a", encoding="ascii") as file:
            file.write(json.dumps([item.name, origin, frames]) + "\n")


def begin(root: Path, settings: Mapping[str, str], inputs: Sequence[Input], *, resume: bool) -> Journal:
    """Note in the folder what its results are made with, and of what.

    Args:
        settings: whatever all results depend on: digests of weights and configuration, not their times.

    Returns:
        with ``resume``, the journal of an earlier run of these settings; else an empty one.

    Raises:
        UserError: results of two files would have one name, or an earlier run to be resumed had other settings: results
            of two models would lie side by side.
    """
    path, paths = root / SETTINGS_FILE, {item.name: printable(item.path) for item in inputs}
    earlier = _earlier(path)
    resume = resume and bool(earlier)
    checks = [(key, earlier.get(key), settings[key]) for key in settings] if resume else []
    for name, expected, found in checks:
        if expected != found:
            raise UserError(
                f"--resume: expected the {name} of the run in {root} ({expected}), found {found}; drop --resume to "
                "predict everything again, or choose another --output."
            )
    for name, found in paths.items():
        if earlier.get("inputs", {}).get(name, found) != found:
            raise UserError(
                f"expected the input {name} of {root} again ({earlier['inputs'][name]}), found {found}, whose results "
                "would take its place; choose another --output."
            )
    root.mkdir(parents=True, exist_ok=True)
    for folder in _FOLDERS:
        if (root / folder).is_dir():
            files.clear_temporaries(root / folder, below=bool(folder))
    if not resume:  # before the new settings: what lies here is not theirs
        (root / JOURNAL_FILE).unlink(missing_ok=True)
    files.write_json(path, {**settings, "started": time.time(), "inputs": {**earlier.get("inputs", {}), **paths}})
    return Journal(root / JOURNAL_FILE)


def _earlier(path: Path) -> dict:
    if not path.is_file():
        return {}
    return files.read_json(path, {"inputs": files.Each(str)}, remedy="remove it, or choose another --output")


def _entries(path: Path) -> list[tuple[str, tuple[str, int]]]:
    """What was noted; the last line may be half of one, where a process was killed."""
    entries = []
    for line in path.read_bytes().splitlines() if path.is_file() else ():
        try:
            value = files.parse_json(line)
        except ValueError:
            continue
        if isinstance(value, list) and [type(one) for one in value] == [str, str, int] and value[2] > 0:
            entries.append((value[0], (value[1], value[2])))
    return entries
