"""What tools get is what their formats say, read by other means than ours, and what they give back is checked."""

import base64
import io
import json
import re
import xml.etree.ElementTree as tree
import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from pycocotools import mask as coco_masks
from town import SIZES, TOWN, acquisition, ask, records, truthful

from gbw_panoptic.active.acquisition import Settings
from gbw_panoptic.errors import UserError
from gbw_panoptic.labelling import cvat, label_studio, labelme
from gbw_panoptic.labelling.answer import Answer, polygon_mask
from gbw_panoptic.labelling.formats import FORMATS, format_of
from gbw_panoptic.labelling.runs import decode_brush, decode_cvat, decode_map, encode_brush, encode_cvat, encode_map

MASKS = st.tuples(st.integers(1, 12), st.integers(1, 12)).flatmap(lambda size: arrays(bool, size))


@pytest.fixture(scope="module")
def batch(tmp_path_factory):
    folder = tmp_path_factory.mktemp("town")
    same = {"settings": Settings(unit="image"), "budget": "4 images", "panoptic": True, "oracle": False}
    with pytest.raises(UserError, match="expected a budget of 1 to 2 images"):
        acquisition(folder / "store", records(folder / "images"), **same)
    humans = acquisition(folder / "store", records(folder / "images"), **{**same, "budget": "2 images"})
    humans.rounds = 1
    return ask(humans, 1)


def drawn(answer: Answer, label: int) -> np.ndarray:
    return answer.labels == label


@given(MASKS)
def test_masks_survive_their_run_lengths(mask):
    assert (decode_cvat(encode_cvat(mask), mask.shape) == mask).all()
    assert (decode_brush(encode_brush(mask), mask.shape) == mask).all()
    assert (decode_map(encode_map(mask.astype(int)), mask.shape) == mask).all()


def test_run_lengths_are_those_of_the_tools():
    mask = np.zeros((3, 4), bool)
    mask[1, 1], mask[1, 2], mask[2, 2] = True, True, True
    assert encode_cvat(mask) == "5, 2, 3, 1, 1" and encode_cvat(~mask) == "0, 5, 2, 3, 1, 1"
    one = encode_brush(
        np.ones((1, 2), bool)
    )  # 8 values, words of 8 bits, fields of 3, 4, 8, 16; one run of 8 times 255
    bits = "".join(f"{byte:08b}" for byte in one)
    assert bits[:57] == f"{8:032b}" + "00111" + "0010001101111111" + "1001" and len(one) == 9
    assert bits[53:67] == "10011111111111"
    literal = (
        f"{8:032b}" + "00111" + "0010001101111111" + "000111" + "".join(f"{v:08b}" for v in (0, 0, 0, 9, 7, 7, 7, 0))
    )
    stream = [int(literal[i : i + 8].ljust(8, "0"), 2) for i in range(0, len(literal), 8)]
    assert decode_brush(stream, (1, 2)).tolist() == [[True, False]]
    large = np.zeros((300, 300), bool)
    large[150:] = True  # runs of more than 65536 values are cut
    assert (decode_brush(encode_brush(large), large.shape) == large).all()
    assert polygon_mask(np.array([[0, 0], [2, 0], [2, 2], [0, 2]]), (4, 5)).sum() == 4


def test_other_readers_see_the_same_masks(batch, tmp_path):
    answers = truthful(batch)
    for tool, module in FORMATS.items():
        (tmp_path / tool).mkdir()
        module.write(batch, answers, tmp_path / tool)
    truth = answers["a"]
    # COCO: pycocotools' area of each segment of the PNG; Pillow decodes that
    value = json.loads((tmp_path / "coco" / "panoptic.json").read_text())
    pixels = np.asarray(Image.open(tmp_path / "coco" / "panoptic" / "a.png")).astype(int)
    ids = pixels[..., 0] + 256 * pixels[..., 1] + 65536 * pixels[..., 2]
    assert set(np.unique(ids)) - {0} == {s["id"] for s in value["annotations"][0]["segments_info"]}
    names = {category["id"]: category["name"] for category in value["categories"]}
    for segment in value["annotations"][0]["segments_info"]:
        encoded = coco_masks.encode(np.asfortranarray(ids == segment["id"], np.uint8))
        assert coco_masks.area(encoded) == segment["area"] and coco_masks.toBbox(encoded).tolist() == segment["bbox"]
    sky = np.isin(
        ids, [s["id"] for s in value["annotations"][0]["segments_info"] if names[s["category_id"]] == "sky & clouds"]
    )
    assert (sky == drawn(truth, 1)).all()
    # labelme: Pillow decodes the PNG in the JSON
    shapes = json.loads((tmp_path / "labelme" / "a.json").read_text())["shapes"]
    canvas = np.full(SIZES["a"], -1)
    for shape in shapes:
        (x0, y0), (x1, y1) = shape["points"]
        mask = np.asarray(Image.open(io.BytesIO(base64.b64decode(shape["mask"]))))
        assert mask.shape == (y1 - y0 + 1, x1 - x0 + 1)
        canvas[y0 : y1 + 1, x0 : x1 + 1][mask > 0] = [*TOWN.names, "void"].index(shape["label"])
    assert (canvas == truth.labels).all()
    # CVAT: runs painted one by one
    root = tree.parse(tmp_path / "cvat" / "annotations.xml").getroot()
    canvas = np.full(SIZES["a"], -1)
    for mask in root.find("image[@name='a.png']").iter("mask"):
        flat, place = np.zeros(int(mask.get("width")) * int(mask.get("height")), bool), 0
        for index, length in enumerate(map(int, mask.get("rle").split(", "))):
            flat[place : place + length], place = index % 2 == 1, place + length
        left, top = int(mask.get("left")), int(mask.get("top"))
        view = canvas[top : top + int(mask.get("height")), left : left + int(mask.get("width"))]
        view[flat.reshape(view.shape)] = [*TOWN.names, "void"].index(mask.get("label"))
    assert (canvas == truth.labels).all()
    assert not root.findall(".//tag") and json.loads((tmp_path / "cvat" / "labels.json").read_text())[2]["attributes"]
    assert tree.parse(tmp_path / "label-studio" / "config.xml").findall(".//Label")[1].get("value") == "sky & clouds"
    assert json.loads((tmp_path / "label-studio" / "tasks.json").read_text())[0]["predictions"]


def test_suggestions_alone_are_no_answers(batch, tmp_path):
    for tool in ("cvat", "label-studio", "labelme"):
        (tmp_path / tool).mkdir()
        path = FORMATS[tool].write(batch, truthful(batch), tmp_path / tool)
        assert not any(FORMATS[tool].read(path, batch).values()), tool
        if tool != "label-studio":
            assert set(FORMATS[tool].read(path, batch, all_done=True)[""]) == {"a", "b"}


def test_an_unknown_class_is_named(batch, tmp_path):
    for tool, module in FORMATS.items():
        (tmp_path / tool).mkdir()
        path = module.write(batch, truthful(batch), tmp_path / tool, done=True)
        files = path.glob("*.json") if path.is_dir() else [path]
        for file in files:
            file.write_text(file.read_text().replace('"car"', '"carr"'))
        with pytest.raises(
            UserError, match=r"expected one of the classes road, .*, void in .*, found 'carr'; did you mean car\?"
        ):
            module.read(path, batch)


def test_what_people_draw_counts(batch, tmp_path):
    """Polygons and boxes, a later shape over an earlier one, things without a number, several annotators, a zip."""
    xml = tmp_path / "drawn.zip"
    with zipfile.ZipFile(xml, "w") as archive:
        archive.writestr("annotations.xml", (
            '<annotations><image id="0" name="folder/a.png" width="41" height="30"><tag label="done"/>'
            '<box label="car" xtl="0" ytl="0" xbr="4" ybr="4" z_order="1"/>'
            '<polygon label="road" points="0.00,0.00;10.00,0.00;10.00,10.00;0.00,10.00" z_order="0"/>'
            '<box label="car" xtl="5" ytl="5" xbr="7" ybr="7" z_order="2"/></image><image id="1" name="other.png" '
            'width="1" height="1"/>'
            "</annotations>"
        ))  # fmt: skip
    assert format_of(xml) == "cvat"
    answer = cvat.read(xml, batch)[""]["a"]
    assert (
        drawn(answer, 2).sum() == 16 + 4
        and drawn(answer, 0).sum() == 100 - 20
        and (answer.labels == -1).sum() == 30 * 41 - 100
    )
    assert set(np.unique(answer.numbers)) == {0, 1, 2}
    points = [[0, 0], [50, 0], [50, 100], [0, 100]]
    result = [{"id": "r", "type": "polygonlabels", "from_name": "label", "to_name": "image", "original_width": 32,
               "original_height": 26, "value": {"points": points, "polygonlabels": ["road"]}}]  # fmt: skip
    annotations = [{"completed_by": {"email": who}, "result": result} for who in ("ann@x.org", "bob@x.org")]
    path = tmp_path / "studio.json"
    path.write_text(json.dumps([{"data": {"image": "/data/upload/b.png"}, "annotations": annotations}]))
    found = label_studio.read(path, batch)
    assert set(found) == {"ann@x.org", "bob@x.org"} and drawn(found["bob@x.org"]["b"], 0).sum() == 26 * 16


@pytest.mark.parametrize(
    "name, content",
    [
        ("a.xml", "<annotations><image"), ("a.xml", "<!DOCTYPE x [<!ENTITY a 'b'>]><annotations/>"),
        ("a.xml", '<annotations><image name="a.png" width="41" height="31"><tag label="done"/></image></annotations>'),
        *(("a.xml", '<annotations><image name="a.png" width="41" height="30"><tag label="done"/><mask label="car" '
                    f'{m}/></image></annotations>')
          for m in ("", 'rle="1" top="0" left="0" height="2" width="2"',
                    'rle="x" top="0" left="0" height="2" width="2"',
                    'rle="4" top="a" left="0" height="2" width="2"',
                    'rle="4" top="0" left="0" height="99999" width="99999"',
                    'rle="4" top="0" left="0" height="2" width="2" group_id="-1"')),
        *(("a.xml", '<annotations><image name="a.png" width="41" height="30"><tag '
                    f'label="done"/>{shape}</image></annotations>')
          for shape in ('<box label="car" xtl="1" ytl="2" xbr="3"/>',
                        '<box label="car" xtl="x" ytl="2" xbr="3" ybr="4"/>', '<polygon label="car"/>',
                        '<polygon label="car" points="1,2;3"/>', '<polygon label="car" points="0,0;9,9;1e9,0"/>',
                        '<box xtl="1" ytl="2" xbr="3" ybr="4"/>',
                        '<box label="car" z_order="top" xtl="1" ytl="2" xbr="3" ybr="4"/>')),
        *(("a.json", '[{"data": {"image": "a.png"}, "annotations": [{"result": [{"id": "1", "original_width": 41, '
                     '"original_height": 30, %s}]}]}]' % item)
          for item in ('"type": "rectanglelabels", "value": {"x": 0, "rectanglelabels": ["car"]}',
                       '"type": "rectanglelabels"', '"value": {}',
                       '"type": "polygonlabels", "value": {"points": [[0, 1], [2]], "polygonlabels": ["car"]}',
                       '"type": "brushlabels", "value": {"rle": [[1], 2], "brushlabels": ["car"]}',
                       '"type": "brushlabels", "value": {"rle": [], "brushlabels": []}',
                       '"type": "textarea", "value": {"text": "1"}')),
        ("a.json", '{"shapes": [{"label": "car", "points": [[0, 1], [2]], "shape_type": "polygon"}], "imagePath": '
                   '"a.png", "flags": {"done": true}}'),
        ("a.json", '{"shapes": [], "imagePath": 3}'), ("a.json", '{"shapes": 3, "imagePath": "a.png"}'),
        ("a.json", '{"shapes": [{"label": "car", "points": [[0, 0], [1, 1]], "shape_type": "mask", "mask": "AAAA"}], '
                   '"imagePath": "a.png", "flags": {"done": true}}'),
        ("a.json", '{"shapes": [{"label": "car", "points": [[0, 0]], "shape_type": "circle"}], "imagePath": "a.png", '
                   '"flags": {"done": true}}'),
        ("a.json", '[{"data": {"image": "a.png"}, "annotations": [{"result": [{"type": "brushlabels"}]}]}]'),
        ("a.json", '[{"data": {"image": "a.png"}, "annotations": [{"result": [{"id": "1", "type": "brushlabels", '
                   '"original_width": 41,'
                   ' "original_height": 30, "value": {"rle": [1, 2], "brushlabels": ["car"]}}]}]}]'),
        ("a.json", '{"format": "x", "classes": ["road"], "round": 2, "images": []}'),
        ("a.json", '{"format": "x", "classes": ["road"], "round": 1, "images": [{"file": "a.png", "height": 30, '
                   '"width": 41, "labels": [0, 3],'
                   ' "numbers": [0, 1230], "centers": []}]}'),
        ("a.json", '{"format": "x", "classes": ["road"], "round": 1, "images": [{"file": "a.png", "height": 30, '
                   '"width": 41, "labels": [7, 1230],'
                   ' "numbers": [0, 1230], "centers": []}]}'),
        ("a.json", '[{"data": {"image": "a.png"}, "annotations": [{"result": [{"id": "1", "type": "textarea", '
                   '"from_name": "instance",'
                   ' "value": {"text": "two"}}, {"id": "1", "type": "rectanglelabels", "original_width": 41, '
                   '"original_height": 30,'
                   ' "value": {"x": 0, "y": 0, "width": 9, "height": 9, "rectanglelabels": ["car"]}}]}]}]'),
        *(("a.json", '{"format": "x", "classes": ["road"], "round": 1, "images": [{"file": "a.png", "height": 30, '
                     '"width": 41,'
                     ' "labels": [0, 1230], "numbers": [0, 1230], "centers": [%s]}]}' % told)
          for told in ("[0, 1, 2.5]", "[]", "[7, 1, 2, 3]", "[0.5, 1, 2, 3]", "[0, 1, 2, 1e999]")),
        ("a.json", '{"images": [], "annotations": [{"image_id": 1, "file_name": "../a.png", "segments_info": []}], '
                   '"categories": []}'),
        ("a.json", '{"images": [], "annotations": [{"image_id": [1], "file_name": "a.png", "segments_info": []}], '
                   '"categories": []}'),
        ("a.json", '{"images": [{"id": {"a": 1}, "file_name": "a.png"}], "annotations": [], "categories": []}'),
        ("a.json", "{}"), ("a.json", "no JSON"),
    ],
)  # fmt: skip
def test_damaged_answers_are_one_sentence(batch, tmp_path, name, content):
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(UserError) as caught:
        FORMATS[format_of(path)].read(path, batch, all_done=True)
        raise AssertionError("taken")
    message = str(caught.value)
    assert "\n" not in message and str(tmp_path) in message
    assert not re.search(r"unpack|invalid literal|convert|NoneType|inhomogeneous|indices|found '\w+';", message), (
        message
    )  # Python's words, not a user's


def test_labelme_finds_its_images_beside_the_answers(batch, tmp_path):
    labelme.write(batch, truthful(batch), tmp_path)
    assert sorted(p.name for p in tmp_path.glob("*")) == ["a.json", "a.png", "b.json", "b.png", "labels.txt"]
