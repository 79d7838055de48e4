"""Training samples as pictures: image, labels, weights, centres and offsets, and pages of them.

A sample has the keys of :mod:`gbw_panoptic.structures.samples`, with arrays for tensors; what it lacks is not drawn.

Shapes: H x W pixels of the crop.
"""

from collections.abc import Mapping, Sequence

import cv2
import numpy as np

from ..taxonomy import Taxonomy
from .overlay import draw_panoptic, hatch
from .panels import class_chips, draw_grid, draw_legend, draw_line, resize_map

Sample = Mapping[str, np.ndarray]
Cell = tuple[str, np.ndarray]
_HEAT = (240, 228, 66)  # Okabe and Ito's yellow
_CELL_HEIGHT, _CELL_WIDTHS = 336, (336, 600)
_SCALE_TEXT = 26  # pixels, and so are chips that show a scale larger than those of classes
_FEW = 3  # different weights that a caption lists


def sample_cells(sample: Sample, taxonomy: Taxonomy) -> list[Cell]:
    """Captioned pictures of one sample, all of one size.

    Args:
        sample: ``image`` uint8 [H, W, 3] RGB and, of the following, what there is: ``valid_mask``, ``sem_seg``,
            ``sem_seg_weights``, ``instance_ids``, ``center``, ``center_weights``, ``offset``, ``offset_weights``. Of a
            mask model's targets: ``segment_ids`` [H, W] (0 = none, else 1..N), ``segment_classes`` [N],
            ``segment_weights`` [N] and ``segment_confidence`` [H, W].
    """
    sample = _enlarged(sample)
    image = sample["image"]
    cells = [("image", _hatched(image, image, ~sample["valid_mask"].astype(bool)) if "valid_mask" in sample else image)]
    if "segment_ids" in sample:
        cells += _segment_cells(sample, taxonomy)
    if "sem_seg" in sample:
        panoptic = panoptic_of(sample, taxonomy)
        cells.append(("labels", draw_panoptic(image, panoptic, taxonomy, opacity=0.7)))
        ignored = sample["sem_seg"] == taxonomy.ignore_label
        weights = sample["sem_seg_weights"]
        cells.append((f"label weights {_listed(weights[~ignored])}", _hatched(draw_weights(weights), image, ignored)))
    if "center" in sample:
        weights = sample["center_weights"].reshape(image.shape[:2])
        picture = _hatched(draw_heatmap(image, sample["center"]), image, weights == 0)
        cells.append((f"centres, weights {_listed(weights)}", picture))
        weights = sample["offset_weights"].reshape(image.shape[:2])
        picture = _hatched(draw_offsets(sample["offset"], sample["instance_ids"] > 0), image, weights == 0)
        cells.append((f"offsets, weights {_listed(weights)}", picture))
    return cells


def _segment_cells(sample: Sample, taxonomy: Taxonomy) -> list[Cell]:
    """Segments with their weights, the weights as colours, and how sure the teacher is of a pixel."""
    image, ids, weights = sample["image"], sample["segment_ids"], sample["segment_weights"]
    numbers = 1 + np.arange(len(weights)) % (taxonomy.label_divisor - 1)  # of more segments, some share a colour
    values = sample["segment_classes"].astype(np.int64) * taxonomy.label_divisor + numbers
    panoptic = np.concatenate(([-1], values))[ids]
    notes = {int(value): f"{weight:.2f}" for value, weight in zip(values, weights)}
    per_pixel = np.concatenate(([0.0], weights))[ids]
    return [
        (f"segments, weights {_listed(weights)}", draw_panoptic(image, panoptic, taxonomy, opacity=0.7, notes=notes)),
        ("segment weights", _hatched(draw_weights(per_pixel), image, ids == 0)),
        (f"confidence {_listed(sample['segment_confidence'])}", draw_weights(sample["segment_confidence"])),
    ]


def panoptic_of(sample: Sample, taxonomy: Taxonomy) -> np.ndarray:
    """int64 [H, W] panoptic map of a sample's labels, with its instances' numbers; -1 where labels are ignored."""
    labels = sample["sem_seg"].astype(np.int64)
    instances = sample.get("instance_ids", np.zeros_like(labels))
    instances = np.where(np.isin(labels, taxonomy.thing_ids), np.minimum(instances, taxonomy.label_divisor - 1), 0)
    return np.where(labels == taxonomy.ignore_label, -1, labels * taxonomy.label_divisor + instances)


def draw_weights(weights: np.ndarray) -> np.ndarray:
    """uint8 [H, W, 3]: non-negative weights from dark (0) to bright (1, or their maximum where that is larger)."""
    scaled = weights / max(1.0, float(weights.max(initial=0)))
    return cv2.applyColorMap(np.rint(255 * scaled).astype(np.uint8), cv2.COLORMAP_VIRIDIS)[..., ::-1]


def draw_heatmap(image: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """uint8 [H, W, 3]: heat in 0..1 in yellow over the image in dark grey."""
    grey = 0.4 * image.mean(axis=2, keepdims=True)
    heat = np.clip(heat, 0, 1)[..., None]
    return np.rint((1 - heat) * grey + heat * np.array(_HEAT)).astype(np.uint8)


def draw_offsets(offset: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """uint8 [H, W, 3]: the direction of (dy, dx) as hue (right is red, down yellow-green, left cyan, up violet), its
    length as saturation; grey outside.

    Args:
        offset: [2, H, W].
        inside: bool [H, W].
    """
    length = np.hypot(*offset)
    longest = max(float(length[inside].max(initial=0)), 1e-6)
    hue = np.rad2deg(np.arctan2(offset[0], offset[1])) % 360
    saturation = np.where(inside, np.clip(length / longest, 0, 1), 0)
    value = np.where(inside, 1.0, 0.8)
    colors = cv2.cvtColor(np.stack([hue, saturation, value], axis=-1).astype(np.float32), cv2.COLOR_HSV2RGB)
    return np.rint(255 * colors).astype(np.uint8)


def make_page(
    title: str, rows: Sequence[tuple[str, Sequence[Cell]]], classes: Sequence[int], taxonomy: Taxonomy
) -> np.ndarray:
    """One picture of all rows, each under its heading, over a legend.

    Args:
        rows: headings with captioned pictures of one size (of the page).
        classes: of the legend.

    Returns:
        uint8 RGB.
    """
    grids = [(heading, draw_grid(list(cells), columns=len(cells))) for heading, cells in rows]
    width = max(grid.shape[1] for _, grid in grids)
    parts = [draw_line(title, width, large=True)]
    for heading, grid in grids:
        parts += [draw_line(heading, width), _to_width(grid, width)]
    chips = class_chips(classes, taxonomy)
    chips.append(("not used: ignored, no segment, or weight 0 of centres and offsets", None))
    parts += [draw_legend(chips, width), draw_legend(_scales(), width, size=_SCALE_TEXT)]
    return np.concatenate(parts)


def _scales() -> list[tuple[str, np.ndarray]]:
    """Chips that explain colours of quantities."""
    side = 28
    ramp = draw_weights(np.repeat(np.linspace(0, 1, 6 * side)[None], side, axis=0))
    centered = np.linspace(-1, 1, side)
    wheel = draw_offsets(np.stack(np.meshgrid(centered, centered, indexing="ij")), np.ones((side, side), bool))
    heat = np.repeat(np.linspace(0, 1, 2 * side)[None], side, axis=0)
    heat = draw_heatmap(np.full((*heat.shape, 3), 120, np.uint8), heat)
    return [
        ("weight or confidence, 0 to 1 (or to the largest above)", ramp),
        ("centre heatmap, 0 to 1", heat),
        ("offset: direction to the centre, as from the middle of this square; the paler, the nearer", wheel),
    ]


def _enlarged(sample: Sample) -> dict[str, np.ndarray]:
    """The sample's maps at a cell's size; offsets keep their lengths."""
    height, width = sample["image"].shape[:2]
    cell_width = int(np.clip(round(_CELL_HEIGHT * width / height), *_CELL_WIDTHS))
    size = cell_width, max(1, round(cell_width * height / width))
    smaller = size[0] < width
    maps = {key: resize_map(values, size) for key, values in sample.items() if values.ndim == 2}
    for key in ("center_weights", "offset_weights", "offset"):
        if key in sample and sample[key].ndim == 3:
            maps[key] = np.stack([resize_map(channel, size) for channel in sample[key]])
    maps.update({key: values for key, values in sample.items() if values.ndim == 1})
    maps["image"] = cv2.resize(sample["image"], size, interpolation=cv2.INTER_AREA if smaller else cv2.INTER_CUBIC)
    return maps


def _hatched(picture: np.ndarray, image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    return np.where(mask[..., None], hatch(image), picture)


def _listed(weights: np.ndarray) -> str:
    """``1``, ``0, 0.31, 1`` or ``0 to 1.75``."""
    values = np.unique(weights)
    if len(values) > _FEW:
        return f"{values[0]:.2g} to {values[-1]:.2g}"
    return ", ".join(f"{value:.2g}" for value in values) or "none"


def _to_width(picture: np.ndarray, width: int) -> np.ndarray:
    right = width - picture.shape[1]
    return cv2.copyMakeBorder(picture, 0, 0, 0, right, cv2.BORDER_CONSTANT, value=(255, 255, 255))


_NARROWEST, _TEXT = 320, 18


def make_confidence(confidence: np.ndarray) -> np.ndarray:
    """uint8 RGB: confidence (float [H, W] in 0..1) from dark to bright in the upper left corner, the scale below it."""
    picture = draw_weights(np.clip(confidence, 0, 1))
    ramp = draw_weights(np.repeat(np.linspace(0, 1, 160)[None], 24, axis=0))
    legend = draw_legend([("confidence, 0 to 1", ramp)], max(picture.shape[1], _NARROWEST), size=_TEXT)
    right = legend.shape[1] - picture.shape[1]
    return np.concatenate([np.pad(picture, ((0, 0), (0, right), (0, 0)), constant_values=255), legend])
