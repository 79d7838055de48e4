"""Whether an exported graph says what PyTorch says: its maps against a model's on images, pixel by pixel.

Shapes: H x W pixels of the image, h x w of what the network sees.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from .. import cli, files
from ..data.views import resize_image, shortest_edge_size
from ..errors import UserError
from ..inference.inputs import find_inputs
from ..inference.model import PanopticModel
from ..inference.predictor import Predictor
from . import onnx_file, torch_program


@dataclass(frozen=True)
class Agreement:
    """How many pixels of how many images were compared, and how many of each map differ.

    Attributes:
        differing: name of a map -> pixels.
        images_alike: images all of whose maps are equal.
        largest_margin: of the pixels whose class differs, the largest lead in probability that PyTorch gave its own
            class: how far rounding had to go. 0 where none differs.
    """

    images: int
    pixels: int
    differing: dict[str, int]
    images_alike: int
    largest_margin: float

    def __str__(self) -> str:
        parts = [
            f"{name} {count} ({100 * count / max(self.pixels, 1):.4f} %)" for name, count in self.differing.items()
        ]
        return (
            f"{self.images} images, {self.pixels} pixels; of other ids than PyTorch's: {', '.join(parts)}; "
            f"{self.images_alike} images equal in every pixel; where classes differ, PyTorch's own led by "
            f"{self.largest_margin:.1g} in probability at most"
        )


def compare(model: PanopticModel, form: str, folder: Path, images: Sequence[str], num: int | None = None) -> Agreement:
    """The file of ``form`` (``onnx`` or ``torch``) in ``folder`` against ``model``, at the size that the network sees.

    Raises:
        UserError: there are no images.
    """
    inputs, problems = find_inputs(images, folder)
    inputs = [item for item in inputs if not item.is_video][:num]
    if not inputs:
        raise UserError(problems[0] if problems else "--check: expected images, found none; name a folder of them")
    module = onnx_file if form == "onnx" else torch_program
    run = module.runner(folder / module.NAME)
    own = _at_own_size(model.predictor)
    differing, pixels, alike, margin = {}, 0, 0, 0.0
    with cli.progress(len(inputs), "Comparing") as bar:
        for image in (files.read_image(item.path) for item in inputs):
            seen = seen_by(model.predictor, image)
            prediction, found = own(seen), run(seen)
            wrong = {"semantic": prediction.labels != found[0]}
            if prediction.panoptic is not None:
                wrong["panoptic"] = prediction.panoptic != found[1]
            for name, where in wrong.items():
                differing[name] = differing.get(name, 0) + int(where.sum())
            pixels, alike = (
                pixels + seen.shape[0] * seen.shape[1],
                alike + (not any(where.any() for where in wrong.values())),
            )
            if wrong["semantic"].any():
                margin = max(margin, _margin(model, seen, wrong["semantic"], found[0]))
            bar.update()
    return Agreement(len(inputs), pixels, differing, alike, margin)


def seen_by(predictor: Predictor, image: np.ndarray) -> np.ndarray:
    """The image at the size that the network sees."""
    return resize_image(image, shortest_edge_size(image.shape[:2], predictor.short_edge, predictor.max_size))


def _at_own_size(predictor: Predictor) -> Predictor:
    options = {"taxonomy": predictor.taxonomy, "image_format": predictor.image_format, "short_edge": 0, "max_size": 0}
    return Predictor(predictor.model, **options)


@torch.inference_mode()
def _margin(model: PanopticModel, image: np.ndarray, where: np.ndarray, found: np.ndarray) -> float:
    """Largest lead of PyTorch's class over the found one, in probability, among the pixels ``where``."""
    pixels = image[..., ::-1] if model.predictor.image_format == "BGR" else image
    output = model.predictor.model([{"image": torch.from_numpy(pixels.transpose(2, 0, 1).copy())}])[0]
    probability = output["sem_seg"][:, torch.from_numpy(where)].softmax(dim=0)
    other = torch.from_numpy(found[where].astype(np.int64))
    return float((probability.amax(dim=0) - probability.gather(0, other[None])[0]).max())
