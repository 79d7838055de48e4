"""A Markdown page with its pictures in a folder beside it: what every report is written with."""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from tabulate import tabulate

from .. import files
from ..taxonomy import CITYSCAPES
from ..taxonomy.colors import completed

_PICTURES = "report"


@dataclass(frozen=True)
class Page:
    """Everything is linked relative to the page, so that its folder can be moved.

    Attributes:
        path: the Markdown file; pictures go to ``report/`` beside it.
    """

    path: Path

    def picture(self, name: str, data: bytes, text: str) -> str:
        """Writes a PNG and gives its link."""
        path = self.path.parent / _PICTURES / name
        path.parent.mkdir(parents=True, exist_ok=True)
        files.atomic_write(path, data)
        return self.link(path, text)

    def link(self, picture: Path, text: str) -> str:
        """Link to a picture that exists."""
        relative = os.path.relpath(picture.resolve(), self.path.parent.resolve())
        return f"![{text}]({quote(Path(relative).as_posix())})"

    def write(self, blocks: Iterable[str]) -> str:
        """Writes the page and gives its path."""
        text = "\n\n".join(blocks) + "\n"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        files.clear_temporaries(self.path.parent)
        files.atomic_write(self.path, text.encode())
        return str(self.path)


def table(rows: Sequence[Sequence], header: Sequence[str]) -> str:
    """Markdown table; numbers are formatted by the caller where one decimal is not what they need.

    Cells: None is "-", floats have one decimal, everything else is as ``str`` gives it. Columns of text are
    left-aligned, the others right-aligned.
    """
    cells = [[_cell(value) for value in row] for row in rows]
    columns = list(zip(*rows)) or [()] * len(header)
    is_text = [all(isinstance(value, str) for value in column) for column in columns]
    return tabulate(cells, header, "pipe", disable_numparse=True, colalign=_alignment(is_text) if rows else None)


def plain(value: object) -> str:
    """A configuration's value as text."""
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def class_colors(names: Sequence[str], colors: Mapping[str, Sequence[int]] | None = None) -> list[tuple[int, int, int]]:
    """Those of ``colors``, else official ones; of other names, some that are far from these."""
    known = {**dict(zip(CITYSCAPES.names, CITYSCAPES.colors)), **(colors or {})}
    return list(completed([tuple(known[name]) if name in known else None for name in names]))


def title(metric: str) -> str:
    """Metric's name for a heading."""
    return metric.replace("_", " ")


def _alignment(is_text: Sequence[bool]) -> list[str]:
    return ["left" if text else "right" for text in is_text]


def _cell(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:.1f}" if isinstance(value, float) else str(value)
