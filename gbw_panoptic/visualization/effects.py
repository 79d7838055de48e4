"""Differences to a reference as bars, as PNG bytes."""

from collections.abc import Mapping
from dataclasses import dataclass

from matplotlib.figure import Figure

from .plots import png_bytes, without_box


@dataclass(frozen=True)
class Effect:
    """A mean difference and its standard error; None for a single pair."""

    mean: float
    error: float | None


def effect_bars(panels: Mapping[str, Mapping[str, Mapping[str, Effect]]]) -> bytes:
    """Panels side by side: title -> row -> name -> effect. A name keeps its colour; rows without effects stay."""
    rows = list(dict.fromkeys(row for panel in panels.values() for row in panel))
    names = list(dict.fromkeys(name for panel in panels.values() for effects in panel.values() for name in effects))
    height = 0.8 / max(len(names), 1)
    figure = Figure(figsize=(5.2 * len(panels), 1.2 + 0.16 * len(rows) * max(2, len(names))), layout="constrained")
    handles = {}
    for axes, (title, panel) in zip(figure.subplots(1, len(panels), squeeze=False, sharey=True)[0], panels.items()):
        for place, name in enumerate(names):
            found = [(rows.index(row), effects[name]) for row, effects in panel.items() if name in effects]
            handles[name] = axes.barh(
                [number + (place - (len(names) - 1) / 2) * height for number, _ in found],
                [effect.mean for _, effect in found], height=0.9 * height, color=f"C{place}",
                xerr=[effect.error or 0 for _, effect in found] if found else None, error_kw={"elinewidth": 1},
            )  # fmt: skip
        axes.axvline(0, color="#444444", linewidth=0.8)
        axes.set_yticks(range(len(rows)), rows, fontsize=8)
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_title(title, fontsize=9)
        axes.grid(axis="x", color="#e5e5e5", linewidth=0.6)
        without_box(axes)
    if handles:
        figure.legend(handles.values(), handles, loc="outside lower center", ncols=4, frameon=False, fontsize=8)
    return png_bytes(figure)
