#!/usr/bin/env python3
"""Prepare a downloaded (or generated) data set for training, or check one: see datasets/README.md."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / "tools"))
import _environment  # noqa: E402, F401  (first: says what is missing)

import argparse
import re
from contextlib import nullcontext

from gbw_panoptic import cli
from gbw_panoptic.data.layout import default_root
from gbw_panoptic.data.preparation import check, prepare
from gbw_panoptic.data.preparation.parallel import default_workers
from gbw_panoptic.data.published import PUBLISHED
from gbw_panoptic.errors import UserError
from gbw_panoptic.locks import exclusive


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dataset", help=f"{', '.join(PUBLISHED)}, or a data set of your own")
    parser.add_argument("--root", type=Path, help="where they lie (default: $DETECTRON2_DATASETS or ./datasets)")
    parser.add_argument("--custom", type=Path, help="YAML file of your own ones (default: custom.yaml in the root)")
    parser.add_argument("--workers", type=int, default=default_workers(), help="processes (default: %(default)s)")
    parser.add_argument("--check", action="store_true", help="read every file, report every fault, write nothing")
    parser.add_argument("--overwrite", action="store_true", help="convert again what is converted already")
    arguments = parser.parse_args()
    if arguments.check and arguments.overwrite:
        parser.error("--check writes nothing: leave out --overwrite")
    return arguments


def main() -> None:
    arguments = parse_arguments()
    root = default_root() if arguments.root is None else arguments.root.expanduser()
    if arguments.check:
        reports = check(arguments.dataset, root, workers=arguments.workers, custom=arguments.custom)
    else:
        lock = root / f".{re.sub(r'[^A-Za-z0-9]', '_', arguments.dataset)}.lock"
        with exclusive(lock, what=f"preparation of {arguments.dataset}", remedy="end it first") if root.is_dir() else nullcontext():
            reports = prepare(
                arguments.dataset,
                root,
                workers=arguments.workers,
                overwrite=arguments.overwrite,
                custom=arguments.custom,
            )
    print("\n".join(report.format() for report in reports))
    faults = [fault for report in reports if not report.skipped for fault in report.faults]
    if faults:
        state = "sound" if arguments.check else "prepared"
        raise UserError(f"{arguments.dataset} is not {state}, {len(faults)} fault(s), the first: {faults[0].message}")


if __name__ == "__main__":
    cli.run(main)
