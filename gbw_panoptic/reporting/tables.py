"""Tables of a page from scores.

Shapes: C classes, T iterations.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from .blocks import Cell, Matrix, Table
from .page import class_colors

_PANOPTIC = (
    ("PQ", "PQ"),
    ("SQ", "SQ"),
    ("RQ", "RQ"),
    ("TP", "tp"),
    ("FP", "fp"),
    ("FN", "fn"),
    ("segment recall", "recall"),
)
_SEMANTIC = (("IoU", "IoU"), ("precision", "precision"), ("recall", "recall"))


def number(value: float | int | None, decimals: int = 1) -> Cell:
    """A cell of one number; integers as they are."""
    if value is None:
        return Cell("-")
    return Cell(str(value) if isinstance(value, int) else f"{value:.{decimals}f}", value)


def class_table(panoptic: Mapping, semantic: Mapping, colors: Mapping[str, Sequence[int]] | None = None) -> Table:
    """One row per class of a protocol; ``panoptic`` is empty for the semantic task; ``colors``: see
    :func:`~.page.class_colors`."""
    segments = panoptic.get("per_class", {})
    columns = [label for label, _ in (_PANOPTIC if segments else ())] + [label for label, _ in _SEMANTIC]
    names = list(semantic["per_class"])
    rows = []
    for name, color in zip(names, class_colors(names, colors)):
        cells = [number(segments[name][key]) for _, key in _PANOPTIC] if segments else []
        cells += [number(semantic["per_class"][name][key]) for _, key in _SEMANTIC]
        rows.append([Cell(name, name, color), *cells])
    return Table("Every class: click a heading to sort", ["class", *columns], rows)


def confusion(title: str, found: Mapping) -> Matrix:
    """Of a result file's ``confusion``."""
    pixels = np.array(found["pixels"], float)
    columns = len(found["classes"]) + bool(pixels[:, -1].any())
    total = pixels.sum(axis=1)
    rows = [(100 * row[:columns] / n).tolist() if n else None for row, n in zip(pixels, total)]
    return Matrix(title, list(found["classes"]), [*found["classes"], "no class"][:columns], rows)


def weight_table(
    place: str,
    iterations: Sequence[int],
    names: Sequence[str],
    weights: np.ndarray,
    colors: Mapping[str, Sequence[int]] | None = None,
) -> Table:
    """First, middle, last and mean weight of each class.

    Args:
        weights: float [T, C], NaN where a class had no pixel.
        colors: see :func:`~.page.class_colors`.
    """
    rows = []
    for name, color, column in zip(names, class_colors(names, colors), np.asarray(weights, float).T):
        values = column[np.isfinite(column)]
        shown = (values[0], values[len(values) // 2], values[-1], values.mean()) if len(values) else (None,) * 4
        rows.append([Cell(name, name, color), *(number(None if v is None else float(v), 2) for v in shown)])
    return Table(f"Weights of {place} as a table", ["class", "first", "middle", "last", "mean"], rows, folded=True)
