"""How every benchmark measures: both sides in one process, by turns, medians; and where it was measured."""

import argparse
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from gbw_panoptic import cli


@dataclass(frozen=True)
class Comparison:
    """Two ways of doing one thing.

    Attributes:
        name: what is done, with its size.
        reference, ours: names of the two ways.
        reference_seconds, ours_seconds: one number per run.
        goal: the ratio that the project promises; None where it promises none.
        equal: whether both gave the same; None where that was not asked.
        note: what a reader must know to judge the ratio.
    """

    name: str
    reference: str
    ours: str
    reference_seconds: tuple[float, ...]
    ours_seconds: tuple[float, ...]
    goal: float | None = None
    equal: bool | None = None
    note: str = ""

    @property
    def ratio(self) -> float:
        """How many times the reference's median time is ours."""
        return statistics.median(self.reference_seconds) / statistics.median(self.ours_seconds)

    def __str__(self) -> str:
        ways = ((self.reference, self.reference_seconds), (self.ours, self.ours_seconds))
        lines = [f"  {name:44s} {_spread(seconds)}" for name, seconds in ways]
        goal = "" if self.goal is None else f"  (goal: at least {self.goal:g})"
        outputs = [] if self.equal is None else ["outputs equal" if self.equal else "outputs DIFFER"]
        notes = "; ".join([self.note] * bool(self.note) + outputs)
        lines += [f"  {'ratio':44s} {self.ratio:9.2f}{goal}", f"  {notes}"]
        return "\n".join([self.name, *lines]).rstrip()

    def as_row(self) -> str:
        """A row of the table in docs/benchmarks.md."""
        ways = ((self.reference, self.reference_seconds), (self.ours, self.ours_seconds))
        times = [f"{name} {1000 * statistics.median(seconds):.4g} ms" for name, seconds in ways]
        goal = "-" if self.goal is None else f"{self.goal:.3g}"
        notes = "; ".join([self.note] * bool(self.note) + ["outputs equal"] * bool(self.equal))
        return f"| {self.name} | {times[0]} | {times[1]} | **{self.ratio:.3g}** | {goal} | {notes} |"

    def as_json(self) -> dict:
        """Plain values, with the medians and the ratio."""
        medians = {f"{way}_median": statistics.median(getattr(self, f"{way}_seconds")) for way in ("reference", "ours")}
        return {**asdict(self), **medians, "ratio": self.ratio}


#: What ``--clock`` chooses from: seconds on the wall, or of this process's CPU time, which neighbours on a busy machine
#: disturb less (the same where a single thread has the machine to itself).
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


def alternate(
    ways: Mapping[str, Callable[[], object]],
    *,
    repeats: int,
    label: str = "",
    clock: str = "wall",
    warm_up: bool = True,
) -> dict[str, tuple[float, ...]]:
    """Seconds of each way's runs. The ways run by turns, after one run of each that does not count (``warm_up``).

    Alternation lets both sides see the same neighbours on a shared machine; on a GPU, every run waits for the device.
    """
    now = CLOCKS[clock]
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    rounds = range(-1 if warm_up else 0, repeats)
    with cli.progress(len(rounds), label or "runs", unit="run") as bar:
        for repeat in rounds:
            for name, way in ways.items():
                start = now()
                way()
                if torch.cuda.is_available():
                    torch.cuda.synchronize()
                if repeat >= 0:
                    seconds[name].append(now() - start)
            bar.update()
    return {name: tuple(runs) for name, runs in seconds.items()}


def compare(
    name: str,
    *,
    reference: tuple[str, Callable[[], object]],
    ours: Callable[[], object],
    arguments: argparse.Namespace,
    same: Callable[[Any, Any], bool] | None = None,
    units: int = 1,
    goal: float | None = None,
    note: str = "",
) -> Comparison:
    """Measures both ways as the command line asks for.

    Args:
        reference: its name and what it runs.
        same: whether the two results, reference first, are equal.
        units: how many things one run does; seconds are per thing.
        goal, note: see :class:`Comparison`.
    """
    ways = {"reference": reference[1], "ours": ours}
    results = [way() for way in ways.values()]  # the run that does not count
    equal = None if same is None else bool(same(*results))
    del results
    seconds = alternate(ways, repeats=arguments.repeats, clock=arguments.clock, label=name, warm_up=False)
    theirs, own = (tuple(s / units for s in seconds[way]) for way in ways)
    return Comparison(name, reference[0], "ours", theirs, own, goal=goal, equal=equal, note=note)


def environment() -> dict[str, str | int | float]:
    """What a reader must know of the machine: NumPy's version alone changes the peers' times several-fold."""
    facts = {
        "cpu": _cpu_name(), "cores": os.cpu_count() or 1, "threads": torch.get_num_threads(),
        "python": platform.python_version(), "numpy": np.__version__, "torch": torch.__version__,
        "opencv": cv2.__version__,
    }  # fmt: skip
    if hasattr(os, "getloadavg"):
        facts["load_average"] = round(os.getloadavg()[0], 1)
    if torch.cuda.is_available():
        facts["gpu"] = torch.cuda.get_device_name()
    return facts


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _spread(seconds: tuple[float, ...]) -> str:
    low, middle, high = (1000 * f(seconds) for f in (min, statistics.median, max))
    return f"{middle:9.2f} ms  (median of {len(seconds)}, {low:.2f} to {high:.2f})"
