"""Images and their files by name: what a template finds below a root, and where it puts the file of a name.

Templates are relative to the root (or absolute); ``{stem}`` is the name of one image without suffixes, ``{city}`` the
folder that Cityscapes sorts it into, ``{file}`` a path below the image folder, ``{label}`` one below the label folder.
"""

import os
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Iterable

from .. import files
from ..errors import UserError
from ..names import is_text
from ..searching import Skipped, wanted_files

_SHOWN = 5  # clashes of names in a message


@dataclass(frozen=True, order=True)
class ImageName:
    """What identifies one image of a split, and stands for the fields of its templates.

    ``stem`` is unique; fields that the templates do not have are empty.
    """

    city: str
    stem: str
    file: str = ""
    label: str = ""


def template_folder(template: str) -> str:
    """The folder that all files after ``template`` lie in or below."""
    return template.partition("{")[0].rpartition("/")[0]


def file_path(root: Path, template: str, name: ImageName) -> Path:
    """The file of ``name`` after ``template``."""
    return root / template.format(city=name.city, stem=name.stem, file=name.file, label=name.label)


def list_images(root: Path, template: str, skipped: Skipped | None = None) -> list[ImageName]:
    """The images for which a file after ``template`` exists, in the order of their paths; [] without the folder.

    Args:
        skipped: gets what is left out where whole folders are searched.

    Raises:
        UserError: two files would get one name, or a name is no text.
    """
    folder = template_folder(template)
    rest = template.removeprefix(f"{folder}/")
    if rest in ("{file}", "{label}"):
        return _search(root / folder, Skipped() if skipped is None else skipped)
    prefix, _, suffix = rest.removeprefix("{city}/").partition("{stem}")
    cities = folders_in(root / folder) if rest.startswith("{city}") else [""]
    folders = [(city, root / folder / city) for city in cities]
    names = [
        ImageName(city, file.removeprefix(prefix).removesuffix(suffix))
        for city, path in folders
        for file in _files(path)
        if file.startswith(prefix) and file.endswith(suffix) and not file.startswith(".")
    ]
    require_unique(names, root / folder)
    return in_order(names)


def in_order(names: Iterable[ImageName]) -> list[ImageName]:
    """Sorted by the paths of the images."""
    return sorted(names, key=lambda name: (f"{name.city}/", name.stem))


def name_of_file(file: str, label: str = "") -> ImageName:
    """The name of an image that is known by its path below the image folder: its stem has no slash and no suffix."""
    return ImageName("", "_".join(PurePosixPath(file).with_suffix("").parts), file, label)


def require_unique(names: list[ImageName], folder: Path) -> None:
    """Raise UserError if files would get one name, with all of these, or if a name is no text."""
    unreadable = [name for name in names if not is_text(name.city + name.stem)]
    if unreadable:
        found = os.fsencode(unreadable[0].file or unreadable[0].stem)
        raise UserError(
            f"expected file names in UTF-8, found {len(unreadable)} others, first {found!r}, in {folder}; rename them"
        )
    by_stem = defaultdict(list)
    for name in names:
        by_stem[name.stem].append(name.file or f"{name.city}/{name.stem}")
    clashes = sorted(" and ".join(sorted(paths)) for paths in by_stem.values() if len(paths) > 1)
    if clashes:
        more = f" and {len(clashes) - _SHOWN} more pairs" if len(clashes) > _SHOWN else ""
        raise UserError(
            "expected images whose names differ in more than folder marks and suffix, found "
            f"{', '.join(clashes[:_SHOWN])}{more} in {folder}; rename one, or move what is no image of the data set "
            "elsewhere"
        )


def _search(folder: Path, skipped: Skipped) -> list[ImageName]:
    """All image files below ``folder``, links followed, hidden ones left out."""
    paths = wanted_files(folder, files.IMAGE_SUFFIXES, skipped) if folder.is_dir() else ()
    names = [name_of_file(path.relative_to(folder).as_posix()) for path in paths]
    require_unique(names, folder)
    return in_order(names)


def folders_in(path: Path) -> list[str]:
    """Names of the folders in ``path``; none of no folder."""
    return [entry.name for entry in os.scandir(path) if entry.is_dir()] if path.is_dir() else []


def _files(path: Path) -> list[str]:
    """Whatever is no folder: that a link is broken, or a file none, is found out when it is opened."""
    return [entry.name for entry in os.scandir(path) if not entry.is_dir()] if path.is_dir() else []
