"""Differences to a reference, by row, by class and over a setting, as PNG bytes."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gbw_panoptic.visualization.plots import png_bytes, without_box


@dataclass(frozen=True)
class Effect:
    """A mean difference and its standard error; None for a single pair."""

    mean: float
    error: float | None


def effect_bars(panels: Mapping[str, Mapping[str, Mapping[str, Effect]]], *, widest: float = 16.0) -> bytes:
    """Panels side by side: title -> row -> name -> effect. A name keeps its colour; rows without effects stay.

    Args:
        widest: so that small effects can be seen, longer bars are visibly broken there: a gap with two strokes, and
            their mean on the rest, instead of an error bar that would cross it.
    """
    rows = list(dict.fromkeys(row for panel in panels.values() for row in panel))
    names = list(dict.fromkeys(name for panel in panels.values() for effects in panel.values() for name in effects))
    height = 0.8 / max(len(names), 1)
    figure = Figure(figsize=(5.2 * len(panels), 1.2 + 0.16 * len(rows) * max(2, len(names))), layout="constrained")
    handles = {}
    for axes, (title, panel) in zip(figure.subplots(1, len(panels), squeeze=False, sharey=True)[0], panels.items()):
        for place, name in enumerate(names):
            shift = (place - (len(names) - 1) / 2) * height
            found = [(rows.index(row) + shift, effects[name]) for row, effects in panel.items() if name in effects]
            if not found:
                continue
            handles[name] = axes.barh(
                [y for y, _ in found], [effect.mean for _, effect in found], height=0.9 * height, color=f"C{place}",
                xerr=[_whisker(effect, widest) for _, effect in found], error_kw={"elinewidth": 1},
            )  # fmt: skip
            for y, mean in ((y, effect.mean) for y, effect in found if abs(effect.mean) > widest):
                _break_bar(axes, y, mean, 0.9 * height, widest)
        left, right = axes.get_xlim()
        axes.set_xlim(max(left, -widest), min(right, widest))
        axes.axvline(0, color="#444444", linewidth=0.8)
        axes.set_yticks(range(len(rows)), rows, fontsize=8)
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_axisbelow(True)
        axes.set_title(title, fontsize=9)
        axes.grid(axis="x", color="#e5e5e5", linewidth=0.6)
        without_box(axes)
    if handles:
        figure.legend(handles.values(), handles, loc="outside lower center", ncols=4, frameon=False, fontsize=8)
    return png_bytes(figure)


def _break_bar(axes: Axes, y: float, mean: float, height: float, widest: float) -> None:
    """Two white strokes across a bar that goes on beyond the axis, and its mean at the end."""
    sign = math.copysign(1, mean)
    for place in (0.66, 0.70):
        x = sign * place * widest
        axes.plot(
            [x - 0.012 * widest, x + 0.012 * widest], [y + 0.75 * height, y - 0.75 * height], color="white",
            linewidth=2.2, solid_capstyle="butt", zorder=3,
        )  # fmt: skip
    side = "right" if mean > 0 else "left"
    axes.text(sign * 0.98 * widest, y, f"{mean:+.1f}", color="white", fontsize=6, va="center", ha=side, zorder=4)


def _whisker(effect: Effect, widest: float) -> float:
    return (effect.error or 0.0) if abs(effect.mean) <= widest else 0.0


def class_effects(panels: Mapping[str, Mapping[str, Mapping[str, Effect]]], shares: Mapping[str, float]) -> bytes:
    """Panels one below the other: title -> name -> class -> effect; classes from the most frequent to the rarest.

    Args:
        shares: class -> share of the pixels (0..1), in the order in which classes are drawn.
    """
    names = list(dict.fromkeys(name for panel in panels.values() for name in panel))
    figure = Figure(figsize=(1.5 + 0.62 * max(len(shares), 4), 2.6 * len(panels) + 1.4), layout="constrained")
    handles, classes = {}, list(shares)
    grid = figure.subplots(len(panels), 1, squeeze=False, sharex=True)[:, 0]
    for axes, (title, panel) in zip(grid, panels.items()):
        for place, name in enumerate(names):
            found = [(classes.index(c), effect) for c, effect in panel.get(name, {}).items() if c in shares]
            shift = 0.7 * ((place + 0.5) / len(names) - 0.5)
            handles[name] = axes.errorbar(
                [number + shift for number, _ in found], [effect.mean for _, effect in found],
                yerr=[effect.error or 0 for _, effect in found] if found else None,
                fmt="o", markersize=4, elinewidth=1, color=f"C{place}",
            )  # fmt: skip
        axes.axhline(0, color="#444444", linewidth=0.8)
        axes.set_title(title, fontsize=9, loc="left")
        axes.grid(axis="y", color="#e5e5e5", linewidth=0.6)
        axes.set_xlim(-0.6, max(len(classes), 1) - 0.4)
        for edge in range(1, len(classes), 2):
            axes.axvspan(edge - 0.5, edge + 0.5, color="#f4f4f4", zorder=0)
        without_box(axes)
    grid[-1].set_xticks(
        range(len(classes)), [f"{name}\n{100 * share:.2g} %" for name, share in shares.items()], fontsize=8,
        rotation=35, ha="right",
    )  # fmt: skip
    if handles:
        figure.legend(handles.values(), handles, loc="outside lower center", ncols=4, frameon=False, fontsize=8)
    return png_bytes(figure)


def setting_curves(lines: Mapping[str, Mapping[float, Effect]], levels: Mapping[str, float], *, label: str) -> bytes:
    """Quantities over a setting on a logarithmic axis: name -> value of the setting -> mean and its error.

    Args:
        levels: name -> what the quantity is without the setting, drawn as a dashed line of the same colour.
        label: of the setting.
    """
    figure = Figure(figsize=(6.4, 3.8), layout="constrained")
    axes = figure.add_subplot()
    for place, (name, points) in enumerate(lines.items()):
        settings = sorted(points)
        axes.errorbar(
            settings, [points[x].mean for x in settings], yerr=[points[x].error or 0 for x in settings], fmt="o-",
            markersize=4, linewidth=1.4, capsize=2, color=f"C{place}", label=name,
        )  # fmt: skip
        if name in levels:
            axes.axhline(levels[name], color=f"C{place}", linestyle="--", linewidth=1)
    axes.set_xscale("log")
    ticks = sorted({x for points in lines.values() for x in points})
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.set(xlabel=f"{label} (dashed: unweighted)", ylabel="%")
    axes.set_ylim(bottom=0)
    axes.grid(axis="y", color="#e5e5e5", linewidth=0.6)
    axes.legend(frameon=False, fontsize=9)
    without_box(axes)
    return png_bytes(figure)


def trade_offs(lines: Mapping[str, Mapping[float, tuple[float, float]]], *, labels: tuple[str, str]) -> bytes:
    """One quantity against another over a setting: name -> value of the setting -> the two; a filled point where the
    setting is 0."""
    figure = Figure(figsize=(6.4, 4.4), layout="constrained")
    axes = figure.add_subplot()
    for place, (name, points) in enumerate(lines.items()):
        settings = sorted(points)
        x, y = zip(*(points[setting] for setting in settings))
        axes.plot(x, y, "o-", markersize=5, markerfacecolor="white", linewidth=1.3, color=f"C{place}", label=name)
        axes.plot(x[:1], y[:1], "o", markersize=6, color=f"C{place}")
    axes.set(xlabel=f"{labels[0]}, % (filled: tau 0)", ylabel=f"{labels[1]}, %")
    axes.grid(color="#e5e5e5", linewidth=0.6)
    axes.legend(frameon=False, fontsize=8)
    without_box(axes)
    return png_bytes(figure)
