"""Estimates of one model at one moment: numbers of every image, what follows from their sums, and their file.

    <OUTPUT_DIR>/inference/unsupervised/<model>_<iteration>.npz     of float32 arrays [images, ...], by estimator

Shape legend: N images, C classes.
"""

import io
import json
import math
import re
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from .. import files
from ..errors import UserError
from ..structures.known_instances import ARRAY_DAMAGE
from .estimators import ESTIMATORS
from .seen import Reference, Seen

#: Below OUTPUT_DIR.
FOLDER = Path("inference", "unsupervised")
_FORM = {
    "model": str,
    "iteration": int,
    "images": [str],
    "classes": [str],
    "source_shares": files.Maybe([float]),
    "scores": files.Each(float),
}
_NAME = re.compile(r"(student|teacher)_(final|\d+)\.npz")
_REMEDY = "evaluate again with TEST.UNSUPERVISED"


@dataclass
class Counts:
    """What is counted while images go by; additive over ranks.

    Attributes:
        of: estimator -> an array for each image.
        seconds: estimator, or ``model`` -> time that it took.
    """

    images: list[str] = field(default_factory=list)
    of: dict[str, list[np.ndarray]] = field(default_factory=dict)
    seconds: Counter = field(default_factory=Counter)

    def add(self, image_id: str, seen: Seen, reference: Reference) -> None:
        self.images.append(image_id)
        for name, estimator in ESTIMATORS.items():
            if estimator.applies(seen, reference):
                start = time.perf_counter()
                self.of.setdefault(name, []).append(np.asarray(estimator.count(seen, reference), float))
                self.seconds[name] += time.perf_counter() - start

    def extend(self, other: "Counts") -> None:
        """Behind these the images of another rank."""
        self.images += other.images
        self.seconds += other.seconds
        for name, arrays in other.of.items():
            self.of.setdefault(name, []).extend(arrays)


@dataclass(frozen=True)
class Estimation:
    """
    Attributes:
        iteration: of the weights; -1 where it is not known.
        images: N ids.
        counts: estimator -> [N, ...].
        scores: of the held-out source, in percent, by name; empty without.
    """

    model: str
    iteration: int
    images: Sequence[str]
    reference: Reference
    counts: Mapping[str, np.ndarray]
    scores: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, model: str, iteration: int, counts: Counts, reference: Reference, scores: Mapping[str, float]):
        """From what was counted; an estimator that did not apply to every image is left out."""
        whole = {name: np.stack(rows) for name, rows in counts.of.items() if len(rows) == len(counts.images)}
        return cls(model, iteration, counts.images, reference, whole, scores)

    def value(self, name: str, weights: np.ndarray | None = None) -> float:
        """Percent; with ``weights`` [N], as if image i had been seen ``weights[i]`` times."""
        counts = self.counts[name]
        sums = counts.sum(axis=0) if weights is None else np.tensordot(weights, counts, 1)
        return ESTIMATORS[name].value(sums, self.reference)

    @cached_property
    def values(self) -> dict[str, float]:
        """Estimator, or score of the held-out source -> percent, where it is defined."""
        found = {name: self.value(name) for name in self.counts}
        return {name: value for name, value in {**found, **self.scores}.items() if math.isfinite(value)}

    @cached_property
    def per_class(self) -> dict[str, dict[str, float]]:
        """Estimator -> class -> percent, where it is defined."""
        found = {}
        for name, counts in self.counts.items():
            if (per_class := ESTIMATORS[name].per_class) is not None:
                values = per_class(counts.sum(axis=0), self.reference)
                named = zip(self.reference.class_names, values.tolist())
                found[name] = {class_name: value for class_name, value in named if math.isfinite(value)}
        return found

    def flat(self) -> dict[str, float]:
        """For metrics.json, behind ``unsupervised/<model>/``: estimators, and ``<estimator>/<class>``."""
        classes = {f"{name}/{c}": v for name, values in self.per_class.items() for c, v in values.items()}
        return {**self.values, **classes}

    @property
    def file_name(self) -> str:
        return f"{self.model}_{'final' if self.iteration < 0 else f'{self.iteration:07d}'}.npz"

    def save(self, output_dir: str | Path) -> Path:
        """Writes its file, whole or not at all."""
        shares, buffer = self.reference.source_shares, io.BytesIO()
        header = {
            "model": self.model,
            "iteration": self.iteration,
            "images": list(self.images),
            "classes": list(self.reference.class_names),
            "source_shares": None if shares is None else list(map(float, shares)),
            "scores": dict(self.scores),
        }
        arrays = {name: counts.astype(np.float32) for name, counts in self.counts.items()}
        np.savez_compressed(buffer, header=np.array(json.dumps(header)), **arrays)
        path = Path(output_dir, FOLDER, self.file_name)
        path.parent.mkdir(parents=True, exist_ok=True)
        files.atomic_write(path, buffer.getvalue())
        return path

    @classmethod
    def load(cls, path: str | Path) -> "Estimation":
        """
        Raises:
            UserError: the file is damaged or none of these.
        """
        try:
            with np.load(io.BytesIO(files.read_bytes(path)), allow_pickle=False) as stored:
                header = files.parse_json(str(stored["header"]).encode())
                counts = {name: stored[name].astype(float) for name in ESTIMATORS if name in stored}
            if wrong := files.misfit(header, _FORM):
                raise ValueError(wrong[1])
            if not header["images"] or any(len(rows) != len(header["images"]) for rows in counts.values()):
                raise ValueError("another number of images")
            shares = header["source_shares"]
            reference = Reference(tuple(header["classes"]), 0, None if shares is None else np.array(shares, float))
            found = cls(header["model"], header["iteration"], header["images"], reference, counts, header["scores"])
            found.flat()  # arrays of another shape fail here
        except (*ARRAY_DAMAGE, IndexError) as error:
            raise UserError(f"expected estimates, found {error or 'another file'} in {path}; {_REMEDY}") from None
        return found


def read_estimations(output_dir: str | Path) -> list[Estimation]:
    """All of a run, by model and iteration."""
    folder = Path(output_dir, FOLDER)
    paths = sorted(path for path in folder.glob("*.npz") if _NAME.fullmatch(path.name))
    return sorted(map(Estimation.load, paths), key=lambda e: (e.model, e.iteration))
