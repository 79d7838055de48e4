"""The audit of a data set: its images and labels at a small scale, cross-fitted, and ranked."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog

from .. import cli, files
from ..data.views import resize_ids, resize_image, shortest_edge_size
from ..errors import UserError
from ..evaluation.maps import read_ground_truth
from ..places import unknown_data_set
from ..structures.instances import instance_targets
from ..structures.predictions import GroundTruth
from ..structures.samples import Record
from ..taxonomy import Taxonomy
from .audit import ImageEvidence, Labels, evidence, image_scores, segment_scores
from .crossfit import Example, cross_fit

#: Of the heatmap of centres, in cells.
_SIGMA = 2
#: Robust standard deviations above the median from which an image is likely to be wrong (ours).
SUSPICIOUS = 6.0
_FEWEST = 8  # images, of which a part is left to train on


@dataclass(frozen=True)
class Findings:
    """
    Attributes:
        records, examples, images, segments: of each image: its record, what was looked at, the evidence, and the scores
            [K] of its segments.
        scores: [images], larger is worse.
        predicted: of each image int [h, w], the likeliest classes.
    """

    dataset: str
    taxonomy: Taxonomy
    records: Sequence[Record]
    examples: Sequence[Example]
    images: Sequence[ImageEvidence]
    scores: np.ndarray
    segments: Sequence[np.ndarray]
    predicted: Sequence[np.ndarray]

    @property
    def order(self) -> list[int]:
        """Images from the worst to the best."""
        return np.argsort(-self.scores, kind="stable").tolist()

    @property
    def suspicious(self) -> list[int]:
        """Images that are likely to be wrong, the worst first."""
        return [i for i in self.order if self.scores[i] > SUSPICIOUS]

    @property
    def segment_order(self) -> list[tuple[int, int]]:
        """(image, number among its evidence) of segments from the worst to the best."""
        every = [(i, k) for i, scores in enumerate(self.segments) for k in range(len(scores))]
        return sorted(every, key=lambda place: -self.segments[place[0]][place[1]])

    def why(self, index: int) -> str:
        """What speaks against an image's label, in a few words."""
        image = self.images[index]
        moved = f", {image.gain:.2f} less if moved by {image.shift} cells" if image.gain > 0 else ""
        return f"score {self.scores[index]:.1f}, mean loss {image.loss:.2f}{moved}"

    def why_segment(self, index: int, number: int) -> str:
        """What speaks against a segment's label."""
        found, names = self.images[index].segments[number], self.taxonomy.names
        centre = f", a second centre of {found.centre:.2f}" if found.centre else ""
        centre += f", {100 * found.apart:.0f} % apart from the rest" if found.apart else ""
        score = self.segments[index][number]
        return f"{names[found.category]}, likelier {names[found.likelier]}, score {score:.1f}{centre}"

    def summary(self) -> str:
        return (
            f"{len(self.suspicious)} of {len(self.records)} images of {self.dataset} are likely to have wrong labels "
            f"(score above {SUSPICIOUS:g})."
        )


def audit(
    dataset: str, *, bought: str | None = None, short_edge: int = 64, folds: int = 2, epochs: int = 16, seed: int = 0
) -> Findings:
    """
    Args:
        dataset: name of a labelled data set; with ``bought``, of that whose images were labelled.
        bought: folder of a :class:`~gbw_panoptic.active.label_store.LabelStore`.
        short_edge: of images at the audit's scale, cells.
        folds, epochs, seed: see :func:`~.crossfit.cross_fit`.

    Raises:
        UserError: there is no such data set, it has no labels, or too few images; more folds than images.
    """
    if dataset not in DatasetCatalog:
        raise UserError(f"DATASET: {unknown_data_set(dataset)}")
    records, taxonomy = DatasetCatalog.get(dataset), MetadataCatalog.get(dataset).taxonomy
    label = (
        _bought_labels(Path(bought), taxonomy) if bought else lambda record, size: read_ground_truth(record, taxonomy)
    )
    if bought:
        records = [record for record in records if Path(bought, "labels", f"{record['image_id']}.png").is_file()]
    elif not MetadataCatalog.get(dataset).labelled_classes:
        raise UserError(
            f"DATASET: expected a data set with labels, found {dataset}, which is images alone; name another"
        )
    if len(records) < _FEWEST:
        raise UserError(
            f"DATASET: expected {_FEWEST} labelled images or more, found {len(records)} of {dataset}; name another"
        )
    if folds > len(records):
        raise UserError(f"--folds: expected at most the {len(records)} images of {dataset}, found {folds}; give fewer")
    examples = _read(records, label, taxonomy, short_edge)
    with cli.progress(folds * epochs, "Training small networks", unit="round") as line:
        answers = cross_fit(examples, taxonomy.num_classes, folds=folds, epochs=epochs, seed=seed, progress=line.update)
    images = [evidence(log, example.labels, heat) for (log, heat), example in zip(answers, examples)]
    predicted = [log.argmax(axis=0) for log, _ in answers]
    return Findings(
        dataset, taxonomy, records, examples, images, image_scores(images), segment_scores(images), predicted
    )


def _bought_labels(folder: Path, taxonomy: Taxonomy) -> Callable[[Record, tuple[int, int]], GroundTruth]:
    """Reads what was bought of an image; its void and all that was not bought have no class."""
    if not (folder / "labels").is_dir():
        raise UserError(
            f"--bought: expected a folder of bought labels, with labels/ in it, found none at {folder}; correct it"
        )
    dtype = taxonomy.label_dtype
    return lambda record, size: GroundTruth(
        files.read_label(folder / "labels" / f"{record['image_id']}.png", dtype), None, ()
    )


def _read(
    records: Sequence[Record],
    label: Callable[[Record, tuple[int, int]], GroundTruth],
    taxonomy: Taxonomy,
    short_edge: int,
) -> list[Example]:
    """Images and labels at one scale, that of the first image: networks take batches."""
    examples, size = [], None
    with cli.progress(len(records), "Reading") as line:
        for record in records:
            image = files.read_image(record["file_name"])
            size = size or shortest_edge_size(image.shape[:2], short_edge, 1 << 16)
            truth = label(record, image.shape[:2])
            small = resize_image(cv2.GaussianBlur(image, (0, 0), max(image.shape[0] / size[0] / 2, 0.3)), size)
            examples.append(Example(_normalised(small), _at_scale(truth, taxonomy, size)))
            line.update()
    return examples


def _normalised(image: np.ndarray) -> np.ndarray:
    values = image.astype(np.float32).transpose(2, 0, 1)
    return (values - values.mean(axis=(1, 2), keepdims=True)) / np.float32(64)


def _at_scale(truth: GroundTruth, taxonomy: Taxonomy, size: tuple[int, int]) -> Labels:
    """Labels of unions count as none; without segments, all pixels of a class are one."""
    classes = resize_ids(truth.labels, size).astype(np.int64)
    classes[classes >= taxonomy.num_classes] = taxonomy.num_classes
    if truth.ids is None:
        present = [c for c in np.unique(classes).tolist() if c < taxonomy.num_classes]
        return Labels(classes, np.where(classes < taxonomy.num_classes, classes + 1, 0), {c + 1: c for c in present})
    ids = resize_ids(truth.ids.astype(np.int32), size).astype(np.int64)
    categories = {s["id"]: s["category_id"] for s in truth.segments if not s.get("iscrowd", 0)}
    things = [segment for segment, category in categories.items() if category in taxonomy.thing_labels]
    numbers = np.zeros(size, np.int64)
    for number, segment in enumerate(things, start=1):
        numbers[ids == segment] = number
    heat = instance_targets(torch.from_numpy(numbers), len(things), sigma=_SIGMA)["center"].numpy()
    return Labels(classes, ids, categories, heat)
