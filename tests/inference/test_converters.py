"""Results in other tools' formats, compared with their specifications, written out by hand."""

import json

import numpy as np
import pytest
from pycocotools import mask as coco_masks
from pycocotools.coco import COCO

from gbw_panoptic.errors import UserError
from gbw_panoptic.files import read_panoptic
from gbw_panoptic.inference import converters
from gbw_panoptic.inference.result import Result
from gbw_panoptic.inference.result_folder import write_panoptic
from gbw_panoptic.taxonomy import CITYSCAPES

SKY, CAR = CITYSCAPES.ids("sky", "car")
ONE, TWO = CAR * 1000 + 1, CAR * 1000 + 2


@pytest.fixture
def result():
    """Six rows of sky over a car of two parts with a hole, a car of one pixel at the corner, and void."""
    panoptic = np.full((10, 12), -1, np.int32)
    panoptic[:6] = SKY * 1000
    panoptic[6:9, 1:4] = ONE
    panoptic[7, 2] = -1
    panoptic[8, 6] = ONE
    panoptic[9, 11] = TWO
    semantic = np.where(panoptic >= 0, panoptic // 1000, 0).astype(np.uint8)
    image = np.zeros((10, 12, 3), np.uint8)
    confidence = np.full((10, 12), 0.75, np.float32)
    return Result(
        image,
        semantic,
        panoptic,
        CITYSCAPES,
        name="a",
        file_name="a.jpg",
        scores={ONE: 0.9, TWO: 0.4},
        confidence=confidence,
    )


def test_segments(result):
    found = [(s.id, s.name, s.isthing, s.area, s.bbox, round(s.score, 6)) for s in result.segments]
    assert found == [
        (SKY * 1000, "sky", False, 72, (0, 0, 12, 6), 0.75), (ONE, "car", True, 9, (1, 6, 6, 3), 0.9),
        (TWO, "car", True, 1, (11, 9, 1, 1), 0.4),
    ]  # fmt: skip


def test_coco_panoptic_lists_every_id_of_its_png_once(result, tmp_path):
    made = json.loads(json.dumps(result.to_coco()))
    (annotation,) = made["annotations"]
    write_panoptic(tmp_path / annotation["file_name"], result.panoptic, CITYSCAPES)
    ids = read_panoptic(tmp_path / annotation["file_name"])
    assert made["images"] == [{"id": "a", "file_name": "a.jpg", "height": 10, "width": 12}]
    assert {s["id"]: s["area"] for s in annotation["segments_info"]} == {
        i: int((ids == i).sum()) for i in np.unique(ids) if i
    }
    assert [(s["id"], s["category_id"], s["iscrowd"], round(s["score"], 6)) for s in annotation["segments_info"]] == [
        (23, 23, 0, 0.75), (26001, 26, 0, 0.9), (26002, 26, 0, 0.4),
    ]  # fmt: skip
    assert {c["id"]: (c["name"], c["isthing"]) for c in made["categories"]}[26] == ("car", 1)


def test_coco_instances_are_read_by_coco_s_own_code(result, tmp_path):
    made = result.to_coco("instances")
    (tmp_path / "i.json").write_text(json.dumps(made))
    coco = COCO(str(tmp_path / "i.json"))
    annotations = coco.loadAnns(coco.getAnnIds(imgIds=["a"]))
    assert [(a["bbox"], a["area"], a["iscrowd"], a["score"]) for a in annotations] == [
        ([1, 6, 6, 3], 9, 0, 0.9),
        ([11, 9, 1, 1], 1, 0, 0.4),
    ]
    for annotation, value in zip(annotations, (ONE, TWO)):
        np.testing.assert_array_equal(coco.annToMask(annotation), result.panoptic == value)
        assert coco_masks.area(annotation["segmentation"]) == annotation["area"]
    assert {category["name"] for category in coco.loadCats(coco.getCatIds())} == {
        CITYSCAPES.names[c] for c in CITYSCAPES.thing_ids
    }


def test_detections_have_the_shapes_of_supervision(result):
    made = converters.detections(result)
    assert made["xyxy"].tolist() == [[0, 0, 11, 5], [1, 6, 6, 8], [11, 9, 11, 9]] and made["xyxy"].dtype == np.float32
    assert (
        made["mask"].shape == (3, 10, 12)
        and made["mask"].dtype == bool
        and made["class_id"].tolist() == [SKY, CAR, CAR]
    )
    assert made["data"]["class_name"].tolist() == ["sky", "car", "car"] and made[
        "confidence"
    ].tolist() == pytest.approx([0.75, 0.9, 0.4])
    things = converters.detections(result, stuff=False)
    assert len(things["xyxy"]) == 2 and things["data"]["segment_id"].tolist() == [ONE, TWO]
    empty = converters.detections(Result(result.image, result.semantic, np.full((10, 12), -1, np.int32), CITYSCAPES))
    assert empty["xyxy"].shape == (0, 4) and empty["mask"].shape == (0, 10, 12) and empty["class_id"].shape == (0,)


def test_supervision_takes_them_and_makes_the_same_boxes_of_the_masks(result):
    supervision = pytest.importorskip("supervision")
    made = result.to_supervision()
    assert (
        isinstance(made, supervision.Detections)
        and len(made) == 3
        and made["class_name"].tolist() == ["sky", "car", "car"]
    )
    np.testing.assert_array_equal(supervision.mask_to_xyxy(made.mask), made.xyxy)
    assert len(made[made.class_id == CAR]) == 2
    assert len(Result(result.image, result.semantic, np.full((10, 12), -1, np.int32), CITYSCAPES).to_supervision()) == 0


def test_without_supervision_there_is_one_sentence(result, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "supervision", None)
    with pytest.raises(
        UserError,
        match="to_supervision: expected the package supervision.*pip install supervision.*converters.detections",
    ):
        result.to_supervision()


def test_fiftyone_boxes_are_shares_of_the_image_and_masks_those_of_the_boxes(result):
    made = result.to_fiftyone(stuff=False)
    one, two = made["detections"]
    assert (
        one["label"] == "car"
        and one["bounding_box"] == pytest.approx([1 / 12, 0.6, 0.5, 0.3])
        and one["confidence"] == 0.9
    )
    assert (
        one["mask"].shape == (3, 6) and one["mask"].dtype == bool and one["mask"].sum() == 9 and not one["mask"][1, 1]
    )
    assert two["index"] == TWO and two["mask"].tolist() == [[True]]
    assert (
        made["mask"] is result.semantic
        and made["classes"][CAR] == "car"
        and len(result.to_fiftyone()["detections"]) == 3
    )
