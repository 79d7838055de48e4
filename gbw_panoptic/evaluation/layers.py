"""Parts of pictures that a page lays over each other: ``inference/layers/<model>/<image>/<kind>.webp``.

Shapes: H x W pixels.
"""

import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from .. import files

KINDS = ("image", "truth", "prediction", "errors")
_FOLDER = "layers"
_QUALITY = 88  # of photographs; drawings are kept exactly


def write_layers(folder: Path, model: str, name: str, layers: Mapping[str, np.ndarray]) -> None:
    """Writes the pictures of :meth:`gbw_panoptic.evaluation.panel.Panel.layers`.

    Args:
        folder: of a data set's results.
        name: of the image.
    """
    place = folder / _FOLDER / model / name
    place.mkdir(parents=True, exist_ok=True)
    for kind, picture in layers.items():
        files.atomic_write(place / f"{kind}.webp", picture_bytes(picture))


def picture_bytes(picture: np.ndarray, kind: str = "WEBP") -> bytes:
    """A picture as a file: uint8 [H, W, 3] as WebP with small losses, [H, W, 4] (RGBA) and PNG without any."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, kind, quality=_QUALITY, lossless=picture.shape[2] == 4, method=2)
    return buffer.getvalue()


def find_layers(folder: Path) -> dict[str, dict[str, dict[str, Path]]]:
    """Model -> image -> kind -> file, of the data set's results in a folder; images without all kinds are left out."""
    found: dict[str, dict[str, dict[str, Path]]] = {}
    for place in sorted(path for path in (folder / _FOLDER).glob("*/*") if path.is_dir()):
        kinds = {kind: place / f"{kind}.webp" for kind in KINDS}
        if all(path.is_file() for path in kinds.values()):
            found.setdefault(place.parent.name, {})[place.name] = kinds
    return found


def layers_of(run: Path, model: str, dataset: str) -> dict[str, dict[str, Path]]:
    """Image -> kind -> file of one model of a run on a data set."""
    inference = run / "inference"
    of_dataset = inference / dataset if dataset else inference  # a folder of its own where there are several
    return (find_layers(of_dataset) or find_layers(inference)).get(model, {})
