"""Inputs of the benchmarks: street scenes with as many segments as asked for, and what a network may predict of them.

Shapes: H x W pixels. A panoptic map (int64 H x W) holds contiguous id * label_divisor + instance number, -1 = void.
"""

from collections import Counter

import cv2
import numpy as np
import torch
from torch import Tensor

from gbw_panoptic.modeling.post_processing import find_centers
from gbw_panoptic.streets.scene import compose
from gbw_panoptic.streets.street import DOMAINS
from gbw_panoptic.streets.write import FORMATS
from gbw_panoptic.structures.instances import instance_targets
from gbw_panoptic.taxonomy import CITYSCAPES

_DIVISOR = CITYSCAPES.label_divisor
_LARGEST_ADDED = 1 / 512  # of the image: what is added to a scene is small, as in a crowd


def street(size: tuple[int, int], *, things: int, seed: int) -> np.ndarray:
    """Panoptic map with ``things`` instances: a street of Streets with small objects of further streets laid over it (a
    surplus becomes void)."""
    rng = np.random.default_rng([seed, things])
    scene, number = _scene(rng, size, 0), 0
    used = Counter(value // _DIVISOR for value in _instances(scene))  # numbers of each class
    while len(_instances(scene)) < things:
        number += 1
        other = _scene(rng, size, number)
        areas = np.bincount(other.ravel() + 1)
        for value in _instances(other):
            if areas[value + 1] <= _LARGEST_ADDED * other.size:
                used[value // _DIVISOR] += 1
                scene[other == value] = value // _DIVISOR * _DIVISOR + used[value // _DIVISOR]
    scene[np.isin(scene, _instances(scene)[things:])] = -1
    return scene


def _scene(rng: np.random.Generator, size: tuple[int, int], index: int) -> np.ndarray:
    canvas = compose(rng, DOMAINS["cityscapes"].layout, size, index)
    png = np.frombuffer(FORMATS["cityscapes"].encode_labels(canvas)[1], np.uint8)
    ids = cv2.imdecode(png, cv2.IMREAD_UNCHANGED).astype(np.int64)  # data set id, or data set id * 1000 + number
    is_instance = ids >= _DIVISOR
    classes = CITYSCAPES.contiguous_table()[np.where(is_instance, ids // _DIVISOR, ids)].astype(np.int64)
    values = classes * _DIVISOR + np.where(is_instance, ids % _DIVISOR + 1, 0)
    return np.where(classes == CITYSCAPES.ignore_label, -1, values)


def _instances(panoptic: np.ndarray) -> list[int]:
    values = np.flatnonzero(np.bincount(panoptic.ravel() + 1)) - 1  # counting is faster than sorting millions
    return [v for v in values.tolist() if v >= 0 and v % _DIVISOR]


def imperfect(panoptic: np.ndarray, *, seed: int) -> np.ndarray:
    """A prediction of this truth: wavy and ragged borders, one segment in ten of the wrong class."""
    rng = np.random.default_rng(seed)
    height, width = panoptic.shape
    waves = cv2.GaussianBlur(rng.standard_normal((height, width, 2)).astype(np.float32), (0, 0), 6)
    shifts = np.rint(3 * waves / waves.std() + 0.5 * rng.standard_normal(waves.shape)).astype(np.int64)
    rows, columns = np.indices(panoptic.shape)
    shifted = panoptic[np.clip(rows + shifts[..., 0], 0, height - 1), np.clip(columns + shifts[..., 1], 0, width - 1)]
    for value in np.unique(shifted[shifted >= 0]).tolist():
        if rng.random() < 0.1:
            classes = CITYSCAPES.thing_ids if value % _DIVISOR else CITYSCAPES.stuff_ids
            other = int(rng.choice(classes)) * _DIVISOR + (value % _DIVISOR and 900 + value % 97)
            shifted[shifted == value] = other
    return shifted


def with_segments(panoptic: np.ndarray) -> tuple[np.ndarray, list[dict]]:
    """Segment ids (int64 H x W, 0 = void) and COCO-panoptic segments with contiguous ``category_id`` and area."""
    values, areas = np.unique(panoptic[panoptic >= 0], return_counts=True)
    segments = [
        {"id": v + 1, "category_id": v // _DIVISOR, "iscrowd": 0, "area": a}
        for v, a in zip(values.tolist(), areas.tolist())
    ]
    return panoptic + 1, segments


def dense_prediction(size: tuple[int, int], *, centers: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """What Panoptic-DeepLab's heads may say about a crowded street, with exactly ``centers`` peaks of the heatmap.

    Returns:
        H x W int64 classes, H x W float32 heatmap and 2 x H x W float32 offsets, with noise.
    """
    truth = street(size, things=centers, seed=seed)
    predicted = imperfect(truth, seed=seed)
    sem_seg = torch.from_numpy(np.where(predicted < 0, 0, predicted // _DIVISOR))
    values = _instances(truth)
    table = np.zeros(truth.max() + 2, np.int64)
    table[values] = np.arange(1, len(values) + 1)
    targets = instance_targets(torch.from_numpy(table[truth]), len(values), sigma=10)  # void looks up the last entry, 0
    generator = torch.Generator().manual_seed(seed)
    center = targets["center"] * (0.7 + 0.01 * torch.rand(size, generator=generator))
    offset = targets["offset"] + torch.randn(2, *size, generator=generator)
    while len(peaks := find_centers(center, top_k=None)) > centers:
        center[tuple(peaks[0])] = 0
    while len(find_centers(center, top_k=None)) < centers:  # a false alarm
        y, x = (int(torch.randint(0, n, (), generator=generator)) for n in size)
        center[y, x] = 1.0
    return sem_seg, center, offset
