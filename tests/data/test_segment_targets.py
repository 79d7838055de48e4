"""Segments of labelled samples, by hand and by properties."""

import torch

from gbw_panoptic.data.segment_targets import segment_targets
from gbw_panoptic.structures.segments import SegmentTargets

THINGS = (2, 3)


def sample() -> dict:
    """Stuff 0 and 1, two instances of 2, one of 3, a thing pixel without instance, a crowd of 3, one void pixel."""
    sem_seg = torch.tensor([[0, 0, 1, 255], [2, 2, 2, 2], [3, 3, 3, 0]])
    ids = torch.tensor([[0, 0, 0, 0], [1, 1, 4, 0], [2, 3, 3, 0]])
    offset_weights = torch.where(ids == 3, 0, ids > 0).float()[None]
    classes = torch.tensor([2, 3, 3, 2, 3])  # the fifth is cropped away
    return {"sem_seg": sem_seg, "instance_ids": ids, "instance_classes": classes, "offset_weights": offset_weights}


def test_segments_by_hand():
    targets = segment_targets(sample(), thing_ids=THINGS)
    assert targets.classes.tolist() == [0, 1, 2, 3, 2]
    expected = ["1100 0000 0001", "0010 0000 0000", "0000 1100 0000", "0000 0000 1000", "0000 0010 0000"]
    assert ["".join(str(int(x)) for x in mask.flatten()) for mask in targets.masks] == [x.replace(" ", "") for x in expected]
    assert torch.equal(targets.valid, targets.masks.any(dim=0))  # void, the crowd and the lost pixel are not valid
    assert targets.masks.sum(dim=0).max() == 1 and (~targets.valid).sum() == 4
    assert targets.weights.tolist() == [1] * 5 and torch.equal(targets.confidence, torch.ones(3, 4))
    assert targets.classes.dtype == torch.int64 and targets.masks.dtype == torch.bool


def test_semantic_samples_have_a_segment_for_each_class():
    targets = segment_targets({"sem_seg": sample()["sem_seg"]}, thing_ids=THINGS)
    assert targets.classes.tolist() == [0, 1, 2, 3]
    assert torch.equal(targets.valid, sample()["sem_seg"] != 255)
    assert targets.masks[2].sum() == 4


def test_a_sample_without_labels_has_no_segment():
    targets = segment_targets({"sem_seg": torch.full((3, 4), 255)}, thing_ids=THINGS)
    assert targets.masks.shape == (0, 3, 4) and targets.classes.shape == (0,) and not targets.valid.any()


def test_targets_move_as_a_whole():
    moved = segment_targets(sample(), thing_ids=THINGS).to(torch.device("meta"))
    assert isinstance(moved, SegmentTargets)
    assert {str(x.device) for x in vars(moved).values()} == {"meta"}
