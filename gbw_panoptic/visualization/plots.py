"""Plots as PNG bytes. Each draws on a figure of its own; matplotlib's global state is not touched."""

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

#: Values as drawn, their norm, colour map, and the ticks of the colour bar (None: matplotlib's) with their texts.
Scale = tuple[np.ndarray, Normalize, str, np.ndarray | None, list[str] | None]
_DPI = 110
_FEWEST_ROWS = 5  # of a heat map's height, so that its colour bar can be read


@dataclass(frozen=True)
class HeatMap:
    """Class x iteration values.

    Attributes:
        place: where the values come from, for the title.
        kind: what they are, which decides their colours: ``weight`` | ``gradient`` | ``share``.
        iterations: [T], ascending.
        names: [C] class names, from top to bottom.
        values: float [T, C], >= 0 or NaN where a class has no value.
    """

    place: str
    kind: str
    iterations: Sequence[int]
    names: Sequence[str]
    values: np.ndarray


def class_bars(
    names: Sequence[str],
    values: Sequence[float],
    colors: Sequence[tuple[int, int, int]],
    *,
    label: str,
    errors: Sequence[float] | None = None,
    baseline: Sequence[float] | None = None,
    differences: Sequence[float] | None = None,
    baseline_name: str = "baseline",
) -> bytes:
    """One horizontal bar per class, in the order given, with its value.

    Args:
        names, values, colors (RGB in 0..255): per class; values in percent.
        label: what the values are.
        errors: standard errors of the values, drawn as whiskers.
        baseline: values of another run; drawn as ticks.
        differences: to the baseline; written beside the values, gains in green and losses in red.
    """
    figure = Figure(figsize=(7.5, 0.9 + 0.3 * len(names)), layout="constrained")
    axes = figure.add_subplot()
    rows, values = np.arange(len(names)), np.asarray(values, float)
    ends = values.copy()
    axes.barh(rows, values, color=[np.divide(c, 255) for c in colors], height=0.7)
    if errors is not None:
        for color, width in (("white", 3), ("#333333", 1.2)):  # a light seam, for dark bars
            axes.errorbar(values, rows, xerr=errors, fmt="none", ecolor=color, elinewidth=width, capsize=2)
        ends += errors
    largest = max(ends.max(initial=0), np.max(baseline, initial=0) if baseline is not None else 0, 1)
    if baseline is not None:
        axes.scatter(baseline, rows, marker="|", s=160, color="white", linewidths=4, zorder=3)
        axes.scatter(baseline, rows, marker="|", s=160, color="black", linewidths=2, label=baseline_name, zorder=3)
        axes.legend(loc="lower right", bbox_to_anchor=(1, 1), frameon=False, fontsize=8)
        room = 0.16 * largest  # of a text: it stays beside its own bar unless the baseline's tick is in its way
        ends = np.where((ends < baseline) & (np.asarray(baseline) < ends + room), baseline, ends)
    _write_values(axes, ends, values, differences)
    axes.set(
        xlim=(0, largest * (1.26 if differences is not None else 1.1)), ylim=(len(names) - 0.4, -0.6), xlabel=label
    )
    axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    axes.set_yticks(rows, names, fontsize=9)
    axes.set_axisbelow(True)
    axes.grid(axis="x", color="#dddddd", linewidth=0.6)
    without_box(axes)
    return png_bytes(figure)


def _write_values(axes: Axes, ends: np.ndarray, values: np.ndarray, differences: Sequence[float] | None) -> None:
    """Every bar's value behind its end, with the gain in its colour."""
    for row, (end, value) in enumerate(zip(ends, values)):
        text, color = f"{value:.1f}", "#222222"
        if differences is not None:
            text = f"{text}  ({round(differences[row], 1) + 0.0:+.1f})"
            color = _signed_color(differences[row])
        axes.annotate(text, (end, row), (5, 0), textcoords="offset points", va="center", fontsize=8, color=color)


def _signed_color(value: float) -> str:
    """Green, red, or grey for what rounds to no difference."""
    if abs(value) < 0.05:
        return "#888888"
    return "#1a7f37" if value > 0 else "#c0392b"


def class_heat_maps(rows: Sequence[Sequence[HeatMap]]) -> bytes:
    """Class x iteration maps in a grid; a row shares its classes. Grey where a class has no value.

    Weights are coloured on a logarithmic scale around 1 (white): below in blue, above in red; gradients on a linear one
    from 0; pixel shares on a logarithmic one, since they are long-tailed.
    """
    heights = [max(len(row[0].names), _FEWEST_ROWS) + 2 for row in rows]
    columns = max(map(len, rows))
    figure = Figure(figsize=(2 + 6.5 * columns, 0.5 + 0.25 * sum(heights)), layout="constrained")
    grid = figure.add_gridspec(len(rows), columns, height_ratios=heights)
    for i, row in enumerate(rows):
        for j, heat_map in enumerate(row):
            axes = figure.add_subplot(grid[i, j])
            _draw_heat_map(figure, axes, heat_map, with_names=j == 0)
    figure.supxlabel("iteration (grey: no pixel of the class in that step)", fontsize=9)
    return png_bytes(figure)


def _draw_heat_map(figure: Figure, axes: Axes, heat_map: HeatMap, *, with_names: bool) -> None:
    values, norm, colors, ticks, texts = _SCALES[heat_map.kind](np.asarray(heat_map.values, float))
    axes.set_facecolor("#d4d4d4")
    edges = _edges(np.asarray(heat_map.iterations, float))
    rows = np.arange(len(heat_map.names) + 1) - 0.5
    mesh = axes.pcolormesh(edges, rows, values.T, cmap=colors, norm=norm)
    axes.set_ylim(rows[-1], rows[0])
    axes.set_title(f"{heat_map.place}: {_TITLES[heat_map.kind]}", fontsize=10, loc="left")
    axes.set_yticks(np.arange(len(heat_map.names)), heat_map.names, fontsize=9)
    axes.tick_params(axis="y", left=with_names, labelleft=with_names)
    axes.tick_params(axis="x", labelsize=8)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=1))
    without_box(axes)
    beyond = (np.nanmin(values, initial=norm.vmax) < norm.vmin, np.nanmax(values, initial=norm.vmin) > norm.vmax)
    bar = figure.colorbar(mesh, ax=axes, pad=0.01, aspect=30, extend=_EXTEND[beyond])
    if ticks is not None:
        step = 1 if len(heat_map.names) > 2 else max(1, len(ticks) // 2)  # the ends and the middle
        bar.set_ticks(ticks[::step], labels=texts[::step], minor=False)
    bar.ax.minorticks_off()
    bar.ax.tick_params(labelsize=8)


def _weight_scale(values: np.ndarray) -> Scale:
    """1 in the middle, to factors of 8 at most: farther weights, 0 among them, get the colour of the end."""
    values = np.clip(values, 2.0**-10, None)  # 0 has no logarithm
    limit = np.clip(np.nanmax(np.abs(np.log2(values)), initial=0), 0.5, 3)
    ticks = 2.0 ** (np.arange(-int(limit), int(limit) + 1) if limit >= 1 else np.array([-0.5, 0, 0.5]))
    return values, LogNorm(2.0**-limit, 2.0**limit), "RdBu_r", ticks, [f"{tick:.3g}" for tick in ticks]


def _gradient_scale(values: np.ndarray) -> Scale:
    return values, Normalize(0, np.nanmax(values, initial=1e-6)), "viridis", None, None


def _share_scale(values: np.ndarray) -> Scale:
    largest = np.nanmax(values, initial=1e-4)
    smallest = np.clip(np.nanmin(values, initial=1), 1e-5, largest / 10)
    ticks = 10.0 ** np.arange(np.ceil(np.log10(smallest)), np.floor(np.log10(largest)) + 1)
    return values, LogNorm(smallest, largest), "YlGnBu", ticks, [f"{100 * tick:g} %" for tick in ticks]


#: Some values lie below and above the colours -> which ends of the colour bar are arrows.
_EXTEND = {(False, False): "neither", (True, False): "min", (False, True): "max", (True, True): "both"}
_TITLES = {"weight": "class weight", "gradient": "class gradient", "share": "share of the pixels"}
_SCALES: dict[str, Callable[[np.ndarray], Scale]] = {
    "weight": _weight_scale,
    "gradient": _gradient_scale,
    "share": _share_scale,
}


def confusion_matrix(names: Sequence[str], pixels: np.ndarray) -> bytes:
    """Shares of each true class's pixels, in percent of its row; rows without pixels are grey.

    Args:
        names: [C] classes.
        pixels: integer [C, C + 1], true classes by predicted ones; the last column is "no class", drawn if it occurs.
    """
    columns = len(names) + bool(pixels[:, -1].any())
    total = pixels.sum(axis=1, keepdims=True)
    percent = np.divide(100 * pixels, total, out=np.full(pixels.shape, np.nan), where=total > 0)[:, :columns]
    figure = Figure(figsize=(2.2 + 0.42 * columns, 1.8 + 0.34 * len(names)), layout="constrained")
    axes = figure.add_subplot()
    axes.set_facecolor("#e5e5e5")
    mesh = axes.pcolormesh(percent, cmap="Blues", vmin=0, vmax=100, edgecolors="white", linewidth=0.4)
    for row, column in zip(*np.nonzero(percent >= 0.5)):
        color = "white" if percent[row, column] > 55 else "#333333"
        text = f"{percent[row, column]:.0f}"
        axes.text(column + 0.5, row + 0.5, text, ha="center", va="center", fontsize=7, color=color)
    for row in range(len(names)):
        axes.add_patch(Rectangle((row, row), 1, 1, fill=False, edgecolor="#999999", linewidth=0.9))
    axes.set(xlabel="predicted", ylabel="true", ylim=(len(names), 0))
    axes.set_xticks(np.arange(columns) + 0.5, [*names, "no class"][:columns], fontsize=8)
    for text in axes.get_xticklabels():
        text.set(rotation=60, ha="right", rotation_mode="anchor")
    axes.set_yticks(np.arange(len(names)) + 0.5, names, fontsize=8)
    figure.colorbar(mesh, ax=axes, pad=0.01).set_label("% of the true class's pixels", fontsize=9)
    without_box(axes)
    return png_bytes(figure)


def _edges(centers: np.ndarray) -> np.ndarray:
    """Borders of cells around ascending centres; the first and last cells end at their centres."""
    if len(centers) == 1:
        return centers[0] + np.array([-0.5, 0.5])
    return np.concatenate([centers[:1], (centers[1:] + centers[:-1]) / 2, centers[-1:]])


def without_box(axes: Axes) -> None:
    """Leaves the left and the lower border."""
    axes.spines[["top", "right"]].set_visible(False)


def png_bytes(figure: Figure) -> bytes:
    """The figure as a PNG."""
    buffer = io.BytesIO()
    FigureCanvasAgg(figure)
    figure.savefig(buffer, format="png", dpi=_DPI, facecolor="white")
    return buffer.getvalue()
