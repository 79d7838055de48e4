"""Pictures of runs as data URIs, for pages that are one file."""

import base64
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from ..evaluation.layers import layers_of
from ..taxonomy import CITYSCAPES
from ..visualization.marks import MARKS
from ..visualization.panels import ERRORS
from .blocks import Gallery, Viewer
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
        [*_class_chips(), *((name, color, "") for name, color in ERRORS.values())],
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


def _class_chips() -> list[tuple[str, tuple[int, int, int], str]]:
    return [(name, color, MARKS.get(name, "")) for name, color in zip(CITYSCAPES.names, CITYSCAPES.colors)]
