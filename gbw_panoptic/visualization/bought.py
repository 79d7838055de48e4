"""Pictures of bought labels.

Shapes: H x W pixels, C classes, R rounds.
"""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from ..taxonomy import Taxonomy
from .colors import colorize_labels
from .panels import class_chips, draw_legend, draw_line
from .plots import png_bytes, without_box

_LEGEND_WIDTH = 512  # pixels, at least


def draw_bought(image: np.ndarray, labels: np.ndarray, taxonomy: Taxonomy, *, not_bought: int) -> np.ndarray:
    """uint8 [H, W, 3]: the image in dim grey, bought pixels in their classes' colours, those without a class in black.

    Args:
        image: uint8 [H, W, 3] RGB.
        labels: integer [H, W] of contiguous ids; ``not_bought`` where no label was bought.
    """
    grey = np.repeat(image.mean(axis=2, keepdims=True), 3, axis=2)
    picture = np.rint(64 + grey / 2).astype(np.uint8)  # light enough that black is seen on it
    bought = labels != not_bought
    picture[bought] = colorize_labels(labels, taxonomy)[bought]
    return picture


def with_legend(
    picture: np.ndarray, labels: np.ndarray, taxonomy: Taxonomy, *, void: str = "", note: str = ""
) -> np.ndarray:
    """uint8 [H', W', 3]: the picture, at least 512 pixels wide, over a legend of the classes in ``labels`` [H, W].

    Args:
        void: what black pixels are called; "": there are none.
        note: a line below.
    """
    scale = max(1, -(-_LEGEND_WIDTH // picture.shape[1]))
    picture = picture.repeat(scale, axis=0).repeat(scale, axis=1)
    present = [label for label in np.unique(labels).tolist() if 0 <= label < taxonomy.num_classes]
    chips = [*class_chips(present, taxonomy), *([(void, (0, 0, 0))] if void else [])]
    rows = [picture, draw_legend(chips or [("nothing yet", (164, 164, 164))], picture.shape[1], 16)]
    return np.concatenate([*rows, *([draw_line(note, picture.shape[1])] if note else [])])


def draw_asked(image: np.ndarray, parts: np.ndarray, labels: np.ndarray, taxonomy: Taxonomy) -> np.ndarray:
    """uint8 [H', W', 3]: what is asked, outlined in white, in the colours of what is suggested; with a legend.

    Args:
        image: uint8 [H, W, 3] RGB.
        parts: integers [H, W], number of the part; 0 = not asked.
        labels: integers [H, W], what is suggested; others than classes: nothing.
    """
    scale = max(1, -(-_LEGEND_WIDTH // image.shape[1]))
    image, parts, labels = (values.repeat(scale, axis=0).repeat(scale, axis=1) for values in (image, parts, labels))
    dim = np.rint(40 + 0.45 * image.mean(axis=2, keepdims=True).repeat(3, axis=2)).astype(np.uint8)
    known = (parts > 0) & (labels >= 0) & (labels < taxonomy.num_classes)
    picture = np.where((parts > 0)[..., None], image, dim)
    mixed = np.rint(0.5 * image + 0.5 * colorize_labels(labels, taxonomy)).astype(np.uint8)
    picture[known] = mixed[known]
    edge = np.zeros(parts.shape, bool)
    edge[:-1] |= parts[:-1] != parts[1:]
    edge[:, :-1] |= parts[:, :-1] != parts[:, 1:]
    picture[edge] = 255
    return with_legend(
        picture, np.where(known, labels, -1), taxonomy, note="white: what is asked; colours: suggestions"
    )


def bought_bars(
    names: Sequence[str], counts: np.ndarray, imbalances: Sequence[float], colors: Sequence[tuple[int, int, int]]
) -> bytes:
    """PNG: one bar per class with a piece for every round, the first one lightest; beside it the imbalance by round.

    Args:
        names: [C] classes, from top to bottom.
        counts: integer [R, C], pixels of each class that each round bought.
        imbalances: [R] after each round, in 0..1, of all that was bought by then.
        colors: [C] RGB in 0..255.
    """
    rounds, rows = np.arange(1, len(counts) + 1), np.arange(len(names))
    figure = Figure(figsize=(10, 1.2 + 0.3 * len(names)), layout="constrained")
    bars, line = figure.subplots(1, 2, width_ratios=(3, 1))
    total = max(int(counts.sum()), 1)
    ends = np.zeros(len(names))
    for number, pixels in zip(rounds, counts):
        white = 0.6 * (1 - number / len(rounds))
        shades = [tuple((1 - white) * channel / 255 + white for channel in color) for color in colors]
        widths = 100 * pixels / total
        bars.barh(rows, widths, left=ends, color=shades, edgecolor="white", linewidth=0.5, height=0.75)
        ends += widths
    for row, end in enumerate(ends):
        text = f"{end:.2g} %" if end else "none"
        bars.annotate(text, (end, row), (4, 0), textcoords="offset points", va="center", fontsize=8)
    title = f"{total} pixels with a class, in {len(rounds)} round(s) (light: the first)"
    bars.set(
        xlim=(0, 1.15 * ends.max() or 1), ylim=(len(names) - 0.4, -0.6), xlabel="% of what was bought", title=title
    )
    bars.set_yticks(rows, names, fontsize=9)
    line.plot(rounds, imbalances, color="#333333", marker="o")
    line.set(ylim=(0, 1), xlabel="round", xticks=rounds, title="class imbalance")
    for axes in (bars, line):
        axes.title.set_fontsize(10)
        axes.set_axisbelow(True)
        axes.grid(axis="x" if axes is bars else "y", color="#dddddd", linewidth=0.6)
        without_box(axes)
    return png_bytes(figure)
