"""Panoptic quality against panopticapi, by hand and by property."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from cityscapesscripts.evaluation import evalPanopticSemanticLabeling
from hypothesis import given, settings
from hypothesis import strategies as st
from panopticapi.evaluation import pq_compute_single_core
from panopticapi.utils import id2rgb, rgb2id
from PIL import Image

from gbw_panoptic.errors import UserError
from gbw_panoptic.evaluation.matching import count_overlaps, match_segments
from gbw_panoptic.evaluation.panoptic_quality import PanopticQuality

SAMPLE = Path(__file__).parents[2] / ".." / "shared" / "data" / "coco_panoptic_sample"
CATEGORIES = [
    {"id": 7, "isthing": 0},
    {"id": 23, "isthing": 0},
    {"id": 24, "isthing": 1},
    {"id": 33, "isthing": 1},
    {"id": 200, "isthing": 1},
]
ODD_IDS = np.array([1, 2, 255, 256, 257, 7000, 24001, 65535, 65536, 65793, 131072, 2**24 - 1])


def random_pair(seed: int):
    """(pred ids, pred segments, gt ids, gt segments): void, crowds, absent classes, unlisted ids, empty segments."""
    rng = np.random.default_rng(seed)
    height, width = rng.integers(1, 25, 2)
    gt = random_map(rng, height, width)
    pred = np.where(rng.random((height, width)) < rng.choice([0.02, 0.4]), random_map(rng, height, width), gt)
    categories = rng.permutation([c["id"] for c in CATEGORIES])[: rng.integers(1, len(CATEGORIES) + 1)]
    classes = dict(zip(ODD_IDS.tolist(), rng.choice(categories, len(ODD_IDS)).tolist()))
    relabelled = rng.random() < 0.5
    if relabelled:  # other ids for the same regions
        new_ids = {0: 0, **dict(zip(ODD_IDS.tolist(), rng.permutation(ODD_IDS).tolist()))}
        pred = np.vectorize(new_ids.get)(pred)
        classes_pred = {new_ids[i]: c for i, c in classes.items()}
    else:
        classes_pred = dict(classes)
    for i in classes_pred:
        if rng.random() < 0.1:
            classes_pred[i] = int(rng.choice(categories))
    pred_listed = [int(i) for i in rng.permutation(np.unique(pred)) if i != 0]
    if 0 in pred and rng.random() < 0.2:  # panopticapi accepts a predicted segment with id 0
        pred_listed.append(0)
        classes_pred[0] = int(categories[0])
    gt_listed = [int(i) for i in rng.permutation(np.union1d(np.unique(gt), rng.choice(ODD_IDS, 1))) if i != 0]
    if len(gt_listed) > 1 and rng.random() < 0.2:
        gt_listed.pop()  # in the map, not in the list
    gt_segments = [
        {"id": i, "category_id": classes[i], "iscrowd": int(rng.random() < 0.25), "area": int((gt == i).sum())}
        for i in gt_listed
    ]
    return pred, [{"id": i, "category_id": classes_pred[i]} for i in pred_listed], gt, gt_segments


def random_map(rng, height, width) -> np.ndarray:
    """Rectangles of odd ids on void or on one id."""
    ids = np.full((height, width), rng.choice([0, int(rng.choice(ODD_IDS))]))
    for _ in range(rng.integers(0, 9)):
        top, left = rng.integers(0, height), rng.integers(0, width)
        bottom, right = top + rng.integers(1, 13), left + rng.integers(1, 13)
        ids[top:bottom, left:right] = rng.choice([0, *ODD_IDS])
    return ids


def oracle(
    folder: Path, pred, pred_segments, gt, gt_segments, categories=CATEGORIES, compute=pq_compute_single_core
) -> dict[int, tuple]:
    """(tp, fp, fn, iou) per class by panopticapi (or a program of the same signature) from PNG files."""
    for name, ids in (("pred", pred), ("gt", gt)):
        (folder / name).mkdir(exist_ok=True)
        Image.fromarray(id2rgb(ids)).save(folder / name / "a.png", compress_level=1)
    annotations = [
        {"file_name": "a.png", "image_id": 0, "segments_info": [dict(s) for s in segments]}
        for segments in (gt_segments, pred_segments)
    ]
    stat = compute(0, [tuple(annotations)], str(folder / "gt"), str(folder / "pred"), {c["id"]: c for c in categories})
    return {c["id"]: (stat[c["id"]].tp, stat[c["id"]].fp, stat[c["id"]].fn, stat[c["id"]].iou) for c in categories}


def ours(*pair, categories=CATEGORIES) -> PanopticQuality:
    quality = PanopticQuality(categories)
    quality.update(*pair)
    return quality


def assert_equal_to(expected: dict[int, tuple], quality: PanopticQuality) -> None:
    for category, scores in quality.compute()["per_class"].items():
        tp, fp, fn, iou = expected[category]
        assert (scores["tp"], scores["fp"], scores["fn"]) == (tp, fp, fn), category
        assert scores["iou"] == pytest.approx(iou, abs=1e-9)


def test_equals_panopticapi_on_random_maps(tmp_path):
    totals = np.zeros(3, int)
    for seed in range(1200):
        pair = random_pair(seed)
        expected = oracle(tmp_path, *pair)
        try:
            assert_equal_to(expected, ours(*pair))
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {error}") from error
        totals += np.sum([value[:3] for value in expected.values()], axis=0)
    assert (totals > 500).all()  # the generator exercises matches, false positives and misses


def test_equals_cityscapesscripts(tmp_path):
    compute = evalPanopticSemanticLabeling.pq_compute_single_core
    for seed in range(2000, 2050):
        pair = random_pair(seed)
        assert_equal_to(oracle(tmp_path, *pair, compute=compute), ours(*pair))


def test_equals_panopticapi_on_noise(tmp_path):
    rng = np.random.default_rng(0)
    gt, pred = rng.choice(ODD_IDS, (2, 64, 64))
    pred[:, :40] = gt[:, :40]
    segments = [{"id": int(i), "category_id": 24, "iscrowd": 0, "area": int((gt == i).sum())} for i in ODD_IDS]
    assert_equal_to(oracle(tmp_path, pred, segments, gt, segments), ours(pred, segments, gt, segments))


@pytest.mark.skipif(not SAMPLE.is_dir(), reason=f"no sample data at {SAMPLE}")
def test_equals_panopticapi_on_coco_annotations(tmp_path):
    categories = json.loads((SAMPLE / "panoptic_coco_categories.json").read_text())
    annotations = json.loads((SAMPLE / "panoptic_examples.json").read_text())["annotations"]
    assert annotations
    for annotation in annotations:
        gt = rgb2id(np.array(Image.open(SAMPLE / "panoptic_examples" / annotation["file_name"])))
        segments = [{**s, "area": int((gt == s["id"]).sum())} for s in annotation["segments_info"]]
        pred = np.roll(gt, 5, axis=1)
        quality = ours(pred, segments, gt, segments, categories=categories)
        assert_equal_to(oracle(tmp_path, pred, segments, gt, segments, categories), quality)
        assert 0 < quality.compute()["All"]["PQ"] < 100
        no_crowd = [{**s, "iscrowd": 0} for s in segments]
        assert ours(gt, no_crowd, gt, no_crowd, categories=categories).compute()["All"]["PQ"] == 100


def test_hand_computed():
    gt = np.array([[1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 0, 0]])
    pred = np.array([[5, 5, 5, 6, 6, 7, 7, 7, 7, 7, 7, 8]])
    gt_segments = [
        {"id": 1, "category_id": 7},
        {"id": 2, "category_id": 24},
        {"id": 3, "category_id": 24, "iscrowd": 1},
    ]
    pred_segments = [
        {"id": 5, "category_id": 7},  # 3 of 4 pixels of 1: IoU = 3 / 4
        {"id": 6, "category_id": 24},  # 1 of 2 with 2, IoU = 1 / (2 + 4 - 1): false positive
        {
            "id": 7,
            "category_id": 24,
        },  # with 2: 3 / (6 + 4 - 3 - 1 void) = 1/2, no match; 1 void + 2 crowd of 6 = 1/2: false positive
        {"id": 8, "category_id": 33},  # all on void: ignored
    ]
    scores = ours(pred, pred_segments, gt, gt_segments).compute()
    assert scores["per_class"][7] == {
        "PQ": 75, "SQ": 75, "RQ": 100, "tp": 1, "fp": 0, "fn": 0, "iou": 0.75, "recall": 100,
    }  # fmt: skip
    assert [scores["per_class"][24][key] for key in ("tp", "fp", "fn", "PQ", "recall")] == [0, 2, 1, 0, 0]
    assert [scores["per_class"][33][key] for key in ("tp", "fp", "fn")] == [0, 0, 0]
    assert scores["All"] == {"PQ": 37.5, "SQ": 37.5, "RQ": 50, "n": 2}  # classes 7 and 24 occur
    assert scores["Stuff"] == {"PQ": 75, "SQ": 75, "RQ": 100, "n": 1}
    assert scores["Things"] == {"PQ": 0, "SQ": 0, "RQ": 0, "n": 1}


@pytest.mark.parametrize("covered, expected", [(0, 50.0), (6, 80.0)])
def test_abstaining_is_no_way_to_look_good(covered, expected):
    """One perfect stuff segment, one thing of 10 pixels of which ``covered`` are predicted and the rest is left void.

    covered 0: thing is a miss, PQ = (100 + 0) / 2. covered 6: IoU = 6/10, PQ = (100 + 60) / 2.
    """
    gt = np.repeat([1, 2], 10)[None]
    pred = gt.copy()
    pred[0, 10 + covered :] = 0
    gt_segments = [{"id": 1, "category_id": 7}, {"id": 2, "category_id": 24}]
    assert ours(pred, gt_segments[: 1 + bool(covered)], gt, gt_segments).compute()["All"]["PQ"] == pytest.approx(
        expected
    )


def test_ground_truth_as_prediction_scores_100():
    quality = PanopticQuality(CATEGORIES)
    for seed in range(30):
        _, _, gt, segments = random_pair(seed)
        present = [{**s, "iscrowd": 0} for s in segments if (gt == s["id"]).any()]
        gt = np.where(np.isin(gt, [s["id"] for s in present]), gt, 0)
        quality.update(gt, present, gt, present)
    scores = quality.compute()
    assert scores["All"] == {"PQ": 100, "SQ": 100, "RQ": 100, "n": 5}
    assert all(c["recall"] == 100 and c["fp"] == c["fn"] == 0 < c["tp"] for c in scores["per_class"].values())


def test_merged_shards_equal_one_pass():
    joint, shards = PanopticQuality(CATEGORIES), [PanopticQuality(CATEGORIES) for _ in range(3)]
    for seed in range(30):
        joint.update(*random_pair(seed))
        shards[seed % 3].update(*random_pair(seed))
    shards[0].merge(shards[1])
    shards[0].add_state(shards[2].state())
    for key, value in joint.state().items():
        np.testing.assert_allclose(shards[0].state()[key], value, atol=1e-12)
        assert value.sum() > 0


def test_merge_refuses_other_categories():
    with pytest.raises(UserError, match="same categories"):
        PanopticQuality(CATEGORIES).merge(PanopticQuality(CATEGORIES[:2]))


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), shuffle=st.randoms())
def test_invariant_to_order_and_ids(seed, shuffle):
    pred, pred_segments, gt, gt_segments = random_pair(seed)
    # panopticapi itself depends on the order where a class has several crowds: the last one counts.
    crowds = [s["category_id"] for s in gt_segments if s["iscrowd"]]
    gt_segments = [{**s, "iscrowd": 0} if crowds.count(s["category_id"]) > 1 else s for s in gt_segments]
    ids = [i for i in np.unique([*pred.ravel(), *gt.ravel(), *(s["id"] for s in gt_segments)]).tolist() if i]
    new = {0: 0, **dict(zip(ids, shuffle.sample(range(1, 10**7), len(ids))))}

    def renamed(id_map, segments):
        segments = [{**s, "id": new[s["id"]]} for s in segments]
        return np.vectorize(new.get)(id_map), shuffle.sample(segments, len(segments))

    changed = ours(*renamed(pred, pred_segments), *renamed(gt, gt_segments)).state()
    for key, value in ours(pred, pred_segments, gt, gt_segments).state().items():
        np.testing.assert_allclose(changed[key], value, atol=1e-12)


def test_areas_are_counted_not_read():
    pred, pred_segments, gt, gt_segments = random_pair(3)
    lying = [{**s, "area": 10**6} for s in gt_segments], [{**s, "area": 1} for s in pred_segments]
    honest = ours(pred, pred_segments, gt, gt_segments).state()
    assert honest["tp"].sum() > 0
    for key, value in ours(pred, lying[1], gt, lying[0]).state().items():
        np.testing.assert_array_equal(honest[key], value)


def test_void_categories_equal_removal_from_the_ground_truth(tmp_path):
    for seed in range(100):
        pred, pred_segments, gt, gt_segments = random_pair(seed)
        quality = PanopticQuality(CATEGORIES, void_categories=(24, 7))
        quality.update(pred, pred_segments, gt, gt_segments)
        kept = [s for s in gt_segments if s["category_id"] not in (24, 7)]
        removed = [s["id"] for s in gt_segments if s["category_id"] in (24, 7)]
        assert_equal_to(oracle(tmp_path, pred, pred_segments, np.where(np.isin(gt, removed), 0, gt), kept), quality)


def test_average_over_chosen_classes_and_over_none():
    gt = np.array([[1, 1, 2, 2]])
    segments = [{"id": 1, "category_id": 7}, {"id": 2, "category_id": 24}]
    quality = ours(np.array([[1, 1, 0, 0]]), segments[:1], gt, segments)
    assert quality.compute()["All"] == {"PQ": 50, "SQ": 50, "RQ": 50, "n": 2}
    assert quality.compute([7, 23])["All"] == {"PQ": 100, "SQ": 100, "RQ": 100, "n": 1}
    assert list(quality.compute([7, 23])["per_class"]) == [7, 23]
    assert quality.compute([23])["All"] == quality.compute([23])["Things"] == {"PQ": 0, "SQ": 0, "RQ": 0, "n": 0}
    with pytest.raises(UserError, match="99"):
        quality.compute([99])


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.uint32, np.int64, np.uint64])
def test_integer_types_and_torch(dtype):
    gt = np.array([[1, 1, 9, 9], [0, 1, 9, 9]])
    segments = [{"id": 1, "category_id": 7}, {"id": 9, "category_id": 24}]
    assert ours(gt.astype(dtype), segments, torch.from_numpy(gt), segments).compute()["All"]["PQ"] == 100


def test_negative_and_huge_ids():
    gt = np.array([[-5, -5, 2**40, 2**40], [0, 2**33, 2**40, 2**33 + 1]])
    segments = [{"id": i, "category_id": 24} for i in (-5, 2**40, 2**33, 2**33 + 1)]
    assert ours(gt, segments, gt, segments).compute()["per_class"][24]["tp"] == 4


def test_void_everywhere():
    void = np.zeros((3, 5), int)
    assert ours(void, [], void, []).compute()["All"] == {"PQ": 0, "SQ": 0, "RQ": 0, "n": 0}
    ones, segments = np.ones((3, 5), int), [{"id": 1, "category_id": 24}]
    assert ours(ones, segments, void, []).state()["fp"].sum() == 0  # all of it on void
    assert ours(void, [], ones, segments).state()["fn"].tolist() == [0, 0, 1, 0, 0]


@pytest.mark.parametrize(
    "pred, segments, message",
    [
        (np.ones((2, 3), int), [], r"found \[1\] only in the map"),
        (np.zeros((2, 3), int), [{"id": 4, "category_id": 7}], r"no pixel of \[4\]"),
        (np.ones((2, 3), int), [{"id": 1, "category_id": 5}], r"found \[5\]"),
        (np.zeros((3, 2), int), [], r"size \(2, 3\), found \(3, 2\)"),
        (np.zeros((2, 3, 3), np.uint8), [], "integer H x W"),
        (np.zeros((2, 3)), [], "float64"),
    ],
)
def test_bad_input(pred, segments, message):
    with pytest.raises(UserError, match=message):
        PanopticQuality(CATEGORIES).update(pred, segments, np.zeros((2, 3), int), [])


def test_matches_name_the_segments():
    gt, pred = np.array([[1, 1, 2, 2]]), np.array([[8, 8, 9, 8]])
    segments = [{"id": 1, "category_id": 24}, {"id": 2, "category_id": 24}]
    overlaps = count_overlaps(pred, [{"id": 9, "category_id": 7}, {"id": 8, "category_id": 24}], gt, segments)
    matches = match_segments(overlaps)
    assert [(overlaps.gt_ids[g], overlaps.pred_ids[p]) for g, p in zip(matches.gt, matches.pred)] == [(1, 8)]
    assert matches.iou.tolist() == [pytest.approx(2 / 3)]  # 2 / (3 + 2 - 2)
    assert overlaps.gt_ids[matches.missed].tolist() == [2] and overlaps.pred_ids[matches.false].tolist() == [9]


@pytest.mark.parametrize("exact", [False, True])
def test_a_truth_that_lists_void_as_a_segment_is_refused(exact):
    """Numbered from 0, as some exporters do: the segment of id 0 counted as void, too, and PQ was 500."""
    gt, pred = np.zeros((10, 10), int), np.full((10, 10), 8)
    gt[:, 5:] = 1
    pred[:, 5 if exact else 6 :] = 9
    segments = [{"id": 0, "category_id": 7}, {"id": 1, "category_id": 23}]
    with pytest.raises(UserError, match="found 0, which is void"):
        count_overlaps(pred, [{"id": 8, "category_id": 7}, {"id": 9, "category_id": 23}], gt, segments)


def test_a_score_beyond_100_is_a_fault_of_the_program():
    quality = PanopticQuality(CATEGORIES)
    quality.add_state({"tp": np.full(5, 1), "fp": np.zeros(5, int), "fn": np.zeros(5, int), "iou": np.full(5, 5.0)})
    with pytest.raises(RuntimeError, match="expected PQ in 0..100, found 500.*please report it"):
        quality.compute()
