"""The study of class weighting: what is kept of a run, and which runs are compared.

A result is plain values, one small JSON file a run::

    {"task", "network", "strategy", "weighting", "seed", "model", "iterations", "device", "machine", "precision",
     "scores": {column: percent},
     "classes": {name: {"IoU", "recall", "precision" (percent), "pixels", "source_pixels"}},
     "pseudo_labels": {name: {"recall", "precision"}} (the last teacher on the images that it labels; {} without one),
     "quality": [T] (of pseudo labels; [] without),
     "gbw": {branch/head: {"iterations": [T], kind: {name: [T]}}} (weight, gradient, share of the pixels; {} without
     GBW), "tau": {"prior", "scores": {tau: {column: percent}}} (over the correction of the decision; absent in the
     first edition),
     "evaluations": [{"iteration", "estimates": {name: percent}, "scores": {metric: percent}}] (during the run, with
     estimates that saw no label; absent in the first edition),
     "alarms": [{"model", "iteration", "sign"}] (signs of collapse that these estimates gave; absent where not kept)}

T are tenths of the run.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import false_discovery_control, ttest_1samp

from gbw_panoptic.errors import UserError
from gbw_panoptic.evaluation.scores import averaged_classes
from gbw_panoptic.forms import Each, Maybe
from gbw_panoptic.reporting.gains import COLUMNS, Gain, gain
from gbw_panoptic.reporting.run_folder import RunFolder, class_scalars
from gbw_panoptic.structures import metric_names
from gbw_panoptic.trust.collapse import Watch
from studies.trust.evidence import ALARM, EVALUATION, points_of

#: Column of the tables -> task and metric of a result file.
STUDY_COLUMNS = {**COLUMNS, "rare precision": ("semantic", "rare_precision")}
_CLASS = {"IoU": float, "recall": float, "precision": float, "pixels": float, "source_pixels": int}
_SERIES = [Maybe(float)]
#: Form of a result file.
RESULT = {
    "task": str, "network": str, "strategy": str, "weighting": str, "seed": int, "model": str, "iterations": int,
    "device": str,
    "machine": str, "precision": str, "scores": Each(float), "classes": Each(_CLASS),
    "pseudo_labels": Each({"recall": float, "precision": float}), "quality": _SERIES,
    "gbw": Each({"iterations": [int], "weight": Each(_SERIES), "gradient": Each(_SERIES), "share": Each(_SERIES)}),
    "tau?": {"prior": str, "scores": Each(Each(float))}, "evaluations?": [EVALUATION],
    "alarms?": [ALARM],
}  # fmt: skip
#: Points in time that are kept of class weights and gradients.
_TIMES = 10
#: Heads whose weights are kept (on the target's unlabelled images, all are), and what they weigh.
KEPT_HEADS = {"sem_seg": "pixels", "classification": "segments"}


@dataclass(frozen=True)
class Cell:
    """What is trained, and how its classes are weighted."""

    task: str
    network: str
    strategy: str
    weighting: str


@dataclass(frozen=True)
class Block:
    """Cells that are compared with the first of them."""

    title: str
    cells: tuple[Cell, ...]

    @property
    def reference(self) -> Cell:
        return self.cells[0]


@dataclass(frozen=True)
class Difference:
    """Of a cell to a reference, paired by seed; ``p`` of the paired t-test, None below three seeds or without
    spread."""

    gain: Gain
    p: float | None

    def __str__(self) -> str:
        return str(self.gain) + ("" if self.p is None else f" (p {self.p:.2g})")


class Results:
    """Runs of a study by cell and seed."""

    def __init__(self, results: Iterable[Mapping]) -> None:
        self._runs: dict[Cell, dict[int, Mapping]] = {}
        for result in results:
            cell = Cell(*(result[key] for key in ("task", "network", "strategy", "weighting")))
            self._runs.setdefault(cell, {})[result["seed"]] = result

    def runs(self, cell: Cell) -> list[Mapping]:
        """In the order of their seeds; empty for a cell that was not run."""
        return [run for _, run in sorted(self._runs.get(cell, {}).items())]

    def values(self, cell: Cell, *path: str) -> dict[int, float]:
        """Seed -> value of an entry of the results ("scores", "mIoU"), where a run has it."""
        found = {}
        for seed, run in sorted(self._runs.get(cell, {}).items()):
            value: object = run
            for key in path:
                value = value.get(key) if isinstance(value, Mapping) else None
            if value is not None:
                found[seed] = value
        return found

    def columns(self, cells: Iterable[Cell]) -> list[str]:
        """Names of :data:`STUDY_COLUMNS` that a run of the cells has a score of."""
        runs = [run for cell in cells for run in self.runs(cell)]
        return [name for name in STUDY_COLUMNS if any(name in run["scores"] for run in runs)]

    def difference(self, cell: Cell, reference: Cell, *path: str) -> Difference | None:
        """None where no seed has both."""
        ours, theirs = self.values(cell, *path), self.values(reference, *path)
        seeds = [seed for seed in ours if seed in theirs]
        if not seeds or cell == reference:
            return None
        ours, theirs = ({seed: side[seed] for seed in seeds} for side in (ours, theirs))
        paired = gain(ours, theirs)
        tested = len(seeds) >= 3 and paired.error
        p = ttest_1samp([ours[seed] - theirs[seed] for seed in seeds], 0).pvalue if tested else None
        return Difference(paired, None if p is None else float(p))


def adjusted(differences: Sequence[Difference]) -> list[float | None]:
    """p-values of a family of tests under control of the false discovery rate (Benjamini, Hochberg 1995)."""
    known = [difference.p for difference in differences if difference.p is not None]
    corrected = iter(false_discovery_control(known) if known else ())
    return [None if difference.p is None else float(next(corrected)) for difference in differences]


def run_result(run: RunFolder, protocol: str, *, source_pixels: Mapping[str, int]) -> dict:
    """What the study keeps of a finished run, of the model that its configuration names.

    Args:
        source_pixels: class name -> labelled pixels of the source.

    Raises:
        UserError: the last iteration was not evaluated.
    """
    if not run.is_finished:
        raise UserError(f"Expected an evaluation of the last iteration in {run.path}, found none; see its log.")
    evaluation = run.headline()
    held = {task: protocols.get(protocol, {}) for task, protocols in evaluation["scores"].items()}
    semantic = held["semantic"]
    return {
        "model": evaluation["model"],
        "iterations": evaluation["iteration"],
        "scores": {
            name: round(held[task][key], 3) for name, (task, key) in STUDY_COLUMNS.items() if key in held.get(task, {})
        },
        "classes": {
            name: {
                **_rounded(semantic["per_class"][name], ("IoU", "recall", "precision")),
                "pixels": semantic["per_class"][name]["tp"] + semantic["per_class"][name]["fn"],
                "source_pixels": int(source_pixels[name]),
            }
            for name in averaged_classes(semantic)[0]
        },
        "pseudo_labels": _pseudo_labels(run, protocol),
        "quality": _tenths(quality) if (quality := run.series("pseudo_labels/quality")[1]) else [],
        "gbw": _weights_over_time(run),
        **(_without_labels(run, protocol, source_pixels) if run.value("TEST.UNSUPERVISED") else {}),
    }


def _without_labels(run: RunFolder, protocol: str, source_pixels: Mapping[str, int]) -> dict:
    total = sum(source_pixels.values())
    watch = Watch({name: pixels / total for name, pixels in source_pixels.items()})
    alarms = [
        {"model": model, "iteration": line["iteration"], "sign": sign}
        for line in run.metrics
        for model in ("student", "teacher")
        for sign in watch.take(model, line["iteration"], metric_names.estimates(line, model))
    ]
    return {"evaluations": _evaluations(run, protocol), "alarms": alarms}


def _evaluations(run: RunFolder, protocol: str) -> list[dict]:
    return [
        {"iteration": point.iteration, "estimates": _finite(point.estimates), "scores": _finite(point.scores)}
        for point in points_of(run, "", protocol)
    ]


def _finite(values: Mapping[str, float]) -> dict[str, float]:
    return _rounded(values, filter(lambda name: np.isfinite(values[name]), values))


def _pseudo_labels(run: RunFolder, protocol: str) -> dict:
    """How right the last teacher is on the images that it labels: where the run has evaluated it there, behind
    training."""
    datasets = run.value("DATASETS.TEST") or []
    evaluation = run.evaluation("teacher", datasets[1]) if len(datasets) > 1 else None
    if evaluation is None:
        return {}
    semantic = evaluation["scores"]["semantic"][protocol]
    return {
        name: _rounded(semantic["per_class"][name], ("recall", "precision")) for name in averaged_classes(semantic)[0]
    }


def _weights_over_time(run: RunFolder) -> dict:
    """Means of what a class weighting has logged over tenths of the run, per branch and head."""
    kinds = {kind: class_scalars(run.metrics, kind) for kind in ("weight", "gradient", "share")}
    kept = {}
    for place in kinds["weight"]:
        branch, head = place.split("/")
        if branch != "target" and head not in KEPT_HEADS:
            continue
        kept[place] = {}
        for kind, series in kinds.items():
            iterations, names, values = series[place]
            kept[place]["iterations"] = [int(np.mean(part)) for part in np.array_split(iterations, _parts(iterations))]
            kept[place][kind] = {name: _tenths(values[:, column]) for column, name in enumerate(names)}
    return kept


def _tenths(values: Sequence[float]) -> list[float | None]:
    """Means over tenths of a series, to three digits; None where nothing is finite, since JSON has no NaN."""
    means = []
    for part in np.array_split(np.asarray(values, dtype=float), _parts(values)):
        finite = part[np.isfinite(part)]
        means.append(float(f"{finite.mean():.3g}") if len(finite) else None)
    return means


def _parts(series: Sequence) -> int:
    return max(min(_TIMES, len(series)), 1)


def _rounded(values: Mapping[str, float], keys: Iterable[str]) -> dict[str, float]:
    return {key: round(values[key], 3) for key in keys}
