"""Descriptions that users write in YAML: every fault is one sentence that says where in the file it stands."""

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .errors import UserError


class Place:
    """A place in a file, for messages."""

    def __init__(self, path: Path, *keys: str) -> None:
        self.path = path
        self.keys = keys

    def __truediv__(self, key: object) -> "Place":
        return Place(self.path, *self.keys, str(key))

    def error(self, expected: str, found: Any, remedy: str = "see datasets/README.md") -> UserError:
        where = f" under {': '.join(self.keys)}" if self.keys else ""
        return UserError(f"expected {expected}{where} in {self.path}, found {found}; {remedy}")

    def mapping(self, value: Any, expected: str, known: Sequence[str] = ()) -> dict[str, Any]:
        """``value`` if it is a mapping of words that is not empty, with keys among ``known`` (any if that is empty)."""
        if not isinstance(value, dict) or not value:
            raise self.error(expected, repr(value))
        for key in value:
            if not isinstance(key, str):
                raise self.error("words as keys", repr(key), "put it in quotation marks")
            if known and key not in known:
                raise self.error(f"the keys {', '.join(known)}", repr(key), nearest(key, known))
        return value

    def names(self, value: Any, known: Sequence[str], expected: str = "a list of classes") -> tuple[str, ...]:
        """``value`` if it is a list of different names among ``known``."""
        if not isinstance(value, list) or not value or len(set(map(str, value))) < len(value):
            raise self.error(expected, repr(value), "give different names in brackets")
        for name in value:
            self.one_of(name, known)
        return tuple(value)

    def one_of(self, value: Any, known: Sequence[str]) -> str:
        """``value`` if it is among ``known``."""
        if value not in known:
            raise self.error(f"one of {', '.join(known)}", repr(value), nearest(str(value), known))
        return value


def nearest(word: str, known: Sequence[str]) -> str:
    """What to do about ``word``, which is none of ``known``."""
    close = difflib.get_close_matches(word, known, n=1)
    return f"did you mean {close[0]}?" if close else "see datasets/README.md"


def unknown_data_set(name: str) -> str:
    """Of a name that is not registered: what was expected, with the nearest ones, and what to do."""
    from detectron2.data import MetadataCatalog  # here, since descriptions are read without it, too

    ours = sorted(n for n in MetadataCatalog.list() if hasattr(MetadataCatalog.get(n), "taxonomy"))
    close = difflib.get_close_matches(name, ours, n=3, cutoff=0) or ours[:3]
    return (
        f"expected a data set such as {', '.join(close)}, found '{name}'; correct the name (all stand in "
        "datasets/README.md), or describe your own in DATASETS.CUSTOM."
    )
