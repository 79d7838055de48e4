#!/usr/bin/env python3
"""Write a copy of a folder of images and label files at another size: to train small, or to undo a squeeze.

    python datasets/resize.py rendered rendered256 --size 256x256

Pictures are averaged, files of ids (grey or palettes) take the nearest pixel, and so do all files with --labels:
panoptic PNGs and labels of colours look like pictures. What is there already is kept.
"""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / "tools"))
import _environment  # noqa: E402, F401  (first: says what is missing)

import argparse
import io
import re

from PIL import Image

from gbw_panoptic import cli, files, rasters
from gbw_panoptic.errors import UserError
from gbw_panoptic.searching import Skipped, wanted_files


def parse_arguments() -> argparse.Namespace:
    parser = cli.described_parser(__doc__)
    parser.add_argument("source", type=Path, help="folder, which is searched with all below it")
    parser.add_argument("target", type=Path, help="folder of the copies")
    parser.add_argument("--size", required=True, metavar="HxW", help="rows and columns of every copy")
    parser.add_argument("--labels", action="store_true", help="all files are labels")
    arguments = parser.parse_args()
    if not re.fullmatch(r"[1-9]\d{0,4}x[1-9]\d{0,4}", arguments.size):
        parser.error(f"--size: expected rows x columns, such as 256x512, found {arguments.size}")
    return arguments


def resized(path: Path, size: tuple[int, int], *, is_label: bool) -> bytes:
    """The file at ``size`` (width, height): JPEG where it was JPEG, else PNG."""
    is_jpeg = not is_label and path.suffix.lower() in (".jpg", ".jpeg")
    if is_jpeg or not is_label and rasters.is_lossy_picture(path):
        image = rasters.read_rgb(path)
    else:
        image, _ = rasters.read_lossless(path)
        is_label = is_label or image.mode not in ("RGB", "RGBA")
    form = {"format": "JPEG", "quality": 95, "subsampling": 0} if is_jpeg else {"format": "PNG"}
    data = io.BytesIO()
    image.resize(size, Image.Resampling.NEAREST if is_label else Image.Resampling.BOX).save(data, **form)
    return data.getvalue()


def main() -> None:
    arguments = parse_arguments()
    height, width = map(int, arguments.size.split("x"))
    if not arguments.source.is_dir():
        raise UserError(f"expected a folder at {arguments.source}, found nothing; correct the path")
    skipped = Skipped()
    paths = list(wanted_files(arguments.source, files.IMAGE_SUFFIXES, skipped, without=arguments.target))
    with cli.progress(len(paths), "resizing") as progress:
        for path in paths:
            target = arguments.target / path.relative_to(arguments.source)
            if not target.is_file():
                target.parent.mkdir(parents=True, exist_ok=True)
                files.atomic_write(target, resized(path, (width, height), is_label=arguments.labels))
            progress.update()
    print(f"{len(paths)} files of {height} rows and {width} columns: {arguments.target}")
    if skipped:
        print(f"warning: {skipped.sentence()}", file=sys.stderr)


if __name__ == "__main__":
    cli.run(main)
