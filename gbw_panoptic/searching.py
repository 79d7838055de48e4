"""Searching a folder for files without losing any in silence: links are followed, and whatever is left out is
counted."""

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from .errors import UserError

#: Pictures and videos of these formats are not read; in a folder that is searched, they are counted.
UNREAD_SUFFIXES = frozenset(
    ".3gp .arw .avif .cr2 .cr3 .dng .eps .exr .flv .gif .hdr .heic .heif .ico .j2k .jp2 .jxl .m2ts .mts .nef .ogv .orf "
    ".pcx .ps .psd .raf .raw .rw2 .svg .tga .ts .vob".split()
)


class Skipped:
    """What a search left out: how many of each kind, and the first of them."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._first: dict[str, str] = {}

    def __bool__(self) -> bool:
        return bool(self._counts)

    def add(self, kind: str, path: str | os.PathLike) -> None:
        """One more of ``kind``, which is a plural."""
        self._counts[kind] += 1
        self._first.setdefault(kind, os.fspath(path))

    def sentence(self) -> str:
        """One line; "" where nothing was left out."""
        parts = [f"{count} {kind} (first: {self._first[kind]})" for kind, count in self._counts.items()]
        return f"left out: {'; '.join(parts)}" if parts else ""

    def remark(self) -> str:
        """The same in brackets, for a sentence that nothing was found."""
        return f" ({self.sentence()})" if self else ""

    def require_none(self) -> None:
        """Raise UserError where something was left out."""
        if self:
            raise UserError(
                f"--strict: expected to read everything, but {self.sentence()}; convert, move or unlock it, or drop "
                "--strict"
            )


def walk(
    folder: str | os.PathLike, skipped: Skipped, *, without: str | os.PathLike | None = None
) -> Iterator[tuple[Path, list[str]]]:
    """(folder, file names) for ``folder`` and all below it, in order, each folder once, hidden ones and hidden files
    left out.

    Links are followed, after the folders beside them; cycles of links end.

    Args:
        without: a folder that is not entered.
    """
    excluded = None if without is None else os.path.realpath(without)
    seen: set[tuple[int, int]] = set()

    def refuse(error: OSError) -> None:
        skipped.add("folders that cannot be entered", error.filename or folder)

    for path, folders, names in os.walk(folder, followlinks=True, onerror=refuse):
        found = os.stat(path)
        key = (found.st_dev, found.st_ino)
        if key in seen or os.path.realpath(path) == excluded:
            folders[:] = []
            continue
        seen.add(key)
        folders[:] = sorted(
            (n for n in folders if not n.startswith(".")), key=lambda n: (os.path.islink(os.path.join(path, n)), n)
        )
        yield Path(path), sorted(name for name in names if not name.startswith("."))


def wanted_files(
    folder: str | os.PathLike, suffixes: tuple[str, ...], skipped: Skipped, *, without: str | os.PathLike | None = None
) -> Iterator[Path]:
    """The files below ``folder`` that end with one of ``suffixes`` (lower case), whatever their own case; see
    :func:`walk`."""
    for path, names in walk(folder, skipped, without=without):
        for name in names:
            suffix = os.path.splitext(name)[1].lower()
            if name.lower().endswith(suffixes):
                yield path / name
            elif suffix in UNREAD_SUFFIXES:
                skipped.add(f"files of the format {suffix}, which is not read", path / name)
