"""One prediction job: inputs in, a folder of results out, a sentence for whatever could not be done."""

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from .. import files
from ..errors import UserError
from ..evaluation.comparison import draw_comparison
from ..evaluation.maps import label_map, read_ground_truth
from ..visualization import make_overlay
from .inputs import Input
from .predictor import Prediction, Predictor
from .results import ResultFolder
from .video import VideoReader, video_writer

SETTINGS_FILE = "prediction.json"


class PredictionJob:
    """Predicts inputs one after the other; memory holds one image or frame at a time."""

    def __init__(
        self, predictor: Predictor, folder: ResultFolder, *, truths: Mapping[Path, Mapping], keep_since: float | None
    ) -> None:
        """
        Args:
            truths: resolved image path -> data set record with labels; these images get comparison panels.
            keep_since: results written after this time (seconds of the epoch) and after their input are kept; None
                keeps none.
        """
        self.predictor = predictor
        self.taxonomy = predictor.taxonomy
        self.folder = folder
        self.truths = truths
        self.keep_since = keep_since

    def image(self, item: Input) -> None:
        """
        Raises:
            UserError: the file cannot be read or predicted.
        """
        record = self.truths.get(item.path.resolve())
        overlay = self.folder.picture_file("overlay", item.name)
        panel = self.folder.picture_file("panels", item.name) if record else overlay
        results = {self.folder.labels_file(item.name), overlay, panel}
        results |= {self.folder.panoptic_file(item.name)} if self.folder.panoptic else set()
        if all(self._is_kept(path, item) for path in results):
            return self.folder.keep_maps(item.name, item.path.name)
        image = files.read_image(item.path)
        prediction = self.predictor(image)
        if record:
            truth = read_ground_truth(record, self.taxonomy)
            picture = draw_comparison(image, truth, prediction.labels, prediction.panoptic, self.taxonomy)
            files.write_png(panel, picture)
        files.write_png(overlay, make_overlay(image, self._drawn(prediction), self.taxonomy))
        self.folder.write_maps(item.name, item.path.name, prediction)

    def video(self, item: Input, on_frame: Callable[[int | None], None]) -> None:
        """
        Args:
            on_frame: called with the expected number of frames before each.

        Raises:
            UserError: the file cannot be decoded, or not to its end (what could be is written).
        """
        overlay = self.folder.picture_file("overlay", item.name, ".mp4")
        if self._is_kept(overlay, item):  # it appears behind its last frame's maps
            maps = self.folder.labels_file(f"{item.name}/0").parent
            for path in sorted(path for path in maps.iterdir() if self._is_kept(path, item)):
                self.folder.keep_maps(f"{item.name}/{path.name.removesuffix('_labelIds.png')}", item.path.name)
            return
        reader = VideoReader(item.path)
        with video_writer(overlay, reader.rate) as append:
            for number, frame in enumerate(reader):
                on_frame(reader.num_frames)
                prediction = self.predictor(frame)
                classes = range(self.taxonomy.num_classes)
                append(make_overlay(frame, self._drawn(prediction), self.taxonomy, classes=classes))
                self.folder.write_maps(f"{item.name}/{number:06d}", item.path.name, prediction)
        reader.check_complete()

    def _drawn(self, prediction: Prediction) -> np.ndarray:
        return label_map(prediction.labels, self.taxonomy) if prediction.panoptic is None else prediction.panoptic

    def _is_kept(self, result: Path, item: Input) -> bool:
        if self.keep_since is None or not result.is_file():
            return False
        return result.stat().st_mtime >= max(self.keep_since, item.path.stat().st_mtime)


def begin(root: Path, settings: Mapping[str, str], inputs: Sequence[Input], *, resume: bool) -> float | None:
    """Note in the folder what its results are made with, and of what.

    Args:
        settings: whatever all results depend on.

    Returns:
        with ``resume`` and an earlier run of these settings, since when its results count; else None.

    Raises:
        UserError: an earlier run to be resumed had other settings, or another file under one of the names: results of
            two models would lie side by side, or one image's under another's name.
    """
    path, paths = root / SETTINGS_FILE, {item.name: str(item.path) for item in inputs}
    value = {**settings, "started": time.time(), "inputs": paths}
    resume = resume and path.is_file()
    if resume:
        earlier = files.read_json(path, {"started": float, "inputs": files.Each(str)}, remedy="drop --resume")
        checks = [(key, earlier.get(key), settings[key]) for key in settings]
        checks += [(f"input {name}", earlier["inputs"].get(name, paths[name]), paths[name]) for name in paths]
        for name, expected, found in checks:
            if expected != found:
                raise UserError(
                    f"--resume: expected the {name} of the run in {root} ({expected}), found {found}; drop --resume to "
                    "predict everything again, or choose another --output."
                )
        value = {**value, "started": earlier["started"], "inputs": {**earlier["inputs"], **paths}}
    root.mkdir(parents=True, exist_ok=True)
    files.write_json(path, value)
    return value["started"] if resume else None


def digest(path: str) -> str:
    """SHA-256 of a file's content."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
