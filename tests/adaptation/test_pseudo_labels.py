"""Pseudo labels, their quality, and instances from a predicted map."""

import numpy as np
import pytest
import torch

from gbw_panoptic.adaptation.pseudo_labels import instances_from_panoptic, semantic_pseudo_labels


def logits_of(probability):
    """Two-class logits whose first class has the given probability."""
    p = torch.tensor(probability).view(-1, 1, 1, 4) if torch.tensor(probability).dim() == 1 else torch.tensor(probability)
    return torch.stack((p, 1 - p), dim=1).log()


def test_quality_by_hand():
    # image 0: 3 of 4 pixels reach 0.9; image 1: none (0.8 is class 1's 0.2)
    logits = logits_of([[[0.95, 0.9, 0.05, 0.6]], [[0.8, 0.7, 0.5, 0.6]]])
    labels, quality = semantic_pseudo_labels(logits, threshold=0.9, quality="image")
    assert labels[0, 0].tolist() == [0, 0, 1, 0]
    assert quality.tolist() == [0.75, 0.0]
    _, batch_quality = semantic_pseudo_labels(logits, threshold=0.9, quality="batch")
    assert batch_quality.tolist() == [0.375, 0.375]


def test_unknown_quality_is_refused():
    with pytest.raises(ValueError, match="Expected quality"):
        semantic_pseudo_labels(torch.zeros(1, 2, 1, 1), threshold=0.5, quality="class")


def test_instances_equal_a_loop():
    rng = np.random.default_rng(0)
    values = np.array([-1, 0, 3000, 11001, 11002, 13001, 18007, 13000, 11999])
    panoptic = torch.from_numpy(rng.choice(values, (20, 30)))
    ids, classes = instances_from_panoptic(panoptic, label_divisor=1000, thing_ids=(11, 13, 18), max_instances=10)
    assert (ids[(panoptic < 11000) | (panoptic % 1000 == 0)] == 0).all()
    things = sorted(v for v in values.tolist() if v >= 11000 and v % 1000)
    for number, value in enumerate(things, start=1):
        assert torch.equal(ids == number, panoptic == value)
        assert classes[number - 1] == value // 1000
    assert ids.max() == len(things) and (classes[len(things) :] == 0).all()


def test_no_instance():
    ids, classes = instances_from_panoptic(
        torch.full((3, 3), -1), label_divisor=1000, thing_ids=(11,), max_instances=4
    )
    assert ids.sum() == 0 and classes.shape == (4,)
