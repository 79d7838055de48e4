"""Segments of labels, by hand and against a loop over pixels."""

import numpy as np
import pytest
import torch

from gbw_panoptic.data.targets import SegmentLabels
from gbw_panoptic.structures.segments import SegmentTargets

THINGS = (2, 3)
#: Of a label's table: void, stuff 0 and 1, two instances of 2, one of 3, a crowd of 3, one that is cropped away, 2
#: without instance.
CATEGORIES = np.array([255, 0, 1, 2, 2, 3, 3, 3, 2], np.uint8)
SEGMENTS = [
    {"id": row, "category_id": int(CATEGORIES[row]), "iscrowd": int(row == 6)} for row in (5, 1, 3, 2, 6, 4, 7)
]  # fmt: skip
ROWS = np.array([[1, 1, 2, 0], [3, 3, 4, 8], [5, 6, 6, 1]])


def test_segments_by_hand():
    sample = SegmentLabels(thing_ids=THINGS)(ROWS, CATEGORIES, SEGMENTS)
    assert sample["segment_classes"].tolist() == [0, 1, 3, 2, 2]  # stuff by class, then things as they are listed
    assert sample["segment_ids"].tolist() == [
        [1, 1, 2, 0],
        [4, 4, 5, 0],
        [3, 0, 0, 1],
    ]  # neither void, crowd nor the lost pixel
    assert sample["sem_seg"].tolist() == [[0, 0, 1, 255], [2, 2, 2, 2], [3, 3, 3, 0]]
    assert {key: value.dtype for key, value in sample.items()} == {
        "sem_seg": torch.int64, "segment_ids": torch.int32, "segment_classes": torch.int64,
    }  # fmt: skip


@pytest.mark.parametrize("labels", [SegmentLabels(thing_ids=()), SegmentLabels(thing_ids=THINGS)])
def test_without_instances_there_is_a_segment_for_each_class(labels):
    segments = SEGMENTS if not labels.thing_ids else None  # the semantic task, and labels that know no instance
    sample = labels(ROWS, CATEGORIES, segments)
    assert sample["segment_classes"].tolist() == [0, 1, 2, 3]
    assert torch.equal(sample["segment_ids"] - 1 == 2, sample["sem_seg"] == 2)


@pytest.mark.parametrize("seed", range(5))
def test_random_labels_against_a_loop(seed):
    generator = np.random.default_rng(seed)
    categories = np.append(255, generator.integers(0, 5, 12)).astype(np.uint8)
    segments = [
        {"id": int(row), "category_id": int(categories[row]), "iscrowd": int(generator.random() < 0.2)}
        for row in generator.permutation(np.arange(1, 13))
    ]
    rows = generator.integers(0, 13, (6, 5))
    sample = SegmentLabels(thing_ids=THINGS)(rows, categories, segments)
    crowds = {s["id"] for s in segments if s["iscrowd"]}
    seen = {}
    for number, row in zip(sample["segment_ids"].flatten().tolist(), rows.ravel().tolist()):
        category = int(categories[row])
        thing = category in THINGS
        assert (number == 0) == (category == 255 or thing and row in crowds)
        if number:
            assert int(sample["segment_classes"][number - 1]) == category
            assert seen.setdefault(number, row if thing else category) == (row if thing else category)
    assert sorted(seen) == list(range(1, len(sample["segment_classes"]) + 1))


def test_targets_of_labels_and_their_move_as_a_whole():
    sample = SegmentLabels(thing_ids=THINGS)(ROWS, CATEGORIES, SEGMENTS)
    targets = SegmentTargets.of_labels(sample["segment_ids"], sample["segment_classes"])
    assert targets.masks.sum(dim=(1, 2)).tolist() == [3, 1, 1, 2, 1] and targets.masks.dtype == torch.bool
    assert torch.equal(targets.valid, targets.masks.any(dim=0)) and targets.weights.tolist() == [1] * 5
    moved = targets.to(torch.device("meta"))
    assert isinstance(moved, SegmentTargets) and {str(x.device) for x in vars(moved).values()} == {"meta"}


def test_void_has_no_segment():
    sample = SegmentLabels(thing_ids=THINGS)(np.zeros((3, 4), int), CATEGORIES, SEGMENTS)
    targets = SegmentTargets.of_labels(sample["segment_ids"], sample["segment_classes"])
    assert targets.masks.shape == (0, 3, 4) and targets.classes.shape == (0,) and not targets.valid.any()
