"""Curves over iterations as PNG bytes, of one run or of several.

Every figure is of its own; matplotlib's global state is not touched.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullFormatter

from .plots import png_bytes, without_box

#: Iterations and values.
Series = tuple[Sequence[float], Sequence[float]]


def curves(panels: Mapping[str, Mapping[str, Sequence[Series]]], *, label: str, logarithmic: bool = False) -> bytes:
    """Curves over iterations, a panel for each quantity, the same colour for the same name in all of them.

    A line is the running median of the mean over its series; its noisy points, and every one of several series, are
    drawn faintly behind it.

    Args:
        panels: title -> name -> series (iterations, values), one per run; values that are not finite are left out.
        label: of the vertical axes.
    """
    columns = min(3, max(len(panels), 1))
    rows = -(-len(panels) // columns) or 1
    names = list(dict.fromkeys(name for lines in panels.values() for name in lines))
    width, height = (8.5, 3.6) if len(panels) < 2 else (3.6 * columns, 2.5 * rows)
    figure = Figure(figsize=(width, height + 0.25 * -(-len(names) // 3)), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    handles = {}
    for axes, (title, lines) in zip(grid, panels.items()):
        for name, series in lines.items():
            handles[name] = _draw_line(axes, series, f"C{names.index(name)}")
        without_box(axes)
        axes.set_title(title, fontsize=10)
        axes.set(xlabel="iteration", ylabel=label if axes.get_subplotspec().is_first_col() else "")
        axes.grid(color="#e5e5e5", linewidth=0.6)
        if logarithmic:
            _scale_logarithmically(axes)
        elif axes.dataLim.y0 >= 0:
            axes.set_ylim(bottom=max(axes.get_ylim()[0], 0))
    for axes in grid[len(panels) :]:
        axes.set_visible(False)
    if handles:
        figure.legend(
            handles.values(), handles, loc="outside lower center", ncols=3, frameon=False, fontsize=9, handlelength=1.5
        )
    return png_bytes(figure)


def _scale_logarithmically(axes: Axes) -> None:
    """Plain numbers at round values: more of them where the axis spans less than a decade."""
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high > 10 * low else (1, 1.5, 2, 3, 5, 7)))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.yaxis.set_minor_formatter(NullFormatter())


def _draw_line(axes: Axes, several: Sequence[Series], color: str) -> Line2D:
    values: dict[float, list[float]] = {}
    for iterations, series in several:
        finite = [(i, value) for i, value in zip(iterations, series) if np.isfinite(value)]
        axes.plot([i for i, _ in finite], [value for _, value in finite], linewidth=0.7, alpha=0.3, color=color)
        for iteration, value in finite:
            values.setdefault(iteration, []).append(value)
    mean = np.array([np.mean(values[iteration]) for iteration in sorted(values)])
    (line,) = axes.plot(sorted(values), _running_median(mean), linewidth=1.6, color=color)
    return line


def _running_median(values: np.ndarray) -> np.ndarray:
    half = len(values) // 40
    return np.array([np.median(values[max(0, i - half) : i + half + 1]) for i in range(len(values))])
