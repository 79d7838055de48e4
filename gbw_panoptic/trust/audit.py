"""How unlikely labels are under a model that was not trained on them (confident learning, Northcutt et al., 2021; here
of whole images and segments, with a test for displaced labels, ours).

Shape legend: C classes, h x w cells of the audit's scale, K segments.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import label, maximum_filter

#: Cells by which labels are displaced to see whether they then fit better.
REACH, STEP = 6, 2
#: A median absolute deviation of a normal distribution, times this, is its standard deviation.
_NORMAL = 1.4826
#: A segment of fewer cells says too little.
MIN_CELLS = 12
#: A predicted centre is at least so high where the label has one lower than the second.
_CENTRE, _NO_CENTRE = 0.35, 0.15
_LEAST_SPREAD = 1e-3
#: Standard deviations that a sure second centre, or halves apart, are worth (ours).
_TWO = 10


@dataclass(frozen=True)
class Labels:
    """What the labels of an image say, at the audit's scale.

    Attributes:
        classes: int64 [h, w], C where there is none.
        segments: int64 [h, w], 0 = none, else an id.
        categories: segment id -> class.
        centres: float32 [h, w] in 0..1, heatmap of the things' centres; None without instances.
    """

    classes: np.ndarray
    segments: np.ndarray
    categories: Mapping[int, int]
    centres: np.ndarray | None = None


@dataclass(frozen=True)
class ImageEvidence:
    """
    Attributes:
        loss: mean negative log probability of the labels; NaN without any.
        gain: by how much it falls for labels displaced by ``shift`` (rows, columns), in cells; at least 0.
        segments: of each segment that is large enough.
    """

    loss: float
    gain: float
    shift: tuple[int, int]
    segments: Sequence["SegmentEvidence"]


@dataclass(frozen=True)
class SegmentEvidence:
    """
    Attributes:
        loss: mean negative log probability of its class.
        likelier: the class that is likeliest in it.
        centre: highest predicted centre where the label has none; 0 for stuff.
        apart: of a thing, the share of its cells in the second largest of its connected parts.
    """

    segment: int
    category: int
    cells: int
    loss: float
    likelier: int
    centre: float
    apart: float = 0.0


def evidence(log_probabilities: np.ndarray, labels: Labels, centres: np.ndarray | None = None) -> ImageEvidence:
    """
    Args:
        log_probabilities: float32 [C, h, w] of a model that has not seen the labels.
        centres: float32 [h, w], its heatmap of centres.
    """
    known = labels.classes < len(log_probabilities)
    loss = _loss(log_probabilities, labels.classes)
    mean = float(loss[known].mean()) if known.any() else float("nan")
    gain, shift = displacement(log_probabilities, labels.classes)
    return ImageEvidence(mean, gain, shift, _segments(log_probabilities, loss, labels, centres))


def displacement(log_probabilities: np.ndarray, classes: np.ndarray) -> tuple[float, tuple[int, int]]:
    """The fall of the mean loss if labels lay elsewhere, and where (rows, columns): both over the same inner cells."""
    inner = (slice(REACH, -REACH), slice(REACH, -REACH))
    steps = range(-REACH, REACH + 1, STEP)
    means = {}
    for rows in steps:
        for columns in steps:
            moved = np.roll(classes, (rows, columns), (0, 1))[inner]
            known = moved < len(log_probabilities)
            if known.any():
                means[rows, columns] = float(_loss(log_probabilities[(slice(None), *inner)], moved)[known].mean())
    if (0, 0) not in means:
        return 0.0, (0, 0)
    best = min(means, key=means.__getitem__)
    return means[0, 0] - means[best], best


def _loss(log_probabilities: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """[h, w]; 0 where there is no label."""
    known = classes < len(log_probabilities)
    found = np.take_along_axis(log_probabilities, np.where(known, classes, 0)[None], 0)[0]
    return np.where(known, -found, 0)


def _segments(
    log_probabilities: np.ndarray, loss: np.ndarray, labels: Labels, centres: np.ndarray | None
) -> list[SegmentEvidence]:
    peaks = np.zeros_like(loss)
    if centres is not None and labels.centres is not None:
        unexplained = (centres == maximum_filter(centres, 3)) & (labels.centres < _NO_CENTRE) & (centres > _CENTRE)
        peaks = np.where(unexplained, centres, 0)
    found = []
    for segment, category in labels.categories.items():
        inside = labels.segments == segment
        cells = int(inside.sum())
        if cells >= MIN_CELLS and category < len(log_probabilities):
            likelier = int(log_probabilities[:, inside].mean(axis=1).argmax())
            thing = labels.centres is not None and labels.centres[inside].max() > _CENTRE
            centre, apart = (float(peaks[inside].max()), _apart(inside)) if thing else (0.0, 0.0)
            found.append(SegmentEvidence(segment, category, cells, float(loss[inside].mean()), likelier, centre, apart))
    return found


def _apart(inside: np.ndarray) -> float:
    """Share of the second largest connected part, if it is large enough; 0 for one part."""
    parts, count = label(inside, np.ones((3, 3), int))
    sizes = np.sort(np.bincount(parts.ravel(), minlength=count + 1)[1:])[::-1]
    return float(sizes[1] / sizes.sum()) if count > 1 and sizes[1] >= MIN_CELLS else 0.0


def surprise(values: Sequence[float]) -> np.ndarray:
    """How many robust standard deviations each value lies above the median; 0 for one that is not there (NaN)."""
    array = np.array(values, float)
    there = array[np.isfinite(array)]
    if not there.size:
        return np.zeros(len(array))
    middle = np.median(there)
    spread = max(_NORMAL * np.median(np.abs(there - middle)), _LEAST_SPREAD)
    return np.nan_to_num((array - middle) / spread)


def image_scores(images: Sequence[ImageEvidence]) -> np.ndarray:
    """[images]: the larger surprise of loss and displacement."""
    return np.maximum(surprise([image.loss for image in images]), surprise([image.gain for image in images]))


def segment_scores(images: Sequence[ImageEvidence]) -> list[np.ndarray]:
    """For each image [K]: the surprise of a segment's loss among those of its class, or signs that it is two: a second
    centre, or two parts."""
    every = [segment for image in images for segment in image.segments]
    scores = np.zeros(len(every))
    for category in {segment.category for segment in every}:
        places = [i for i, segment in enumerate(every) if segment.category == category]
        losses = surprise([every[i].loss for i in places])
        scores[places] = np.maximum(losses, [_TWO * max(every[i].centre, 2 * every[i].apart) for i in places])
    ends = np.cumsum([len(image.segments) for image in images])
    return np.split(scores, ends[:-1])
