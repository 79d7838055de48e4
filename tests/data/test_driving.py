"""CamVid, KITTI, UrbanSyn, ACDC, MUSES, BDD100K and WildDash2, drawn at random in their very formats."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from panopticapi.utils import id2rgb, rgb2id
from PIL import Image

from gbw_panoptic.data import check_datasets, register_all
from gbw_panoptic.data.driving import CATALOG, DRIVING
from gbw_panoptic.data.preparation import check, prepare, status
from gbw_panoptic.data.preparation.driving import urbansyn_panoptic_ids
from gbw_panoptic.data.preparation.report import FaultError, FaultKind
from gbw_panoptic.data.published import PUBLISHED
from gbw_panoptic.data.statistics import ClassStatistics
from gbw_panoptic.errors import UserError
from gbw_panoptic.taxonomy import CITYSCAPES, read_taxonomy
from gbw_panoptic.taxonomy.published import BDD100K_CLASSES, WILDDASH2_ALWAYS, WILDDASH2_CLASSES

H, W = 12, 21
THINGS = (11, 12, 13, 14, 15, 16, 17, 18)
COUNTS = {
    "camvid": (2, 1, 2),
    "kitti": (2, 1),
    "urbansyn": (3,),
    "acdc": (4, 3),
    "muses": (2, 2),
    "bdd100k": (2, 1),
    "wilddash2": (2,),
}


@pytest.fixture(autouse=True)
def restore_registrations():
    yield
    register_all()


@pytest.fixture
def root(tmp_path, monkeypatch) -> Path:
    """A root with all of them; the counts of the fixtures stand in place of the published ones."""
    for name, counts in COUNTS.items():
        found = tuple(replace(split, expected_images=count) for split, count in zip(DRIVING[name], counts, strict=True))
        monkeypatch.setitem(PUBLISHED, name, found)
    draw = Draw(tmp_path)
    for write in (write_camvid, write_kitti, write_urbansyn, write_acdc, write_muses, write_bdd100k, write_wilddash2):
        write(draw)
    register_all(str(tmp_path))
    return tmp_path


class Draw:
    """Random images and blocks of ids below a root."""

    def __init__(self, root: Path) -> None:
        self.root, self.generator = root, np.random.default_rng(0)

    def save(self, path: str, pixels: np.ndarray) -> None:
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(self.root / path)

    def image(self, path: str) -> None:
        self.save(path, self.generator.integers(0, 256, (H, W, 3), dtype=np.uint8))

    def blocks(self, values) -> np.ndarray:
        cells = self.generator.choice(list(values), size=(H // 3, W // 3))
        return np.kron(cells, np.ones((3, 3), np.int64))

    def json(self, path: str, value) -> None:
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_text(json.dumps(value))

    def coco(self, folder: str, pairs: list[tuple[str, str]], categories: list[dict]) -> dict:
        """Panoptic PNGs of (image, label) names; every block is a segment, some are void."""
        images, annotations = [], []
        for number, (image, label) in enumerate(pairs):
            ids = np.kron(np.arange(1, 29).reshape(H // 3, W // 3), np.ones((3, 3), np.int64)) * 700 + number
            ids[:3, :3] = 0
            segments = []
            for segment in np.unique(ids[ids > 0]).tolist():
                category = categories[int(self.generator.integers(len(categories)))]
                crowd = int(bool(category["isthing"]) and self.generator.random() < 0.3)
                segments.append(
                    {"id": segment, "category_id": category["id"], "area": 9, "bbox": [0, 0, 3, 3], "iscrowd": crowd}
                )
            self.save(f"{folder}/{label}", id2rgb(ids))
            images.append({"id": number, "file_name": image, "height": H, "width": W})
            annotations.append({"image_id": number, "file_name": label, "segments_info": segments})
        return {"images": images, "annotations": annotations, "categories": categories}


def write_camvid(draw: Draw) -> None:
    for split, count in zip(("train", "val", "test"), COUNTS["camvid"]):
        for number in range(count):
            draw.image(f"camvid/{split}/0016E5_{number:05d}.png")
            draw.save(f"camvid/{split}annot/0016E5_{number:05d}.png", draw.blocks(range(12)).astype(np.uint8))


def write_kitti(draw: Draw) -> None:
    for number in range(2):
        name = f"{number:06d}_10.png"
        draw.image(f"kitti/training/image_2/{name}")
        draw.save(
            f"kitti/training/instance/{name}", (draw.blocks(range(34)) * 256 + draw.blocks(range(3))).astype(np.uint16)
        )
    draw.image("kitti/testing/image_2/000000_10.png")


def write_urbansyn(draw: Draw) -> None:
    for number in (1, 2, 6973):
        draw.image(f"urbansyn/rgb/rgb_{number:04d}.png")
        classes = draw.blocks(range(20) if number < 6973 else (0, 5, 10, 13))
        if number < 6973:
            classes[0, 0] = 1
        draw.save(f"urbansyn/ss/ss_{number:04d}.png", classes.astype(np.uint8))
        numbers = draw.blocks(range(3))
        colours = np.stack([numbers, 0 * numbers, CITYSCAPES_IDS[classes]], axis=-1)
        colours[(numbers == 0) | ~np.isin(classes, THINGS)] = 0
        draw.save(f"urbansyn/panoptic/panoptic_{number:04d}.png", colours.astype(np.uint8))


CITYSCAPES_IDS = np.array([*CITYSCAPES.dataset_ids, 0])
CATEGORIES = [
    {"id": i, "name": n, "isthing": int(t)}
    for i, n, t in zip(CITYSCAPES.dataset_ids, CITYSCAPES.names, CITYSCAPES.is_thing)
]


def write_acdc(draw: Draw) -> None:
    for split, count in zip(("train", "val"), COUNTS["acdc"]):
        stems = [
            f"{condition}/{split}/GOPR/GOPR_frame_00000{n}"
            for n, condition in enumerate(("fog", "night", "rain", "snow")[:count])
        ]
        pairs = [(f"{stem}_rgb_anon.png", f"{stem}_gt_panoptic.png") for stem in stems]
        for image, _ in pairs:
            draw.image(f"acdc/rgb_anon/{image}")
            draw.image(
                f"acdc/rgb_anon/{image}".replace(f"/{split}/", f"/{split}_ref/").replace("_rgb_anon", "_rgb_ref_anon")
            )
        draw.json(f"acdc/gt_panoptic/{split}_gt_panoptic.json", draw.coco("acdc/gt_panoptic", pairs, CATEGORIES))


def write_muses(draw: Draw) -> None:
    for split in ("train", "val"):
        stems = [f"{split}/clear/{time}/REC000{n}_frame_043620" for n, time in enumerate(("day", "night"))]
        for stem in stems:
            draw.image(f"muses/frame_camera/{stem}_frame_camera.png")
        labels = [f"{stem}_gt_panoptic.png" for stem in stems]
        draw.json(
            f"muses/gt_panoptic/{split}.json",
            draw.coco("muses/gt_panoptic", [(label, label) for label in labels], CATEGORIES),
        )
    draw.image("muses/frame_camera/test/clear/day/REC0009_frame_043620_frame_camera.png")


def write_bdd100k(draw: Draw) -> None:
    for split, count in zip(("train", "val"), COUNTS["bdd100k"]):
        for number in range(count):
            draw.image(f"bdd100k/images/10k/{split}/{number:04d}.jpg")
            segment = draw.blocks(range(1, 600))
            category, bits = (
                draw.generator.integers(26, 41, 600)[segment],
                draw.generator.choice([0, 0, 1, 2, 4, 8], 600)[segment],
            )
            pixels = np.stack([category, bits, segment >> 8, segment & 255], axis=-1)
            draw.save(f"bdd100k/labels/pan_seg/bitmasks/{split}/{number:04d}.png", pixels.astype(np.uint8))


def write_wilddash2(draw: Draw, names=tuple(WILDDASH2_CLASSES)) -> None:
    things = ("pole", "trafficlight", "car", "van", "person", "rider", "bus", "onrails", "billboard")
    categories = [
        {"id": 7 + n, "name": name, "isthing": int(name in things)} for n, name in enumerate((*names, "billboard"))
    ]
    pairs = [(f"wd000{n}.jpg", f"wd000{n}.png") for n in range(2)]
    for image, _ in pairs:
        draw.image(f"wilddash2/images/{image}")
    draw.json("wilddash2/panoptic.json", draw.coco("wilddash2/panoptic", pairs, categories))


def read(path: Path) -> np.ndarray:
    return np.array(Image.open(path))


def from_coco(ids: np.ndarray, annotation: dict, classes: dict[int, str]) -> np.ndarray:
    """Panoptic ids of Cityscapes, segment by segment."""
    expected, numbers = np.zeros(ids.shape, int), dict.fromkeys(CITYSCAPES.names, 0)
    for segment in annotation["segments_info"]:
        name = classes.get(segment["category_id"])
        if name is None:
            continue
        contiguous = CITYSCAPES.names.index(name)
        value = CITYSCAPES.dataset_ids[contiguous]
        if contiguous in THINGS and not segment["iscrowd"]:
            value, numbers[name] = value * 1000 + numbers[name], numbers[name] + 1
        expected[ids == segment["id"]] = value
    return expected


@pytest.mark.parametrize("dataset", DRIVING)
def test_prepared_checked_and_registered(root, dataset):
    reports = prepare(dataset, root, workers=1)
    wrong = [fault.kind for report in reports for fault in report.faults]
    assert wrong == ([FaultKind.WRONG] if dataset == "urbansyn" else [])
    assert [(r.expected, r.images) for r in reports] == [(count, count) for count in COUNTS[dataset]]
    assert [fault.kind for report in check(dataset, root, workers=1) for fault in report.faults] == wrong
    state = next(found for found in status(root) if found.name == dataset)
    assert (state.state, state.remedy) == ("complete", "")
    for name, (kind, split) in CATALOG.items():
        if split.dataset == dataset:
            records = DatasetCatalog.get(name)
            assert len(records) == next(s.expected_images for s in PUBLISHED[dataset] if s.name == split.name) - len(
                wrong
            )  # 1 at most
            assert all(Path(record["file_name"]).is_file() for record in records)
            assert (MetadataCatalog.get(name).labelled_classes == ()) == (kind == "images")
            check_datasets([name])


def test_labels_of_other_names_are_one_sentence(root):
    for path in (root / "camvid/trainannot").iterdir():
        path.rename(path.with_name(f"x{path.name}"))
    with pytest.raises(
        UserError, match="^expected images in .*train and labels .*trainannot, found 2 .* no pair; unpack both again$"
    ):
        prepare("camvid", root, workers=1)


def test_camvid_values(root):
    prepare("camvid", root, workers=1)
    names = (
        "sky",
        "building",
        "pole",
        "road",
        "sidewalk",
        "vegetation",
        "traffic sign",
        "fence",
        "car",
        "person",
        "rider",
    )
    table = np.array([*(CITYSCAPES.names.index(name) for name in names), 255])
    raw, label = (read(root / f"camvid/{folder}/0016E5_00001.png") for folder in ("trainannot", "labelTrainIds_train"))
    assert np.array_equal(label, table[raw])
    protocol = read_taxonomy("camvid").protocols["camvid"]
    assert (
        sorted(protocol.class_ids)
        == sorted(table[:11])
        == list(MetadataCatalog.get("camvid_uda_sem_val").labelled_classes)
    )
    assert read_taxonomy("camvid").same_classes(CITYSCAPES)
    folded = {c for _, members in protocol.groups for c in members} | set(protocol.class_ids)
    assert folded == set(range(19)) - set(CITYSCAPES.ids("terrain"))
    assert all(len(set(members) & set(table[:11])) == 1 for _, members in protocol.groups)


def test_kitti_values(root):
    prepare("kitti", root, workers=1)
    raw = read(root / "kitti/training/instance/000001_10.png").astype(int)
    ids = rgb2id(read(root / "kitti/training/panoptic_cityscapes/000001_10_panoptic.png"))
    for value, found in zip(raw.ravel(), ids.ravel()):
        category, number = value >> 8, value & 255
        evaluated = category in CITYSCAPES.dataset_ids
        single = evaluated and category >= 24 and number
        assert found == (category * 1000 + number if single else category if evaluated else 0)


def test_urbansyn_values(root):
    prepare("urbansyn", root, workers=1)
    assert not (root / "urbansyn/panoptic_cityscapes/6973_panoptic.png").exists()
    assert set(ClassStatistics.load(root / "urbansyn/class_statistics.json", CITYSCAPES.names).images) == {
        "0001",
        "0002",
    }
    classes, colours = (
        read(root / "urbansyn/ss/ss_0001.png"),
        rgb2id(read(root / "urbansyn/panoptic/panoptic_0001.png")),
    )
    ids = rgb2id(read(root / "urbansyn/panoptic_cityscapes/0001_panoptic.png"))
    instances = {}
    for label, colour, found in zip(classes.ravel(), colours.ravel(), ids.ravel()):
        single = label in THINGS and colour > 0
        assert (found // 1000 if single else found) == CITYSCAPES_IDS[label]
        if single:
            assert instances.setdefault((label, colour), found) == found
    assert len(set(instances.values())) == len(instances) > 1


@pytest.mark.parametrize(
    "change, kind, words",
    [
        (lambda c, s: c.__setitem__((0, 0), 20), FaultKind.OUTSIDE, "classes .20."),
        (lambda c, s: c.__setitem__(..., 0), FaultKind.WRONG, "neither sidewalk nor building"),
        (
            lambda c, s: (c.__setitem__((0, slice(2, 4)), (11, 13)), s.__setitem__((0, slice(2, 4)), 7)),
            FaultKind.DISAGREE,
            "two classes",
        ),
    ],
)
def test_faults_of_urbansyn(change, kind, words):
    classes, segments = np.ones((4, 5), np.uint8), np.zeros((4, 5), np.int32)
    change(classes, segments)
    with pytest.raises(FaultError, match=words) as caught:
        urbansyn_panoptic_ids(classes, segments)
    assert caught.value.kind is kind


def test_bdd100k_values(root):
    prepare("bdd100k", root, workers=1)
    raw = read(root / "bdd100k/labels/pan_seg/bitmasks/train/0001.png").astype(int)
    ids = rgb2id(read(root / "bdd100k/panoptic_cityscapes_train/0001_panoptic.png"))
    instances = {}
    for (category, bits, high, low), found in zip(raw.reshape(-1, 4), ids.ravel()):
        name = BDD100K_CLASSES[category] if not bits & 1 else ""
        single = category > 30 and name and not bits & 2
        assert (found // 1000 if single else found) == (
            CITYSCAPES.dataset_ids[CITYSCAPES.names.index(name)] if name else 0
        )
        if single:
            assert instances.setdefault((category, bits, high, low), found) == found
    assert len(set(instances.values())) == len(instances) > 1


@pytest.mark.parametrize("dataset, split", [("acdc", "val"), ("muses", "train"), ("wilddash2", "public")])
def test_coco_values(root, dataset, split):
    prepare(dataset, root, workers=1)
    json_path = {
        "acdc": "gt_panoptic/val_gt_panoptic.json",
        "muses": "gt_panoptic/train.json",
        "wilddash2": "panoptic.json",
    }[dataset]
    value = json.loads((root / dataset / json_path).read_text())
    classes = {
        c["id"]: WILDDASH2_CLASSES.get(c["name"]) if dataset == "wilddash2" else c["name"] for c in value["categories"]
    }
    records = DatasetCatalog.get(f"{dataset}_uda_panoptic_{split}")
    assert len(records) == len(value["annotations"])
    folder = root / dataset / ("panoptic" if dataset == "wilddash2" else "gt_panoptic")
    for record, annotation in zip(records, sorted(value["annotations"], key=lambda a: a["file_name"]), strict=True):
        expected = from_coco(rgb2id(read(folder / annotation["file_name"])), annotation, classes)
        assert np.array_equal(rgb2id(read(record["pan_seg_file_name"])), expected)


def test_targets_are_the_training_images_alone(root):
    files = [Path(r["file_name"]).relative_to(root).as_posix() for r in DatasetCatalog.get("acdc_uda_images_train")]
    assert len(files) == 4 and all("/train/" in file for file in files)
    assert all("/train/" in r["file_name"] for r in DatasetCatalog.get("muses_uda_images_train"))


def test_the_beta_of_wilddash2_has_fewer_categories(root):
    write_wilddash2(Draw(root), WILDDASH2_ALWAYS)
    assert not prepare("wilddash2", root, workers=1)[0].faults
    write_wilddash2(Draw(root), WILDDASH2_ALWAYS[1:])
    with pytest.raises(UserError, match="the category 'road', which WildDash2's policy for Cityscapes maps"):
        prepare("wilddash2", root, workers=1)


def test_what_is_missing_is_named_with_its_place(tmp_path):
    for dataset, splits in DRIVING.items():
        with pytest.raises(UserError, match=f"found nothing; .*{dataset}"):
            prepare(dataset, tmp_path, workers=1)
    (tmp_path / "kitti/training/image_2").mkdir(parents=True)
    with pytest.raises(UserError, match="kitti/training/instance, found nothing; download data_semantics.zip"):
        prepare("kitti", tmp_path, workers=1)


def test_labels_of_another_kind_are_one_sentence(root):
    draw = Draw(root)
    draw.image("bdd100k/labels/pan_seg/bitmasks/train/0000.png")
    draw.save("kitti/training/instance/000000_10.png", np.full((H, W), 60 * 256, np.uint16))
    for dataset, words in (
        ("bdd100k", "expected an 8-bit RGBA PNG, found mode RGB"),
        ("kitti", "expected the ids of kitti, found the ids [60]"),
    ):
        faults = prepare(dataset, root, workers=1)[0].faults
        assert len(faults) == 1 and words in faults[0].message and "\n" not in faults[0].message
