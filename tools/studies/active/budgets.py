"""Curves over the budget of active learning as PNG bytes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure

from gbw_panoptic.visualization.plots import png_bytes, without_box


@dataclass(frozen=True)
class BudgetPanel:
    """One quantity over the budget.

    Attributes:
        title, label: of the panel and of its vertical axis.
        lines: method -> (budget, mean, standard deviation), in rising order of budgets.
        levels: name -> value of what has no budget, drawn as a dashed line across.
    """

    title: str
    label: str
    lines: Mapping[str, Sequence[tuple[float, float, float]]]
    levels: Mapping[str, float]


def budget_curves(panels: Sequence[BudgetPanel], label: str) -> bytes:
    """PNG: ``label`` says what budgets are measured in. The panels in a row; a method has the same colour in all of
    them, its points stand a little apart."""
    names = list(dict.fromkeys(name for panel in panels for name in (*panel.lines, *panel.levels)))
    figure = Figure(figsize=(3.9 * len(panels), 3.9), layout="constrained")
    handles = {}
    for axes, panel in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels):
        for place, (name, points) in enumerate(panel.lines.items()):
            aside = 1 + 0.02 * (place - (len(panel.lines) - 1) / 2)
            budgets, means, deviations = zip(*points) if points else ((), (), ())
            handles[name] = axes.errorbar(
                [budget * aside for budget in budgets], means, yerr=deviations, color=f"C{names.index(name)}",
                marker="o",
                markersize=4, linewidth=1.4, elinewidth=1, capsize=2,
            )  # fmt: skip
        for name, value in panel.levels.items():
            handles[name] = axes.axhline(value, color=f"C{names.index(name)}", linestyle="--", linewidth=1.2)
        budgets = sorted({budget for points in panel.lines.values() for budget, _, _ in points})
        axes.set(xscale="log", xlabel=label, ylabel=panel.label)
        axes.set_title(panel.title, fontsize=10)
        axes.set_xticks(budgets, [f"{budget:g}" for budget in budgets])
        axes.set_xticks([], minor=True)
        axes.set_ylim(bottom=max(axes.get_ylim()[0], 0))  # none of the quantities can be negative
        axes.grid(color="#e5e5e5", linewidth=0.6)
        without_box(axes)
    figure.legend(handles.values(), handles, loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    return png_bytes(figure)
