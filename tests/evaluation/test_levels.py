"""Scores at levels where classes are not told apart, and of labels that are unions of classes."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gbw_panoptic.evaluation.accumulator import ScoreAccumulator
from gbw_panoptic.evaluation.levels import Level, common_protocol
from gbw_panoptic.structures.predictions import GroundTruth
from gbw_panoptic.evaluation.panoptic_quality import PanopticQuality
from gbw_panoptic.taxonomy import LabelUnion, Protocol, Taxonomy

# 0 road, 1 path (stuff), 2 car, 3 bus, 4 person (things); labels 5: car or bus, 6: bus or person, 7: road or path
TAXONOMY = Taxonomy(
    "t", ("road", "path", "car", "bus", "person"), (1, 2, 3, 4, 5), (False, False, True, True, True), ((0, 0, 0),) * 5,
    unions=(LabelUnion("vehicle", 6, (2, 3)), LabelUnion("mover", 7, (3, 4)), LabelUnion("ground", 8, (0, 1))),
)  # fmt: skip
VEHICLES = (("vehicle", (2, 3)),)
GROUND = (("ground", (0, 1)), ("vehicle", (2, 3)))


def segments(ids: np.ndarray, labels: dict[int, int], crowds=()) -> list[dict]:
    return [{"id": i, "category_id": labels[i], "iscrowd": int(i in crowds)} for i in np.unique(ids).tolist() if i]


def test_the_table_of_a_level():
    assert Level(TAXONOMY).table.tolist() == [0, 1, 2, 3, 4, -1, -1, -1]
    level = Level(TAXONOMY, VEHICLES)
    assert level.table.tolist() == [0, 1, 2, 2, 3, 2, -1, -1] and level.unknown == (6, 7)
    assert level.classes.names == ("road", "path", "vehicle", "person") and level.classes.is_thing == (
        False,
        False,
        True,
        True,
    )
    assert level.protocol(Protocol("x", (2, 4), (0,), groups=VEHICLES)) == Protocol("x", (2, 3), (0,))
    assert list(level.pixels([1, 2, 3, 4, 5])) == [1, 2, 7, 5]


@pytest.mark.parametrize(
    "labels, groups",
    [
        ((0, 1, 2), None),
        ((0, 5), (("vehicle", (2, 3)),)),
        ((7, 5), (("ground", (0, 1)), ("vehicle", (2, 3)))),
        ((5, 6), (("vehicle + mover", (2, 3, 4)),)),
    ],
)
def test_the_common_level_is_the_finest_at_which_labels_and_classes_compare(labels, groups):
    protocol = common_protocol(TAXONOMY, labels)
    assert protocol == (None if groups is None else Protocol("common", (0, 1, 2, 3, 4), groups=groups))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([VEHICLES, GROUND]))
def test_scores_of_a_level_are_those_of_maps_that_were_relabelled_before(seed, groups):
    """The oracle merges in the maps: classes by a table, and to one the segments of a stuff group, and its crowds."""
    generator = np.random.default_rng(seed)
    plain = replace(TAXONOMY, unions=())
    level = Level(plain, groups)
    truth, prediction = (np.kron(generator.integers(0, 9, (4, 4)), np.ones((3, 3), int)) for _ in range(2))
    prediction = np.where(generator.random(truth.shape) < 0.6, truth, prediction)
    labels = {i: generator.integers(0, 5) for i in range(1, 9)}
    guesses = {i: labels[i] if generator.random() < 0.7 else generator.integers(0, 5) for i in labels}
    crowds = {i for i in labels if plain.is_thing[labels[i]] and generator.random() < 0.2}
    for of_class in range(2):  # stuff of one class is one segment
        for names in (labels, guesses):
            same = [i for i in names if names[i] == of_class]
            for other in same[1:]:
                (truth if names is labels else prediction)[(truth if names is labels else prediction) == other] = same[
                    0
                ]
    protocol = Protocol("level", tuple(range(5)), groups=groups)
    accumulator = ScoreAccumulator(plain, [protocol])
    gt, pred = segments(truth, labels, crowds), segments(prediction, guesses)
    accumulator.add(
        GroundTruth(_label_map(truth, labels), truth, gt), _label_map(prediction, guesses), (prediction, pred)
    )
    scores = accumulator.scores()
    oracle = PanopticQuality(level.categories)
    oracle.update(*_relabelled(prediction, guesses, level, ()), *_relabelled(truth, labels, level, crowds))
    expected = oracle.compute()
    assert scores["panoptic"]["level"]["PQ"] == pytest.approx(expected["All"]["PQ"])
    for group, name in enumerate(level.classes.names):
        found = scores["panoptic"]["level"]["per_class"][name]
        assert {key: found[key] for key in ("tp", "fp", "fn")} == {
            key: expected["per_class"][group][key] for key in ("tp", "fp", "fn")
        }
    true_groups = np.append(level.table, -1)[_label_map(truth, labels)]
    predicted = np.append(level.table, -1)[_label_map(prediction, guesses)]
    for group, name in enumerate(level.classes.names):
        both = ((true_groups == group) & (predicted == group)).sum()
        either = ((true_groups == group) | (predicted == group) & (true_groups >= 0)).sum()
        assert scores["semantic"]["level"]["per_class"][name]["IoU"] == pytest.approx(100 * both / max(either, 1))


def _label_map(ids: np.ndarray, labels: dict[int, int]) -> np.ndarray:
    return np.array([5, *(labels[i] for i in range(1, 9))])[ids]  # 5: no class


def _relabelled(ids: np.ndarray, labels: dict[int, int], level: Level, crowds) -> tuple[np.ndarray, list[dict]]:
    new, listed = np.zeros_like(ids), {}
    for i in np.unique(ids).tolist():
        if not i:
            continue
        group = int(level.table[labels[i]])
        alone = level.classes.is_thing[group] and i not in crowds
        key = i if alone else 100 + 2 * group + (i in crowds)  # crowds of one group are one crowd
        new[ids == i] = key
        listed[key] = {"id": key, "category_id": group, "iscrowd": int(i in crowds)}
    return new, list(listed.values())


def test_unions_are_void_where_their_classes_are_told_apart_and_count_where_they_are_not():
    truth = np.array([[1, 1, 2, 2], [3, 3, 4, 4]])  # vehicle, car, ground, road
    labels = {1: 5, 2: 2, 3: 7, 4: 0}
    prediction, guesses = np.array([[1, 1, 2, 2], [3, 3, 3, 3]]), {1: 3, 2: 2, 3: 0}  # bus, car, road
    label_map = np.array([9, 5, 2, 7, 0])[truth]
    accumulator = ScoreAccumulator(
        TAXONOMY, [Protocol("all", (0, 1, 2, 3, 4)), common_protocol(TAXONOMY, (0, 2, 5, 7))], instance_ap=True
    )
    scores = {1: 0.9, 2: 0.8}
    accumulator.add(
        GroundTruth(label_map, truth, segments(truth, labels)), np.array([9, 3, 2, 0])[prediction],
        (prediction, segments(prediction, guesses)), scores,
    )  # fmt: skip
    found = accumulator.scores()
    fine, common = found["panoptic"]["all"], found["panoptic"]["common"]
    assert (
        fine["per_class"]["bus"] | {"iou": 0} == fine["per_class"]["bus"] and fine["per_class"]["bus"]["fp"] == 0
    )  # on void
    assert (
        fine["per_class"]["car"]["tp"] == 1 and fine["per_class"]["road"]["PQ"] == 100
    )  # void is left out of the union
    assert set(common["per_class"]) == {"ground", "vehicle", "person"}
    assert common["per_class"]["vehicle"]["tp"] == 2 and common["PQ"] == 100 and common["N"] == 2
    assert found["semantic"]["all"]["per_class"]["bus"]["fp"] == 0
    assert found["semantic"]["common"]["mIoU"] == 100 and "common" not in found["instance"]


def test_rare_classes_by_name_and_by_count():
    truth = np.array([[0, 1, 2, 2]])
    for rare, expected in ((("bus", "car"), ["bus", "car"]), (1, ["path"]), (None, ["path", "road"])):
        accumulator = ScoreAccumulator(replace(TAXONOMY, rare=rare), [Protocol("all", (0, 1, 2, 3, 4))])
        accumulator.add(GroundTruth(truth, None, ()), truth)
        scores = accumulator.scores(source_pixels=[4, 3, 9, 9, 9], num_rare=2)["semantic"]["all"]
        assert scores["rare_classes"] == expected
