"""Data sets of the user's own, described in YAML."""

import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
import yaml
from detectron2.data import DatasetCatalog, MetadataCatalog
from panopticapi.utils import rgb2id
from PIL import Image

from gbw_panoptic.data import check_datasets, register_all
from gbw_panoptic.data.categories import SegmentClass
from gbw_panoptic.data.custom import load_custom
from gbw_panoptic.data.label_maps import read_label_map
from gbw_panoptic.data.preparation import check, prepare, status
from gbw_panoptic.data.preparation.panoptic_ids import remap_segments
from gbw_panoptic.data.preparation.report import FaultError
from gbw_panoptic.data.preparation.report import FaultKind as K
from gbw_panoptic.data.statistics import ClassStatistics
from gbw_panoptic.errors import UserError
from gbw_panoptic.taxonomy import CITYSCAPES

REPOSITORY = Path(__file__).parents[2]
CATEGORIES = [
    {"id": 3, "name": "automobile", "isthing": 1},
    {"id": 4, "name": "lorry", "isthing": 1},
    {"id": 7, "name": "asphalt", "isthing": 0},
    {"id": 9, "name": "lane marking", "isthing": 0},
    {"id": 200, "name": "tram", "isthing": 0},  # one region for all trams
    {"id": 201, "name": "gull", "isthing": 1},
    {"id": 202, "name": "mannequin", "isthing": 1},
]
CLASSES = {
    "automobile": "car", "lorry": "truck", "asphalt": "road", "lane marking": "road", "tram": "train", "gull": "void"
}  # fmt: skip
STEMS = ["b", "a", "night/c"]
LABELLED = "mine_panoptic_train"


@pytest.fixture(autouse=True)
def restore_registrations():
    yield
    register_all()


@pytest.fixture
def root(tmp_path, write_coco_panoptic, write_images) -> Path:
    """A root with a labelled split, some of whose images have no label, and a folder of target images."""
    raw = tmp_path / "raw"
    value = write_coco_panoptic(raw / "panoptic", STEMS, CATEGORIES)
    (raw / "panoptic.json").write_text(json.dumps(value))
    write_images(*(raw / f"images/{stem}.jpg" for stem in (*STEMS, "unlabelled")))
    write_images(*(tmp_path / f"dashcam/{name}" for name in ("1/0.PNG", "1/1.jpeg", "2/0.png", ".thumbs/0.png")))
    (tmp_path / "dashcam/1/notes.txt").write_text("no image")
    describe(tmp_path, description())
    return tmp_path


def description() -> dict:
    train = {"images": "raw/images", "panoptic_json": "raw/panoptic.json", "panoptic_root": "raw/panoptic"}
    drive = {"images": "dashcam", "count": 3}
    return {"mine": {"categories": dict(CLASSES), "splits": {"train": train, "drive": drive}}}


def describe(root: Path, value) -> Path:
    path = root / "custom.yaml"
    path.write_text(value if isinstance(value, str) else yaml.safe_dump(value, sort_keys=False))
    return path


def contents(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


def edit_json(path: Path, edit) -> None:
    value = json.loads(path.read_text())
    edit(value)
    path.write_text(json.dumps(value))


def read_ids(path: Path) -> np.ndarray:
    return rgb2id(np.array(Image.open(path)))


# --- from description to records ---


def test_labels_become_those_of_the_classes(root):
    raw_files = contents(root)
    train, drive = prepare("mine", root, workers=1)
    assert (train.expected, train.images, train.prepared, train.faults) == (None, 3, 3, ())
    assert (drive.expected, drive.images, drive.prepared, drive.faults) == (3, 3, 3, ())
    assert train.void_categories == ("gull", "mannequin")
    assert (
        train.left_out
        == f"left out: 1 images that the JSON does not list (first: {root / 'raw/images/unlabelled.jpg'})"
    )
    assert {k: v for k, v in contents(root).items() if not k.startswith("custom/")} == raw_files
    names = {c["id"]: CLASSES.get(c["name"], "void") for c in CATEGORIES}
    raw = {a["image_id"]: a for a in json.loads((root / "raw/panoptic.json").read_text())["annotations"]}
    prepared = json.loads((root / "custom/mine/panoptic_train.json").read_text())
    assert prepared["categories"] == CITYSCAPES.categories()
    for image, annotation in zip(prepared["images"], prepared["annotations"], strict=True):
        stem = image["file_name"].removesuffix(".jpg")
        assert image["id"] == annotation["image_id"] == stem.replace("/", "_")
        old = read_ids(root / "raw/panoptic" / raw[stem]["file_name"])
        new = read_ids(root / "custom/mine/panoptic_train" / annotation["file_name"])
        expected, cars = np.zeros_like(new), 0
        trucks = 0
        for segment in raw[stem]["segments_info"]:
            name, mask = names[segment["category_id"]], old == segment["id"]
            if name == "road":
                expected[mask] = 7
            elif name == "train":
                expected[mask] = 31  # not told apart: a crowd
            elif name == "car":
                expected[mask] = 26 if segment["iscrowd"] else 26000 + cars
                cars += not segment["iscrowd"]
            elif name == "truck":
                expected[mask] = 27 if segment["iscrowd"] else 27000 + trucks
                trucks += not segment["iscrowd"]
        assert np.array_equal(new, expected)
        crowds = {s["id"] for s in annotation["segments_info"] if s["iscrowd"]}
        assert crowds == {26, 27, 31} & set(np.unique(new).tolist())


def test_records_statistics_and_metadata(root):
    prepare("mine", root, workers=1)
    register_all(str(root))
    names = [LABELLED, "mine_images_train", "mine_images_drive"]
    check_datasets(names)
    records = {name: DatasetCatalog.get(name) for name in names}
    assert [r["image_id"] for r in records[LABELLED]] == ["a", "b", "night_c"]
    assert [r["image_id"] for r in records["mine_images_drive"]] == ["1_0", "1_1", "2_0"]
    assert [r["image_id"] for r in records["mine_images_train"]] == ["a", "b", "night_c", "unlabelled"]
    assert all(Path(r["file_name"]).is_file() for rs in records.values() for r in rs)
    assert all(set(r) == {"file_name", "image_id"} for name in names[1:] for r in records[name])
    metadata = MetadataCatalog.get(LABELLED)
    assert metadata.labelled_classes == CITYSCAPES.ids("road", "car", "truck", "train")
    assert metadata.taxonomy is CITYSCAPES and MetadataCatalog.get("mine_images_drive").labelled_classes == ()
    statistics = ClassStatistics.load(metadata.class_statistics, CITYSCAPES.names)
    for record in records[LABELLED]:
        label = read_label_map(record, (18, 31), CITYSCAPES).semantic
        counts = {c: int((label == c).sum()) for c in range(19)}
        assert statistics.images[record["image_id"]] == {c: n for c, n in counts.items() if n}


def test_the_data_set_trains_and_is_evaluated_like_any_other(root):
    from gbw_panoptic.data.loader import build_test_loader, build_train_loader
    from gbw_panoptic.engine.setup import load_config

    prepare("mine", root, workers=1)
    register_all(str(root))
    opts = {
        "DATASETS.TRAIN": ("mine_panoptic_train",),
        "DATASETS.TARGET": ("mine_images_drive",),
        "DATASETS.TEST": ("mine_panoptic_train",),
        "INPUT.MIN_SIZE_TRAIN": (18,),
        "INPUT.TARGET.MIN_SIZE_TRAIN": (18,),
        "INPUT.CROP.SIZE": [16, 16],
        "INPUT.MIN_SIZE_TEST": 18,
        "SOLVER.IMS_PER_BATCH": 2,
        "DATALOADER.NUM_WORKERS": 0,
        "DATALOADER.RARE_CLASS_SAMPLING.MIN_PIXELS": 0,
    }
    cfg = load_config("", [str(word) for pair in opts.items() for word in pair])
    batch = next(iter(build_train_loader(cfg)))
    assert {sample["image_id"] for sample in batch.source} <= {"a", "b", "night_c"}
    assert set(np.unique(batch.source[0]["sem_seg"])) <= {0, 13, 14, 16, 255} and "offset" in batch.source[0]
    assert {sample["image_id"] for sample in batch.target} <= {"1_0", "1_1", "2_0"}
    assert [record["image_id"] for (record,) in build_test_loader(cfg, "mine_panoptic_train")] == ["a", "b", "night_c"]


def test_without_categories_names_are_those_of_the_classes(root):
    names = ("car", "truck")
    edit_json(root / "raw/panoptic.json", lambda v: [c.update(name=n) for c, n in zip(v["categories"], names)])
    value = description()
    del value["mine"]["categories"]
    describe(root, value)
    train, _ = prepare("mine", root, workers=1)
    assert not train.faults and train.void_categories == tuple(c["name"] for c in CATEGORIES[2:])
    assert {c for counts in train.statistics.images.values() for c in counts} == {13, 14}
    register_all(str(root))
    assert MetadataCatalog.get(LABELLED).labelled_classes == tuple(range(19))
    edit_json(root / "raw/panoptic.json", lambda v: [c.update(name="x") for c in v["categories"]])
    with pytest.raises(UserError, match="expected categories with names of cityscapes classes"):
        prepare("mine", root, workers=1)


def test_another_file_and_absolute_paths(root, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    value = description()
    value["other"] = {"splits": {"all": {"images": str(root / "dashcam")}}}
    path = elsewhere / "my sets.yaml"
    path.write_text(yaml.safe_dump(value, sort_keys=False))
    register_all(str(root), str(path))
    assert len(DatasetCatalog.get("other_images_all")) == 3
    with pytest.raises(UserError) as raised:  # paths are relative to the file
        DatasetCatalog.get("mine_images_drive")
    assert str(elsewhere / "dashcam") in str(raised.value) and "correct `images` of mine: drive" in str(raised.value)
    (root / "custom.yaml").unlink()
    register_all(str(root))
    assert "other_images_all" not in DatasetCatalog and "mine_images_drive" not in DatasetCatalog
    with pytest.raises(UserError, match="readable file at .*none.yaml, found nothing"):
        register_all(str(root), str(elsewhere / "none.yaml"))
    (root / "custom.yaml").write_text("# nothing yet\n")
    assert load_custom(root) == {}


def test_two_workers_equal_one(root):
    prepare("mine", root, workers=1)
    one = contents(root)
    reports = prepare("mine", root, workers=2, overwrite=True)
    assert contents(root) == one and not any(report.faults for report in reports)


def test_too_many_instances_do_not_run_into_the_next_class():
    ids = np.arange(1, 1002, dtype=np.int32)[None]
    segments = [{"id": int(i), "category_id": 3} for i in ids[0]]
    classes = {3: SegmentClass(CITYSCAPES.names.index("car"), False)}
    with pytest.raises(FaultError, match="1001 instances"):
        remap_segments(ids, segments, classes)
    assert np.array_equal(remap_segments(ids[:, :-1], segments[:-1], classes), ids[:, :-1] + 25999)


def test_relative_paths_find_the_finished_labels_again(root, monkeypatch):
    monkeypatch.chdir(root.parent)
    here = Path(root.name)
    folder = root / "custom/mine/panoptic_train"
    prepare("mine", here, workers=1)
    written = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    prepare("mine", here, workers=1, custom=here / "custom.yaml")
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == written and len(written) == 3
    assert {s.name: s.state for s in status(here)}["mine"] == "complete"
    register_all(str(here), str(here / "custom.yaml"))
    assert MetadataCatalog.get(LABELLED).prepare_command == f"python datasets/prepare.py mine --root {here}"
    check_datasets([LABELLED, "mine_images_drive"])


# --- changed descriptions ---


def test_labels_of_other_categories_are_refused_and_made_again(root):
    prepare("mine", root, workers=1)
    value = description()
    value["mine"]["categories"]["lorry"] = "bus"
    describe(root, value)
    os.utime(root / "custom.yaml", ns=(2**62, 2**62))
    register_all(str(root))
    with pytest.raises(UserError, match="found labels that were made with other categories than those of now"):
        check_datasets([LABELLED])
    train, _ = prepare("mine", root, workers=1)
    assert not train.statistics.images_with(14) and train.statistics.images_with(15)
    check_datasets([LABELLED])


def test_labels_that_became_worthless_are_named_by_the_check(root):
    prepare("mine", root, workers=1)
    value = description()
    value["mine"]["categories"]["lorry"] = "bus"
    describe(root, value)
    train, _ = check("mine", root, workers=1)
    assert train.faults and all(fault.kind in (K.DISAGREE, K.UNREADABLE) for fault in train.faults)
    assert any("made with other categories" in fault.message for fault in train.faults)


# --- what is wrong with a description ---

SPLITS = "splits: {a: {images: x}}"
BAD_DESCRIPTIONS = {
    "a list": ("[1, 2]", "expected names of data sets, each with its splits in .*custom.yaml, found \\[1, 2\\]"),
    "a number for a data set": ("mine: 3", "expected splits and, for labels, categories or ids under mine in"),
    "no splits": ("mine: {categories: {a: car}}", "expected at least one split under mine: splits in .*, found None"),
    "misspelt key": (f"mine: {{{SPLITS}, categorys: {{a: car}}}}", "found 'categorys'; did you mean categories\\?"),
    "misspelt class": (f"mine: {{{SPLITS}, categories: {{a: cars}}}}", "found 'cars'; did you mean car\\?"),
    "no class": (f"mine: {{{SPLITS}, categories: {{a: }}}}", "under mine: categories: a in .*, found None; write void"),
    "no categories": (f"mine: {{{SPLITS}, categories: }}", "expected your categories, .*, found None"),
    "a boolean key": (f"mine: {{{SPLITS}, categories: {{off: car}}}}", "found False; put it in quotation marks"),
    "a published name": (f"synthia: {{{SPLITS}}}", "expected a name of your own .*, found that of a published"),
    "a name with a slash": (f"a/b: {{{SPLITS}}}", "expected a name of letters, digits"),
    "a name with dots": (f"..: {{{SPLITS}}}", "expected a name of letters, digits"),
    "a number as split": ("mine: {splits: {2024: {images: x}}}", "found 2024; put it in quotation marks"),
    "a split with a slash": ("mine: {splits: {../a: {images: x}}}", "expected a name of letters, digits"),
    "no images": (
        "mine: {splits: {a: {count: 3}}}",
        "expected a path under mine: splits: a: images in .*, found nothing",
    ),
    "no panoptic_root": (
        "mine: {splits: {a: {images: x, panoptic_json: y}}}",
        "expected a path under mine: splits: a: panoptic_root in .*, found nothing",
    ),
    "a list of folders": ("mine: {splits: {a: {images: [x]}}}", "expected a path .*, found \\['x'\\]"),
    "braces": ("mine: {splits: {a: {images: 'x{stem}'}}}", "expected a path without braces"),
    "a count of words": ("mine: {splits: {a: {images: x, count: many}}}", "expected the number of images .*'many'"),
    "the same key twice": (f"mine: {{{SPLITS}, {SPLITS}}}", "the key 'splits' twice"),
    "no YAML": ("mine: [", "expected YAML of plain values"),
    "an object": ("mine: !!python/object/apply:os.getcwd []", "expected YAML of plain values"),
    "a taken name": ("cityscapes_uda: {splits: {train: {images: x}}}", "found 'cityscapes_uda_images_train' taken"),
}


@pytest.mark.parametrize("fault", BAD_DESCRIPTIONS)
def test_bad_descriptions_are_refused_in_one_sentence(tmp_path, fault):
    text, message = BAD_DESCRIPTIONS[fault]
    path = describe(tmp_path, text)
    with pytest.raises(UserError, match=message) as raised:
        register_all(str(tmp_path))
    assert str(path) in str(raised.value) and "\n" not in str(raised.value)
    (row,) = [s for s in status(tmp_path) if s.name == "custom"] or [None]
    assert row is None if fault == "a taken name" else row.state == "incomplete" and row.remedy


# --- what is wrong with the data ---


def test_images_are_told_apart(root, write_images):
    write_images(root / "dashcam/2/0.jpg")
    with pytest.raises(UserError, match="differ in more than .*, found 2/0.(png|jpg) and 2/0.(png|jpg) in .*dashcam"):
        prepare("mine", root, workers=1)


def test_links_are_followed_but_not_in_circles(root):
    (root / "dashcam/3").symlink_to(root / "raw/images")
    (root / "dashcam/2/up").symlink_to(root / "dashcam")
    register_all(str(root))
    ids = [r["image_id"] for r in DatasetCatalog.get("mine_images_drive")]
    assert sorted(ids) == ["1_0", "1_1", "2_0", "3_a", "3_b", "3_night_c", "3_unlabelled"]


RAW_JSON_FAULTS = {
    "no categories": (lambda v: v.pop("categories"), "found no 'categories'"),
    "category twice": (lambda v: v["categories"].append(v["categories"][0]), "a category id that occurs twice"),
    "a word as category id": (lambda v: v["categories"][0].update(id="3"), "a category without an integer id"),
    "renamed category": (lambda v: v["categories"][0].update(name="automobiles"), "'automobile'.*did you mean"),
    "image twice": (lambda v: v["images"].append(v["images"][0]), "an image id that occurs twice"),
    "annotation twice": (lambda v: v["annotations"].append(v["annotations"][0]), "an image that is annotated twice"),
    "unknown image": (lambda v: v["annotations"][0].update(image_id="x"), "found no 'x'"),
    "no annotations": (lambda v: v["annotations"].clear(), "expected annotated images in"),
    "image name that leaves": (lambda v: v["images"][0].update(file_name="../a.jpg"), "which leaves its folder"),
    "label name that leaves": (lambda v: v["annotations"][0].update(file_name="/etc/a.png"), "which leaves its folder"),
    "same name twice": (lambda v: v["images"][0].update(file_name="a.png"), "found a.(png|jpg) and a.(png|jpg)"),
    "a list": (lambda v: v.update(images=3), "expected COCO-panoptic JSON"),
}


@pytest.mark.parametrize("fault", RAW_JSON_FAULTS)
def test_bad_json_is_refused_in_one_sentence(root, fault):
    edit, message = RAW_JSON_FAULTS[fault]
    edit_json(root / "raw/panoptic.json", edit)
    with pytest.raises(UserError, match=message) as raised:
        prepare("mine", root, workers=1)
    assert str(root / "raw/panoptic.json") in str(raised.value) and "\n" not in str(raised.value)


@pytest.mark.parametrize("key", ["images", "panoptic_json", "panoptic_root"])
def test_paths_that_do_not_exist_are_named(root, key):
    value = description()
    value["mine"]["splits"]["train"][key] = "nowhere"
    describe(root, value)
    with pytest.raises(UserError, match=f"{root / 'nowhere'}, found nothing"):
        prepare("mine", root, workers=1)


def crop(path: Path) -> None:
    image = Image.open(path)
    image.crop((0, 0, image.width, image.height - 1)).save(path)


def plant_palette(path: Path) -> None:
    Image.open(path).convert("P").save(path)


def edit_segments(path: Path, edit) -> None:
    edit_json(path, lambda v: edit(v["annotations"][1]["segments_info"]))


A_JSON, A_PNG, A_JPG = "raw/panoptic.json", "raw/panoptic/a.png", "raw/images/a.jpg"
FAULTS = {
    "missing image": (A_JPG, Path.unlink, {(K.MISSING, A_JPG)}),
    "missing label": (A_PNG, Path.unlink, {(K.MISSING, A_PNG)}),
    "missing prepared label": (
        "custom/mine/panoptic_train/a.png", Path.unlink,
        {(K.MISSING, "panoptic_train/a.png"), (K.DISAGREE, "class_statistics_train.json")},
    ),
    "size mismatch": (A_PNG, crop, {(K.SIZE, A_PNG)}),
    "id outside the mapping": (
        A_JSON, lambda p: edit_segments(p, lambda s: s[0].update(category_id=5)), {(K.OUTSIDE, "the category id 5")}
    ),
    "JSON without a segment": (A_JSON, lambda p: edit_segments(p, list.pop), {(K.DISAGREE, "which are not listed")}),
    "JSON with another segment": (
        A_JSON, lambda p: edit_segments(p, lambda s: s.append({**s[0], "id": 1})),
        {(K.DISAGREE, "no pixel of the ids [1]")},
    ),
    "id of void": (A_JSON, lambda p: edit_segments(p, lambda s: s[0].update(id=0)),
                   {(K.UNREADABLE, "id 0, which is void")}),
    "id of 25 bits": (
        A_JSON, lambda p: edit_segments(p, lambda s: s[0].update(id=1 << 24)), {(K.UNREADABLE, "ids are 1..16777215")}
    ),
    "crowd as text": (
        A_JSON, lambda p: edit_segments(p, lambda s: s[0].update(iscrowd="0")),
        {(K.UNREADABLE, "iscrowd '0' of the segment")}
    ),
    "segment twice": (A_JSON, lambda p: edit_segments(p, lambda s: s.append(s[0])), {(K.DISAGREE, "twice")}),
    "segment without category": (
        A_JSON, lambda p: edit_segments(p, lambda s: s[0].pop("category_id")),
        {(K.UNREADABLE, "KeyError 'category_id'")},
    ),
    "prepared JSON unlike PNG": (
        "custom/mine/panoptic_train.json",
        lambda p: edit_json(p, lambda v: v["annotations"][0]["segments_info"].pop()), {(K.DISAGREE, "the segments of")},
    ),
    "unreadable image": (A_JPG, lambda p: p.write_bytes(p.read_bytes()[:-99]), {(K.UNREADABLE, A_JPG)}),
    "empty label": (A_PNG, lambda p: p.write_bytes(b""), {(K.UNREADABLE, A_PNG)}),
    "palette label": (A_PNG, plant_palette, {(K.UNREADABLE, "found mode P")}),
    "unreadable target": (
        "dashcam/1/0.PNG", lambda p: p.write_bytes(p.read_bytes()[:-99]), {(K.UNREADABLE, "1/0.PNG")}
    ),
    "wrong count": ("dashcam/1/1.jpeg", Path.unlink, {(K.COUNT, "expected 3 images")}),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_check_names_each_planted_fault_and_no_other(root, fault):
    prepare("mine", root, workers=1)
    file, plant, expected = FAULTS[fault]
    plant(root / file)
    before = contents(root)
    faults = [fault for report in check("mine", root, workers=1) for fault in report.faults]
    assert contents(root) == before
    assert len(faults) == len(expected), faults
    for kind, text in expected:
        assert any(f.kind is kind and text in f.message and "\n" not in f.message for f in faults), (text, faults)


def test_preparation_refuses_faulty_labels_and_writes_no_index(root):
    crop(root / A_PNG)
    train, drive = prepare("mine", root, workers=1)
    assert [fault.kind for fault in train.faults] == [K.SIZE] and not train.skipped and not drive.faults
    assert not (root / "custom/mine/panoptic_train.json").exists()


def test_photographs_that_lie_on_their_side_are_turned_before_sizes_are_compared(root, write_coco_panoptic):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open(root / A_JPG).transpose(Image.Transpose.ROTATE_90).save(root / A_JPG, exif=exif)
    assert not prepare("mine", root, workers=1)[0].faults
    assert not check("mine", root, workers=1)[0].faults


def test_the_tool_prepares_checks_and_exits_with_two(run_tool, root):
    def run(*arguments):
        return run_tool("datasets/prepare.py", *arguments, "--root", root, "--workers", 1)

    result = run("mine")
    assert result.returncode == 0, result.stderr
    assert "mine train: found 3, prepared 3\n  void: gull, mannequin\n" in result.stdout
    assert "mine drive: expected 3 images, found 3, prepared 3\n" in result.stdout
    (root / A_PNG).unlink()
    result = run("mine", "--check")
    assert result.returncode == 2 and "Traceback" not in result.stderr
    assert "missing files: 1" in result.stdout and A_PNG in result.stdout
    result = run("mien")
    assert result.returncode == 2 and "expected a data set among synthia, " in result.stderr and "mine" in result.stderr


def test_status_of_own_data_sets(root):
    def state():
        return next((s.state, s.remedy) for s in status(root) if s.name == "mine")

    command = f"run `python datasets/prepare.py mine --root {root}`"
    assert state()[0] == "incomplete" and command in state()[1]
    prepare("mine", root, workers=1)
    assert state() == ("complete", "")
    (root / "dashcam/1/0.PNG").unlink()
    assert state()[0] == "incomplete" and "correct `images` of mine: drive" in state()[1]


def test_the_example_of_the_documentation_is_valid(tmp_path):
    (text,) = re.findall(r"```yaml\n(.*?)```", (REPOSITORY / "datasets/README.md").read_text(), re.DOTALL)
    describe(tmp_path, text)
    register_all(str(tmp_path))
    assert {n for n in DatasetCatalog if n.startswith("city_of_x")} == {
        "city_of_x_panoptic_train", "city_of_x_images_train", "city_of_x_images_dashcam"
    }  # fmt: skip
    train = MetadataCatalog.get("city_of_x_panoptic_train")
    assert train.labelled_classes == CITYSCAPES.ids("road", "car", "truck")
    assert train.image_root == str(tmp_path / "city_of_x/train")


def test_the_catalog_table_of_the_documentation_is_complete(tmp_path):
    register_all(str(tmp_path))
    text = (REPOSITORY / "datasets/README.md").read_text()
    cells = re.findall(r"`([^`]*)`", text[text.index("## Names in the catalog") : text.index("## Streets (")])
    documented = {name for cell in cells for name in expand(cell)}
    ours = {n for n in DatasetCatalog if MetadataCatalog.get(n).get("prepare_command")}
    assert len(ours) == 35 and ours <= documented


def expand(text: str) -> list[str]:
    """What the braces of a shell would make of ``text``."""
    match = re.search(r"\{([^{}]*)\}", text)
    if not match:
        return [text]
    return [name for part in match[1].split(",") for name in expand(text[: match.start()] + part + text[match.end() :])]


COCO = next((p / "shared/data/coco_panoptic_sample" for p in REPOSITORY.parents if (p / "shared/data").is_dir()), None)


@pytest.mark.skipif(COCO is None, reason="the sample photographs of COCO are not part of the project")
def test_photographs_of_coco(tmp_path):
    classes = {"person": "person", "truck": "truck", "tree-merged": "vegetation", "sky-other-merged": "sky"}
    split = {"images": "input_images", "panoptic_json": "panoptic_examples.json", "panoptic_root": "panoptic_examples"}
    describe(tmp_path, {"coco": {"categories": classes, "splits": {"s": {k: str(COCO / v) for k, v in split.items()}}}})
    (report,) = prepare("coco", tmp_path, workers=1)
    assert not report.faults and not check("coco", tmp_path, workers=1)[0].faults
    raw = json.loads((COCO / "panoptic_examples.json").read_text())
    ids = {c["id"]: classes[c["name"]] for c in raw["categories"] if c["name"] in classes}
    segments = [s for a in raw["annotations"] for s in a["segments_info"] if s["category_id"] in ids]
    for class_id, name in enumerate(CITYSCAPES.names):
        area = sum(s["area"] for s in segments if ids[s["category_id"]] == name)
        assert report.statistics.pixels[class_id] == area
    prepared = json.loads((tmp_path / "custom/coco/panoptic_s.json").read_text())
    made = [s for annotation in prepared["annotations"] for s in annotation["segments_info"]]
    people = [s for s in made if s["category_id"] == 24 and not s["iscrowd"]]
    assert len(people) == sum(ids[s["category_id"]] == "person" and not s["iscrowd"] for s in segments) > 20


def test_where_nothing_but_other_formats_is_found_they_are_named(root):
    for path in (root / "dashcam").rglob("*.*"):
        path.rename(path.with_suffix(".heic"))
    named = r"found no .*\(left out: 4 files of the format .heic, which is not read \(first: .*\.heic\)\)"
    with pytest.raises(UserError, match=named):
        prepare("mine", root, workers=1)
    register_all(root)
    with pytest.raises(UserError, match=named):
        DatasetCatalog.get("mine_images_drive")


def test_what_is_left_out_is_in_the_report_and_strict_makes_it_an_error(root):
    (root / "dashcam/2/photo.HEIC").touch()
    (root / "dashcam/linked").symlink_to(root / "raw/images")
    train, drive = prepare("mine", root, workers=1)
    assert drive.images == 3 + 4
    assert drive.format().splitlines()[1] == (
        f"  left out: 1 files of the format .heic, which is not read (first: {root / 'dashcam/2/photo.HEIC'})"
    )
    for command in (prepare, check):
        with pytest.raises(
            UserError, match="--strict: expected to read everything, but left out: 1 files of the format .heic"
        ):
            command("mine", root, workers=1, strict=True)
