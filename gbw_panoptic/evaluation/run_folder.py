"""What a run has left in its OUTPUT_DIR, read without trusting that it is complete: the run may still be going on."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml

Series = tuple[list[int], list[float]]
_WEIGHT = re.compile(r"^gbw/(?P<branch>[^/]+)/(?P<head>[^/]+)/weight/(?P<name>.+)$")
_LOSS = re.compile(r"^(total_loss|.*/loss_[^/]+|loss_[^/]+)$")


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
        """Reads the folder; damaged files count as missing."""
        path = Path(path)
        inference = path / "inference"
        panels: dict[str, list[Path]] = {}
        for picture in sorted(inference.glob("**/panels/*/*.png")):
            panels.setdefault(picture.parent.name, []).append(picture)
        files = sorted(f for f in inference.glob("**/*.json") if not f.name.startswith("."))
        evaluations = [value for value in map(_read_json, files) if isinstance(value, dict) and "scores" in value]
        return cls(path, read_metrics(path / "metrics.json"), evaluations, panels, _read_yaml(path / "config.yaml"))

    @property
    def last_iteration(self) -> int | None:
        """Highest iteration in metrics.json."""
        return max((line["iteration"] for line in self.metrics), default=None)

    def series(self, name: str) -> Series:
        """Iterations and values of a scalar, where it was logged."""
        lines = [line for line in self.metrics if isinstance(line.get(name), (int, float))]
        return [line["iteration"] for line in lines], [line[name] for line in lines]

    def losses(self) -> dict[str, Series]:
        """Name -> series of every loss term, the total last."""
        names = {name for line in self.metrics for name in line if _LOSS.match(name)}
        return {name: self.series(name) for name in sorted(names, key=lambda n: (n == "total_loss", n))}

    def class_weights(self) -> dict[str, tuple[list[int], list[str], np.ndarray]]:
        """``branch/head`` -> iterations [T], class names [C], weights [T, C] (NaN where a class was absent)."""
        names: dict[str, list[tuple[str, str]]] = {}
        for name in dict.fromkeys(name for line in self.metrics for name in line):
            match = _WEIGHT.match(name)
            if match:
                names.setdefault(f"{match['branch']}/{match['head']}", []).append((match["name"], name))
        found = {}
        for place, classes in names.items():
            lines = [line for line in self.metrics if any(name in line for _, name in classes)]
            weights = np.array([[line.get(name, np.nan) for _, name in classes] for line in lines], dtype=float)
            found[place] = [line["iteration"] for line in lines], [class_name for class_name, _ in classes], weights
        return found


def read_metrics(path: Path) -> list[dict]:
    """Lines of Detectron2's metrics.json by iteration; a line that is being written, or damaged, is skipped.

    Several lines of one iteration are merged. Where a resumed run has logged iterations again, the later lines win.
    """
    if not path.is_file():
        return []
    merged: dict[int, dict] = {}
    for text in path.read_text(errors="replace").splitlines():
        try:
            line = json.loads(text)
        except ValueError:
            continue
        if isinstance(line, dict) and isinstance(line.get("iteration"), int):
            merged[line["iteration"]] = {**merged.get(line["iteration"], {}), **line}
    return [merged[iteration] for iteration in sorted(merged)]


def _read_json(path: Path) -> object:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return None


def _read_yaml(path: Path) -> dict:
    try:
        value = yaml.safe_load(path.read_text())
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    return value if isinstance(value, dict) else {}
