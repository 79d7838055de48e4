"""The audit of labels: its scores by hand, planted faults on Streets, its files, and labels that were bought."""

import json

import numpy as np
import pytest
from planted import KINDS, plant

from gbw_panoptic import files
from gbw_panoptic.data.chosen_records import read_excluded
from gbw_panoptic.errors import UserError
from gbw_panoptic.reporting.audit_page import write_findings
from gbw_panoptic.trust import auditing
from gbw_panoptic.trust.audit import Labels, displacement, evidence, image_scores, segment_scores, surprise


def scene(seed: int, size=(40, 60)) -> tuple[np.ndarray, np.ndarray]:
    """Classes of rectangles and the log probabilities of a model that is sure of them."""
    rng = np.random.default_rng(seed)
    classes = np.zeros(size, int)
    for _ in range(9):
        y, x = rng.integers(0, 30), rng.integers(0, 48)
        classes[y : y + rng.integers(6, 12), x : x + rng.integers(6, 14)] = rng.integers(1, 4)
    probabilities = np.full((4, *size), 0.05)
    np.put_along_axis(probabilities, classes[None], 0.85, 0)
    return classes, np.log(probabilities).astype(np.float32)


def labels_of(classes: np.ndarray, centres=None) -> Labels:
    return Labels(classes, classes + 1, {c + 1: c for c in range(4)}, centres)


def test_displaced_labels_are_found_with_their_way_back():
    classes, model = scene(0)
    assert displacement(model, classes) == (0, (0, 0))
    gain, shift = displacement(model, np.roll(classes, (4, -2), (0, 1)))
    assert shift == (-4, 2) and gain > 0.1
    assert displacement(model, np.full_like(classes, 4)) == (0, (0, 0))  # no label at all


def test_loss_is_that_of_the_labels_and_segments_know_what_is_likelier():
    classes, model = scene(1)
    wrong = np.where(classes == 2, 3, classes)
    labels = Labels(wrong, classes + 1, {1: 0, 2: 1, 3: 3, 4: 3})
    found = evidence(model, labels)
    assert found.loss == pytest.approx(-np.take_along_axis(model, wrong[None], 0).mean(), rel=1e-5)
    by_segment = {s.segment: s for s in found.segments}
    assert by_segment[3].likelier == 2 and by_segment[3].loss == pytest.approx(-np.log(0.05), rel=1e-5)
    assert by_segment[4].likelier == 3 and by_segment[4].loss == pytest.approx(-np.log(0.85), rel=1e-4)
    assert np.isnan(evidence(model, labels_of(np.full_like(classes, 4))).loss)


def test_a_second_centre_betrays_merged_instances():
    classes, model = scene(2)
    label, predicted = np.zeros((2, *classes.shape), np.float32)
    classes[5:25, 5:45] = 1
    label[15, 15] = predicted[15, 15] = 0.9
    sound = evidence(model, labels_of(classes, label), predicted)
    predicted[15, 35] = 0.7
    merged = evidence(model, labels_of(classes, label), predicted)
    assert [s.centre for s in sound.segments] == [0] * len(sound.segments)
    assert {s.segment: s.centre for s in merged.segments}[2] == pytest.approx(0.7)
    assert max(segment_scores([sound, merged])[1]) == pytest.approx(7)


def test_surprise_is_robust_and_scores_take_the_worse_of_two():
    values = np.random.default_rng(0).normal(5, 2, 2000)
    assert surprise([*values, 25.0, np.nan])[-2:] == pytest.approx([10, 0], rel=0.05)
    assert surprise([np.nan, np.nan]).tolist() == [0, 0] and surprise([1.0, 1.0]).tolist() == [0, 0]
    sound = [evidence(scene(seed)[1], labels_of(scene(seed)[0])) for seed in range(12)]
    moved = evidence(scene(20)[1], labels_of(np.roll(scene(20)[0], 4, 1)))
    other = evidence(scene(21)[1], labels_of(scene(22)[0]))
    assert set(np.argsort(-image_scores([*sound, moved, other]))[:2]) == {12, 13}


def test_the_tool_writes_page_scores_and_a_list(streets, tmp_path, run_tool, monkeypatch):
    monkeypatch.setattr(auditing, "SUSPICIOUS", 0.5)
    done = run_tool(
        "tools/audit.py", "synthia_panoptic_train", "--output", tmp_path, "--epochs", 1, "--folds", 2, "--pictures", 2
    )
    assert done.returncode == 0, done.stderr
    assert "of 12 images of synthia_panoptic_train are likely" in done.stdout
    scores = json.loads((tmp_path / "audit.json").read_text())
    values = [image["score"] for image in scores["images"]]
    assert (
        len(values) == 12
        and values == sorted(values, reverse=True)
        and scores["segments"][0].keys() >= {"class", "likelier"}
    )
    page = (tmp_path / "audit.html").read_text()
    assert page.count("data:image/png") >= 4 and scores["images"][0]["image_id"] in page
    assert read_excluded(str(tmp_path / "exclude.txt")) == {i["image_id"] for i in scores["images"] if i["score"] > 0.5}
    for words, *arguments in (
        ("correct the name (all stand in datasets/README.md)", "nowhere"),
        ("which is images alone", "cityscapes_uda_images_train"),
        ("--bought: expected a folder of bought labels", "cityscapes_uda_images_train", "--bought", tmp_path),
        ("expected 8 labelled images or more, found 3", "cityscapes_uda_panoptic_val"),
        ("--folds: expected at least 2", "synthia_panoptic_train", "--folds", 1),
    ):
        refused = run_tool("tools/audit.py", *arguments)
        assert refused.returncode == 2 and words in refused.stderr, refused.stderr


def test_bought_labels_are_audited_as_far_as_they_go(streets, tmp_path):
    from detectron2.data import DatasetCatalog

    rng, folder = np.random.default_rng(0), tmp_path / "active"
    (folder / "labels").mkdir(parents=True)
    records = DatasetCatalog.get("cityscapes_uda_images_train")
    for record in records[:8]:
        bought = np.where(rng.random((128, 256)) < 0.2, rng.integers(0, 3, (128, 256)), 255).astype(np.uint8)
        bought[:, :4] = 254  # bought, and void
        files.write_png(folder / "labels" / f"{record['image_id']}.png", bought)
    with pytest.raises(UserError, match="--folds: expected at most the 8 images of .*, found 9"):
        auditing.audit("cityscapes_uda_images_train", bought=str(folder), folds=9, epochs=1)
    with pytest.raises(
        UserError, match="DATASET: expected a data set such as synthia_panoptic_train, .*found 'synthia'"
    ):
        auditing.audit("synthia")
    found = auditing.audit("cityscapes_uda_images_train", bought=str(folder), folds=2, epochs=1)
    assert len(found.records) == 8 and np.isfinite(found.scores).all()
    assert 0.1 < np.mean([(example.labels.classes < 19).mean() for example in found.examples]) < 0.3
    assert {s.category for image in found.images for s in image.segments} == {0, 1, 2}
    assert write_findings(found, tmp_path / "page", pictures=1).endswith("audit.html")


@pytest.mark.slow
def test_planted_faults_are_among_the_worst(tmp_path, monkeypatch):
    """2 % of each kind: at least 95 % of the images whose whole label is wrong are among the worst 10 %."""
    from detectron2.data import DatasetCatalog, MetadataCatalog

    from gbw_panoptic.data import register_all
    from gbw_panoptic.data.preparation import prepare
    from gbw_panoptic.streets import generate

    generate(tmp_path, size=(128, 256), source=200, target_train=1, target_val=1, seed=3, formats=("synthia",))
    prepare("synthia", tmp_path, workers=1)
    register_all(str(tmp_path))
    records = DatasetCatalog.get("synthia_panoptic_train")
    taxonomy = MetadataCatalog.get("synthia_panoptic_train").taxonomy
    faulty, images, segments = plant(records, auditing.read_ground_truth, taxonomy)
    monkeypatch.setattr(auditing, "read_ground_truth", faulty)
    found = auditing.audit("synthia_panoptic_train")
    worst = set(found.order[: len(records) // 10])
    whole = [i for kind in KINDS[:2] for i in images[kind]]
    assert len(whole) == 8 and len(worst & set(whole)) >= 0.95 * len(whole)
    places = {
        (i, found.images[i].segments[k].segment) for i, k in found.segment_order[: len(found.segment_order) // 10]
    }
    wrong = [(i, segments[i]) for i in images["wrong class"]]
    assert len(places & set(wrong)) >= 2
