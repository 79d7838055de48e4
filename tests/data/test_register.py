import json
import logging
from pathlib import Path

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog

from gbw_panoptic.data import check_datasets, register_all
from gbw_panoptic.data.preparation import prepare
from gbw_panoptic.errors import UserError
from gbw_panoptic.taxonomy import CITYSCAPES

SYNTHIA_JSON = "synthia/RAND_CITYSCAPES/panoptic_cityscapes.json"
NAMES = (
    "synthia_panoptic_train",
    "gta5_sem_train",
    "cityscapes_uda_panoptic_train",
    "cityscapes_uda_panoptic_val",
    "cityscapes_uda_images_train",
)


@pytest.fixture(autouse=True)
def restore_registrations():
    yield
    register_all()


@pytest.fixture
def root(raw_root: Path) -> Path:
    """Everything prepared and registered."""
    for dataset in ("synthia", "gta5", "cityscapes"):
        prepare(dataset, raw_root, workers=1)
    register_all(str(raw_root))
    return raw_root


def edit_json(path: Path, edit) -> None:
    value = json.loads(path.read_text())
    edit(value)
    path.write_text(json.dumps(value))


def test_records_hold_the_keys_of_the_contract_and_files_that_exist(root):
    keys = {
        "synthia_panoptic_train": {"pan_seg_file_name", "segments_info"},
        "gta5_sem_train": {"sem_seg_file_name"},
        "cityscapes_uda_panoptic_train": {"pan_seg_file_name", "segments_info"},
        "cityscapes_uda_panoptic_val": {"pan_seg_file_name", "segments_info"},
        "cityscapes_uda_images_train": set(),
    }
    counts = {}
    for name in NAMES:
        records = DatasetCatalog.get(name)
        counts[name] = len(records)
        assert len({record["image_id"] for record in records}) == len(records)
        for record in records:
            assert set(record) == {"file_name", "image_id"} | keys[name]
            assert all(Path(value).is_file() for key, value in record.items() if key.endswith("file_name"))
            for value in (v for k, v in record.items() if k.endswith("file_name")):
                assert record["image_id"] in Path(value).name
    assert list(counts.values()) == [5, 5, 4, 2, 4]


def test_category_ids_become_contiguous(root):
    listed = json.loads((root / SYNTHIA_JSON).read_text())["annotations"]
    seen = set()
    for record, annotation in zip(DatasetCatalog.get("synthia_panoptic_train"), listed, strict=True):
        assert record["image_id"] == annotation["image_id"]
        for ours, theirs in zip(record["segments_info"], annotation["segments_info"], strict=True):
            assert CITYSCAPES.dataset_ids[ours["category_id"]] == theirs["category_id"]
            assert {**ours, "category_id": None} == {**theirs, "category_id": None}
            seen.add(ours["category_id"])
    assert max(seen) == 18 and 0 in seen


def test_metadata(root):
    for name in NAMES:
        metadata = MetadataCatalog.get(name)
        assert metadata.taxonomy is CITYSCAPES
        assert (metadata.label_divisor, metadata.ignore_label) == (1000, 255)
        assert len(metadata.thing_classes) == len(metadata.stuff_classes) == len(metadata.stuff_colors) == 19
        things, stuff = metadata.thing_dataset_id_to_contiguous_id, metadata.stuff_dataset_id_to_contiguous_id
        assert things == {24: 11, 25: 12, 26: 13, 27: 14, 28: 15, 31: 16, 32: 17, 33: 18}
        assert sorted(stuff.values()) == list(range(11)) and stuff[7] == 0
        assert Path(metadata.image_root).is_dir()
    synthia = MetadataCatalog.get("synthia_panoptic_train")
    assert set(range(19)) - set(synthia.labelled_classes) == set(CITYSCAPES.ids("terrain", "truck", "train"))
    for name in NAMES[:3]:
        assert Path(MetadataCatalog.get(name).class_statistics).is_file()
    for name in ("synthia_panoptic_train", "cityscapes_uda_panoptic_val"):
        assert Path(MetadataCatalog.get(name).panoptic_json).is_file()
        assert Path(MetadataCatalog.get(name).panoptic_root).is_dir()
    target = MetadataCatalog.get("cityscapes_uda_images_train")
    assert target.labelled_classes == ()
    assert all(target.get(key) is None for key in ("panoptic_json", "panoptic_root", "class_statistics"))


def test_registering_again_replaces_the_root(root, tmp_path_factory, monkeypatch):
    register_all(str(root))
    assert len(DatasetCatalog.get("synthia_panoptic_train")) == 5
    other = tmp_path_factory.mktemp("other")
    monkeypatch.setenv("DETECTRON2_DATASETS", str(other))
    register_all()
    assert MetadataCatalog.get("gta5_sem_train").image_root == str(other / "gta5/images")
    with pytest.raises(UserError, match=str(other)):
        DatasetCatalog.get("gta5_sem_train")


def test_target_images_need_no_label(root):
    for path in sorted((root / "cityscapes/gtFine").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    (root / "cityscapes/gtFine").rmdir()
    (root / "cityscapes/gtFine").write_bytes(b"not even a folder")
    (root / "cityscapes/class_statistics_train.json").unlink()
    assert len(DatasetCatalog.get("cityscapes_uda_images_train")) == 4
    check_datasets(["cityscapes_uda_images_train"])
    with pytest.raises(UserError, match="cityscapes_panoptic_train.json, found nothing"):
        check_datasets(["cityscapes_uda_panoptic_train"])


@pytest.mark.parametrize(
    ("name", "path", "dataset"),
    [
        ("synthia_panoptic_train", "synthia/RAND_CITYSCAPES/RGB", "synthia"),
        ("synthia_panoptic_train", SYNTHIA_JSON, "synthia"),
        ("synthia_panoptic_train", "synthia/RAND_CITYSCAPES/panoptic_cityscapes", "synthia"),
        ("synthia_panoptic_train", "synthia/RAND_CITYSCAPES/panoptic_cityscapes/0000004_panoptic.png", "synthia"),
        ("synthia_panoptic_train", "synthia/RAND_CITYSCAPES/class_statistics.json", "synthia"),
        ("gta5_sem_train", "gta5/images", "gta5"),
        ("gta5_sem_train", "gta5/labelTrainIds", "gta5"),
        ("cityscapes_uda_panoptic_val", "cityscapes/gtFine/cityscapes_panoptic_val.json", "cityscapes"),
        (
            "cityscapes_uda_panoptic_val",
            "cityscapes/leftImg8bit/val/ulm/ulm_000000_000001_leftImg8bit.png",
            "cityscapes",
        ),
    ],
)
def test_preflight_names_the_missing_path_and_the_command(root, name, path, dataset):
    (root / path).rename(root / "elsewhere")
    with pytest.raises(UserError) as raised:
        check_datasets([name])
    message = str(raised.value)
    stem = Path(path).name.split("_leftImg8bit")[0]
    assert str(root / path) in message or stem in message
    assert f"python datasets/prepare.py {dataset} --root {root}" in message and "\n" not in message


def test_preflight_passes_when_all_is_there(root, caplog):
    with caplog.at_level(logging.WARNING):
        check_datasets(NAMES)
    assert not caplog.records


def test_preflight_warns_of_counts_and_of_unlabelled_images(root, caplog):
    (root / "gta5/labelTrainIds/00003.png").unlink()
    with caplog.at_level(logging.WARNING):
        check_datasets(["gta5_sem_train"])
    assert "1 of 5 images have no usable label" in caplog.text
    assert "gta5_sem_train: expected 5 images, found 4" in caplog.text


def test_unknown_names_are_answered_with_the_nearest():
    register_all("anywhere")
    with pytest.raises(UserError, match="such as synthia_panoptic_train, .*found 'synthia'"):
        check_datasets(["synthia"])


@pytest.mark.parametrize(
    "name", ["../x.png", "a/../../x.png", "/etc/x.png", "C:\\x.png", "..\\x.png", "\\x.png", "", 3]
)
@pytest.mark.parametrize("place", ["images", "annotations"])
def test_file_names_cannot_leave_the_root(root, name, place):
    edit_json(root / SYNTHIA_JSON, lambda value: value[place][1].update(file_name=name))
    with pytest.raises(UserError, match="expected COCO-panoptic JSON, found the file name .*panoptic_cityscapes.json"):
        DatasetCatalog.get("synthia_panoptic_train")


JSON_FAULTS = {
    "no categories": (lambda v: v.pop("categories"), "no 'categories'"),
    "no segments": (lambda v: v["annotations"][0].pop("segments_info"), "no 'segments_info'"),
    "train id as category": (lambda v: v["categories"][0].update(id=0), "the category 0"),
    "renamed category": (lambda v: v["categories"][0].update(name="sky"), "the category 7 as sky instead of road"),
    "train id in a segment": (
        lambda v: v["annotations"][0]["segments_info"][0].update(category_id=0),
        "a segment of category 0",
    ),
    "segment id 0": (lambda v: v["annotations"][0]["segments_info"][0].update(id=0), "the segment id 0"),
    "crowd of 2": (lambda v: v["annotations"][0]["segments_info"][0].update(iscrowd=2), "iscrowd 2"),
    "segment twice": (
        lambda v: v["annotations"][0]["segments_info"].append(v["annotations"][0]["segments_info"][0]),
        r"the segment id \d+ twice",
    ),
    "annotation twice": (lambda v: v["annotations"].append(v["annotations"][0]), "an image that is annotated twice"),
    "annotation lost": (lambda v: v["annotations"].pop(), "4 annotations of 5 images"),
    "unknown image": (lambda v: v["annotations"][0].update(image_id="x"), "no 'x'"),
    "a list for an object": (lambda v: v.update(images=[[]]), "list indices"),
}


@pytest.mark.parametrize("fault", JSON_FAULTS)
def test_bad_annotations_are_refused(root, fault):
    edit, message = JSON_FAULTS[fault]
    edit_json(root / SYNTHIA_JSON, edit)
    with pytest.raises(UserError, match=f"{message}.*panoptic_cityscapes.json"):
        DatasetCatalog.get("synthia_panoptic_train")


def test_an_annotated_image_that_is_gone_is_named(root):
    (root / "synthia/RAND_CITYSCAPES/RGB/0000002.png").unlink()
    with pytest.raises(UserError, match="expected an image 0000002 in"):
        DatasetCatalog.get("synthia_panoptic_train")
