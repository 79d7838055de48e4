"""What a model suggests for the parts that are asked.

Shape legend: H x W pixels.
"""

import numpy as np
from scipy import ndimage

from ..taxonomy import Taxonomy
from .answer import UNANSWERED, Answer
from .batch import AskedImage, Batch
from .importing import dominated


def proposal(panoptic: np.ndarray, batch: Batch, image: AskedImage, before: Answer) -> Answer:
    """A prediction as an answer about the image's parts.

    A thing that covers pixels of an instance of an earlier round has that one's number and centre, others get new ones.

    Args:
        panoptic: integers [H, W], class * label_divisor + number, negative where nothing is predicted.
        before: of :func:`.importing.known_before`.
    """
    taxonomy, asked = batch.taxonomy, image.parts > 0
    labels = np.where(panoptic >= 0, panoptic // taxonomy.label_divisor, UNANSWERED).astype(np.int32)
    numbers, centers = (
        _numbered(panoptic, taxonomy, asked, before) if batch.with_instances else (np.zeros_like(labels), {})
    )
    answer = Answer(labels, numbers, centers).within(asked)
    if batch.unit == "click":
        answer = Answer(*dominated(image.parts, answer), centers)
    kept = {
        (c, n)
        for c, n in set(zip(answer.labels[answer.numbers > 0].tolist(), answer.numbers[answer.numbers > 0].tolist()))
    }
    return Answer(answer.labels, answer.numbers, {key: center for key, center in centers.items() if key in kept})


def _numbered(panoptic: np.ndarray, taxonomy: Taxonomy, asked: np.ndarray, before: Answer) -> tuple[np.ndarray, dict]:
    """int32 [H, W] numbers of instances, and the centres of these."""
    numbers, centers = np.zeros(panoptic.shape, np.int32), {}
    free = int(before.numbers.max(initial=0))
    for value in np.unique(panoptic[asked & (panoptic >= 0)]).tolist():
        label, instance = divmod(value, taxonomy.label_divisor)
        if label not in taxonomy.thing_ids or not instance:
            continue
        mask = panoptic == value
        earlier = np.bincount(before.numbers[mask & (before.labels == label)])
        earlier[:1] = 0
        if earlier.any():
            number = int(earlier.argmax())
        else:
            number = free = free + 1
        numbers[mask] = number
        told = before.centers.get((label, number))
        centers[label, number] = told or tuple(map(float, ndimage.center_of_mass(mask)))
    return numbers, centers
