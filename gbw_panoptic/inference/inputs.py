"""What the user means by images, folders, globs and videos, and a name for the results of each."""

import glob
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from .. import files
from ..errors import UserError
from ..names import unique_names
from ..searching import Skipped, walk, wanted_files

VIDEO_SUFFIXES = tuple(".avi .m4v .mkv .mov .mp4 .mpeg .mpg .webm .wmv".split())


@dataclass(frozen=True)
class Input:
    """A file to be predicted.

    Attributes:
        name: of its results, without suffix; unique in its list.
    """

    path: Path
    name: str

    @property
    def is_video(self) -> bool:
        return self.path.suffix.lower() in VIDEO_SUFFIXES


def find_inputs(patterns: Sequence[str], output: Path, skipped: Skipped | None = None) -> tuple[list[Input], list[str]]:
    """Files in the order of the patterns, each once.

    A folder, named or matched by a glob, stands for all images and videos below it, links followed, but hidden ones and
    those below ``output``. A file that is named is taken whatever its suffix.

    Args:
        skipped: gets what is left out of folders.

    Returns:
        inputs, and one sentence for each pattern that stands for nothing.
    """
    found: dict[Path, None] = {}
    problems = []
    skipped = Skipped() if skipped is None else skipped
    for pattern in patterns:
        try:
            found.update((path.absolute(), None) for path in _expand(pattern, output.absolute(), skipped))
        except UserError as error:
            problems.append(str(error))
    names = unique_names(found)
    return [Input(path, names[path]) for path in found], problems


def _expand(pattern: str, output: Path, skipped: Skipped) -> list[Path]:
    if os.path.isdir(pattern):
        paths = _files_below([Path(pattern)], output, skipped)
    elif os.path.lexists(pattern) or not glob.has_magic(pattern):
        return [Path(pattern)]  # whether it can be read is found out when its turn comes
    else:
        matches = [Path(match) for match in sorted(set(_matches(_literal_where_it_exists(pattern), skipped)))]
        below = _files_below([match for match in matches if match.is_dir()], output, skipped)
        paths = [match for match in matches if not match.is_dir() and _is_wanted(match, output)] + below
    if not paths:
        raise UserError(
            f"expected images or videos at {pattern}, found none{skipped.remark()}; correct the path or the pattern"
        )
    return paths


def _matches(pattern: str, skipped: Skipped) -> Iterator[str]:
    """What a glob stands for. ``**`` is any folder below, each once: the standard library's goes round in circles of
    links."""
    head, found, tail = f"{os.sep}{pattern}".partition(f"{os.sep}**{os.sep}")
    while tail.startswith(f"**{os.sep}"):
        tail = tail[3:]
    if not found:
        yield from glob.iglob(pattern.removesuffix(f"{os.sep}**"))  # a folder stands for all that is below it
        return
    for folder in filter(
        os.path.isdir, glob.iglob(head[1:] or (os.curdir if not pattern.startswith(os.sep) else os.sep))
    ):
        for path, _ in walk(folder, skipped):
            yield from _matches(os.path.join(glob.escape(str(path)), tail), skipped)


def _literal_where_it_exists(pattern: str) -> str:
    """Folders of the pattern that exist as they are written, brackets and all, are no patterns."""
    head, tail = os.path.split(pattern)
    if head and glob.has_magic(head):
        head = glob.escape(head) if os.path.isdir(head) else _literal_where_it_exists(head)
    return os.path.join(head, tail)


def _files_below(folders: Iterable[Path], output: Path, skipped: Skipped) -> list[Path]:
    suffixes = files.IMAGE_SUFFIXES + VIDEO_SUFFIXES
    return sorted(path for folder in folders for path in wanted_files(folder, suffixes, skipped, without=output))


def _is_wanted(file: Path, output: Path) -> bool:
    below_output = Path(os.path.realpath(output)) in Path(os.path.realpath(file)).parents
    return file.suffix.lower() in files.IMAGE_SUFFIXES + VIDEO_SUFFIXES and not below_output
