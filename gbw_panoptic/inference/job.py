"""One prediction job: inputs in, a folder of results out, a sentence for whatever could not be done."""

import os
from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass
from pathlib import Path

import numpy as np

from .. import files
from ..evaluation.maps import label_map, read_ground_truth
from ..evaluation.panel import draw_panel
from ..names import printable
from ..structures.predictions import Prediction
from ..taxonomy import Taxonomy
from ..visualization import make_overlay
from ..visualization.overlay import draw_panoptic
from ..visualization.samples import make_confidence
from .inputs import Input
from .journal import Journal
from .predictor import Predictor
from .result_folder import ResultFolder
from .video import VideoReader, video_writer


@dataclass(frozen=True)
class Pictures:
    """What pictures for people show beyond the overlay.

    Attributes:
        beside: the image to the left of its overlay.
        scores: how sure the model is of each instance, behind its number.
        confidence: a picture of how sure it is of each pixel, in ``confidence/``.
    """

    beside: bool = False
    scores: bool = False
    confidence: bool = False

    def __str__(self) -> str:
        chosen = [name for name, shown in vars(self).items() if shown]
        return ", ".join(["overlay", *chosen])


@dataclass(eq=False)
class PredictionJob:
    """Predicts inputs one after the other; memory holds one image or frame at a time.

    Attributes:
        journal: results of the inputs that it lists are kept.
        truths: real image path -> data set record with labels; these images get comparison panels.
        pictures: what they show.
    """

    predictor: Predictor
    folder: ResultFolder
    journal: Journal
    _: KW_ONLY
    truths: Mapping[Path, Mapping]
    pictures: Pictures = Pictures()

    @property
    def taxonomy(self) -> Taxonomy:
        return self.predictor.taxonomy

    def image(self, item: Input) -> None:
        """
        Raises:
            UserError: the file cannot be read or predicted.
        """
        record = self.truths.get(Path(os.path.realpath(item.path)))
        overlay = self.folder.picture_file("overlay", item.name)
        panel = self.folder.picture_file("panels", item.name) if record else overlay
        origin = files.input_sha256(item.path)
        written = [overlay, panel, *self._files_of(item.name)]
        if self.journal.frames(item, origin) and all(map(os.path.isfile, written)):
            return self.folder.keep_maps(item.name, printable(item.path.name))
        image = files.read_image(item.path)
        prediction = self.predictor(image)
        if record:
            truth = read_ground_truth(record, self.taxonomy)
            picture = draw_panel(image, truth, prediction.labels, prediction.panoptic, self.taxonomy)
            files.write_png(panel, picture)
        files.write_png(overlay, self._overlay(image, prediction))
        self._write_confidence(item.name, prediction)
        self.folder.write_maps(item.name, printable(item.path.name), prediction)
        self.journal.finish(item, origin)

    def video(self, item: Input, on_frame: Callable[[int | None], None]) -> None:
        """
        Args:
            on_frame: called with the expected number of frames before each.

        Raises:
            UserError: the file cannot be decoded, or not to its end (what could be is written).
        """
        overlay = self.folder.picture_file("overlay", item.name, ".mp4")
        origin = files.input_sha256(item.path)
        frames = [f"{item.name}/{number:06d}" for number in range(self.journal.frames(item, origin) or 0)]
        if frames and all(map(os.path.isfile, [overlay, *(p for frame in frames for p in self._files_of(frame))])):
            for frame in frames:
                self.folder.keep_maps(frame, printable(item.path.name))
            return
        reader = VideoReader(item.path)
        with video_writer(overlay, reader.rate) as append:
            for number, frame in enumerate(reader):
                on_frame(reader.num_frames)
                prediction = self.predictor(frame)
                append(self._frame(frame, prediction))
                self._write_confidence(f"{item.name}/{number:06d}", prediction)
                self.folder.write_maps(f"{item.name}/{number:06d}", printable(item.path.name), prediction)
        reader.check_complete()
        self.journal.finish(item, origin, frames=reader.num_read)

    def _files_of(self, name: str) -> list[Path]:
        return [*self.folder.map_files(name), *self._confidence_files(name)]

    def _confidence_files(self, name: str) -> list[Path]:
        return [self.folder.picture_file("confidence", name)] if self.pictures.confidence else []

    def _write_confidence(self, name: str, prediction: Prediction) -> None:
        if prediction.confidence is not None:
            files.write_png(self.folder.picture_file("confidence", name), make_confidence(prediction.confidence))

    def _overlay(self, image: np.ndarray, prediction: Prediction) -> np.ndarray:
        notes, beside = self._notes(prediction), self.pictures.beside
        return make_overlay(image, self._drawn(prediction), self.taxonomy, notes=notes, beside=beside)

    def _frame(self, frame: np.ndarray, prediction: Prediction) -> np.ndarray:
        """The prediction on a frame of a video, at the frame's own size (twice as wide with the image beside it)."""
        picture = draw_panoptic(frame, self._drawn(prediction), self.taxonomy, notes=self._notes(prediction))
        return np.concatenate([frame, picture], axis=1) if self.pictures.beside else picture

    def _drawn(self, prediction: Prediction) -> np.ndarray:
        return label_map(prediction.labels, self.taxonomy) if prediction.panoptic is None else prediction.panoptic

    def _notes(self, prediction: Prediction) -> dict[int, str]:
        divisor = self.taxonomy.label_divisor
        return {value: f"{value % divisor}: {score:.2f}" for value, score in prediction.scores.items()}
