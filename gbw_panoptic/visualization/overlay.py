"""A panoptic map drawn on its image.

Shapes: H x W pixels; a panoptic map as in :mod:`gbw_panoptic.visualization.colors`.
"""

from collections.abc import Mapping

import cv2
import numpy as np
from PIL import Image, ImageDraw
from scipy.ndimage import find_objects

from ..errors import UserError
from ..taxonomy import Taxonomy
from .colors import colorize_panoptic
from .marks import mark
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
    """Blends the segments' colours and patterns with the image, outlines instances, hatches void and writes names and
    numbers where they fit.

    Args:
        image: uint8 [H, W, 3] RGB.
        panoptic: integer [H, W].
        opacity: of the colours, 0..1.
        notes: panoptic id -> words that are written behind its class name, instead of the instance's number.

    Returns:
        uint8 [H, W, 3] RGB.

    Raises:
        UserError: image and map differ in size.
    """
    if image.shape[:2] != panoptic.shape:
        raise UserError(
            f"expected a map of the image's size {image.shape[:2]}, found {panoptic.shape}: resize one of them"
        )
    picture = _blend(image, _colored(panoptic, taxonomy), opacity)
    void = panoptic < 0
    picture[void] = _hatched(image[void], _stripes(void.shape)[void])
    picture[instance_contours(panoptic, taxonomy)] = 255
    return _write_names(picture, panoptic, taxonomy, notes or {}) if names else picture


def draw_layer(panoptic: np.ndarray, taxonomy: Taxonomy) -> np.ndarray:
    """What :func:`draw_panoptic` lays over an image, by itself, so that a page can blend and compare it.

    Returns:
        uint8 [H, W, 4] RGBA; void is a half transparent hatch.
    """
    colors = _colored(panoptic, taxonomy)
    colors[instance_contours(panoptic, taxonomy)] = 255
    named = _write_names(colors, panoptic, taxonomy, {})
    opaque = (panoptic >= 0) | (named != colors).any(axis=2)
    return with_void(named, ~opaque, np.where(opaque, 255, 0))


def with_void(colors: np.ndarray, void: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """uint8 [H, W, 4] RGBA of colours (uint8 [H, W, 3]) and their alpha ([H, W] in 0..255), void (bool [H, W])
    hatched."""
    picture = np.empty((*void.shape, 4), np.uint8)
    picture[..., :3], picture[..., 3] = colors, alpha
    picture[void & _stripes(void.shape)] = (150, 150, 150, 190)
    picture[void & ~_stripes(void.shape)] = (24, 24, 24, 190)
    return picture


def hatch(image: np.ndarray) -> np.ndarray:
    """uint8 [H, W, 3]: the image in dark grey under lighter diagonal stripes, the sign of void."""
    return _hatched(image, _stripes(image.shape[:2]))


def _hatched(pixels: np.ndarray, stripes: np.ndarray) -> np.ndarray:
    """:func:`hatch` of pixels [..., 3], on stripes where ``stripes`` [...] holds."""
    grey = 0.45 * pixels.mean(axis=-1)
    striped = np.where(stripes, 0.5 * grey + 85, grey)
    return np.repeat(striped.astype(np.uint8)[..., None], 3, axis=-1)


def _blend(image: np.ndarray, colors: np.ndarray, opacity: float) -> np.ndarray:
    """uint8 of ``(1 - opacity) * image + opacity * colors``, rounded: looked up among the 256 x 256 pairs of values."""
    values = np.arange(256)
    table = np.rint((1 - opacity) * values[:, None] + opacity * values).astype(np.uint8)
    return table.reshape(-1).take(image.astype(np.uint16) << 8 | colors)


def _stripes(size: tuple[int, int]) -> np.ndarray:
    """bool [H, W] diagonal stripes."""
    period = max(6, min(size) // 48)
    along = np.arange(sum(size)) % period < max(1, period // 4)  # a pixel's place is its row plus its column
    return np.lib.stride_tricks.sliding_window_view(along, size[1])[: size[0]]


def _colored(panoptic: np.ndarray, taxonomy: Taxonomy) -> np.ndarray:
    """uint8 [H, W, 3]: the segments' colours with their classes' patterns."""
    return mark(colorize_panoptic(panoptic, taxonomy), panoptic // taxonomy.label_divisor, taxonomy)


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


def _write_names(picture: np.ndarray, panoptic: np.ndarray, taxonomy: Taxonomy, notes: Mapping[int, str]) -> np.ndarray:
    """Names and numbers at the thickest place of each segment, the number alone where the name has no room, large
    segments first, none over another or over the border."""
    size = max(13, min(panoptic.shape) // 28)
    canvas = Image.fromarray(picture)
    draw = ImageDraw.Draw(canvas)
    taken: list[Box] = []
    ids, areas, places = _segments(panoptic)
    smallest = text_size("1", size)
    for panoptic_id, area, place in sorted(zip(ids.tolist(), areas.tolist(), places), key=lambda segment: -segment[1]):
        if area < smallest[0] * smallest[1] / 4:  # too small for what _room asks
            break
        thickest = _thickest(panoptic[place] == panoptic_id)
        for text in _texts(panoptic_id, taxonomy, notes):
            box = _room(thickest, place, text_size(text, size), panoptic.shape)
            if box is not None and not any(_overlap(box, other) for other in taken):
                taken.append(box)
                draw.text(
                    box[:2], text, fill="white", font=font(size), stroke_width=max(1, size // 9), stroke_fill="black"
                )
                break
    return np.array(canvas)


def _texts(panoptic_id: int, taxonomy: Taxonomy, notes: Mapping[int, str]) -> list[str]:
    """What may be written on a segment, the best first."""
    label, instance = divmod(panoptic_id, taxonomy.label_divisor)
    name, number = taxonomy.names[label], str(instance) if taxonomy.is_thing[label] and instance else ""
    note = notes.get(panoptic_id, number)
    return [f"{name} {note}", note] if note else [name]


def _segments(panoptic: np.ndarray) -> tuple[np.ndarray, np.ndarray, list[tuple[slice, slice]]]:
    """Ids in rising order, areas and bounding boxes of a map's segments."""
    counts = np.bincount(panoptic[panoptic >= 0])
    ids = np.flatnonzero(counts)
    number = np.zeros(len(counts) + 1, np.int32)  # the last one is void's, which -1 looks up
    number[ids] = np.arange(1, len(ids) + 1)
    return ids, counts[ids], find_objects(number.take(np.maximum(panoptic, -1), mode="wrap"))


def _thickest(mask: np.ndarray) -> tuple[int, int, float]:
    """Row, column and distance from the border of the thickest place of a mask that is not empty."""
    padded = cv2.copyMakeBorder(mask.astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT)
    distance = cv2.distanceTransform(padded, cv2.DIST_L2, 3)
    radius = distance.max()
    ridge = np.argwhere(distance >= 0.95 * radius)
    y, x = ridge[np.abs(ridge - ridge.mean(axis=0)).sum(axis=1).argmin()]  # of equally thick places, the middle one
    return y - 1, x - 1, radius


def _room(
    thickest: tuple[int, int, float], place: tuple[slice, slice], size: tuple[int, int], picture: tuple[int, int]
) -> Box | None:
    """Box for a text of ``size`` (width, height) at the thickest place of a segment, whose bounding box is ``place``,
    inside a picture of so many rows and columns; None if it is too thin."""
    (y, x, radius), (width, height), (rows, columns) = thickest, size, picture
    if 2 * radius < 0.9 * height or 4 * radius < width or width > columns or height > rows:
        return None
    x0 = int(np.clip(place[1].start + x - width // 2, 0, columns - width))
    y0 = int(np.clip(place[0].start + y - height // 2, 0, rows - height))
    return x0, y0, x0 + width, y0 + height


def _overlap(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
