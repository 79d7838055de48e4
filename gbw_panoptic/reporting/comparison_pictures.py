"""Plots over several runs of several configurations, as PNG bytes."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from .. import files
from ..errors import UserError
from ..evaluation.panel import layers_of, picture_bytes
from ..visualization import plots
from ..visualization.curves import Series, curves
from ..visualization.panels import draw_grid
from .gains import gain, spread
from .page import CURVES, class_colors, title
from .run_folder import RunFolder
from .run_groups import RunGroup

_CELL_WIDTH, _OPACITY, _MOST_IMAGES = 768, 0.7, 4
#: Class -> seed -> percent.
ClassValues = Mapping[str, Mapping[int, float]]


def class_bars(values: ClassValues, reference: ClassValues, *, label: str, baseline_name: str) -> bytes:
    """Means with standard errors; the baseline and the gains over it, unless ``values`` are the baseline's own."""
    spreads = [spread(values[name].values()) for name in reference]
    compared = values is not reference
    return plots.class_bars(
        list(reference),
        [s.mean for s in spreads],
        class_colors(list(reference)),
        label=label,
        errors=None if any(s.error is None for s in spreads) else [s.error for s in spreads],
        baseline=[spread(reference[name].values()).mean for name in reference] if compared else None,
        differences=[gain(values[name], reference[name]).mean for name in reference] if compared else None,
        baseline_name=baseline_name,
    )


def side_by_side(sources: Sequence[tuple[str, RunFolder, str]], dataset: str) -> dict[str, bytes]:
    """Image, truth and every prediction beside each other, as PNG, of the first images that all runs have pictures of.

    Args:
        sources: name, run and model.
    """
    found = [layers_of(run.path, model, dataset) for _, run, model in sources]
    names = [name for name in (found[0] if found else ()) if all(name in layers for layers in found)]
    pictures = {}
    for name in names[:_MOST_IMAGES]:
        image = Image.fromarray(files.read_image(found[0][name]["image"]))
        cells = {"Image": image, "Truth": _laid_over(image, found[0][name]["truth"])}
        for (label, _, _), layers in zip(sources, found):
            cells[label] = _laid_over(image, layers[name]["prediction"])
        width, height = image.size
        size = _CELL_WIDTH, round(_CELL_WIDTH * height / width)
        grid = draw_grid([(label, np.asarray(cell.resize(size))) for label, cell in cells.items()], columns=2)
        pictures[name] = picture_bytes(grid, "PNG")
    return pictures


def _laid_over(image: Image.Image, layer: Path) -> Image.Image:
    try:
        colors = Image.open(layer, formats=("WEBP",)).convert("RGBA").resize(image.size, Image.Resampling.NEAREST)
    except (OSError, SyntaxError, ValueError) as error:  # Pillow's, of a damaged file
        raise UserError(
            f"expected a picture at {layer}, found {error}; evaluate that run again with --eval-only"
        ) from None
    return Image.composite(Image.blend(image, colors.convert("RGB"), _OPACITY), image, colors.getchannel("A"))


def loss_curves(groups: Sequence[RunGroup]) -> bytes | None:
    """A panel for each loss, the total last; None where none was logged."""
    found = dict.fromkeys(name for group in groups for run in group.runs.values() for name in run.losses())
    names = sorted(found, key=lambda name: name == "total_loss")
    panels = _panels(groups, {name: lambda run, name=name: run.series(name) for name in names})
    positive = all(value > 0 for _, values in _all_series(panels) for value in values)
    return curves(panels, label="loss", logarithmic=positive) if panels else None


def score_curves(groups: Sequence[RunGroup], headline: Callable[[RunFolder], Mapping], protocol: str) -> bytes | None:
    """A panel for each metric of the headline models; None where no run was evaluated more than once.

    Args:
        headline: run -> result file of its headline model.
    """

    def reader(task: str, metric: str) -> Callable[[RunFolder], Series]:
        return lambda run: run.score_series(headline(run), task, protocol, metric)

    panels = _panels(groups, {title(metric): reader(task, metric) for task, metric in CURVES})
    several = any(len(iterations) > 1 for iterations, _ in _all_series(panels))
    return curves(panels, label="%") if several else None


_Panels = dict[str, dict[str, list[Series]]]


def _panels(groups: Sequence[RunGroup], quantities: Mapping[str, Callable[[RunFolder], Series]]) -> _Panels:
    """Quantity -> group -> a series per seed; what nobody has logged is left out."""
    panels: _Panels = {}
    for name, read in quantities.items():
        for group in groups:
            series = [found for found in map(read, group.runs.values()) if found[0]]
            if series:
                panels.setdefault(name, {})[group.name] = series
    return panels


def _all_series(panels: _Panels) -> list[Series]:
    return [series for lines in panels.values() for several in lines.values() for series in several]
