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
from .colors import Segments, contrasting, where_marked
from .text import font, text_size

Box = tuple[int, int, int, int]
_FINE = 256  # pixels of a picture's short edge, of which places for names are looked for


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
    segments = Segments.of(panoptic, taxonomy)
    picture = cv2.addWeighted(image, 1 - opacity, _colored(segments, taxonomy), opacity, 0)
    void = panoptic < 0
    if void.any():
        picture[void] = _hatched(image[void], _stripes(void.shape)[void])
    picture.reshape(-1, 3)[np.flatnonzero(contours(segments, taxonomy))] = 255
    return _write_names(picture, segments, taxonomy, notes or {}) if names else picture


def draw_layer(panoptic: np.ndarray, taxonomy: Taxonomy) -> np.ndarray:
    """What :func:`draw_panoptic` lays over an image, by itself, so that a page can blend and compare it.

    Returns:
        uint8 [H, W, 4] RGBA; void is a half transparent hatch.
    """
    segments = Segments.of(panoptic, taxonomy)
    colors = _colored(segments, taxonomy)
    colors[contours(segments, taxonomy)] = 255
    named = _write_names(colors.copy(), segments, taxonomy, {})
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


def _stripes(size: tuple[int, int]) -> np.ndarray:
    """bool [H, W] diagonal stripes."""
    period = max(6, min(size) // 48)
    along = np.arange(sum(size)) % period < max(1, period // 4)  # a pixel's place is its row plus its column
    return np.lib.stride_tricks.sliding_window_view(along, size[1])[: size[0]]


def _colored(segments: Segments, taxonomy: Taxonomy) -> np.ndarray:
    """uint8 [H, W, 3]: the segments' colours with their classes' patterns."""
    colors = segments.colors(taxonomy)
    picture = segments.paint(colors)
    marked = where_marked(segments.paint(_labels(segments, taxonomy)), taxonomy)
    if marked.any():
        cv2.copyTo(segments.paint(contrasting(colors)), marked.view(np.uint8), picture)
    return picture


def _labels(segments: Segments, taxonomy: Taxonomy) -> np.ndarray:
    """[N] unsigned: the class of each segment; of void, one more than there are."""
    labels = np.where(segments.ids < 0, taxonomy.num_classes, segments.ids // taxonomy.label_divisor)
    return labels.astype(np.min_scalar_type(taxonomy.num_classes))


def contours(segments: Segments, taxonomy: Taxonomy) -> np.ndarray:
    """bool [H, W]: pixels of thing instances next to another segment."""
    numbers = segments.numbers
    edges = np.zeros(numbers.shape, bool)
    for before, after in ((np.s_[:-1], np.s_[1:]), (np.s_[:, :-1], np.s_[:, 1:])):
        differs = numbers[before] != numbers[after]
        edges[before] |= differs
        edges[after] |= differs
    thickness = max(1, min(numbers.shape) // 500)
    if thickness > 1:
        edges = cv2.dilate(edges.view(np.uint8), np.ones((thickness, thickness), np.uint8)).view(bool)
    return edges & segments.paint(np.isin(_labels(segments, taxonomy), taxonomy.thing_ids))


def _write_names(picture: np.ndarray, segments: Segments, taxonomy: Taxonomy, notes: Mapping[int, str]) -> np.ndarray:
    """Writes names and numbers at the thickest place of each segment, the number alone where the name has no room;
    large segments first, none over another or over the border. Returns the picture."""
    shape = segments.numbers.shape
    size, step = max(13, min(shape) // 28), max(1, min(shape) // _FINE)
    taken: list[Box] = []
    numbers = segments.numbers[::step, ::step]
    areas = np.bincount(numbers.reshape(-1), minlength=len(segments.ids))
    places = find_objects(numbers.astype(np.int32) + 1, len(areas))
    smallest = text_size("1", size)
    for number in np.argsort(-areas[:-1], kind="stable").tolist():  # without void, the last one
        if areas[number] * step**2 < smallest[0] * smallest[1] / 4:  # too small for what _room asks
            break
        thickest = _thickest(numbers[places[number]] == number, places[number], step)
        for text in _texts(int(segments.ids[number]), taxonomy, notes):
            box = _room(thickest, text_size(text, size), shape)
            if box is not None and not any(_overlap(box, other) for other in taken):
                taken.append(box)
                _write(picture, box, text, size)
                break
    return picture


def _write(picture: np.ndarray, box: Box, text: str, size: int) -> None:
    """White on a black border into the picture, whose surroundings of ``box`` alone are touched."""
    left, top = (max(0, edge - size) for edge in box[:2])
    part = picture[top : box[3] + size, left : box[2] + size]
    canvas = Image.fromarray(part)
    border = {"stroke_width": max(1, size // 9), "stroke_fill": "black"}
    ImageDraw.Draw(canvas).text((box[0] - left, box[1] - top), text, fill="white", font=font(size), **border)
    part[:] = canvas


def _texts(panoptic_id: int, taxonomy: Taxonomy, notes: Mapping[int, str]) -> list[str]:
    """What may be written on a segment, the best first."""
    label, instance = divmod(panoptic_id, taxonomy.label_divisor)
    name, number = taxonomy.names[label], str(instance) if taxonomy.is_thing[label] and instance else ""
    note = notes.get(panoptic_id, number)
    return [f"{name} {note}", note] if note else [name]


def _thickest(mask: np.ndarray, place: tuple[slice, slice], step: int) -> tuple[int, int, float]:
    """Row, column and distance from the border, in pixels of the picture, of the thickest place of a segment.

    Args:
        mask: bool, the segment in its bounding box ``place``; not empty.
        step: every so many-th row and column of the picture is one of ``mask`` and ``place``.
    """
    padded = cv2.copyMakeBorder(mask.astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT)
    distance = cv2.distanceTransform(padded, cv2.DIST_L2, 3)
    radius = distance.max()
    ridge = np.argwhere(distance >= 0.95 * radius)
    y, x = ridge[np.abs(ridge - ridge.mean(axis=0)).sum(axis=1).argmin()]  # of equally thick places, the middle one
    return step * (place[0].start + y - 1), step * (place[1].start + x - 1), step * radius


def _room(thickest: tuple[int, int, float], size: tuple[int, int], picture: tuple[int, int]) -> Box | None:
    """Box for a text of ``size`` (width, height) at the thickest place of a segment, inside a picture of so many rows
    and columns; None if it is too thin."""
    (y, x, radius), (width, height), (rows, columns) = thickest, size, picture
    if 2 * radius < 0.9 * height or 4 * radius < width or width > columns or height > rows:
        return None
    x0 = int(np.clip(x - width // 2, 0, columns - width))
    y0 = int(np.clip(y - height // 2, 0, rows - height))
    return x0, y0, x0 + width, y0 + height


def _overlap(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
