"""Names of results from names of files: unique, no longer than a file system takes, and text."""

import hashlib
import os
import unicodedata
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

#: Bytes of a result's name; suffixes, and marks of a file that is being written, must fit into 255 with it.
_LONGEST = 180
_DIGITS = 10  # of the digest that takes the place of what is cut off


def unique_names(paths: Iterable[Path]) -> dict[Path, str]:
    """The stem of each absolute path; where stems are equal, with folder, suffix, further folders and a digest as
    needed.

    Names that differ in case or in the composition of accents only count as equal: many disks take them for one.
    """
    depths = dict.fromkeys(paths, 0)
    while True:
        names = {path: legal_name(_name(path, depth)) for path, depth in depths.items()}
        uses = Counter(map(_folded, names.values()))
        clashes = [path for path, name in names.items() if uses[_folded(name)] > 1]
        if not clashes:
            return names
        for path in clashes:
            depths[path] += 1


def legal_name(name: str) -> str:
    """``name`` as valid text (bytes that are no UTF-8 as %E9) of limited length (the rest becomes a digest)."""
    name = os.fsencode(name).decode("utf-8", "surrogateescape")
    name = "".join(f"%{ord(c) - 0xDC00:02X}" if "\udc80" <= c <= "\udcff" else c for c in name)
    data = name.encode("utf-8", "replace")
    if len(data) <= _LONGEST:
        return data.decode()
    kept = data[: _LONGEST - _DIGITS - 1].decode("utf-8", "ignore")
    return f"{kept}~{hashlib.sha256(data).hexdigest()[:_DIGITS]}"


def printable(path: str | os.PathLike) -> str:
    """A path as valid text, with \\xe9 for bytes that are no UTF-8."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def is_text(name: str) -> bool:
    """Whether a file's name is valid UTF-8."""
    return not any("\ud800" <= c <= "\udfff" for c in name)


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def _name(path: Path, depth: int) -> str:
    """Depth 0: stem; 1: folder_stem; 2: folder_stem_suffix; 3: folder_folder_stem_suffix; ...; at last, the digest of
    the path."""
    if depth > len(path.parts):
        return f"{legal_name(path.stem)[: _LONGEST // 8]}~{hashlib.sha256(os.fsencode(path)).hexdigest()}"
    folders = path.parts[1:-1]
    kept = folders[max(0, len(folders) - max(1, depth - 1)) :] if depth else ()
    return "_".join([*kept, path.stem, *([path.suffix[1:]] if depth > 1 else [])])
