"""Configuration files by name: which there are, and which one was meant."""

import difflib
import glob
import os
from collections.abc import Iterator

from .errors import UserError

_ROOT = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "configs")
#: Folders of parts: each file is one decision, for a list of _BASE_, and none can be run alone.
PARTS = ("models", "domains", "strategies", "weighting", "memory")


def check_config_file(path: str) -> None:
    """
    Raises:
        UserError: there is no such file; the sentence names files with a name like it.
    """
    if os.path.isfile(path):
        return
    close = close_names(path)
    remedy = f"did you mean {' or '.join(close)}?" if close else "tools/train_net.py --list names those that there are."
    found = "a folder" if os.path.isdir(path) else "nothing"
    raise UserError(f"--config-file: expected a YAML file, found {found} at {path}; {remedy}")


def close_names(path: str) -> list[str]:
    """Up to three existing configurations that ``path`` may have meant: in its own folder first, then in all."""
    folder, name = os.path.split(path)
    siblings = [os.path.basename(sibling) for sibling in _yaml_files(folder)]
    by_name = difflib.get_close_matches(name, siblings, cutoff=0.6)
    if by_name:
        return [os.path.join(folder, found) for found in by_name]
    known = _known()
    namesakes = [other for other in known if os.path.basename(other) == name]
    return difflib.get_close_matches(path, namesakes, cutoff=0.0) or difflib.get_close_matches(path, known, cutoff=0.6)


def listing() -> Iterator[tuple[str, str]]:
    """Path and first comment of every configuration that can be run."""
    for path in _known():
        if not os.path.basename(path).startswith("B"):  # the Base files
            with open(path, encoding="utf-8") as file:
                first = file.readline().strip()
            yield path, first.removeprefix("#").strip() if first.startswith("#") else ""


def _known() -> list[str]:
    """Those of this project, as a user in this folder would type them."""
    folders = [entry.path for entry in os.scandir(_ROOT) if entry.is_dir() and entry.name not in PARTS]
    return sorted(os.path.relpath(path) for folder in folders for path in _yaml_files(folder))


def _yaml_files(folder: str) -> list[str]:
    return sorted(glob.glob(os.path.join(glob.escape(folder), "*.yaml")))
