"""Estimators against formulas written out, other libraries, and what must not change them."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import jensenshannon

from gbw_panoptic.trust.seen import calibrate, fit_temperature
from gbw_panoptic.trust.estimation import Counts, Estimation, read_estimations
from gbw_panoptic.trust.agreement import segment_overlap
from gbw_panoptic.trust.estimators import ESTIMATORS
from gbw_panoptic.trust.seen import Calibration, Output, Reference, Seen, grid_step, spaced

C, H, W = 4, 9, 14
NAMES = ("road", "sky", "car", "person")
REFERENCE = Reference(NAMES, 1000, np.array([0.5, 0.3, 0.15, 0.05]), Calibration(2.0, 0.5))


def output(seed: int, *, scale: float = 2.0) -> Output:
    """Random logits, their labels, two instances of each thing (classes 2 and 3), a heatmap and features."""
    rng = np.random.default_rng(seed)
    logits = (scale * rng.normal(size=(C, H, W))).astype(np.float32)
    labels = logits.argmax(0)
    instance = np.where(labels >= 2, 1 + (np.arange(W) > W // 2), 0)
    panoptic = (1000 * labels + instance).astype(np.int32)
    panoptic[0, :3] = -1
    return Output(
        logits, labels, panoptic, None, rng.random((H, W), np.float32), rng.normal(size=(50, 5)).astype(np.float32)
    )


def seen(seed: int) -> Seen:
    return Seen(output(seed), output(seed + 100), output(seed + 200))


def estimates(images: list[Seen], reference: Reference = REFERENCE) -> Estimation:
    counts = Counts()
    for number, image in enumerate(images):
        counts.add(str(number), image, reference)
    return Estimation.of("student", 3, counts, reference, {"source_PQ": 50.0})


def test_every_estimator_says_what_it_is_and_stays_in_percent():
    found = estimates([seen(seed) for seed in range(3)])
    assert set(found.counts) == set(ESTIMATORS) and set(found.values) == {*ESTIMATORS, "source_PQ"}
    assert all(0 <= value <= 100 for value in found.flat().values())
    assert all(estimator.text and estimator.sign in (1, -1) for estimator in ESTIMATORS.values())
    assert {"view_PQ/car", "teacher_mIoU/sky", "shares/person", "confidence/road"} <= found.flat().keys()


def test_agreement_is_the_jaccard_index_of_sets():
    images = [seen(seed) for seed in range(3)]
    found = estimates(images)
    one, two = ([getattr(i, part).labels.ravel().tolist() for i in images] for part in ("own", "view"))
    pixels = [
        {c: {(k, p) for k, of in enumerate(part) for p, x in enumerate(of) if x == c} for c in range(C)}
        for part in (one, two)
    ]
    iou = [100 * len(pixels[0][c] & pixels[1][c]) / len(pixels[0][c] | pixels[1][c]) for c in range(C)]
    assert found.per_class["view_mIoU"] == pytest.approx(dict(zip(NAMES, iou)))
    assert found.values["view_mIoU"] == pytest.approx(sum(iou) / C)


def test_panoptic_agreement_by_hand():
    truth = np.full((4, 8), 1000)  # all sky
    truth[:2, :4], truth[:2, 4:] = 2001, 2002  # two cars of 8 pixels
    prediction = truth.copy()
    prediction[:2, 3:5] = 1000  # each car has 6 of its 8 pixels: IoU 6/8; sky has 20, of which 16 are right: IoU 16/20
    iou, matched, false, missed = segment_overlap(prediction, truth, REFERENCE).T
    assert iou.tolist() == pytest.approx([0, 0.8, 1.5, 0]) and matched.tolist() == [0, 1, 2, 0]
    prediction[:2] = 2001  # one segment over both cars: an IoU of 8/16 with either, which is no match
    iou, matched, false, missed = segment_overlap(prediction, truth, REFERENCE).T
    assert (matched[2], false[2], missed[2]) == (0, 1, 2)


def test_equal_outputs_agree_wholly():
    own = output(0)
    found = estimates([Seen(own, own, own)]).values
    assert [found[name] for name in ("view_mIoU", "view_PQ", "teacher_mIoU", "teacher_PQ")] == [100.0] * 4


def test_forgotten_classes_count_nothing():
    road = Output(np.eye(C, dtype=np.float32)[0][:, None, None] * np.ones((H, W), np.float32), np.zeros((H, W), int))
    seen_of_it = Seen(road, None, road)
    assert estimates([seen_of_it]).values["view_mIoU"] == pytest.approx(25)  # one of the source's four classes
    assert estimates([seen_of_it], Reference(NAMES, 1000)).values["view_mIoU"] == 100


def test_confidence_entropy_and_information_are_their_formulas():
    images = [seen(seed) for seed in range(2)]
    found = estimates(images).values
    p = torch.cat([torch.tensor(i.own.logits).double().softmax(0).flatten(1) for i in images], 1)
    mean, each = p.mean(1), -(p * p.log()).sum(0)
    assert found["confidence"] == pytest.approx(100 * p.max(0).values.mean().item(), abs=1e-4)
    assert found["entropy"] == pytest.approx(100 * each.mean().item() / math.log(C), abs=1e-4)
    expected = (-(mean * mean.log()).sum() - each.mean()).item() / math.log(C)
    assert found["information"] == pytest.approx(100 * expected, abs=1e-4)
    norm = torch.linalg.matrix_norm(p, "nuc").item() / math.sqrt(C * p.shape[1])
    assert found["dispersity"] == pytest.approx(100 * norm, abs=1e-4)
    q = torch.cat([(torch.tensor(i.own.logits).double() / 2).softmax(0).flatten(1) for i in images], 1)
    assert found["calibrated_confidence"] == pytest.approx(100 * q.max(0).values.mean().item(), abs=1e-4)
    assert found["thresholded_confidence"] == pytest.approx(
        100 * (q.max(0).values > 0.5).double().mean().item(), abs=1e-4
    )
    hard = torch.nn.functional.one_hot(p.argmax(0), C).T
    overlap = (q * hard).sum(1)
    assert found["expected_mIoU"] == pytest.approx(
        100 * (overlap / (hard.sum(1) + q.sum(1) - overlap)).mean().item(), abs=1e-3
    )
    means = [p.max(0).values[p.argmax(0) == c].mean().item() for c in range(C)]
    assert found["balanced_confidence"] == pytest.approx(100 * np.mean(means), abs=1e-4)


def test_shares_are_compared_as_scipy_does():
    found = estimates([seen(5)])
    shares = np.bincount(seen(5).own.labels.ravel(), minlength=C) / (H * W)
    assert found.values["shares"] == pytest.approx(100 * jensenshannon(shares, REFERENCE.source_shares, 2) ** 2)
    assert found.per_class["shares"] == pytest.approx(dict(zip(NAMES, 100 * shares)))
    one = Output(np.eye(C, dtype=np.float32)[:1].T[:, :, None] * np.ones((1, H, W), np.float32), np.zeros((H, W), int))
    only = estimates([Seen(one)], Reference(NAMES, 1000, np.array([0.0, 1, 0, 0])))
    assert only.values["shares"] == pytest.approx(100)  # nothing in common
    assert set(only.counts) == {
        "confidence",
        "balanced_confidence",
        "entropy",
        "shares",
        "soft_neighbourhood",
        "information",
        "dispersity",
    }


def test_soft_neighbourhoods_of_torch():
    own = output(1)
    p = torch.tensor(own.logits).double().softmax(0).flatten(1).T
    similar = torch.nn.functional.cosine_similarity(p[:, None], p[None], dim=2) / 0.05
    similar.fill_diagonal_(-math.inf)
    neighbours = torch.distributions.Categorical(logits=similar).entropy().mean().item() / math.log(len(p) - 1)
    assert estimates([Seen(own)]).values["soft_neighbourhood"] == pytest.approx(100 * neighbours, abs=1e-3)


def test_masks_count_once_whatever_their_size():
    labels = np.zeros((H, W), int)
    labels[0, 0] = 2
    logits = np.zeros((C, H, W), np.float32)
    logits[0], logits[:, 0, 0] = math.log(3), (0, 0, 5, 0)  # road at 3 / 6 = 0.5; the one pixel of a car at 0.98
    own = Output(logits, labels, np.where(labels == 2, 2001, 0))
    sure = math.exp(5) / (math.exp(5) + 3)
    assert estimates([Seen(own)]).values["mask_confidence"] == pytest.approx(50 * (0.5 + sure), abs=1e-3)
    given = Output(logits, labels, own.panoptic, np.full((H, W), 0.25, np.float32))
    assert estimates([Seen(given)]).values["mask_confidence"] == pytest.approx(25)


def test_sharp_centres_stand_out_and_clusters_are_seen():
    y, x = np.mgrid[:40, :40]
    heat = np.exp(-((y - 20) ** 2 + (x - 20) ** 2) / (2 * np.array([2.0, 8.0])[:, None, None] ** 2)).astype(np.float32)
    sharp, blunt = (
        estimates([Seen(Output(np.zeros((C, 40, 40), np.float32), y * 0, None, None, h))]).values for h in heat
    )
    assert sharp["centre_sharpness"] > blunt["centre_sharpness"] > 0
    expected = 1 - heat[0][17:24, 17:24].mean()
    assert sharp["centre_sharpness"] == pytest.approx(100 * expected, abs=1e-3)
    rng = np.random.default_rng(0)
    even = rng.normal(size=(200, 6)).astype(np.float32)
    clusters = np.repeat(np.eye(6, dtype=np.float32), 40, 0) + 0.01 * rng.normal(size=(240, 6)).astype(np.float32)
    base = output(0)
    values = [
        estimates([Seen(Output(base.logits, base.labels, features=f))]).values["transfer"] for f in (even, clusters)
    ]
    assert values[1] > values[0] + 10


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 10**6))
def test_images_may_come_in_any_order_and_classes_under_any_name(seed):
    images = [seen(seed), seen(seed + 1), seen(seed + 2)]
    one, other = estimates(images), estimates(images[::-1])
    assert one.flat() == pytest.approx(other.flat(), abs=1e-6)
    twice = estimates([images[0], images[0], images[1]])
    assert {n: one.value(n, np.array([2.0, 1, 0])) for n in one.counts} == pytest.approx(
        {n: twice.value(n) for n in one.counts}
    )


def test_temperature_and_threshold_are_found():
    rng = np.random.default_rng(0)
    sharp = 3 * rng.normal(size=(C, 20000)).astype(np.float32)
    p = np.exp(sharp) / np.exp(sharp).sum(0)
    labels = (p.cumsum(0) < rng.random(20000)).sum(0).clip(max=C - 1)
    assert fit_temperature(5 * sharp, labels) == pytest.approx(5, rel=0.05)
    found = calibrate(5 * sharp, labels)
    right = (sharp.argmax(0) == labels).mean()
    surest = torch.tensor(5 * sharp / found.temperature).softmax(0).max(0).values.numpy()
    assert (surest > found.threshold).mean() == pytest.approx(right, abs=0.01)
    assert calibrate(np.zeros((C, 0), np.float32), np.zeros(0, int)) is None


def test_what_is_not_finite_is_left_out_and_harms_nothing():
    own = output(0)
    broken = Output(own.logits * np.nan, own.labels, own.panoptic, None, own.heat, own.features * np.nan)
    found = estimates([Seen(broken, own, own)]).flat()
    assert "confidence" not in found and "transfer" not in found and "dispersity" not in found
    assert "view_mIoU" in found and all(map(math.isfinite, found.values()))


def test_a_file_says_the_same_and_damaged_ones_are_refused(tmp_path):
    from gbw_panoptic.errors import UserError

    found = estimates([seen(seed) for seed in range(3)])
    path = found.save(tmp_path)
    (again,) = read_estimations(tmp_path)
    assert again.flat() == pytest.approx(found.flat(), rel=1e-4) and list(again.images) == ["0", "1", "2"]
    data = path.read_bytes()
    for bad in (b"", b"PK", data[: len(data) // 2], data[:200] + b"\0" * 40 + data[240:]):
        path.write_bytes(bad)
        with pytest.raises(UserError, match="expected (estimates|data), found"):
            read_estimations(tmp_path)


def test_the_grid_is_bounded_and_even():
    assert grid_step((128, 256)) == 1 and grid_step((1024, 2048)) == 8
    assert spaced(10, 5).tolist() == [1, 3, 5, 7, 9] and spaced(3, 5).tolist() == [0, 1, 2] and not len(spaced(0, 5))
