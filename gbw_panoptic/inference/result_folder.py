"""The folder of results: maps in the formats that evaluators read, pictures for people.

    overlay/<name>.png or .mp4      the prediction drawn on the image or video
    labelIds/<name>_labelIds.png    semantic prediction, one data set id per pixel (Cityscapes' format)
    panoptic/<name>.png             panoptic prediction, colours are ids (COCO's format; with Cityscapes' ids)
    panoptic.json                   their segments; frames of a video are <video>/<number>
    panels/<name>.png               image, truth, prediction and errors, where there is a truth
    confidence/<name>.png           how sure the model is of every pixel, if asked for

Shapes: H x W pixels.
"""

import json
import tempfile
from pathlib import Path
from typing import IO

import numpy as np

from .. import files
from ..data.coco_panoptic import describe_segments
from ..structures.predictions import Prediction
from ..taxonomy import Taxonomy


def panoptic_ids(panoptic: np.ndarray, taxonomy: Taxonomy) -> np.ndarray:
    """int32 [H, W] ids as cityscapesScripts writes them: data set id of stuff, data set id * label_divisor + instance
    number of things, 0 for void; of a panoptic map with contiguous ids."""
    label, instance = np.divmod(np.arange(taxonomy.num_classes * taxonomy.label_divisor), taxonomy.label_divisor)
    category = np.array(taxonomy.dataset_ids)[label]
    ids = np.where(instance > 0, category * taxonomy.label_divisor + instance, category)
    return np.append(ids, 0).astype(np.int32).take(np.maximum(panoptic, -1), mode="wrap")  # the last is void's


def write_labels(path: Path, labels: np.ndarray, taxonomy: Taxonomy) -> None:
    """A PNG of data set ids (of two bytes where one does not hold them), of contiguous ids [H, W]; its folder is
    made."""
    dtype = np.uint8 if max(taxonomy.dataset_ids) < 256 else np.uint16
    files.write_png(_with_folder(path), np.array(taxonomy.dataset_ids, dtype=dtype)[labels])


def write_panoptic(path: Path, panoptic: np.ndarray, taxonomy: Taxonomy) -> np.ndarray:
    """COCO's PNG of a panoptic map with contiguous ids; the :func:`panoptic_ids` that it holds."""
    ids = panoptic_ids(panoptic, taxonomy)
    files.write_panoptic(_with_folder(path), ids)
    return ids


class ResultFolder:
    """Writes every file whole or not at all; the JSON appears when :meth:`close` is called.

    Annotations wait for it in an unnamed temporary file: those of a long video would fill the memory.
    """

    def __init__(self, root: Path, taxonomy: Taxonomy, *, panoptic: bool) -> None:
        """
        Args:
            panoptic: whether predictions have instances; else there is neither panoptic/ nor panoptic.json.
        """
        self.root = root
        self.taxonomy = taxonomy
        self.panoptic = panoptic
        self._images: IO[str] = tempfile.TemporaryFile("w+")
        self._annotations: IO[str] = tempfile.TemporaryFile("w+")

    def labels_file(self, name: str) -> Path:
        return self.root / "labelIds" / f"{name}_labelIds.png"

    def panoptic_file(self, name: str) -> Path:
        return self.root / "panoptic" / f"{name}.png"

    def map_files(self, name: str) -> list[Path]:
        """The files of :meth:`write_maps`."""
        return [self.labels_file(name), *([self.panoptic_file(name)] if self.panoptic else [])]

    def picture_file(self, kind: str, name: str, suffix: str = ".png") -> Path:
        """Of ``overlay``, ``panels`` or ``confidence``; its folder exists."""
        return _with_folder(self.root / kind / f"{name}{suffix}")

    def write_maps(self, name: str, source: str, prediction: Prediction) -> None:
        """Semantic and panoptic maps of one image, and the JSON's entry.

        Args:
            source: file name of the image, for the JSON.
        """
        write_labels(self.labels_file(name), prediction.labels, self.taxonomy)
        if self.panoptic:
            self._annotate(name, source, write_panoptic(self.panoptic_file(name), prediction.panoptic, self.taxonomy))

    def keep_maps(self, name: str, source: str) -> None:
        """The JSON's entry of maps that an earlier run wrote."""
        if self.panoptic:
            self._annotate(name, source, files.read_panoptic(self.panoptic_file(name)))

    def close(self) -> None:
        """Write the JSON of all maps that were written or kept."""
        if not self.panoptic:
            return
        with files.replacing(self.root / "panoptic.json") as temporary, open(temporary, "w") as file:
            for start, spool in (('{"images":[', self._images), ('],"annotations":[', self._annotations)):
                file.write(start)
                spool.seek(0)
                for number, line in enumerate(spool):
                    file.write("," * (number > 0) + line.rstrip("\n"))
            file.write(f'],"categories":{json.dumps(self.taxonomy.categories())}}}')

    def _annotate(self, name: str, source: str, ids: np.ndarray) -> None:
        image = {"id": name, "file_name": source, "height": ids.shape[0], "width": ids.shape[1]}
        segments = describe_segments(ids, self.taxonomy)
        annotation = {"image_id": name, "file_name": f"{name}.png", "segments_info": segments}
        print(json.dumps(image), file=self._images)
        print(json.dumps(annotation), file=self._annotations)


def _with_folder(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path
