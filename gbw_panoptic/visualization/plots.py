"""Plots as PNG bytes. Each draws on a figure of its own; matplotlib's global state is not touched."""

import io
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

Series = tuple[Sequence[float], Sequence[float]]
_DPI = 110


def class_bars(
    names: Sequence[str],
    values: Sequence[float],
    colors: Sequence[tuple[int, int, int]],
    *,
    label: str,
    baseline: Sequence[float] | None = None,
    baseline_name: str = "baseline",
) -> bytes:
    """One horizontal bar per class, in the order given, with its value.

    Args:
        names, values, colors (RGB in 0..255): per class; values in percent.
        label: what the values are.
        baseline: values of another run; drawn as ticks, differences are written beside the values.
    """
    figure = Figure(figsize=(7.5, 0.6 + 0.3 * len(names)), layout="constrained")
    axes = figure.add_subplot()
    rows = np.arange(len(names))
    axes.barh(rows, values, color=[np.divide(c, 255) for c in colors], height=0.7)
    if baseline is not None:
        axes.scatter(baseline, rows, marker="|", s=160, color="black", linewidths=2, label=baseline_name, zorder=3)
        axes.legend(loc="lower right", frameon=False, fontsize=8)
    for row, value in zip(rows, values):
        end, text = value, f"{value:.1f}"
        if baseline is not None:
            end, text = max(value, baseline[row]), f"{text} ({value - baseline[row]:+.1f})"
        axes.text(end + 1.2, row, text, va="center", fontsize=8, color="#333333")
    axes.set(
        xlim=(0, 118 if baseline is not None else 108),
        ylim=(len(names) - 0.4, -0.6),
        xlabel=label,
        xticks=range(0, 101, 20),
    )
    axes.set_yticks(rows, names, fontsize=9)
    axes.set_axisbelow(True)
    axes.grid(axis="x", color="#dddddd", linewidth=0.6)
    return _png(figure, axes)


def class_heat_map(iterations: Sequence[int], names: Sequence[str], values: np.ndarray, *, label: str) -> bytes:
    """Class x iteration map of weights around 1 (white): below in blue, above in red, on a logarithmic scale.

    Args:
        iterations: [T], ascending.
        values: float [T, C], > 0 or NaN where a class has no value (grey).
    """
    logarithms = np.log2(np.clip(np.asarray(values, float), 2.0**-6, 2.0**6))
    limit = float(max(0.25, np.nanmax(np.abs(logarithms)))) if np.isfinite(logarithms).any() else 1.0
    figure = Figure(figsize=(8.5, 0.9 + 0.28 * len(names)), layout="constrained")
    axes = figure.add_subplot()
    axes.set_facecolor("#e5e5e5")
    edges = _edges(np.asarray(iterations, float))
    rows = np.arange(len(names) + 1) - 0.5
    mesh = axes.pcolormesh(edges, rows, logarithms.T, cmap="RdBu_r", vmin=-limit, vmax=limit)
    axes.set(xlabel="iteration", ylim=(len(names) - 0.5, -0.5))
    axes.set_yticks(np.arange(len(names)), names, fontsize=9)
    bar = figure.colorbar(mesh, ax=axes, pad=0.01, format=lambda x, _: f"{2.0**x:.2g}")
    bar.set_label(label, fontsize=9)
    return _png(figure, axes)


def curves(series: Mapping[str, Series], *, label: str, logarithmic: bool = False) -> bytes:
    """Lines over iterations, each the running median of its noisy points, which are drawn faintly behind it.

    Args:
        series: name -> (iterations, values); values that are not finite are left out.
        label: of the vertical axis.
    """
    figure = Figure(figsize=(8.5, 3.6), layout="constrained")
    axes = figure.add_subplot()
    for name, (iterations, values) in series.items():
        finite = np.isfinite(values)
        iterations, values = np.asarray(iterations)[finite], np.asarray(values, float)[finite]
        (line,) = axes.plot(iterations, _running_median(values), linewidth=1.6, label=name)
        axes.plot(iterations, values, linewidth=0.7, alpha=0.25, color=line.get_color())
    axes.set(xlabel="iteration", ylabel=label, yscale="log" if logarithmic else "linear")
    axes.grid(color="#e5e5e5", linewidth=0.6)
    if series:
        axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return _png(figure, axes)


def _running_median(values: np.ndarray) -> np.ndarray:
    half = len(values) // 40
    return np.array([np.median(values[max(0, i - half) : i + half + 1]) for i in range(len(values))])


def _edges(centers: np.ndarray) -> np.ndarray:
    """Borders of cells around ascending centres."""
    if len(centers) == 1:
        return centers[0] + np.array([-0.5, 0.5])
    middle = (centers[1:] + centers[:-1]) / 2
    return np.concatenate([[2 * centers[0] - middle[0]], middle, [2 * centers[-1] - middle[-1]]])


def _png(figure: Figure, axes) -> bytes:
    axes.spines[["top", "right"]].set_visible(False)
    buffer = io.BytesIO()
    FigureCanvasAgg(figure)
    figure.savefig(buffer, format="png", dpi=_DPI, facecolor="white")
    return buffer.getvalue()
