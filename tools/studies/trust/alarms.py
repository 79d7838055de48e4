"""Whether warnings of a collapse come in time, and only then: runs whose score fell, and sound ones.

A score has fallen at the first evaluation that is :data:`FALL` points below the best one before it. It is PQ of the
headline model, or mIoU where there is no PQ.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from gbw_panoptic.reporting.page import table

from .evidence import Point

FALL = 5.0
_WARNING = re.compile(r"The (student|teacher) may be collapsing at iteration (\d+): (.*?); look at its pictures")


@dataclass(frozen=True)
class Watched:
    """A run that logged estimates and was evaluated with labels.

    Attributes:
        scores: iteration -> percent, in order.
        alarms: iteration and sign, in order.
    """

    name: str
    metric: str
    scores: Mapping[int, float]
    alarms: Sequence[tuple[int, str]]

    @property
    def fallen(self) -> int | None:
        """First iteration at which the score has fallen; None in a sound run."""
        best = float("-inf")
        for iteration, score in self.scores.items():
            if score < best - FALL:
                return iteration
            best = max(best, score)
        return None

    @property
    def warned(self) -> int | None:
        return self.alarms[0][0] if self.alarms else None


def watched(points: Sequence[Point], alarms: Mapping[str, Sequence[tuple[int, str]]]) -> list[Watched]:
    """Runs of the points whose alarms are known.

    Args:
        alarms: run -> its alarms.
    """
    found = []
    for run, signs in alarms.items():
        mine = sorted((point for point in points if point.run == run), key=lambda point: point.iteration)
        metric = "PQ" if all("PQ" in point.scores for point in mine) else "mIoU"
        found.append(Watched(run, metric, {point.iteration: point.scores[metric] for point in mine}, sorted(signs)))
    return found


def logged_alarms(folder: Path) -> list[tuple[int, str]]:
    """What a run's log.txt warned of; [] without a log."""
    log = folder / "log.txt"
    text = log.read_text(errors="replace") if log.is_file() else ""
    return [(int(iteration), sign) for _, iteration, signs in _WARNING.findall(text) for sign in signs.split("; ")]


def alarm_report(runs: Sequence[Watched]) -> str:
    """A sentence on sound runs, one on the others, and a row for each run that fell or was warned of."""
    sound = [run for run in runs if run.fallen is None]
    fallen = [run for run in runs if run.fallen is not None]
    early = sum(run.warned is not None and run.warned < run.fallen for run in fallen)
    at_once = sum(run.warned == run.fallen for run in fallen)
    lines = [
        f"Alarms are known of {len(runs)} runs. The score of {len(sound)} never fell by {FALL:g} points: "
        f"{sum(bool(run.alarms) for run in sound)} of them had a warning. It fell in {len(fallen)}: the warning came "
        f"at an earlier evaluation in {early}, at that one in {at_once}."
    ]
    rows = [
        [
            run.name, " ".join(f"{score:.1f}" for score in run.scores.values()), _number(run.warned),
            _number(run.fallen), run.alarms[0][1] if run.alarms else "-",
        ]
        for run in runs if run.alarms or run.fallen is not None
    ]  # fmt: skip
    if rows:
        lines.append(table(rows, ["run", "PQ or mIoU over time", "first warning", "fallen", "first sign"]))
    return "\n\n".join(lines)


def _number(iteration: int | None) -> str:
    return "-" if iteration is None else str(iteration)
