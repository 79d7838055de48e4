#!/usr/bin/env python3
"""Prepare a downloaded (or generated) data set for training, or check one: see datasets/README.md."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / "tools"))
import _environment  # noqa: E402, F401  (first: says what is missing)

import argparse
import errno
import re
from contextlib import AbstractContextManager, nullcontext

from gbw_panoptic import cli
from gbw_panoptic.data.layout import PREPARED_VARIABLE, default_prepared, default_root
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
    parser.add_argument("--taxonomy", help="name or file of their classes, as DATASETS.TAXONOMY (default: cityscapes)")
    parser.add_argument("--workers", type=int, default=default_workers(), help="processes (default: %(default)s)")
    parser.add_argument("--check", action="store_true", help="read every file, report every fault, write nothing")
    parser.add_argument(
        "--prepared", type=Path, help="folder for all that is written (default: $GBW_PREPARED or the root)"
    )
    parser.add_argument("--strict", action="store_true", help="a file or a folder that is left out is an error")
    parser.add_argument("--overwrite", action="store_true", help="convert again what is converted already")
    arguments = parser.parse_args()
    if arguments.check and arguments.overwrite:
        parser.error("--check writes nothing: leave out --overwrite")
    return arguments


def lock(folder: Path, root: Path, dataset: str) -> AbstractContextManager:
    """Held while ``folder`` is written; nothing where there is no ``root``, which is said later."""
    if not root.is_dir():
        return nullcontext()
    name = f".{re.sub(r'[^A-Za-z0-9]', '_', dataset)}.lock"
    return exclusive(folder / name, what=f"preparation of {dataset}", remedy="end it first")


def main() -> None:
    arguments = parse_arguments()
    root = default_root() if arguments.root is None else arguments.root.expanduser()
    prepared = default_prepared() if arguments.prepared is None else arguments.prepared.expanduser()
    options = {key: getattr(arguments, key) for key in ("workers", "custom", "taxonomy", "strict")} | {
        "prepared": prepared
    }
    try:
        if arguments.check:
            reports = check(arguments.dataset, root, **options)
        else:
            with lock(root if prepared is None else prepared, root, arguments.dataset):
                reports = prepare(arguments.dataset, root, overwrite=arguments.overwrite, **options)
    except OSError as error:
        if error.errno not in (errno.EROFS, errno.EACCES, errno.EPERM):
            raise
        raise UserError(
            f"expected to write to {error.filename or root}, found: {error.strerror}; mend that, or name another "
            f"folder for prepared files with --prepared DIR, and for training with {PREPARED_VARIABLE}=DIR"
        ) from error
    print("\n".join(report.format() for report in reports))
    if arguments.prepared is not None:
        print(f"prepared files lie in {prepared}: set {PREPARED_VARIABLE}={prepared} for training and evaluation")
    faults = [fault for report in reports if not report.skipped for fault in report.faults]
    if faults:
        state = "sound" if arguments.check else "prepared"
        raise UserError(f"{arguments.dataset} is not {state}, {len(faults)} fault(s), the first: {faults[0].message}")


if __name__ == "__main__":
    cli.run(main)
