"""Confidence of instances by hand; test_panoptic_deeplab.py compares it with Detectron2's."""

import torch

from gbw_panoptic.structures.instances import scores_of_map

OPTIONS = dict(thing_ids=(1,), label_divisor=1000)


def test_by_hand():
    panoptic = torch.tensor([[1001, 1001, 1002, 0], [1001, 1001, -1, 0]])
    probability = torch.full((2, 2, 4), 0.5)
    probability[1, 0, :2] = torch.tensor([0.9, 0.7])
    probability[1, 1, :2] = torch.tensor([0.8, 0.6])
    probability[1, 0, 2] = 0.4
    probability[0] = 1 - probability[1]
    center = torch.zeros(2, 4)
    center[0, 0] = 0.5  # the centroid of 1001 is (0.5, 0.5), rounded down
    center[0, 2] = 0.25
    values, scores = scores_of_map(panoptic, probability.log() + 3, center[None], **OPTIONS)
    assert values.tolist() == [1001, 1002]
    torch.testing.assert_close(scores, torch.tensor([0.75 * 0.5, 0.4 * 0.25]))


def test_no_instance():
    values, scores = scores_of_map(torch.full((3, 5), -1), torch.zeros(2, 3, 5), torch.zeros(3, 5), **OPTIONS)
    assert values.numel() == scores.numel() == 0 and scores.dtype == torch.float32
