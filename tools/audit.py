"""Rank the images and segments of a labelled data set by how unlikely their labels are.

    python tools/audit.py synthia_panoptic_train --output output/audit
    python tools/audit.py cityscapes_uda_images_train --bought output/run/active      labels that were bought

Small networks are trained on the labels themselves, each on a part of the images, and asked about the rest. The page
audit.html shows the worst; exclude.txt lists images that are likely to be wrong, for DATASETS.EXCLUDE. Look before you
use it.
"""

import _environment  # noqa: F401  (first: says what is missing)

import argparse

from gbw_panoptic import cli


def parse() -> argparse.Namespace:
    parser = cli.described_parser(__doc__)
    parser.add_argument("dataset", metavar="DATASET", help="name of a labelled data set")
    parser.add_argument("--output", default="output/audit", metavar="DIR", help="default: %(default)s")
    parser.add_argument(
        "--bought", metavar="DIR", help="labels that active learning has bought for the images of DATASET"
    )
    parser.add_argument("--custom", metavar="FILE", help="your own data sets, as DATASETS.CUSTOM")
    parser.add_argument("--taxonomy", metavar="NAME", help="as DATASETS.TAXONOMY")
    parser.add_argument(
        "--short-edge", type=cli.count, default=64, metavar="CELLS", help="scale of the audit; default: %(default)s"
    )
    parser.add_argument("--folds", type=cli.count, default=2, metavar="K", help="default: %(default)s")
    parser.add_argument("--epochs", type=cli.count, default=16, metavar="N", help="default: %(default)s")
    parser.add_argument(
        "--pictures",
        type=cli.count,
        default=24,
        metavar="N",
        help="worst images and segments on the page; default: %(default)s",
    )
    parser.add_argument("--seed", type=cli.seed, default=0, metavar="N", help="default: %(default)s")
    arguments = parser.parse_args()
    if arguments.folds < 2:
        parser.error("--folds: expected at least 2, so that no label judges itself")
    return arguments


if __name__ == "__main__":
    parse()  # --help and a wrong command line need not wait for the imports below

from pathlib import Path

from gbw_panoptic.data import register_all
from gbw_panoptic.reporting.audit_page import write_findings
from gbw_panoptic.trust.auditing import audit


def main() -> None:
    arguments = parse()
    register_all(custom=arguments.custom, taxonomy=arguments.taxonomy)
    findings = audit(
        arguments.dataset, bought=arguments.bought, short_edge=arguments.short_edge, folds=arguments.folds,
        epochs=arguments.epochs, seed=arguments.seed,
    )  # fmt: skip
    page = write_findings(findings, Path(arguments.output), pictures=arguments.pictures)
    print(f"{findings.summary()}\nPage: {page}")


if __name__ == "__main__":
    cli.run(main)
