"""What a run has left in its OUTPUT_DIR, read without trusting that it is complete: the run may still be going on."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from .. import documents
from ..errors import UserError
from ..forms import Each, Maybe, misfit
from ..structures import metric_names
from ..structures.metric_names import ClassScalar, class_scalar
from ..taxonomy import CITYSCAPES

Series = tuple[list[int], list[float]]
#: Iterations [T], class names [C], values [T, C].
ClassSeries = tuple[list[int], list[str], np.ndarray]
#: Forms of what is read: a result file, and of config.yaml what reports ask for.
_COUNTS = {"tp": float, "fp": float, "fn": float, "recall": float}
_GROUPS = {f"{metric}{group}": float for metric in ("PQ", "SQ", "RQ", "N") for group in ("", "_things", "_stuff")}
_RESULT = {
    "model": str, "dataset": str, "iteration?": Maybe(int), "images": int, "protocols": [str],
    "scores": {
        "semantic": Each({
            "mIoU": float, "mean_recall": float, "N": int, "rare_classes?": [str],
            "per_class": Each({"IoU": float, "precision": float, **_COUNTS}),
        }),
        "panoptic?": Each({**_GROUPS, "per_class": Each({"PQ": float, "SQ": float, "RQ": float, **_COUNTS})}),
        "instance?": Each({
            "AP": Maybe(float), "AP50": Maybe(float), "N": int, "per_class": Each({"AP": Maybe(float)}),
        }),
    },
    "colors?": Each([int]),
    "confusion?": Maybe({"classes": [str], "pixels": [[float]]}),
}  # fmt: skip
_TASKS = ("semantic", "panoptic", "instance")
_CONFIG = {
    "SEED?": int,
    "ACTIVE?": {"LABELS?": str},
    "DATASETS?": {
        "TRAIN?": [str],
        "TARGET?": [str],
        "TEST?": [str],
        "TARGET_LABELLED?": {"NAME?": str, "FILES?": [str], "SHARE?": float, "SEED?": int},
    },
    "MODEL?": {"DEVICE?": str, "TASK?": str},
    "SOLVER?": {"MAX_ITER?": int},
    "TEST?": {"MODEL?": str},
}
_MAX_ITERATION = 2**31


@dataclass(frozen=True)
class RunFolder:
    """Contents of an OUTPUT_DIR; what is missing is empty.

    Attributes:
        metrics: the lines of metrics.json, each ``{"iteration": int, name: number, ...}``.
        evaluations: the evaluators' result files, by model and data set.
        panels: model -> pictures.
        config: the configuration as plain values.
    """

    path: Path
    metrics: Sequence[dict]
    evaluations: Sequence[dict]
    panels: dict[str, list[Path]]
    config: dict

    @classmethod
    def read(cls, path: str | Path) -> "RunFolder":
        """Reads the folder; damaged files count as missing, with a warning."""
        path = Path(path)
        inference = path / "inference"
        panels: dict[str, list[Path]] = {}
        for picture in sorted(filter(Path.is_file, inference.glob("**/panels/*/*.png"))):
            panels.setdefault(picture.parent.name, []).append(picture)
        files = sorted(f for f in inference.glob("**/*.json") if not f.name.startswith("."))
        evaluations = list(filter(None, map(_read_result, files)))
        return cls(path, read_metrics(path / "metrics.json"), evaluations, panels, _read_config(path / "config.yaml"))

    @property
    def colors(self) -> dict[str, list[int]]:
        """Class -> RGB, where the classes are not Cityscapes'."""
        return {name: color for evaluation in self.evaluations for name, color in evaluation.get("colors", {}).items()}

    @property
    def last_iteration(self) -> int | None:
        """Highest iteration in metrics.json."""
        return max((line["iteration"] for line in self.metrics), default=None)

    def value(self, key: str) -> object:
        """Value of a configuration key ("SOLVER.MAX_ITER"); None where config.yaml does not have it."""
        value: object = self.config
        for part in key.split("."):
            value = value.get(part) if isinstance(value, Mapping) else None
        return value

    def evaluation(self, model: str, dataset: str) -> Mapping | None:
        """The result file of a model on a data set."""
        return next((e for e in self.evaluations if (e["model"], e["dataset"]) == (model, dataset)), None)

    def headline(self, dataset: str | None = None) -> Mapping | None:
        """The result file of the configured model (of any where that one is missing).

        Args:
            dataset: the first test set by default.
        """
        chosen = self.value("TEST.MODEL") or "student"
        first = dataset or (self.value("DATASETS.TEST") or [None])[0]
        candidates = [e for e in self.evaluations if dataset in (None, e["dataset"])]
        return min(candidates, key=lambda e: (e["dataset"] != first, e["model"] != chosen), default=None)

    @property
    def is_finished(self) -> bool:
        """Whether the last iteration has been evaluated (``--eval-only`` knows no iteration: whether anything has)."""
        evaluation, end = self.headline(), self.value("SOLVER.MAX_ITER")
        if evaluation is None:
            return False
        iteration = evaluation.get("iteration")
        if iteration is None or iteration < 0 or end is None:
            return True
        return iteration >= end and evaluation["model"] == self.value("TEST.MODEL")

    def score_series(self, evaluation: Mapping, task: str, protocol: str, metric: str) -> Series:
        """A metric of the model and data set of a result file, over the evaluations during and after training."""
        name = metric_names.score(evaluation["model"], task, protocol, metric)
        series = self.series(f"{evaluation['dataset']}/{name}")  # as logged where there are several test sets
        return series if series[0] else self.series(name)

    def series(self, name: str) -> Series:
        """Iterations and values of a scalar, where it was logged."""
        lines = [line for line in self.metrics if isinstance(line.get(name), (int, float))]
        return [line["iteration"] for line in lines], [line[name] for line in lines]

    def losses(self) -> dict[str, Series]:
        """Name -> series of every loss term, the total last."""
        names = {name for line in self.metrics for name in line if metric_names.is_loss(name)}
        return {name: self.series(name) for name in sorted(names, key=lambda n: (n == "total_loss", n))}

    def class_weights(self) -> dict[str, ClassSeries]:
        """The weights in metrics.json: see :func:`class_scalars`."""
        return class_scalars(self.metrics, "weight")


def class_scalars(metrics: Sequence[dict], kind: str) -> dict[str, ClassSeries]:
    """What a class weighting has logged, by ``branch/head``.

    Args:
        metrics: lines of metrics.json.
        kind: ``weight``, ``gradient`` or ``share`` (of the pixels that take part).

    Returns:
        ``branch/head`` -> iterations [T], class names [C] in the order of the taxonomy, values [T, C]; NaN where a
        class was absent (share 0) or was not logged. Classes that never occurred are left out, and so are places
        without any.
    """
    places: dict[str, list[str]] = {}
    for name in dict.fromkeys(name for line in metrics for name in line):
        scalar = class_scalar(name)
        if scalar and scalar.kind == kind:
            places.setdefault(scalar.place, []).append(scalar.class_name)
    found = {place: _class_series(metrics, place, kind, sorted(places[place], key=class_order)) for place in places}
    # the reverse of the alphabet happens to be the order of thought: source, mixed, masked; sem_seg, offset, center
    return {place: found[place] for place in sorted(found, reverse=True) if found[place][1]}


def _class_series(metrics: Sequence[dict], place: str, kind: str, names: list[str]) -> ClassSeries:
    keys = {column: [str(ClassScalar(place, column, name)) for name in names] for column in (kind, "share")}
    lines = [line for line in metrics if not line.keys().isdisjoint(keys[kind])]
    values, shares = (
        np.array([[line.get(key, np.nan) for key in keys[column]] for line in lines], dtype=float)
        for column in (kind, "share")
    )
    values[shares == 0] = np.nan
    occurs = np.isfinite(values).any(axis=0)
    return [line["iteration"] for line in lines], [name for name, o in zip(names, occurs) if o], values[:, occurs]


def class_order(name: str) -> tuple[int, str]:
    """Detectron2 writes metrics.json alphabetically; classes of another taxonomy come last."""
    return (CITYSCAPES.names.index(name), "") if name in CITYSCAPES.names else (CITYSCAPES.num_classes, name)


def read_metrics(path: Path) -> list[dict]:
    """Lines of Detectron2's metrics.json by iteration; a line that is being written, or damaged, is skipped.

    Several lines of one iteration are merged. Where a resumed run has logged iterations again, the later lines win.
    """
    if not path.is_file():
        return []
    merged: dict[int, dict] = {}
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        _leave_out(f"expected to read {path}, found: {error.strerror}")
        return []
    for text in lines:
        line = _parse_line(text)
        if line is not None:
            merged[line["iteration"]] = {**merged.get(line["iteration"], {}), **line}
    return [merged[iteration] for iteration in sorted(merged)]


def _parse_line(text: bytes) -> dict | None:
    """A line of metrics.json with the numbers that a plot can take; None where it is none."""
    try:
        line = documents.parse_json(text, finite=False)
    except ValueError:
        return None
    iteration = line.get("iteration") if isinstance(line, dict) else None
    if type(iteration) is not int or not 0 <= iteration < _MAX_ITERATION:
        return None
    return {name: value for name, value in line.items() if type(value) in (int, float, str)}


def _read_result(path: Path) -> dict | None:
    """A result file; None where it is another one or damaged."""
    try:
        value = documents.read_json(path, remedy="evaluate again with --eval-only")
    except UserError as error:
        return _leave_out(error)
    if not isinstance(value, dict) or "scores" not in value:
        return None
    wrong = misfit(value, _RESULT) or _inconsistent(value)
    if wrong:
        return _leave_out(f"expected {wrong[0]}, found {wrong[1]} in {path}; evaluate again with --eval-only")
    return value


def _inconsistent(value: Mapping) -> tuple[str, str] | None:
    """What :func:`misfit` answers, for what no form can say of a result file."""
    semantic, protocols = value["scores"]["semantic"], value["protocols"]
    if not protocols or any(name not in semantic for name in protocols):
        return "scores by every protocol", f"{', '.join(semantic) or 'none'} of {', '.join(protocols) or 'none'}"
    for task, held in value["scores"].items():
        if task not in _TASKS or any(name not in protocols for name in held):
            return f"scores by {', '.join(protocols)}", f"others of {task}"
        classes = {name: scores["per_class"].keys() for name, scores in held.items()}
        if task == "panoptic" and any(names != semantic[name]["per_class"].keys() for name, names in classes.items()):
            return "the same classes in panoptic and semantic scores", "others"
    confusion = value.get("confusion")
    rows, names = (confusion["pixels"], confusion["classes"]) if confusion else ([], [])
    if len(rows) != len(names) or len({len(row) for row in rows}) > 1:
        return "a confusion matrix with a row for each class", f"{len(rows)} rows of {len(names)} classes"
    return None


def _read_config(path: Path) -> dict:
    """Sections and keys; nothing where the file is missing or damaged."""
    if not path.is_file():
        return {}
    try:
        value = documents.read_yaml(path)
    except UserError as error:
        return _leave_out(error) or {}
    wrong = misfit(value, _CONFIG) or (None if _has_texts_as_keys(value) else ("texts as keys", "others"))
    if wrong:
        return _leave_out(f"expected {wrong[0]}, found {wrong[1]} in {path}") or {}
    return value


def _has_texts_as_keys(value: object) -> bool:
    if not isinstance(value, dict):
        return True
    return all(isinstance(key, str) and _has_texts_as_keys(inner) for key, inner in value.items())


def _leave_out(why: object) -> None:
    _warn_once(str(why))


@cache
def _warn_once(why: str) -> None:
    """A report reads a run for each of its pages."""
    logging.getLogger("gbw_panoptic").warning("A file of a run counts as missing: %s", why)
