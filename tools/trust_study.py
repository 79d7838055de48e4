"""How far estimates without labels can be trusted, by runs that were evaluated with labels and TEST.UNSUPERVISED.

    python tools/trust_study.py output/study/*/seed*
    python tools/trust_study.py docs/results/weighting/*imagenet*/seed*.json --output docs/results/trust.md

The second command reads what the study of class weighting keeps of its runs. Runs that differ in nothing but the seed
are one cell. Correlations are Spearman's, within a trainer; intervals hold 90 % of draws of whole runs. Behind the
table stands whether warnings of a collapse came before the score fell, and in how many sound runs there were any.
"""

import _environment  # noqa: F401  (first: says what is missing)

import argparse

from gbw_panoptic import cli


def parse() -> argparse.Namespace:
    parser = cli.described_parser(__doc__)
    parser.add_argument(
        "runs", nargs="+", metavar="RUN", help="OUTPUT_DIR of a run, or its result file of tools/weighting_study.py"
    )
    parser.add_argument("--protocol", help="of the scores; default: the first of each run")
    parser.add_argument("--output", metavar="FILE", help="where the table is written, too")
    return parser.parse_args()


if __name__ == "__main__":
    parse()  # --help and a wrong command line need not wait for the imports below

from pathlib import Path

from studies.trust.alarms import alarm_report, logged_alarms, watched
from studies.trust.evidence import evidence_table, points_of, points_of_result, rows

from gbw_panoptic import files
from gbw_panoptic.reporting.run_groups import cells_of


def main() -> None:
    arguments = parse()
    results = [path for path in map(Path, arguments.runs) if path.suffix == ".json"]
    folders = [path for path in arguments.runs if Path(path) not in results]
    points, alarms = [], {}
    for run, cell in cells_of(folders):
        points += points_of(run, cell, arguments.protocol)
        alarms[str(run.path)] = logged_alarms(run.path)
    for path in results:
        found, signs = points_of_result(path)
        points += found
        if signs is not None:
            alarms[str(path)] = signs
    runs, number = len({point.run for point in points}), len({point.cell for point in points})
    text = f"{len(points)} evaluations of {runs} runs in {number} cells.\n\n{evidence_table(rows(points))}"
    if alarms:
        text += f"\n\n{alarm_report(watched(points, alarms))}"
    print(text)
    if arguments.output:
        files.atomic_write(Path(arguments.output), f"{text}\n".encode())


if __name__ == "__main__":
    cli.run(main)
