"""A trained model in three lines of Python.

    from gbw_panoptic import load
    model = load("output/demo/adapted")
    result = model.predict("image.jpg")

Shapes: B images, H x W pixels.
"""

import glob
import logging
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypeAlias, overload

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from .. import files
from ..engine.setup import adapt_to_machine
from ..errors import UserError, about
from ..searching import Skipped
from ..taxonomy import Taxonomy
from ..validation import validate_model
from .inputs import find_inputs
from .predictor import Predictor, build_predictor
from .result import Result, result_of
from .video import VideoReader
from .weights import ModelFile, build_model_config

#: Pixels: the largest INPUT.MAX_SIZE_TEST.
LARGEST_EDGE = 65536
#: One image: a file, Pillow's, uint8 RGB [H, W, 3], or a tensor [3, H, W] of RGB, uint8 or floating in 0..1.
ImageLike: TypeAlias = str | Path | Image.Image | np.ndarray | Tensor


class PanopticModel:
    """A trained model that predicts; made by :func:`load` or :func:`gbw_panoptic.from_pretrained`.

    Attributes:
        predictor: maps uint8 RGB arrays to label maps, as tools/predict.py does.
        config: the configuration that the network was built from.
        file: which file the weights are from.
        name: ``student`` or ``teacher``.
    """

    def __init__(self, predictor: Predictor, config: Any, file: ModelFile, name: str) -> None:
        self.predictor = predictor
        self.config = config
        self.file = file
        self.name = name

    @property
    def taxonomy(self) -> Taxonomy:
        """Names, colours and kinds of the classes."""
        return self.predictor.taxonomy

    @property
    def device(self) -> torch.device:
        return self.predictor.model.device

    def to(self, device: str | torch.device) -> "PanopticModel":
        """Move the weights, in place."""
        self.predictor.model.to(device)
        return self

    @overload
    def predict(self, source: Image.Image) -> Result: ...
    @overload
    def predict(self, source: str | Path | np.ndarray | Tensor) -> "Result | list[Result]": ...
    @overload
    def predict(self, source: Iterable[ImageLike]) -> list[Result]: ...
    def predict(self, source: ImageLike | Iterable[ImageLike]) -> Result | list[Result]:
        """One result for one image; a list for a folder, a glob, a list, or a batch: uint8 [B, H, W, 3], a tensor [B,
        3, H, W].

        Every image is predicted by itself, so that its result does not depend on the others. The results of a large
        folder may
        not fit into memory: see :meth:`stream`.

        Raises:
            UserError: an image cannot be read, or is none.
        """
        results = list(self.stream(source))
        return results[0] if _is_one(source) else results

    def stream(self, source: ImageLike | Iterable[ImageLike]) -> Iterator[Result]:
        """As :meth:`predict`, one result after the other; also the frames of a video file."""
        for image, path in _images(source):
            yield result_of(image, self.predictor(image), self.taxonomy, path)

    def save_pretrained(self, folder: str | Path, *, licence: str = "other") -> Path:
        """Write the weights, the configuration and a model card: what :func:`load` and ``from_pretrained`` read.

        Args:
            licence: an SPDX identifier for the card; ``other``: the terms of the training data, which it lists.

        Raises:
            UserError: the folder cannot be written.
        """
        from .publishing import save_pretrained

        return save_pretrained(self, Path(folder), licence)

    def push_to_hub(self, repo_id: str, *, private: bool = True, **options: Any) -> str:
        """Save to a repository of the Hugging Face Hub, private unless ``private=False``; the address of the commit.

        Args:
            repo_id: owner/name.
            options: of huggingface_hub's ``push_to_hub``: token, branch, create_pr, commit_message.

        Raises:
            UserError: huggingface_hub is not installed.
        """
        from .publishing import push_to_hub

        return push_to_hub(self, repo_id, private=private, **options)

    def __repr__(self) -> str:
        return f"PanopticModel({self.name} of {self.file.path}, {self.taxonomy.num_classes} classes, on {self.device})"


def load(
    source: str | Path,
    *,
    device: str | None = None,
    model: str | None = None,
    resize: int | None = None,
    scores: bool = True,
    opts: Iterable[Any] = (),
) -> PanopticModel:
    """A trained model from a run's OUTPUT_DIR, a folder of tools/export.py, or a checkpoint; nothing is downloaded.

    Args:
        device: ``cpu``, ``cuda``, ``cuda:1``; None: a GPU where there is one.
        model: ``student`` or ``teacher``; None: TEST.MODEL if the file holds it.
        resize: short edge that the model sees; 0: the image's own; None: that of its evaluation.
        scores: whether results say how sure the model is of segments and pixels.
        opts: configuration keys and values, by turns, e.g. ``("MODEL.PANOPTIC_DEEPLAB.CENTER_THRESHOLD", 0.2)``.

    Raises:
        UserError: there is no model at ``source``, or its file is damaged or lacks what a prediction needs.
    """
    file = ModelFile.find(source)
    cfg = build_model_config(file, [str(word) for word in opts])
    cfg.MODEL.DEVICE = device or ("cuda" if torch.cuda.is_available() else "cpu")
    cfg.OUTPUT_DIR = "."  # nothing is written there
    with about("resize"):
        set_edges(cfg.INPUT, resize)
    adapt_to_machine(cfg)
    validate_model(cfg)
    predictor, name = build_predictor(cfg, file, model, scores=scores, confidence=scores)
    return PanopticModel(predictor, cfg, ModelFile(file.path, file.config_file), name)


def set_edges(options: Any, resize: int | None) -> None:
    """Sizes that the model sees, in INPUT; the long edge stays as far from the short one as in evaluation."""
    if resize is None:
        return
    if type(resize) is not int or resize < 0:
        raise UserError(f"expected the short edge in pixels, or 0, found {resize!r}; change it.")
    # an evaluation at the images' own size (0) bounds no edge
    longest = options.MAX_SIZE_TEST * resize / options.MIN_SIZE_TEST if options.MIN_SIZE_TEST else LARGEST_EDGE
    options.MIN_SIZE_TEST, options.MAX_SIZE_TEST = resize, round(longest)


def _is_one(source: Any) -> bool:
    if isinstance(source, (str, Path)):
        return Path(source).is_file() or not (Path(source).is_dir() or glob.has_magic(str(source)))
    return isinstance(source, Image.Image) or (isinstance(source, (np.ndarray, Tensor)) and source.ndim < 4)


def _images(source: Any) -> Iterator[tuple[np.ndarray, Path]]:
    """uint8 [H, W, 3] RGB of every image, and its path ("." without a file)."""
    if isinstance(source, (str, Path)):
        yield from _of_files(str(source))
    elif isinstance(source, Image.Image):
        yield np.array(source.convert("RGB")), Path()
    elif isinstance(source, (np.ndarray, Tensor)):
        pixels = _pixels(source)
        yield from ((image, Path()) for image in (pixels if pixels.ndim == 4 else pixels[None]))
    elif isinstance(source, Iterable):
        for one in source:
            yield from _images(one)
    else:
        raise UserError(
            f"expected an image, a path or a list of them, found {type(source).__name__}; see docs/export.md"
        )


def _of_files(pattern: str) -> Iterator[tuple[np.ndarray, Path]]:
    skipped = Skipped()
    inputs, problems = find_inputs([pattern], Path(__file__), skipped)  # there are no results to be left out
    if problems:
        raise UserError(problems[0])
    if skipped:
        logging.getLogger("gbw_panoptic").warning(skipped.sentence())
    for item in inputs:
        if item.is_video:
            for number, frame in enumerate(VideoReader(item.path)):
                yield frame, item.path.with_name(f"{item.path.stem}_{number:06d}{item.path.suffix}")
        else:
            yield files.read_image(item.path), item.path


def _pixels(image: np.ndarray | Tensor) -> np.ndarray:
    """uint8 [..., H, W, 3] of an array or a tensor."""
    if isinstance(image, Tensor):
        if image.ndim not in (3, 4) or image.shape[-3] != 3:
            raise UserError(
                f"expected a tensor [3, H, W] or [B, 3, H, W] of RGB, found the shape {list(image.shape)}; permute it"
            )
        image = image.detach().cpu().movedim(-3, -1).numpy()
        if image.dtype.kind == "f":
            if not (np.isfinite(image).all() and 0 <= image.min(initial=0) and image.max(initial=0) <= 1):
                raise UserError(
                    "expected a floating tensor in 0..1, found values beyond; give uint8, or undo the normalisation: "
                    "the model has its own"
                )
            image = np.rint(image * 255).astype(np.uint8)
    if image.dtype != np.uint8 or image.ndim not in (3, 4) or image.shape[-1] != 3 or not image.size:
        raise UserError(
            f"expected uint8 [H, W, 3] in RGB order, found {image.dtype} {list(image.shape)}; convert it (of OpenCV's: "
            "image[..., ::-1])"
        )
    return np.ascontiguousarray(image)
