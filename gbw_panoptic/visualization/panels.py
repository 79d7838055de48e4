"""Image, ground truth, prediction and errors beside each other, with a legend.

Shapes: H x W pixels; panoptic maps as in :mod:`gbw_panoptic.visualization.colors`.
"""

from collections.abc import Iterable, Mapping

import cv2
import numpy as np
from PIL import Image, ImageDraw

from ..taxonomy import Taxonomy
from .colors import MARKS, Color, class_map, mark
from .overlay import draw_layer, draw_panoptic, hatch, with_void
from .text import font, text_size

# Codes of an error map, their names and colours: far from every class's colour, from grey and from each other, also for
# colour-blind people.
CORRECT, WRONG_CLASS, WRONG_SEGMENT, UNLABELLED, VOID = range(5)
ERRORS = {
    WRONG_CLASS: ("wrong class", (165, 0, 255)),
    WRONG_SEGMENT: ("right class, unmatched segment", (195, 255, 75)),
    UNLABELLED: ("not predicted", (20, 20, 20)),
}
_CELL_WIDTH, _MIN_HEIGHT = 768, 256
_LAYER_WIDTH = 1024
_MIN_OVERLAY, _MAX_OVERLAY = 1024, 4096  # long edge
_LEGEND_WIDTH, _CHIP = 320, 24
_GAP, _TEXT, _INK, _PAPER = 12, 20, (32, 32, 32), (255, 255, 255)


def pixel_errors(
    truth: np.ndarray, prediction: np.ndarray, taxonomy: Taxonomy, *, matched: Iterable[tuple[int, int]] | None = None
) -> np.ndarray:
    """uint8 [H, W] codes of what is wrong where.

    Args:
        truth, prediction: panoptic maps [H, W].
        matched: pairs (truth value, predicted value) of the segments that count as found; None compares classes only.
    """
    true_class, predicted_class = class_map(truth, taxonomy), class_map(prediction, taxonomy)
    errors = np.where(true_class == predicted_class, CORRECT, WRONG_CLASS).astype(np.uint8)
    if matched is not None:
        pairs = truth.astype(np.int64) << 32 | prediction.astype(np.int64)
        found = np.isin(pairs, [t << 32 | p for t, p in matched])
        errors[(errors == CORRECT) & ~found] = WRONG_SEGMENT
    errors[prediction < 0] = UNLABELLED
    errors[truth < 0] = VOID
    return errors


def draw_errors(image: np.ndarray, errors: np.ndarray) -> np.ndarray:
    """uint8 [H, W, 3]: the image in pale grey where it is right, error colours elsewhere, void hatched."""
    grey = np.repeat(image.mean(axis=2, keepdims=True), 3, axis=2)
    picture = 0.5 * grey + 0.5 * 190
    for code, (_, color) in ERRORS.items():
        picture = np.where((errors == code)[..., None], 0.15 * grey + 0.85 * np.array(color), picture)
    return np.where((errors == VOID)[..., None], hatch(image), np.rint(picture)).astype(np.uint8)


def make_layers(
    image: np.ndarray, truth: np.ndarray, prediction: np.ndarray, errors: np.ndarray, taxonomy: Taxonomy
) -> dict[str, np.ndarray]:
    """The parts of :func:`make_panel`, for a page that lays them over each other.

    Returns:
        ``image`` (uint8 [h, w, 3]), ``truth``, ``prediction`` and ``errors`` (uint8 [h, w, 4], RGBA), about 1024 pixels
        wide and at least 256 high.
    """
    size = _display_size(image, _LAYER_WIDTH)
    truth, prediction, errors = (resize_map(values, size) for values in (truth, prediction, errors))
    colors = np.zeros((*errors.shape, 3), np.uint8)
    for code, (_, color) in ERRORS.items():
        colors[errors == code] = color
    wrong = np.isin(errors, list(ERRORS))
    return {
        "image": _resized(image, size),
        "truth": draw_layer(truth, taxonomy),
        "prediction": draw_layer(prediction, taxonomy),
        "errors": with_void(colors, errors == VOID, np.where(wrong, 255, 0)),
    }


def _display_size(image: np.ndarray, width: int) -> tuple[int, int]:
    """(width, height): of the asked width, wider where the picture would be too low to look at."""
    scale = max(width / image.shape[1], _MIN_HEIGHT / image.shape[0])
    return round(scale * image.shape[1]), max(1, round(scale * image.shape[0]))


def _resized(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    smaller = size[0] < image.shape[1]
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA if smaller else cv2.INTER_CUBIC)


def make_panel(
    image: np.ndarray, truth: np.ndarray, prediction: np.ndarray, errors: np.ndarray, taxonomy: Taxonomy
) -> np.ndarray:
    """Two rows of two pictures (image, ground truth; prediction, errors) over a legend of the classes that occur.

    Args:
        image: uint8 [H, W, 3] RGB.
        truth, prediction: integer panoptic maps [H, W].
        errors: uint8 [H, W] of :func:`pixel_errors`.

    Returns:
        uint8 picture of true colours, about 1560 pixels wide whatever the size of the image (wider where a cell would
        be less than 256 pixels high).
    """
    size = _display_size(image, _CELL_WIDTH)
    image = _resized(image, size)
    truth, prediction, errors = (resize_map(values, size) for values in (truth, prediction, errors))
    cells = {
        "Image": image,
        "Ground truth": draw_panoptic(image, truth, taxonomy, opacity=0.7),
        "Prediction": draw_panoptic(image, prediction, taxonomy, opacity=0.7),
        "Errors": draw_errors(image, errors),
    }
    occurring = np.unique(np.concatenate([class_map(values, taxonomy).ravel() for values in (truth, prediction)]))
    chips = class_chips([c for c in occurring.tolist() if c != taxonomy.ignore_label], taxonomy)
    grid = draw_grid(list(cells.items()), columns=2)
    width = grid.shape[1]
    return np.concatenate([grid, draw_legend(chips, width), draw_legend([*ERRORS.values(), ("void", None)], width)])


def make_overlay(
    image: np.ndarray,
    panoptic: np.ndarray,
    taxonomy: Taxonomy,
    *,
    notes: Mapping[int, str] | None = None,
    beside: bool = False,
) -> np.ndarray:
    """The prediction drawn on its image, over a legend.

    Small images are enlarged by a whole factor first, so that names can be read and contours are thin; large ones are
    reduced, which bounds the memory.

    Args:
        image: uint8 [H, W, 3] RGB.
        panoptic: integer [H, W].
        notes: see :func:`draw_panoptic`.
        beside: whether the image stands to the left of its overlay.

    Returns:
        uint8 RGB, the picture in the upper left corner; its long edge is 1024 to 4096 pixels, twice that ``beside``.
    """
    edge = max(image.shape[:2])
    scale = -(-_MIN_OVERLAY // edge) if edge < _MIN_OVERLAY else min(1.0, _MAX_OVERLAY / edge)
    if scale != 1:
        size = tuple(max(1, round(scale * length)) for length in image.shape[1::-1])
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
        panoptic = resize_map(panoptic, size)
    classes = np.unique(np.unique(panoptic[panoptic >= 0]) // taxonomy.label_divisor).tolist()
    chips = class_chips(classes, taxonomy) + [("void", None)] * bool((panoptic < 0).any())
    picture = draw_panoptic(image, panoptic, taxonomy, notes=notes)
    if beside:
        picture = np.concatenate([image, np.full((len(image), _GAP, 3), _PAPER, np.uint8), picture], axis=1)
    legend = draw_legend(chips, max(picture.shape[1], _LEGEND_WIDTH), size=max(_TEXT, min(image.shape[:2]) // 40))
    if picture.shape[1] < legend.shape[1]:
        picture = cv2.copyMakeBorder(
            picture, 0, 0, 0, legend.shape[1] - picture.shape[1], cv2.BORDER_CONSTANT, value=_PAPER
        )
    return np.concatenate([picture, legend])


def resize_map(values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Nearest neighbour to (width, height), for integers of any size."""
    rows = (np.arange(size[1]) + 0.5) * values.shape[0] / size[1]
    columns = (np.arange(size[0]) + 0.5) * values.shape[1] / size[0]
    return values[np.ix_(rows.astype(int), columns.astype(int))]


def draw_grid(cells: list[tuple[str, np.ndarray]], columns: int) -> np.ndarray:
    """Captioned pictures of one size on white."""
    height, width = cells[0][1].shape[:2]
    caption = text_size("X", _TEXT)[1] + _GAP // 2
    rows = -(-len(cells) // columns)
    canvas = Image.new("RGB", (columns * (width + _GAP) + _GAP, rows * (height + caption + _GAP) + _GAP), _PAPER)
    draw = ImageDraw.Draw(canvas)
    for i, (name, picture) in enumerate(cells):
        x, y = _GAP + i % columns * (width + _GAP), _GAP + i // columns * (height + caption + _GAP)
        draw.text((x, y), name, fill=_INK, font=font(_TEXT))
        canvas.paste(Image.fromarray(picture), (x, y + caption))
    return np.array(canvas)


def draw_line(text: str, width: int, *, large: bool = False) -> np.ndarray:
    """uint8 [line, width, 3]: a heading on white; cut off where it is too long."""
    size = _TEXT * 7 // 5 if large else _TEXT
    canvas = Image.new("RGB", (width, text_size("X", size)[1] + _GAP), _PAPER)
    ImageDraw.Draw(canvas).text((_GAP, _GAP), text, fill=_INK, font=font(size))
    return np.array(canvas)


def class_chips(classes: Iterable[int], taxonomy: Taxonomy) -> list[tuple[str, Color | np.ndarray]]:
    """Names and chips of classes for :func:`draw_legend`, with the patterns of those that have one."""
    chips: list[tuple[str, Color | np.ndarray]] = []
    for label in classes:
        name, color = taxonomy.names[label], taxonomy.colors[label]
        plain = np.full((_CHIP, _CHIP, 3), color, np.uint8)
        marked = mark(plain, np.full((_CHIP, _CHIP), label), taxonomy, period=_CHIP // 3)
        chips.append((name, marked if name in MARKS else color))
    return chips


def draw_legend(
    chips: list[tuple[str, tuple[int, int, int] | np.ndarray | None]], width: int, size: int = _TEXT
) -> np.ndarray:
    """Chips with names in as many lines as ``width`` needs.

    Args:
        chips: name and colour, picture (uint8 [h, w, 3], of about a line's height), or None: hatched.
        width: in pixels.
        size: of the text, in pixels.
    """
    line, gap = text_size("X", size)[1], _GAP * size // _TEXT
    pictures = [_chip(color, line) for _, color in chips]
    places, x, y = [], gap, gap // 2
    for (name, _), picture in zip(chips, pictures):
        needed = picture.width + gap // 2 + text_size(name, size)[0] + 2 * gap
        if x + needed > width and x > gap:
            x, y = gap, y + line + gap // 2
        places.append((x, y))
        x += needed
    canvas = Image.new("RGB", (width, y + line + gap), _PAPER)
    draw = ImageDraw.Draw(canvas)
    for (name, _), picture, (x, y) in zip(chips, pictures, places):
        canvas.paste(picture, (x, y))
        draw.text((x + picture.width + gap // 2, y), name, fill=_INK, font=font(size))
    return np.array(canvas)


def _chip(color: tuple[int, int, int] | np.ndarray | None, side: int) -> Image.Image:
    if color is None:
        return Image.fromarray(hatch(np.full((side, side, 3), 120, np.uint8)))
    if isinstance(color, np.ndarray):
        return Image.fromarray(color).resize((round(side * color.shape[1] / color.shape[0]), side))
    return Image.new("RGB", (side, side), color)
