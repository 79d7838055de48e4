"""Runs of a map against NumPy's and SciPy's slow ways."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.ndimage import find_objects

from gbw_panoptic.data.coco_panoptic import describe_segments
from gbw_panoptic.structures.runs import compact_ids, runs
from gbw_panoptic.taxonomy import CITYSCAPES

SHAPES = hnp.array_shapes(min_dims=2, max_dims=2, max_side=12)


@given(hnp.arrays(st.sampled_from((np.int32, np.int64, np.uint8)), SHAPES, elements=st.sampled_from((0, 1, 7, 255))))
def test_compact_ids_equals_unique(ids):
    check(ids)
    check(ids.astype(np.int64) * 2**33 - 7)


def check(ids: np.ndarray) -> None:
    values, index = compact_ids(ids)
    expected, places = np.unique(ids, return_inverse=True)
    assert np.array_equal(values, expected) and values.dtype == ids.dtype
    assert np.array_equal(index, places.reshape(ids.shape)) and index.dtype == np.uint8
    _, of_runs, starts, lengths = runs(ids)
    assert np.array_equal(np.repeat(expected[of_runs], lengths), ids.ravel()) and (lengths <= ids.shape[1]).all()
    assert np.array_equal(np.cumsum(lengths) - lengths, starts)


def test_many_values_need_wider_places():
    ids = np.arange(600).reshape(20, 30)
    values, index = compact_ids(ids)
    assert np.array_equal(index, ids) and len(values) == 600


@given(hnp.arrays(np.int32, SHAPES, elements=st.sampled_from((0, 7, 24_000, 26_001, 26))))
def test_boxes_and_areas_of_segments(ids):
    found = {segment["id"]: segment for segment in describe_segments(ids, CITYSCAPES)}
    assert list(found) == [value for value in np.unique(ids).tolist() if value]
    for value, segment in found.items():
        ((rows, columns),) = find_objects((ids == value).astype(int))
        assert segment["bbox"] == [columns.start, rows.start, columns.stop - columns.start, rows.stop - rows.start]
        assert segment["area"] == np.count_nonzero(ids == value)
