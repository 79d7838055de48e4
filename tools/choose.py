"""Choose a checkpoint or a run without labels of the target, and say how sure the choice is.

    python tools/choose.py output/run                          every evaluation of a run with TEST.UNSUPERVISED
    python tools/choose.py output/study/*/seed0 --last         runs by their last evaluation
    python tools/choose.py output/run --by teacher_PQ          by another estimator (docs/no_labels.md)

Images are drawn again and again, the same for all candidates: how often a candidate is first says how sure its rank is.
"""

import _environment  # noqa: F401  (first: says what is missing)

import argparse

from gbw_panoptic import cli

DEFAULT = "view_mIoU"


def parse() -> argparse.Namespace:
    parser = cli.described_parser(__doc__)
    parser.add_argument("runs", nargs="+", metavar="RUN", help="OUTPUT_DIR of a run with TEST.UNSUPERVISED")
    parser.add_argument("--by", metavar="NAME", default=DEFAULT, help="estimator; default: %(default)s")
    parser.add_argument("--model", choices=("student", "teacher"), help="default: TEST.MODEL of each run")
    parser.add_argument("--last", action="store_true", help="of each run its last evaluation alone")
    return parser.parse_args()


if __name__ == "__main__":
    parse()  # --help and a wrong command line need not wait for the imports below

from pathlib import Path

from gbw_panoptic.errors import UserError
from gbw_panoptic.reporting.page import table
from gbw_panoptic.reporting.run_folder import RunFolder
from gbw_panoptic.trust.choosing import COVERAGE, Choice, rank
from gbw_panoptic.trust.estimation import Estimation, read_estimations


def candidates_of(folder: str, model: str | None, *, last: bool) -> list[tuple[str, Estimation]]:
    """Estimates of a run's model, with the run's name, by iteration."""
    if not Path(folder).is_dir():
        raise UserError(f"expected a run's output folder, found nothing at {folder}: pass the OUTPUT_DIR of a run")
    wanted = model or RunFolder.read(folder).value("TEST.MODEL") or "student"
    found = [(folder, estimation) for estimation in read_estimations(folder) if estimation.model == wanted]
    if not found:
        raise UserError(
            f"expected estimates of the {wanted} in {folder}, found none; train or evaluate it with TEST.UNSUPERVISED, "
            "or name the other --model"
        )
    return found[-1:] if last else found


def checkpoint(folder: str, iteration: int) -> str:
    """The file of the weights that were looked at; "-" where it is gone."""
    numbered = Path(folder, f"model_{iteration:07d}.pth")
    if numbered.is_file():
        return str(numbered)
    final, end = Path(folder, "model_final.pth"), RunFolder.read(folder).value("SOLVER.MAX_ITER")
    return str(final) if final.is_file() and (iteration < 0 or iteration == end) else "-"


def last_step(folder: str, iteration: int) -> str:
    """Of the weights, counted from 0 as log.txt and the checkpoints' names count; metrics.json counts the end by one
    more."""
    end = RunFolder.read(folder).value("SOLVER.MAX_ITER")
    return "not recorded" if iteration < 0 else str(iteration - (iteration == end))


def row(place: int, choice: Choice, name: str, estimation: Estimation) -> list[str]:
    worse = "-" if place == 1 else "{:.1f} to {:.1f}".format(*choice.behind)
    iteration = last_step(name, estimation.iteration)
    interval = f"{choice.value:.1f} ({choice.low:.1f} to {choice.high:.1f})"
    where = checkpoint(name, estimation.iteration)
    return [str(place), name, iteration, interval, worse, f"{100 * choice.first:.0f} %", where]


def main() -> None:
    arguments = parse()
    candidates = [c for run in arguments.runs for c in candidates_of(run, arguments.model, last=arguments.last)]
    estimations = [estimation for _, estimation in candidates]
    choices = rank(estimations, arguments.by)
    rows = [row(place, choice, *candidates[choice.index]) for place, choice in enumerate(choices, start=1)]
    header = [
        "rank",
        "run",
        "iteration",
        f"{arguments.by} ({100 * COVERAGE:.0f} % interval)",
        "worse than the first by",
        "first in",
        "checkpoint",
    ]
    print(table(rows, header))
    best = choices[0]
    print(
        f"\nFirst in {100 * best.first:.0f} % of the draws of {len(estimations[0].images)} images. An estimate is no "
        "score: see docs/no_labels.md."
    )


if __name__ == "__main__":
    cli.run(main)
