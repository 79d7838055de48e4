"""A panoptic map drawn on its image.

Shapes: H x W pixels; a panoptic map as in :mod:`gbw_panoptic.visualization.colors`.
"""

from collections.abc import Mapping

import cv2
import numpy as np
from PIL import Image, ImageDraw

from ..errors import UserError
from ..taxonomy import Taxonomy
from .colors import colorize_panoptic
from .text import font, text_size

Box = tuple[int, int, int, int]


def draw_panoptic(
    image: np.ndarray,
    panoptic: np.ndarray,
    taxonomy: Taxonomy,
    *,
    opacity: float = 0.6,
    names: bool = True,
    notes: Mapping[int, str] | None = None,
) -> np.ndarray:
    """Blends the segments' colours with the image, outlines instances, hatches void and writes class names where they
    fit.

    Args:
        image: uint8 [H, W, 3] RGB.
        panoptic: integer [H, W].
        opacity: of the colours, 0..1.
        notes: panoptic id -> words that are written behind its class name.

    Returns:
        uint8 [H, W, 3] RGB.

    Raises:
        UserError: image and map differ in size.
    """
    if image.shape[:2] != panoptic.shape:
        raise UserError(
            f"expected a map of the image's size {image.shape[:2]}, found {panoptic.shape}: resize one of them"
        )
    colors = colorize_panoptic(panoptic, taxonomy)
    picture = np.rint((1 - opacity) * image + opacity * colors).astype(np.uint8)
    void = panoptic < 0
    picture[void] = hatch(image)[void]
    picture[instance_contours(panoptic, taxonomy)] = 255
    return _write_names(picture, panoptic, taxonomy, notes or {}) if names else picture


def hatch(image: np.ndarray) -> np.ndarray:
    """uint8 [H, W, 3]: the image in dark grey under lighter diagonal stripes, the sign of void."""
    height, width = image.shape[:2]
    period = max(6, min(height, width) // 48)
    rows, columns = np.ogrid[:height, :width]
    stripes = (rows + columns) % period < max(1, period // 4)
    grey = 0.45 * image.mean(axis=2)
    return np.repeat(np.where(stripes, 0.5 * grey + 85, grey).astype(np.uint8)[..., None], 3, axis=2)


def instance_contours(panoptic: np.ndarray, taxonomy: Taxonomy) -> np.ndarray:
    """bool [H, W]: pixels of thing instances next to another segment."""
    labels = panoptic // taxonomy.label_divisor
    things = np.isin(labels, taxonomy.thing_ids) & (panoptic >= 0)
    edges = np.zeros(panoptic.shape, bool)
    for axis in (0, 1):
        differs = np.diff(panoptic, axis=axis) != 0
        before, after = (slice(None, -1), slice(1, None))
        edges[before if axis == 0 else (slice(None), before)] |= differs
        edges[after if axis == 0 else (slice(None), after)] |= differs
    thickness = max(1, min(panoptic.shape) // 500)
    if thickness > 1:
        edges = cv2.dilate(edges.astype(np.uint8), np.ones((thickness, thickness), np.uint8)).astype(bool)
    return edges & things


def _write_names(
    picture: np.ndarray, panoptic: np.ndarray, taxonomy: Taxonomy, notes: Mapping[int, str]
) -> np.ndarray:
    """Class names at the thickest place of each segment, large segments first, none over another or over the border."""
    size = max(12, min(panoptic.shape) // 36)
    canvas = Image.fromarray(picture)
    draw = ImageDraw.Draw(canvas)
    taken: list[Box] = []
    ids, areas = np.unique(panoptic[panoptic >= 0], return_counts=True)
    for panoptic_id in ids[np.argsort(-areas, kind="stable")].tolist():
        name = f"{taxonomy.names[panoptic_id // taxonomy.label_divisor]} {notes.get(panoptic_id, '')}".rstrip()
        width, height = text_size(name, size)
        if areas[ids == panoptic_id][0] < width * height / 4:  # too small for what _place asks
            continue
        box = _place(panoptic == panoptic_id, (width, height))
        if box is None or any(_overlap(box, other) for other in taken):
            continue
        taken.append(box)
        draw.text(box[:2], name, fill="white", font=font(size), stroke_width=max(1, size // 9), stroke_fill="black")
    return np.array(canvas)


def _place(mask: np.ndarray, size: tuple[int, int]) -> Box | None:
    """Box for a text of ``size`` (width, height) at the mask's thickest place, inside the picture; None if too thin."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    top, left = rows[0], columns[0]
    cut = mask[top : rows[-1] + 1, left : columns[-1] + 1].astype(np.uint8)
    distance = cv2.distanceTransform(cv2.copyMakeBorder(cut, 1, 1, 1, 1, cv2.BORDER_CONSTANT), cv2.DIST_L2, 3)
    _, radius, _, (x, y) = cv2.minMaxLoc(distance)
    (width, height), (mask_height, mask_width) = size, mask.shape
    if 2 * radius < 0.9 * height or 4 * radius < width or width > mask_width or height > mask_height:
        return None
    x0 = int(np.clip(left + x - 1 - width // 2, 0, mask_width - width))
    y0 = int(np.clip(top + y - 1 - height // 2, 0, mask_height - height))
    return x0, y0, x0 + width, y0 + height


def _overlap(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
