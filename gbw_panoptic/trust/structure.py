"""How sharply what a model predicts falls apart into groups: neighbourhoods, clusters, peaks.

Shape legend: N sampled pixels, K channels, H x W pixels.
"""

import math

import numpy as np
from scipy.ndimage import maximum_filter, uniform_filter
from scipy.spatial import cKDTree
from scipy.special import log_softmax

from .seen import Output

#: Of the similarities of predictions (Saito et al., 2021).
TEMPERATURE = 0.05
#: Of the window in which a centre is the highest, and whose mean it stands out from; pixels.
WINDOW = 7
#: Below this, a maximum is no centre (Detectron2's MODEL.PANOPTIC_DEEPLAB.CENTER_THRESHOLD).
LEAST_HEAT = 0.1
_TINY = np.finfo(np.float32).tiny


def neighbourhood_entropy(own: Output) -> np.ndarray:
    """[2]: sum over sampled pixels of the entropy of their soft neighbourhood, over ln(N - 1), and N.

    Cosine similarities of predictions, over :data:`TEMPERATURE`, go through a softmax over the other pixels. The
    neighbours are those of the same image; the paper takes all images'.
    """
    sampled = own.samples(own.probabilities).T
    number = len(sampled)
    if number < 3:
        return np.zeros(2)
    unit = sampled / np.maximum(np.linalg.norm(sampled, axis=1, keepdims=True), _TINY)
    others = (unit @ unit.T)[~np.eye(number, dtype=bool)].reshape(number, number - 1)
    log = log_softmax(others / TEMPERATURE, axis=1)
    return np.array([-(np.exp(log) * log).sum() / math.log(number - 1), number])


def hopkins_distances(own: Output) -> np.ndarray:
    """[2]: sum of the distances of points, spread evenly over the features' bounding box, to the nearest features, and
    of features to theirs (Hopkins and Skellam, 1954). Features are of unit length."""
    if not np.isfinite(own.features).all():
        return np.full(2, np.nan)
    features = own.features / np.maximum(np.linalg.norm(own.features, axis=1, keepdims=True), _TINY)
    low, high = features.min(axis=0), features.max(axis=0)
    spread = np.random.default_rng(0).uniform(low, high, features.shape)
    tree = cKDTree(features)
    return np.array([tree.query(spread)[0].sum(), tree.query(features, k=2)[0][:, -1].sum()])


def hopkins(distances: np.ndarray) -> float:
    """In 0..1 of summed :func:`hopkins_distances`: 0.5 for points spread evenly, towards 1 for clusters; 0.5 where all
    points are one."""
    total = distances.sum()
    return float(distances[0] / total) if total != 0 else 0.5


def centre_heights(heat: np.ndarray) -> np.ndarray:
    """[2]: sum over the centres of a heatmap [H, W] of their height above the mean of the window around them, and their
    number."""
    peaks = (heat > LEAST_HEAT) & (heat == maximum_filter(heat, WINDOW))
    return np.array([(heat - uniform_filter(heat, WINDOW))[peaks].sum(dtype=float), peaks.sum()])
