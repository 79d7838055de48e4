"""Generate the embedded Streets data sets: a SYNTHIA-format and a GTA5-format source and a Cityscapes-format target.

Example: python datasets/make_streets.py --root datasets/streets --size 128x256 --source 400 --target-train 400
"""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / "tools"))
import _environment  # noqa: E402, F401  (first: says what is missing)

import argparse
import os

from gbw_panoptic.cli import run
from gbw_panoptic.errors import UserError
from gbw_panoptic.streets import class_table, generate


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", required=True, help="folder for the data sets; DETECTRON2_DATASETS of later commands")
    parser.add_argument("--size", default="128x256", help="image size, HEIGHTxWIDTH in pixels (default %(default)s)")
    parser.add_argument("--source", type=int, default=400, help="images of each source (default %(default)s)")
    parser.add_argument("--target-train", type=int, default=400, help="target images to train on (default %(default)s)")
    parser.add_argument("--target-val", type=int, default=100, help="target images to test on (default %(default)s)")
    parser.add_argument("--gap", type=float, default=1.0, help="distance of the two looks, 0..1 (default %(default)s)")
    parser.add_argument(
        "--reach", type=float, default=70.0, help="metres up to which objects stand (default %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes (default %(default)s)")
    parser.add_argument("--formats", default="synthia,gta5,cityscapes", help="data sets to write (default %(default)s)")
    parser.add_argument(
        "--overwrite",
        action="store_true",
        help="delete the synthia, gta5 and cityscapes folders (prepared files too) of an earlier run of other settings",
    )
    return parser.parse_args()


def parse_size(text: str) -> tuple[int, int]:
    """(height, width) from HEIGHTxWIDTH."""
    try:
        height, width = (int(part) for part in text.lower().split("x"))
    except ValueError:
        raise UserError(f"--size must be HEIGHTxWIDTH such as 128x256, found {text!r}") from None
    return height, width


def main() -> None:
    arguments = parse_arguments()
    manifest = generate(
        arguments.root,
        size=parse_size(arguments.size),
        source=arguments.source,
        target_train=arguments.target_train,
        target_val=arguments.target_val,
        gap=arguments.gap,
        reach=arguments.reach,
        seed=arguments.seed,
        formats=tuple(name.strip() for name in arguments.formats.split(",") if name.strip()),
        workers=arguments.workers,
        overwrite=arguments.overwrite,
        progress=True,
    )
    print(class_table(manifest))
    print(f"Streets written to {arguments.root}")


if __name__ == "__main__":
    run(main)
