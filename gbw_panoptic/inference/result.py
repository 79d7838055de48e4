"""What a model says about one image, for Python: maps, segments, pictures, files, and the formats of other tools.

Shapes: H x W pixels of the image, N segments.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image
from scipy.ndimage import find_objects

from .. import files
from ..errors import UserError
from ..evaluation.maps import label_map
from ..structures.predictions import Prediction
from ..taxonomy import Taxonomy
from ..visualization import make_overlay
from . import converters
from .result_folder import write_labels, write_panoptic

if TYPE_CHECKING:
    import supervision

_PICTURES = (".png", ".jpg", ".jpeg", ".webp")


@dataclass(frozen=True)
class Segment:
    """A part of an image: one object, or all of a class without objects.

    Attributes:
        id: its value in the panoptic map.
        class_id: contiguous, 0 .. number of classes - 1.
        name: of the class.
        isthing: whether the class has countable objects.
        area: pixels.
        bbox: (x, y, width, height) in pixels.
        score: how sure the model is of it, about 0..1; None if the model was loaded with ``scores=False``.
    """

    id: int
    class_id: int
    name: str
    isthing: bool
    area: int
    bbox: tuple[int, int, int, int]
    score: float | None = None


@dataclass(frozen=True)
class Result:
    """What a model says about one image.

    Attributes:
        image: uint8 [H, W, 3] RGB.
        semantic: uint8 [H, W] (int16 of more than 256 classes), contiguous class ids.
        panoptic: int32 [H, W], class id * label_divisor + number of the object in its class (0 for stuff), -1 = void;
            for a model of the semantic task, the classes without objects.
        taxonomy: names, colours and kinds of the classes.
        name: of the image's file without suffix; ``image`` without a file.
        file_name: of the image; "" without a file.
        scores: value in ``panoptic`` of an object -> how sure the model is of it.
        confidence: float32 [H, W], probability of each pixel's class in 0..1; None if the model was loaded with
            ``scores=False``.
    """

    image: np.ndarray
    semantic: np.ndarray
    panoptic: np.ndarray
    taxonomy: Taxonomy
    name: str = "image"
    file_name: str = ""
    scores: Mapping[int, float] = field(default_factory=dict)
    confidence: np.ndarray | None = None

    @cached_property
    def segments(self) -> list[Segment]:
        """By rising id; of stuff, the score is the mean confidence of its pixels."""
        values, index = np.unique(self.panoptic, return_inverse=True)
        index = index.reshape(self.panoptic.shape)
        areas = np.bincount(index.ravel())
        sure = None if self.confidence is None else np.bincount(index.ravel(), self.confidence.ravel()) / areas
        boxes = find_objects(index + 1)
        return [
            self._segment(value, int(areas[i]), boxes[i], None if sure is None else float(sure[i]))
            for i, value in enumerate(values.tolist())
            if value >= 0
        ]

    def _segment(self, value: int, area: int, box: tuple[slice, slice], sure: float | None) -> Segment:
        class_id = value // self.taxonomy.label_divisor
        rows, columns = box
        return Segment(
            id=value,
            class_id=class_id,
            name=self.taxonomy.names[class_id],
            isthing=self.taxonomy.is_thing[class_id],
            area=area,
            bbox=(columns.start, rows.start, columns.stop - columns.start, rows.stop - rows.start),
            score=self.scores.get(value, sure),
        )

    def mask(self, segment: Segment) -> np.ndarray:
        """bool [H, W] of one segment."""
        return self.panoptic == segment.id

    def plot(self, *, beside: bool = False) -> Image.Image:
        """The prediction drawn on the image, with a legend.

        Args:
            beside: the image to the left.
        """
        divisor = self.taxonomy.label_divisor
        notes = {value: f"{value % divisor}: {score:.2f}" for value, score in self.scores.items()}
        return Image.fromarray(make_overlay(self.image, self.panoptic, self.taxonomy, notes=notes, beside=beside))

    def save(self, path: str | Path) -> Path:
        """Write the picture of :meth:`plot` (.png, .jpg, .webp), the JSON of :meth:`to_coco` (.json), or, into a
        folder, what tools/predict.py writes: overlay/, labelIds/, panoptic/ and the JSON of this image beside its PNG.

        Returns:
            the path.
        """
        path = Path(path)
        if path.suffix == ".json":
            files.write_json(path, self.to_coco())
        elif path.suffix.lower() in _PICTURES:
            path.parent.mkdir(parents=True, exist_ok=True)
            with files.replacing(path, suffix=f".tmp{path.suffix}") as temporary:
                self.plot().save(temporary)
        elif path.suffix:
            raise UserError(
                f"expected a folder or a file of {', '.join((*_PICTURES, '.json'))}, found {path}; choose another "
                "suffix"
            )
        else:
            self._save_folder(path)
        return path

    def _save_folder(self, root: Path) -> None:
        self.save(root / "overlay" / f"{self.name}.png")
        write_labels(root / "labelIds" / f"{self.name}_labelIds.png", self.semantic, self.taxonomy)
        write_panoptic(root / "panoptic" / f"{self.name}.png", self.panoptic, self.taxonomy)
        self.save(root / "panoptic" / f"{self.name}.json")

    def to_coco(self, kind: str = "panoptic") -> dict[str, Any]:
        """COCO's JSON of this image as plain values.

        Args:
            kind: ``panoptic``, which goes with the PNG of :meth:`save`, or ``instances``, with a mask for each object.
        """
        makers = {"panoptic": converters.coco_panoptic, "instances": converters.coco_instances}
        if kind not in makers:
            raise UserError(f"expected one of {', '.join(makers)}, found {kind!r}; choose one of them")
        return makers[kind](self)

    def to_supervision(self, *, stuff: bool = True) -> "supervision.Detections":
        """The segments as detections of the package supervision.

        Args:
            stuff: whether segments without objects count.

        Raises:
            UserError: the package is not installed.
        """
        return converters.supervision_detections(self, stuff=stuff)

    def to_fiftyone(self, *, stuff: bool = True) -> dict[str, Any]:
        """Values of FiftyOne's labels: ``fo.Segmentation(mask=x["mask"])`` and
        ``fo.Detections(detections=[fo.Detection(**d) for d in x["detections"]])``; the package is not needed."""
        return converters.fiftyone_labels(self, stuff=stuff)


def result_of(image: np.ndarray, prediction: Prediction, taxonomy: Taxonomy, path: Path) -> Result:
    """The prediction for ``image`` as a :class:`Result`."""
    panoptic = label_map(prediction.labels, taxonomy) if prediction.panoptic is None else prediction.panoptic
    return Result(
        image=image,
        semantic=prediction.labels,
        panoptic=panoptic.astype(np.int32, copy=False),
        taxonomy=taxonomy,
        name=path.stem or "image",
        file_name=path.name,
        scores=prediction.scores,
        confidence=prediction.confidence,
    )
