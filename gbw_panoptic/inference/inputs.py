"""What the user means by images, folders, globs and videos, and a name for the results of each."""

import glob
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import UserError

IMAGE_SUFFIXES = frozenset(".bmp .jpeg .jpg .pgm .png .ppm .tif .tiff .webp".split())
VIDEO_SUFFIXES = frozenset(".avi .m4v .mkv .mov .mp4 .mpeg .mpg .webm .wmv".split())


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


def find_inputs(patterns: Sequence[str], output: Path) -> tuple[list[Input], list[str]]:
    """Files in the order of the patterns, each once.

    A folder, named or matched by a glob, stands for all images and videos below it, but hidden ones and those below
    ``output``. A file that is named is taken whatever its suffix.

    Returns:
        inputs, and one sentence for each pattern that stands for nothing.
    """
    found: dict[Path, None] = {}
    problems = []
    for pattern in patterns:
        try:
            found.update((path.absolute(), None) for path in _expand(pattern, output.absolute()))
        except UserError as error:
            problems.append(str(error))
    names = unique_names(found)
    return [Input(path, names[path]) for path in found], problems


def _expand(pattern: str, output: Path) -> list[Path]:
    path = Path(pattern)
    if path.is_dir():
        files = _files_below(path, output)
    elif path.exists() or not glob.has_magic(pattern):
        return [path]  # whether it can be read is found out when its turn comes
    else:
        matches = [Path(match) for match in sorted(glob.glob(pattern, recursive=True))]
        folders = [file for match in matches if match.is_dir() for file in _files_below(match, output)]
        files = [match for match in matches if match.is_file() and _is_wanted(match, output)] + folders
    if not files:
        raise UserError(f"expected images or videos at {pattern}, found none; correct the path or the pattern")
    return files


def _files_below(folder: Path, output: Path) -> list[Path]:
    files = (Path(place, name) for place, _, names in os.walk(folder) for name in names)
    visible = (file for file in files if not any(part.startswith(".") for part in file.relative_to(folder).parts))
    return sorted(file for file in visible if _is_wanted(file, output))


def _is_wanted(file: Path, output: Path) -> bool:
    return file.suffix.lower() in IMAGE_SUFFIXES | VIDEO_SUFFIXES and output not in file.absolute().parents


def unique_names(paths: Iterable[Path]) -> dict[Path, str]:
    """The stem of each absolute path; where stems are equal, with folder, suffix and further folders as needed."""
    depths = dict.fromkeys(paths, 0)
    while True:
        names = {path: _name(path, depth) for path, depth in depths.items()}
        uses = Counter(names.values())
        clashes = [path for path, name in names.items() if uses[name] > 1]
        if not clashes:
            return names
        for path in clashes:
            depths[path] += 1
            if depths[path] > len(path.parts):
                raise UserError(f"expected inputs with names of their own, found two for {names[path]}; rename one")


def _name(path: Path, depth: int) -> str:
    """Depth 0: stem; 1: folder_stem; 2: folder_stem_suffix; 3: folder_folder_stem_suffix; ..."""
    folders = path.parts[1:-1]
    kept = folders[max(0, len(folders) - max(1, depth - 1)) :] if depth else ()
    return "_".join([*kept, path.stem, *([path.suffix[1:]] if depth > 1 else [])])
