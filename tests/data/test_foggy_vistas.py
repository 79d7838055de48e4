"""Foggy Cityscapes, whose labels are Cityscapes' own, and Mapillary Vistas, whose 65 classes become 19."""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from panopticapi.utils import id2rgb, rgb2id
from PIL import Image

from gbw_panoptic.data import check_datasets, register_all
from gbw_panoptic.data.preparation import check, prepare, status
from gbw_panoptic.data.preparation.report import FaultKind
from gbw_panoptic.data.published import PUBLISHED
from gbw_panoptic.errors import UserError
from gbw_panoptic.taxonomy import CITYSCAPES, VISTAS_CLASSES

VISTAS = "mapillary_vistas/validation"
RAW_JSON = f"{VISTAS}/v1.2/panoptic/panoptic_2018.json"
#: Vistas' own id (one less than in the JSON) -> Cityscapes id, as CVRN and EDAPS publish it.
PUBLISHED_REMAP = {
    7: 7, 8: 7, 10: 7, 13: 7, 14: 7, 23: 7, 24: 7, 2: 8, 9: 8, 11: 8, 15: 8, 17: 11, 6: 12, 3: 13, 45: 17, 47: 17,
    48: 19, 49: 20, 50: 20, 30: 21, 29: 22, 27: 23, 19: 24, 20: 25, 21: 25, 22: 25, 55: 26, 61: 27, 54: 28, 58: 31,
    57: 32, 52: 33,
}  # fmt: skip


@pytest.fixture(autouse=True)
def restore_registrations():
    yield
    register_all()


@pytest.fixture
def root(targets_root, monkeypatch) -> Path:
    """The counts of the fixtures in place of the published ones."""
    counts = {"train_beta_0.02": 4, "val_beta_0.02": 2, "train_beta_0.005": 4, "val_beta_0.005": 2}
    foggy = tuple(replace(s, expected_images=counts.get(s.name, 7)) for s in PUBLISHED["foggy_cityscapes"])
    train, val = PUBLISHED["mapillary_vistas"]
    old = replace(val.alternative, expected_images=3)
    vistas = (replace(train, expected_images=2), replace(val, expected_images=3, alternative=old))
    monkeypatch.setitem(PUBLISHED, "foggy_cityscapes", foggy)
    monkeypatch.setitem(PUBLISHED, "mapillary_vistas", vistas)
    register_all(str(targets_root))
    return targets_root


def contents(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


def read_ids(path: Path) -> np.ndarray:
    return rgb2id(np.array(Image.open(path)))


def write_ids(path: Path, ids: np.ndarray) -> None:
    Image.fromarray(id2rgb(ids)).save(path)


def edit_json(path: Path, edit) -> None:
    value = json.loads(path.read_text())
    edit(value)
    path.write_text(json.dumps(value))


# --- Mapillary Vistas ---


def test_the_table_of_vistas_is_the_published_one():
    assert len(VISTAS_CLASSES) == 65
    remap = {
        number: CITYSCAPES.dataset_ids[CITYSCAPES.names.index(name)]
        for number, name in enumerate(VISTAS_CLASSES.values())
        if name
    }
    assert remap == PUBLISHED_REMAP


def test_vistas_labels_survive_exactly(root):
    raw = json.loads((root / RAW_JSON).read_text())
    prepared = json.loads((root / f"{VISTAS}/panoptic_cityscapes.json").read_text())
    assert prepared["categories"] == CITYSCAPES.categories()
    assert [image["file_name"] for image in prepared["images"]] == ["val0.jpg", "val1.jpg", "val2.jpg"]
    crowds = 0
    for before, after in zip(raw["annotations"], prepared["annotations"], strict=True):
        old = read_ids(root / f"{VISTAS}/v1.2/panoptic" / before["file_name"])
        new = read_ids(root / f"{VISTAS}/panoptic_cityscapes" / after["file_name"])
        things: dict[int, list[np.ndarray]] = {}
        expected = np.zeros_like(new)  # what EDAPS' script makes, written down mask by mask
        for segment in before["segments_info"]:
            mask = old == segment["id"]
            category = PUBLISHED_REMAP.get(segment["category_id"] - 1, 0)
            expected[mask] = category
            if category >= 24 and not segment["iscrowd"]:
                expected[mask] = category * 1000 + len(things.setdefault(category, []))
                things[category].append(mask)
        assert np.array_equal(new, expected)
        listed = {segment["id"]: segment for segment in after["segments_info"]}
        assert set(listed) == set(np.unique(new).tolist()) - {0}
        for segment_id, segment in listed.items():
            rows, columns = np.nonzero(new == segment_id)
            assert segment["area"] == len(rows)
            assert segment["bbox"] == [columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1]
            assert segment["category_id"] == (segment_id if segment_id < 1000 else segment_id // 1000)
            assert segment["iscrowd"] == int(segment_id < 1000 and segment["category_id"] >= 24)
            crowds += segment["iscrowd"]
    assert crowds  # the fixture has some


def test_vistas_records(root):
    records = DatasetCatalog.get("vistas_uda_panoptic_val")
    assert [Path(record["file_name"]).name for record in records] == ["val0.jpg", "val1.jpg", "val2.jpg"]
    assert all(Path(r["file_name"]).is_file() and Path(r["pan_seg_file_name"]).is_file() for r in records)
    assert {s["category_id"] for r in records for s in r["segments_info"]} <= set(range(19))
    images = DatasetCatalog.get("vistas_uda_images_train")
    assert [(r["image_id"], set(r)) for r in images] == [(f"train{n}", {"file_name", "image_id"}) for n in range(2)]
    check_datasets(["vistas_uda_panoptic_val", "vistas_uda_images_train"])
    assert MetadataCatalog.get("vistas_uda_images_train").labelled_classes == ()
    assert MetadataCatalog.get("vistas_uda_panoptic_val").get("class_statistics") is None


def test_the_older_edition_of_vistas_is_prepared_alike(root):
    expected = contents(root / VISTAS / "panoptic_cityscapes")
    shutil.rmtree(root / VISTAS / "panoptic_cityscapes")
    (root / VISTAS / "panoptic_cityscapes.json").unlink()
    (root / VISTAS / "v1.2/panoptic").rename(root / VISTAS / "panoptic")
    reports = prepare("mapillary_vistas", root, workers=1)
    assert [(r.split.name, r.expected, r.images, r.prepared) for r in reports] == [("train", 2, 2, 2), ("val", 3, 3, 3)]
    assert contents(root / VISTAS / "panoptic_cityscapes") == expected
    assert not any(report.faults for report in check("mapillary_vistas", root, workers=1))


def test_a_vistas_split_that_was_not_unpacked_is_not_wanted(root):
    shutil.rmtree(root / "mapillary_vistas/training")
    assert [report.split.name for report in prepare("mapillary_vistas", root, workers=1)] == ["val"]
    shutil.rmtree(root / "mapillary_vistas")
    with pytest.raises(UserError, match="training/images, found nothing; request Mapillary Vistas"):
        prepare("mapillary_vistas", root, workers=1)


def test_vistas_of_other_categories_is_refused(root):
    edit_json(root / RAW_JSON, lambda v: v["categories"][13].update(supercategory="construction--flat--lane"))
    with pytest.raises(UserError, match="the category 'construction--flat--road', which Mapillary Vistas v1.2 maps"):
        prepare("mapillary_vistas", root, workers=1, overwrite=True)


def test_vistas_leaves_out_images_whose_json_and_png_disagree(root):
    edit_json(root / RAW_JSON, lambda v: v["annotations"][1]["segments_info"].pop())
    _, val = prepare("mapillary_vistas", root, workers=1)
    assert [fault.kind for fault in val.faults] == [FaultKind.DISAGREE]
    assert val.skipped and (val.images, val.prepared) == (3, 2)
    assert [r["image_id"] for r in DatasetCatalog.get("vistas_uda_panoptic_val")] == ["val0", "val2"]


# --- Foggy Cityscapes ---


def test_foggy_takes_its_labels_from_cityscapes(root):
    before = contents(root)
    reports = prepare("foggy_cityscapes", root, workers=1)
    assert [(r.split.name, r.images, r.prepared) for r in reports] == [
        ("train_beta_0.02", 4, 4), ("val_beta_0.02", 2, 2), ("train_beta_0.005", 4, 4), ("val_beta_0.005", 2, 2)
    ]  # fmt: skip
    assert not any(report.faults for report in reports)
    assert contents(root) == before  # nothing is copied, nothing is written
    for split in ("train", "val"):
        clear = DatasetCatalog.get(f"cityscapes_uda_panoptic_{split}")
        foggy = DatasetCatalog.get(f"foggy_uda_panoptic_{split}_beta_0.02")
        for ours, theirs in zip(foggy, clear, strict=True):
            assert {**ours, "file_name": ""} == {**theirs, "file_name": ""}
            assert Path(ours["file_name"]).name == f"{theirs['image_id']}_leftImg8bit_foggy_beta_0.02.png"
            assert Path(ours["file_name"]).is_file()
    kinds = ("panoptic_train", "panoptic_val", "images_train")
    names = [f"foggy_uda_{kind}_beta_{beta}" for kind in kinds for beta in ("0.02", "0.005")]
    check_datasets(names)
    assert {"foggy_uda_panoptic_val_beta_0.01", "foggy_uda_images_train_beta_0.01"} <= set(DatasetCatalog.list())
    statistics = [MetadataCatalog.get(n).class_statistics for n in (names[0], "cityscapes_uda_panoptic_train")]
    assert statistics[0] == statistics[1]
    assert all(set(r) == {"file_name", "image_id"} for r in DatasetCatalog.get("foggy_uda_images_train_beta_0.005"))


def test_foggy_without_prepared_labels_names_the_command(root):
    for path in root.glob("cityscapes/gtFine/**/*_labelTrainIds.png"):
        path.unlink()
    with pytest.raises(UserError, match=rf"run `python datasets/prepare.py cityscapes --root {root}` first"):
        prepare("foggy_cityscapes", root, workers=1)
    assert len(DatasetCatalog.get("foggy_uda_images_train_beta_0.02")) == 4  # the target needs none
    (root / "cityscapes/class_statistics_train.json").unlink()
    with pytest.raises(UserError, match="class statistics .*prepare.py cityscapes --root"):
        check_datasets(["foggy_uda_panoptic_train_beta_0.02"])


def test_foggy_that_was_not_unpacked_is_named(root):
    shutil.rmtree(root / "foggy_cityscapes")
    with pytest.raises(UserError, match="leftImg8bit_foggy/train, found nothing; register .*trainvaltest_foggy.zip"):
        prepare("foggy_cityscapes", root, workers=1)
    with pytest.raises(UserError, match="prepare.py foggy_cityscapes"):
        DatasetCatalog.get("foggy_uda_panoptic_val_beta_0.02")


def test_status_of_foggy_and_vistas(root):
    def state(name):
        return next((s.state, s.remedy) for s in status(root) if s.name == name)

    assert state("foggy_cityscapes") == state("mapillary_vistas") == ("complete", "")
    (root / "cityscapes/gtFine/cityscapes_panoptic_val.json").unlink()
    assert state("foggy_cityscapes") == ("incomplete", f"run `python datasets/prepare.py cityscapes --root {root}`")
    (root / f"{VISTAS}/panoptic_cityscapes.json").unlink()
    assert state("mapillary_vistas") == (
        "incomplete", f"run `python datasets/prepare.py mapillary_vistas --root {root}`"
    )  # fmt: skip
    shutil.rmtree(root / VISTAS / "panoptic_cityscapes")
    next((root / "mapillary_vistas/training/images").iterdir()).unlink()
    assert "mapillary.com/dataset/vistas" in state("mapillary_vistas")[1]


# --- planted faults, one by one ---

FOG = "foggy_cityscapes/leftImg8bit_foggy/val/ulm/ulm_000000_000001_leftImg8bit_foggy_beta_0.02.png"
GROUND_TRUTH = "cityscapes/gtFine/cityscapes_panoptic_val"
ULM_LABEL = f"{GROUND_TRUTH}/ulm_000000_000001_gtFine_panoptic.png"
VAL1 = f"{VISTAS}/images/val1.jpg"
RAW_VAL1 = f"{VISTAS}/v1.2/panoptic/val1.png"
GTA5_LABEL = "gta5/labelTrainIds/00002.png"
CITY = "cityscapes/leftImg8bit/val/ulm/ulm_000000_000001_leftImg8bit.png"
INSTANCES = "cityscapes/gtFine/val/ulm/ulm_000000_000001_gtFine_instanceIds.png"


def crop(path: Path) -> None:
    image = Image.open(path)
    image.crop((0, 0, image.width, image.height - 1)).save(path)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def set_first_pixel(path: Path, value: int) -> None:
    image = Image.open(path)
    if image.mode == "RGB":
        ids = rgb2id(np.array(image))
        ids[0, 0] = value
        return write_ids(path, ids)
    pixels = np.array(image)
    pixels[0, 0] = value
    Image.fromarray(pixels).save(path)


def drop_segment(path: Path, image: int) -> None:
    edit_json(path, lambda v: v["annotations"][image]["segments_info"].pop())


def set_category(path: Path, image: int) -> None:
    edit_json(path, lambda v: v["annotations"][image]["segments_info"][0].update(category_id=66))


def add_image(path: Path) -> None:
    path.with_name(f"another_{path.name}").write_bytes(path.read_bytes())


K = FaultKind
#: data set, what is planted -> the kinds and texts of all faults that a check must find, and no other.
FAULTS = {
    ("foggy_cityscapes", "missing file"): (FOG, Path.unlink, {(K.MISSING, FOG), (K.COUNT, "expected 2 images")}),
    ("foggy_cityscapes", "size mismatch"): (FOG, crop, {(K.SIZE, FOG)}),
    ("foggy_cityscapes", "unreadable file"): (FOG, truncate, {(K.UNREADABLE, FOG)}),
    ("foggy_cityscapes", "id outside the mapping"): (
        ULM_LABEL, lambda p: set_first_pixel(p, 99), {(K.OUTSIDE, "the panoptic id 99")}
    ),
    ("foggy_cityscapes", "JSON unlike PNG"): (
        f"{GROUND_TRUTH}.json", lambda p: drop_segment(p, 1), {(K.DISAGREE, "the segments of")}
    ),
    ("foggy_cityscapes", "wrong count"): (
        FOG, add_image,
        {(K.COUNT, "expected 2 images"), (K.MISSING, "another_ulm_000000_000001_gtFine_labelTrainIds.png"),
         (K.MISSING, "another_ulm_000000_000001_gtFine_panoptic.png")},
    ),
    ("mapillary_vistas", "missing file"): (VAL1, Path.unlink, {(K.MISSING, VAL1), (K.COUNT, "expected 3 images")}),
    ("mapillary_vistas", "missing label"): (RAW_VAL1, Path.unlink, {(K.MISSING, RAW_VAL1)}),
    ("mapillary_vistas", "size mismatch"): (RAW_VAL1, crop, {(K.SIZE, RAW_VAL1)}),
    ("mapillary_vistas", "unreadable file"): (VAL1, truncate, {(K.UNREADABLE, VAL1)}),
    ("mapillary_vistas", "id outside the mapping"): (
        RAW_JSON, lambda p: set_category(p, 1), {(K.OUTSIDE, "the category id 66")}
    ),
    ("mapillary_vistas", "JSON unlike PNG"): (RAW_JSON, lambda p: drop_segment(p, 1), {(K.DISAGREE, RAW_VAL1)}),
    ("mapillary_vistas", "PNG unlike JSON"): (RAW_VAL1, lambda p: set_first_pixel(p, 5), {(K.DISAGREE, "the ids [5]")}),
    ("mapillary_vistas", "prepared JSON unlike PNG"): (
        f"{VISTAS}/panoptic_cityscapes.json", lambda p: drop_segment(p, 1), {(K.DISAGREE, "the segments of")}
    ),
    ("mapillary_vistas", "wrong count"): (
        "mapillary_vistas/training/images/train0.jpg", add_image, {(K.COUNT, "expected 2 images")}
    ),
    ("mapillary_vistas", "unreadable target image"): (
        "mapillary_vistas/training/images/train0.jpg", truncate, {(K.UNREADABLE, "train0.jpg")}
    ),
    ("gta5", "missing file"): (
        GTA5_LABEL, Path.unlink, {(K.MISSING, GTA5_LABEL), (K.DISAGREE, "gta5/class_statistics.json")}
    ),
    ("gta5", "size mismatch"): ("gta5/labels/00002.png", crop, {(K.SIZE, "gta5/labels/00002.png")}),
    ("gta5", "unreadable file"): ("gta5/images/00002.png", truncate, {(K.UNREADABLE, "gta5/images/00002.png")}),
    ("gta5", "id outside the mapping"): (
        "gta5/labels/00002.png", lambda p: set_first_pixel(p, 35), {(K.OUTSIDE, "the ids [35]")}
    ),
    ("gta5", "prepared unlike raw"): (
        GTA5_LABEL, lambda p: set_first_pixel(p, 3), {(K.DISAGREE, "1 other pixels"), (K.DISAGREE, "class_statistics")}
    ),
    ("gta5", "wrong count"): (
        "streets.json", lambda p: edit_json(p, lambda v: v["datasets"]["gta5"]["train"].update(images=6)),
        {(K.COUNT, "expected 6 images")},
    ),
    ("cityscapes", "missing file"): (CITY, Path.unlink, {(K.MISSING, CITY), (K.COUNT, "expected 2 images")}),
    ("cityscapes", "size mismatch"): (CITY, crop, {(K.SIZE, CITY)}),
    ("cityscapes", "unreadable file"): (CITY, truncate, {(K.UNREADABLE, CITY)}),
    ("cityscapes", "id outside the mapping"): (
        INSTANCES, lambda p: set_first_pixel(p, 40), {(K.OUTSIDE, "the ids [40]")}
    ),
    ("cityscapes", "JSON unlike PNG"): (
        f"{GROUND_TRUTH}.json", lambda p: drop_segment(p, 1), {(K.DISAGREE, "the segments of")}
    ),
    ("cityscapes", "wrong count"): (
        "streets.json", lambda p: edit_json(p, lambda v: v["datasets"]["cityscapes"]["val"].update(images=6)),
        {(K.COUNT, "expected 6 images")},
    ),
}  # fmt: skip


@pytest.mark.parametrize(("dataset", "fault"), FAULTS, ids=lambda value: value.replace(" ", "-"))
def test_check_names_each_planted_fault_and_no_other(root, dataset, fault):
    if dataset == "gta5":
        prepare("gta5", root, workers=1)
    file, plant, expected = FAULTS[dataset, fault]
    plant(root / file)
    before = contents(root)
    reports = check(dataset, root, workers=1)
    faults = [fault for report in reports for fault in report.faults]
    assert contents(root) == before
    for kind, text in expected:
        assert any(f.kind is kind and text in f.message for f in faults), (text, faults)
    for f in faults:
        assert any(f.kind is kind and text in f.message for kind, text in expected), f
        assert "\n" not in f.message
    if dataset != "foggy_cityscapes":  # whose densities share their labels
        assert len(faults) == len(expected)


@pytest.mark.parametrize("dataset", ["foggy_cityscapes", "mapillary_vistas", "cityscapes"])
def test_check_of_sound_data_finds_nothing(root, dataset):
    reports = check(dataset, root, workers=1)
    assert not [fault for report in reports for fault in report.faults]
    assert all(report.images == report.prepared == report.expected for report in reports)


def test_only_changed_vistas_labels_are_converted_again(root):
    prepare("mapillary_vistas", root, workers=1, overwrite=True)
    folder = root / VISTAS / "panoptic_cityscapes"
    written = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    os.utime(root / RAW_JSON)
    Image.open(root / RAW_VAL1).save(root / RAW_VAL1, compress_level=1)  # other bytes
    prepare("mapillary_vistas", root, workers=1)
    assert {p.name for p in folder.iterdir() if p.stat().st_mtime_ns != written[p.name]} == {"val1_panoptic.png"}
    value = json.loads((root / RAW_JSON).read_text())
    value["annotations"][0]["segments_info"][0]["category_id"] = 1  # of one image
    (root / RAW_JSON).write_text(json.dumps(value))
    prepare("mapillary_vistas", root, workers=1)
    changed = {p.name for p in folder.iterdir() if p.stat().st_mtime_ns != written[p.name]}
    assert changed == {"val1_panoptic.png", f"{value['annotations'][0]['image_id']}_panoptic.png"}


def test_another_edition_beside_what_is_missing_is_named(tmp_path):
    (tmp_path / "foggy_cityscapes" / "leftImg8bit_foggyDBF" / "train").mkdir(parents=True)
    with pytest.raises(
        UserError, match="found nothing but .*leftImg8bit_foggyDBF, which has another name or is another edition"
    ):
        prepare("foggy_cityscapes", tmp_path, workers=1)
