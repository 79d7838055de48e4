"""Report on one run, or compare several: one self-contained page and Markdown, from what the runs have written.

    python tools/report.py output/run                                  report.html and report.md in the run's own folder
    python tools/report.py output/run --before output/source_only      the same, with what changed since another run
    python tools/report.py output/study/*/seed* --baseline output/study/source_only/seed* --output output/comparison

Runs that differ in nothing but the seed are one configuration: means with standard errors, gains paired by seed.
"""

import _environment  # noqa: F401  (first: says what is missing)

import argparse

DEFAULT_OUTPUT = "output/comparison"


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("runs", nargs="+", metavar="RUN", help="OUTPUT_DIR of a run")
    parser.add_argument(
        "--baseline", nargs="+", default=[], metavar="RUN", help="runs of one configuration (default: the first RUN's)"
    )
    parser.add_argument("--before", metavar="RUN", help="with one RUN: what it is compared with, on its own page")
    parser.add_argument("--output", metavar="DIR", help=f"default: the run's own folder; of several, {DEFAULT_OUTPUT}")
    parser.add_argument("--protocol", help="of the headline; default: the first of TEST.PROTOCOLS")
    arguments = parser.parse_args()
    if arguments.before and (len(arguments.runs) > 1 or arguments.baseline):
        parser.error("--before: expected one RUN and no --baseline; name several runs and their --baseline, or one")
    return arguments


if __name__ == "__main__":
    parse()  # --help and a wrong command line need not wait for the imports below

from gbw_panoptic import cli
from gbw_panoptic.reporting import write_comparison, write_report


def main() -> None:
    arguments = parse()
    if len(arguments.runs) == 1 and not arguments.baseline:
        path = write_report(
            arguments.runs[0], destination=arguments.output, protocol=arguments.protocol, baseline=arguments.before
        )
    else:
        path = write_comparison(
            arguments.runs, arguments.output or DEFAULT_OUTPUT, baseline=arguments.baseline, protocol=arguments.protocol
        )
    print(f"Report: {path}")


if __name__ == "__main__":
    cli.run(main)
