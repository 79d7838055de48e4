"""A batch for the tools that humans work with: suggestions, instructions, pictures.

Shape legend: H x W pixels.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

import numpy as np

from .. import files
from ..active.label_store import LabelStore
from ..visualization.bought import draw_asked
from .answer import Answer
from .batch import Batch
from .formats import FORMATS
from .importing import known_before
from .proposals import proposal
from .sheet import estimate, instructions


def ask(
    batch: Batch, store: LabelStore, tools: Sequence[str], predict: Callable[[np.ndarray], np.ndarray], *,
    num_overlays: int, progress: Callable[[int, str], AbstractContextManager],
) -> tuple[int, int, int]:  # fmt: skip
    """Write what each tool takes, ``instructions.md`` and ``overlays/``.

    Args:
        predict: image, uint8 [H, W, 3] RGB -> panoptic map, integers [H, W], class * label_divisor + number, or
        negative.
        num_overlays: pictures of so many images at most.

    Returns:
        parts, clicks and seconds that the batch is expected to cost.
    """
    proposals: dict[str, Answer] = {}
    with progress(len(batch.images), f"Round {batch.number}: suggest") as bar:
        for index, image in enumerate(batch.images.values()):
            pixels = files.read_image(image.path)
            before = known_before(store, batch.number, image.image_id, image.size)
            answer = proposals[image.image_id] = proposal(predict(pixels), batch, image, before)
            if index < num_overlays:
                folder = batch.folder / "overlays"
                folder.mkdir(exist_ok=True)
                files.write_png(
                    folder / f"{image.image_id}.png", draw_asked(pixels, image.parts, answer.labels, batch.taxonomy)
                )
            bar.update()
    for tool in tools:
        folder = batch.folder / tool
        folder.mkdir(exist_ok=True)
        FORMATS[tool].write(batch, proposals, folder)
    files.atomic_write(batch.folder / "instructions.md", instructions(batch, list(tools), proposals).encode())
    return estimate(batch, proposals)
