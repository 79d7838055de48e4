"""Pictures of runs as data URIs, for pages that are one file."""

import base64
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from ..evaluation.panel import layers_of, picture_bytes
from ..taxonomy import CITYSCAPES
from ..visualization.colors import MARKS
from ..visualization.panels import ERRORS
from .blocks import Gallery, Heat, Viewer
from .run_folder import RunFolder

_MOST_SCENES = 8

#: Key of a model's pictures in the viewer -> its label, run and model's name, and the data set.
Source = tuple[str, RunFolder, str, str]


def data_uri(data: bytes, kind: str) -> str:
    """A picture inside of a page."""
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def viewer(sources: Sequence[Source], left: str | None = None) -> Viewer | None:
    """The viewer of the images that all sources have layers of; None where there are none.

    Args:
        sources: the last one's prediction is shown first, on the right.
        left: label of the source that is shown on the left; None: the truth.
    """
    found = [layers_of(run.path, model, dataset) for _, run, model, dataset in sources]
    names = [name for name in (found[0] if found else ()) if all(name in layers for layers in found)][:_MOST_SCENES]
    if not names:
        return None
    labels = [label for label, *_ in sources]
    choices = {"image": "Image", "truth": "Truth"}
    choices |= {f"prediction{i}": label for i, label in enumerate(labels)}
    choices |= {f"errors{i}": f"Errors: {label}" if len(labels) > 1 else "Errors" for i, label in enumerate(labels)}
    return Viewer(
        [_scene(name, [layers[name] for layers in found]) for name in names],
        choices,
        "truth" if left is None else f"prediction{labels.index(left)}",
        f"prediction{len(labels) - 1}",
        [*_class_chips(sources[-1][1].colors), *((name, color, "") for name, color in ERRORS.values())],
    )


def panels(run: RunFolder, model: str) -> Gallery | None:
    """The panels of older runs, which have no layers."""
    pictures = run.panels.get(model, [])[:_MOST_SCENES]
    found = [(picture.stem, data_uri(picture.read_bytes(), "png")) for picture in pictures]
    return Gallery(found) if found else None


def _scene(name: str, of_sources: Iterable[Mapping[str, Path]]) -> dict:
    of_sources = list(of_sources)
    layers = {"truth": _webp(of_sources[0]["truth"])}
    for i, files in enumerate(of_sources):
        layers |= {f"{kind}{i}": _webp(files[kind]) for kind in ("prediction", "errors")}
    return {"name": name.removesuffix("_leftImg8bit"), "image": _webp(of_sources[0]["image"]), "layers": layers}


def _webp(path: Path) -> str:
    return data_uri(path.read_bytes(), "webp")


def _class_chips(colors: Mapping[str, Sequence[int]]) -> list[tuple[str, tuple[int, int, int], str]]:
    official = dict(zip(CITYSCAPES.names, CITYSCAPES.colors))
    return [(name, tuple(color), MARKS.get(name, "")) for name, color in (colors or official).items()]


_MOST_COLUMNS = 120
#: Colours of small, equal (1) and large weights, on a light and on a dark page; the last is that of a missing value.
_LIGHT = ((33, 102, 172), (244, 244, 244), (178, 24, 43), (208, 208, 208))
_DARK = ((92, 160, 232), (38, 44, 54), (242, 104, 104), (88, 92, 100))


def weight_map(title: str, iterations: Sequence[int], names: Sequence[str], weights: np.ndarray) -> Heat:
    """The block of one place.

    Args:
        iterations: [T], ascending.
        weights: float [T, C] >= 0, NaN where a class had no pixel.
    """
    iterations, weights = _thinned(np.asarray(iterations), np.asarray(weights, float))
    logarithms = np.log2(np.clip(weights, 2.0**-10, None)).T
    limit = float(np.clip(np.nanmax(np.abs(logarithms), initial=0), 0.5, 3))
    places = np.clip(logarithms / limit, -1, 1)
    powers = np.arange(-int(limit), int(limit) + 1) if limit >= 1 else np.array([-0.5, 0.0, 0.5])
    return Heat(
        title,
        *(_picture(places, colors) for colors in (_LIGHT, _DARK)),
        list(names),
        [int(i) for i in iterations],
        [[None if np.isnan(value) else round(float(value), 3) for value in row] for row in weights.T],
        [(float((power / limit + 1) / 2), f"{2.0**power:.2g}") for power in powers],
        tuple(_gradient(colors) for colors in (_LIGHT, _DARK)),
    )


def _thinned(iterations: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """At most so many columns: means of what is there of neighbouring iterations."""
    pieces = np.array_split(np.arange(len(iterations)), min(len(iterations), _MOST_COLUMNS))
    means = []
    for piece in pieces:
        total, count = np.nansum(weights[piece], axis=0), np.isfinite(weights[piece]).sum(axis=0)
        means.append(np.divide(total, count, out=np.full(len(total), np.nan), where=count > 0))
    return np.array([iterations[piece[-1]] for piece in pieces]), np.array(means)


def _picture(places: np.ndarray, colors: tuple) -> str:
    """Data URI of the colours at places in -1..1 (float [C, T])."""
    low, middle, high, missing = (np.array(color, float) for color in colors)
    shares = np.nan_to_num(np.abs(places))[..., None]
    ends = np.where(np.nan_to_num(places)[..., None] < 0, low, high)
    picture = np.where(np.isnan(places)[..., None], missing, middle + shares * (ends - middle))
    return data_uri(picture_bytes(np.rint(picture).astype(np.uint8), "PNG"), "png")


def _gradient(colors: tuple) -> str:
    return "linear-gradient(90deg, " + ", ".join(f"rgb({r} {g} {b})" for r, g, b in colors[:3]) + ")"
