import json

import numpy as np
import pytest

from gbw_panoptic.data.statistics import ClassStatistics, count_pixels
from gbw_panoptic.errors import UserError

NAMES = ("road", "car", "train")
STATISTICS = ClassStatistics(NAMES, {"a": {0: 90, 1: 10}, "b": {0: 100}})


def test_totals_and_frequencies():
    assert STATISTICS.pixels.dtype == np.int64 and STATISTICS.pixels.tolist() == [190, 10, 0]
    assert STATISTICS.frequencies().tolist() == [0.95, 0.05, 0.0]


def test_no_labelled_pixel_gives_frequencies_of_zero():
    assert ClassStatistics(NAMES, {"void": {}}).frequencies().tolist() == [0.0, 0.0, 0.0]


def test_pixels_of_the_images_with_a_class():
    assert STATISTICS.image_pixels().tolist() == [200, 100, 0]
    assert ClassStatistics(NAMES, {"void": {}}).image_pixels().tolist() == [0, 0, 0]


def test_restriction_takes_other_classes_for_unlabelled():
    things = STATISTICS.restricted_to((1, 2))
    assert things.pixels.tolist() == [0, 10, 0] and things.image_pixels().tolist() == [0, 10, 0]
    assert things.class_names == NAMES and STATISTICS.pixels.tolist() == [190, 10, 0]


def test_images_with_a_pixel_of_a_class():
    assert STATISTICS.images_with(0) == ["a", "b"]
    assert STATISTICS.images_with(1) == ["a"]
    assert STATISTICS.images_with(2) == []


def test_count_pixels_agrees_with_comparison_per_class():
    labels = np.random.default_rng(0).choice(np.array([0, 1, 2, 7, 255], np.uint8), (13, 17))
    counts = count_pixels(labels, num_classes=4)
    assert counts == {c: int((labels == c).sum()) for c in (0, 1, 2)}
    assert count_pixels(np.full((3, 3), 255, np.uint8), num_classes=4) == {}


def test_round_trip(tmp_path):
    STATISTICS.save(tmp_path / "statistics.json")
    assert ClassStatistics.load(tmp_path / "statistics.json", NAMES) == STATISTICS
    value = json.loads((tmp_path / "statistics.json").read_text())
    assert value == {
        "version": 1,
        "class_names": ["road", "car", "train"],
        "pixels": [190, 10, 0],
        "images": {"a": {"0": 90, "1": 10}, "b": {"0": 100}},
    }


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2},
        {"pixels": [190, 11, 0]},
        {"images": {"a": {"3": 5}}},
        {"images": {"a": {"0": -5}}},
        {"images": {"a": {"0": 0.5}}},
        {"images": [1]},
        {"class_names": None},
    ],
)
def test_inconsistent_files_are_refused(tmp_path, change):
    path = tmp_path / "statistics.json"
    STATISTICS.save(path)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(UserError, match="expected .*statistics.json; prepare the data"):
        ClassStatistics.load(path)


def test_other_classes_and_missing_files_are_refused(tmp_path):
    STATISTICS.save(tmp_path / "statistics.json")
    with pytest.raises(UserError, match="expected statistics of the 2 classes road, car, found road, car, train"):
        ClassStatistics.load(tmp_path / "statistics.json", ("road", "car"))
    with pytest.raises(UserError, match="found nothing"):
        ClassStatistics.load(tmp_path / "absent.json")
