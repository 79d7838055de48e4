"""Pictures of training samples: every quantity looked up in the colours."""

import numpy as np
import pytest

from gbw_panoptic.taxonomy import CITYSCAPES
from gbw_panoptic.visualization import samples
from gbw_panoptic.visualization.overlay import hatch

ROAD, CAR = CITYSCAPES.ids("road", "car")
SIZE = (336, 336)  # a cell's own, so that nothing is resized


def sample(**changes):
    """A road with a car in the middle; the top is ignored."""
    labels = np.full(SIZE, ROAD, np.int64)
    instances = np.zeros(SIZE, np.int64)
    labels[100:200, 100:200], instances[100:200, 100:200] = CAR, 1
    labels[:50] = CITYSCAPES.ignore_label
    return {
        "image": np.full((*SIZE, 3), 120, np.uint8),
        "sem_seg": labels,
        "sem_seg_weights": np.ones(SIZE, np.float32),
        "instance_ids": instances,
        "center": np.where(instances > 0, 0.5, 0.0),
        "center_weights": np.ones((1, *SIZE), np.float32),
        "offset": np.zeros((2, *SIZE), np.float32),
        "offset_weights": (instances > 0)[None].astype(np.float32),
        **changes,
    }


def cells(**changes):
    return dict(samples.sample_cells(sample(**changes), CITYSCAPES))


def test_cells_of_a_labelled_sample():
    found = cells()
    assert list(found) == ["image", "labels", "label weights 1", "centres, weights 1", "offsets, weights 0, 1"]
    assert all(picture.shape == (*SIZE, 3) and picture.dtype == np.uint8 for picture in found.values())
    stripes = hatch(sample()["image"])
    for name in ("labels", "label weights 1"):
        np.testing.assert_array_equal(found[name][:50], stripes[:50])  # ignored
    outside = sample()["instance_ids"] == 0
    np.testing.assert_array_equal(found["offsets, weights 0, 1"][outside], stripes[outside])  # weight 0


def test_cells_of_other_samples():
    plain = sample()
    semantic = {key: plain[key] for key in ("image", "sem_seg", "sem_seg_weights")}
    assert len(samples.sample_cells(semantic, CITYSCAPES)) == 3
    valid = np.ones(SIZE, bool)
    valid[300:] = False
    ((name, picture),) = samples.sample_cells({"image": plain["image"], "valid_mask": valid}, CITYSCAPES)
    assert name == "image" and (picture[:300] == 120).all()
    np.testing.assert_array_equal(picture[300:], hatch(plain["image"])[300:])


def test_captions_tell_the_weights():
    weights = np.ones(SIZE, np.float32)
    weights[:100], weights[100:200] = 7.0, 0.0123  # the ignored rows count for nothing
    weights[:50] = 99
    assert "label weights 0.012, 1, 7" in cells(sem_seg_weights=weights)
    weights[50:] = np.linspace(0, 2.25, SIZE[1])
    assert "label weights 0 to 2.2" in cells(sem_seg_weights=weights)
    assert "label weights none" in cells(sem_seg=np.full(SIZE, CITYSCAPES.ignore_label))


def test_panoptic_map_of_labels():
    labels = np.array([[ROAD, CAR, CAR, CITYSCAPES.ignore_label, ROAD]])
    instances = np.array([[0, 3, 0, 4, 5]])  # pseudo labels and instances may contradict each other
    found = samples.panoptic_of({"sem_seg": labels, "instance_ids": instances}, CITYSCAPES)
    assert found.tolist() == [[0, CAR * 1000 + 3, CAR * 1000, -1, 0]]
    assert samples.panoptic_of({"sem_seg": labels}, CITYSCAPES)[0, 1] == CAR * 1000


def test_weights_grow_brighter_and_the_scale_reaches_the_largest():
    brightness = samples.draw_weights(np.linspace(0, 1, 11)[None]).mean(axis=2)[0]
    assert (np.diff(brightness) > 0).all()
    half = samples.draw_weights(np.array([[0.5]]))
    np.testing.assert_array_equal(half, samples.draw_weights(np.array([[1.5, 3.0]]))[:, :1])
    assert (samples.draw_weights(np.zeros((2, 2))) == samples.draw_weights(np.linspace(0, 1, 2)[None])[0, 0]).all()


def test_heatmap_is_yellow_where_it_is_one_and_grey_where_it_is_zero():
    picture = samples.draw_heatmap(np.full((1, 2, 3), 100, np.uint8), np.array([[0.0, 1.0]]))
    assert picture[0].tolist() == [[40, 40, 40], [240, 228, 66]]


@pytest.mark.parametrize(("dy", "dx", "color"), [(0, 8, (255, 0, 0)), (0, -8, (0, 255, 255)), (0, 0, (255, 255, 255))])
def test_offsets_by_direction_and_length(dy, dx, color):
    offset = np.zeros((2, 1, 3))
    offset[:, 0, 0] = dy, dx
    offset[:, 0, 1] = 0, 8  # the longest
    picture = samples.draw_offsets(offset, np.array([[True, True, False]]))
    assert picture[0, 0].tolist() == list(color)
    assert picture[0, 2].tolist() == [204] * 3  # outside


def test_pages_hold_all_rows_of_any_size():
    cells = samples.sample_cells(sample(), CITYSCAPES)
    rows = [("first", cells), ("second", cells[:1])]
    page = samples.make_page("Iteration 3", rows, [ROAD, CAR], CITYSCAPES)
    assert page.dtype == np.uint8 and page.shape[1] > 5 * SIZE[1] and page.shape[0] > 2 * SIZE[0]
    for color in (CITYSCAPES.colors[ROAD], CITYSCAPES.colors[CAR]):
        assert (page[2 * SIZE[0] :] == color).all(axis=2).sum() > 100  # its chip in the legend
    one_class = samples.make_page("Iteration 3", rows, [ROAD], CITYSCAPES)
    assert not (one_class[-100:] == CITYSCAPES.colors[CAR]).all(axis=2).any()


@pytest.mark.parametrize("size", [(64, 128), (512, 1024), (37, 500), (400, 31)])
def test_crops_of_any_shape(size):
    rng = np.random.default_rng(0)
    instances = rng.integers(0, 3, size)
    picture = {
        **sample(),
        "image": rng.integers(0, 256, (*size, 3), np.uint8),
        "sem_seg": np.where(instances > 0, CAR, ROAD),
        "sem_seg_weights": rng.random(size),
        "instance_ids": instances,
        "center": rng.random(size),
        "center_weights": np.ones((1, *size)),
        "offset": rng.normal(size=(2, *size)),
        "offset_weights": np.ones(size),  # mixed samples have no leading axis
    }
    shapes = {cell.shape for _, cell in samples.sample_cells(picture, CITYSCAPES)}
    ((height, width, _),) = shapes
    assert 336 <= width <= 600 and abs(height - width * size[0] / size[1]) <= 1


def test_cells_of_a_mask_models_targets_tell_each_segments_weight():
    ids = np.zeros(SIZE, np.int64)
    ids[50:], ids[100:200, 100:200] = 1, 2
    segments = {
        "segment_ids": ids,
        "segment_classes": np.array([ROAD, CAR]),
        "segment_weights": np.array([1.0, 0.25]),
        "segment_confidence": np.where(ids > 0, 0.9, 0.1).astype(np.float32),
    }
    image = sample()["image"]
    found = dict(samples.sample_cells({"image": image, **segments}, CITYSCAPES))
    assert list(found) == ["image", "segments, weights 0.25, 1", "segment weights", "confidence 0.1, 0.9"]
    for name in ("segments, weights 0.25, 1", "segment weights"):
        np.testing.assert_array_equal(found[name][:50], hatch(image)[:50])  # no segment
    ramp = samples.draw_weights(np.array([[0.25, 1.0, 0.9, 0.1]]))[0]
    assert (found["segment weights"][150, 150] == ramp[0]).all() and (found["segment weights"][60, 60] == ramp[1]).all()
    assert (found["confidence 0.1, 0.9"][60, 60] == ramp[2]).all()
    plain = dict(
        samples.sample_cells({"image": image, **segments, "segment_weights": np.array([1.0, 1.0])}, CITYSCAPES)
    )
    changed = (found["segments, weights 0.25, 1"] != plain["segments, weights 1"]).any(axis=2)
    assert changed.any() and not changed[:100].any() and not changed[:, 200:].any()  # the number on the car alone
    empty = {"segment_ids": 0 * ids, "segment_classes": np.empty(0, int), "segment_weights": np.empty(0)}
    cells_of_none = samples.sample_cells({"image": image, **segments, **empty}, CITYSCAPES)
    assert cells_of_none[1][0] == "segments, weights none"
