"""A panel: a prediction beside its ground truth, for people: image, truth, prediction, errors.

Shapes: H x W pixels.
"""

import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from .. import files
from ..taxonomy import Taxonomy
from ..visualization.panels import make_layers, make_panel, pixel_errors
from . import maps
from .matching import SegmentOverlaps, count_overlaps, match_segments


@dataclass(frozen=True)
class Panel:
    """Maps of one image, ready to be drawn.

    Attributes:
        image: uint8 [H, W, 3] RGB.
        truth, prediction: [H, W] panoptic maps.
        errors: uint8 [H, W] of :func:`gbw_panoptic.visualization.panels.pixel_errors`.
    """

    image: np.ndarray
    truth: np.ndarray
    prediction: np.ndarray
    errors: np.ndarray
    taxonomy: Taxonomy

    def picture(self) -> np.ndarray:
        """uint8 picture of :func:`gbw_panoptic.visualization.panels.make_panel`."""
        return make_panel(self.image, self.truth, self.prediction, self.errors, self.taxonomy)

    def layers(self) -> dict[str, np.ndarray]:
        """Pictures of :func:`gbw_panoptic.visualization.panels.make_layers`."""
        return make_layers(self.image, self.truth, self.prediction, self.errors, self.taxonomy)


def panel_of(
    image: np.ndarray,
    truth: maps.GroundTruth,
    labels: np.ndarray,
    panoptic: np.ndarray | None,
    taxonomy: Taxonomy,
    *,
    overlaps: SegmentOverlaps | None = None,
) -> Panel:
    """Segments are compared where both sides have them, else classes.

    Args:
        image: uint8 [H, W, 3] RGB.
        labels: [H, W] predicted contiguous ids.
        panoptic: [H, W] predicted panoptic map; None for the semantic task.
        overlaps: of the prediction with the truth, where the caller has them already.
    """
    if panoptic is None or truth.ids is None:
        true_map, matched = maps.label_map(truth.labels, taxonomy), None
        predicted_map = maps.label_map(labels, taxonomy)
    else:
        overlaps = overlaps or count_overlaps(*maps.segments_of(panoptic, taxonomy), truth.ids, truth.segments)
        true_map, values = maps.panoptic_map(truth.ids, truth.segments, taxonomy)
        predicted_map, matched = panoptic, _accepted_pairs(overlaps, values)
    errors = pixel_errors(true_map, predicted_map, taxonomy, matched=matched)
    return Panel(image, true_map, predicted_map, errors, taxonomy)


def draw_panel(
    image: np.ndarray, truth: maps.GroundTruth, labels: np.ndarray, panoptic: np.ndarray | None, taxonomy: Taxonomy
) -> np.ndarray:
    """The picture of :func:`panel_of`, uint8."""
    return panel_of(image, truth, labels, panoptic, taxonomy).picture()


def _accepted_pairs(overlaps: SegmentOverlaps, values: Mapping[int, int]) -> list[tuple[int, int]]:
    """(true, predicted) values of matched segments, and of crowds with whatever of their class lies on them."""
    matches = match_segments(overlaps)
    pairs = list(zip(matches.gt, matches.pred))
    on_crowd = overlaps.gt_crowd[:, None] & (overlaps.gt_categories[:, None] == overlaps.pred_categories)
    pairs += zip(*np.nonzero(on_crowd))
    return [(values[int(overlaps.gt_ids[t])], int(overlaps.pred_ids[p]) - 1) for t, p in pairs]


KINDS = ("image", "truth", "prediction", "errors")
_FOLDER = "layers"
_QUALITY = 88  # of photographs; drawings are kept exactly


def write_layers(folder: Path, model: str, name: str, layers: Mapping[str, np.ndarray]) -> None:
    """Writes the pictures of :meth:`gbw_panoptic.evaluation.panel.Panel.layers`.

    Args:
        folder: of a data set's results.
        name: of the image.
    """
    place = folder / _FOLDER / model / name
    place.mkdir(parents=True, exist_ok=True)
    for kind, picture in layers.items():
        files.atomic_write(place / f"{kind}.webp", picture_bytes(picture))


def picture_bytes(picture: np.ndarray, kind: str = "WEBP") -> bytes:
    """A picture as a file: uint8 [H, W, 3] as WebP with small losses, [H, W, 4] (RGBA) and PNG without any."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, kind, quality=_QUALITY, lossless=picture.shape[2] == 4, method=2)
    return buffer.getvalue()


def find_layers(folder: Path) -> dict[str, dict[str, dict[str, Path]]]:
    """Model -> image -> kind -> file, of the data set's results in a folder; images without all kinds are left out."""
    found: dict[str, dict[str, dict[str, Path]]] = {}
    for place in sorted(path for path in (folder / _FOLDER).glob("*/*") if path.is_dir()):
        kinds = {kind: place / f"{kind}.webp" for kind in KINDS}
        if all(path.is_file() for path in kinds.values()):
            found.setdefault(place.parent.name, {})[place.name] = kinds
    return found


def layers_of(run: Path, model: str, dataset: str) -> dict[str, dict[str, Path]]:
    """Image -> kind -> file of one model of a run on a data set."""
    inference = run / "inference"
    of_dataset = inference / dataset if dataset else inference  # a folder of its own where there are several
    return (find_layers(of_dataset) or find_layers(inference)).get(model, {})
