"""What is known of instances: against the full targets where all is known, under views, and where little is."""

import numpy as np
import pytest
import torch

from gbw_panoptic.data.known_instances import known_targets, labelled_instances, view_of
from gbw_panoptic.data.label_maps import LabelMap
from gbw_panoptic.data.targets import panoptic_deeplab_targets
from gbw_panoptic.data.views import Window
from gbw_panoptic.structures.known_instances import KnownInstances

THINGS, IGNORE = (13, 11), 255


def label():
    """Road with two cars, a person and a crowd of persons; rows are segments."""
    rows = np.ones((24, 40), np.int32)
    rows[2:9, 3:12], rows[6:20, 20:30], rows[10:16, 33:36], rows[18:, :10] = 2, 3, 4, 5
    classes = {1: 0, 2: 13, 3: 13, 4: 11, 5: 11}
    segments = [{"id": row, "category_id": c, "iscrowd": int(row == 5)} for row, c in classes.items()]
    return LabelMap(rows, np.array([IGNORE, *classes.values()], np.uint8), 0, segments)


def test_all_known_is_what_a_source_sample_holds():
    truth = label()
    known = labelled_instances(truth, THINGS)
    sure = truth.rows != 5  # of a crowd nobody knows whose pixel it is
    ours = known_targets(known, sure, sigma=2, ignore_label=IGNORE)
    segments = [s for s in truth.segments if s["id"] != 5]
    theirs = panoptic_deeplab_targets(
        np.where(sure, truth.rows, 0), segments, thing_ids=THINGS, ignore_label=IGNORE, sigma=2
    )
    assert ours.keys() == theirs.keys() - {"sem_seg", "sem_seg_weights", "center_points"}
    for key, value in ours.items():
        assert torch.equal(value, theirs[key]) and value.dtype == theirs[key].dtype, key


def test_of_little_that_is_known_the_centre_is_the_whole_instances():
    seen = np.zeros((24, 40), bool)
    seen[6:9, 20:23] = True  # a corner of the large car
    seen[22, 38] = True  # road
    known = labelled_instances(label(), THINGS).restricted(seen)
    assert known.centers.tolist() == [[12.5, 24.5]] and known.classes.tolist() == [13]
    targets = known_targets(known, seen, sigma=2, ignore_label=IGNORE)
    assert targets["offset"][:, 6, 20].tolist() == [6.5, 4.5]
    assert torch.equal(targets["offset_weights"][0] > 0, torch.from_numpy(seen) & (targets["instance_ids"] > 0))
    expected = torch.from_numpy(seen.copy())
    expected[12, 24] = True  # the centre itself, rounded to even
    assert torch.equal(targets["center_weights"][0] > 0, expected) and targets["center"][12, 24] == 1
    assert targets["center"][22, 38] == 0 and targets["center_classes"][12, 24] == 13


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("factor", [1, 2])
def test_views_move_centres_as_pixels(flip, factor):
    known = labelled_instances(label(), THINGS)
    window = Window(2 * factor, 1 * factor, 20 * factor, 36 * factor)
    view = view_of(known, (24 * factor, 40 * factor), window, flip=flip)
    assert view.numbers.shape == (20 * factor, 36 * factor)
    for number in (2, 3):  # whole in the window
        assert np.argwhere(view.numbers == number).mean(0) == pytest.approx(view.centers[number - 1])
    corner = view_of(known, (24, 40), Window(0, 0, 4, 4), flip=False)
    away = known_targets(corner, np.ones((4, 4), bool), sigma=1, ignore_label=IGNORE)
    assert away["instance_ids"].max() == 1 and away["offset"][1, 3, 3] == 4  # its centre is outside


def test_bytes_and_nothing():
    known = labelled_instances(label(), THINGS)
    again = KnownInstances.from_bytes(known.to_bytes())
    assert again.to_bytes() == known.to_bytes() and np.array_equal(again.numbers, known.numbers)
    none = known.restricted(np.zeros((24, 40), bool))
    assert none.numbers.sum() == 0 and len(none.centers) == 0
    nothing = KnownInstances.none((4, 5))
    targets = known_targets(nothing, np.zeros((4, 5), bool), sigma=1, ignore_label=IGNORE)
    assert targets["center"].sum() == 0 and targets["center_weights"].sum() == 0
    assert (targets["center_classes"] == IGNORE).all()
    with pytest.raises(ValueError, match="damaged"):
        KnownInstances.from_bytes(known.to_bytes()[:-30])
