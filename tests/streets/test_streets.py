"""Streets: the on-disk formats, determinism, restart, and the official Cityscapes tools as judges."""

import io
import json
import shutil

import cv2
import numpy as np
import pytest
from cityscapesscripts.evaluation import evalPanopticSemanticLabeling, evalPixelLevelSemanticLabeling
from cityscapesscripts.helpers.labels import id2label
from cityscapesscripts.preparation.createPanopticImgs import convert2panoptic
from PIL import Image

from gbw_panoptic.errors import UserError
from gbw_panoptic.streets import class_table, generate
from gbw_panoptic.streets.street import DOMAINS
from gbw_panoptic.streets.generate import Job, make_image
from gbw_panoptic.streets.placement import Placer
from gbw_panoptic.streets.street import sample_street
from gbw_panoptic.streets.write import FORMATS, cityscapes_instance_ids
from gbw_panoptic.taxonomy import CITYSCAPES, SYNTHIA_ABSENT, SYNTHIA_TO_CONTIGUOUS, SYNTHIA_VOID_IDS

SIZE = (96, 192)
COUNTS = {"source": 12, "target_train": 20, "target_val": 20}


@pytest.fixture(scope="module")
def streets(tmp_path_factory):
    root = tmp_path_factory.mktemp("streets")
    return root, generate(root, size=SIZE, seed=3, **COUNTS)


def _bytes_below(root):
    return {p.relative_to(root): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


def _open(path):
    """Mode, size and pixels of a PNG; for palette images the indices."""
    with Image.open(path) as image:
        return image.mode, image.size, np.asarray(image)


def _images_of(entry, name):
    return entry["class_images"][CITYSCAPES.names.index(name)]


def test_synthia_format(streets):
    root, _ = streets
    images = sorted((root / "synthia/RAND_CITYSCAPES/RGB").iterdir())
    labels = sorted((root / "synthia/RAND_CITYSCAPES/GT/LABELS").iterdir())
    assert [p.name for p in images] == [p.name for p in labels] and len(images) == COUNTS["source"]
    for image, label in zip(images, labels):
        assert _open(image)[:2] == ("RGB", SIZE[::-1])
        blue_green_red = cv2.imread(str(label), cv2.IMREAD_UNCHANGED)
        assert blue_green_red.dtype == np.uint16 and blue_green_red.shape == (*SIZE, 3)
        unused, instances, classes = np.moveaxis(blue_green_red, -1, 0)
        assert not unused.any()
        assert set(np.unique(classes)) <= set(SYNTHIA_TO_CONTIGUOUS) | set(SYNTHIA_VOID_IDS)
        present = {SYNTHIA_TO_CONTIGUOUS[c] for c in np.unique(classes) if c in SYNTHIA_TO_CONTIGUOUS}
        assert not present & set(SYNTHIA_ABSENT)
        is_thing = np.isin(classes, [s for s, c in SYNTHIA_TO_CONTIGUOUS.items() if CITYSCAPES.is_thing[c]])
        assert ((instances > 0) == is_thing).all(), "exactly the pixels of things carry an instance id"
        _assert_one_class_per_instance(instances, classes)


def _assert_one_class_per_instance(instances, classes):
    for instance in np.unique(instances[instances > 0]):
        assert len(np.unique(classes[instances == instance])) == 1


def test_gta5_format(streets):
    root, manifest = streets
    labels = sorted((root / "gta5/labels").iterdir())
    assert [p.name for p in labels] == [p.name for p in sorted((root / "gta5/images").iterdir())]
    for path in labels:
        mode, size, ids = _open(path)
        assert mode == "P" and size == SIZE[::-1]
        assert ids.dtype == np.uint8 and ids.max() <= 34
        assert set(np.unique(ids)) <= set(id2label)
    with Image.open(labels[0]) as image:
        palette = np.array(image.getpalette()).reshape(-1, 3)
    assert (palette[list(CITYSCAPES.dataset_ids)] == CITYSCAPES.colors).all()
    assert all(_images_of(manifest["datasets"]["gta5"]["train"], n) for n in ("terrain", "truck", "train"))


@pytest.mark.parametrize("split", ["train", "val"])
def test_cityscapes_format(streets, split):
    root, _ = streets
    images = sorted((root / "cityscapes/leftImg8bit" / split).glob("*/*_leftImg8bit.png"))
    assert len(images) == COUNTS[f"target_{split}"]
    assert len({p.parent.name for p in images}) >= 2, "several cities"
    for image in images:
        city, sequence, frame, _ = image.name.split("_")
        assert city == image.parent.name and len(sequence) == len(frame) == 6
        stem = root / "cityscapes/gtFine" / split / city / image.name.replace("_leftImg8bit.png", "_gtFine_")
        label_ids = cv2.imread(f"{stem}labelIds.png", cv2.IMREAD_UNCHANGED)
        instance_ids = cv2.imread(f"{stem}instanceIds.png", cv2.IMREAD_UNCHANGED)
        assert label_ids.dtype == np.uint8 and instance_ids.dtype == np.uint16
        assert label_ids.shape == instance_ids.shape == SIZE
        assert (np.where(instance_ids < 1000, instance_ids, instance_ids // 1000) == label_ids).all()
        with_instances = [label.id for label in id2label.values() if label.hasInstances]
        assert np.isin(instance_ids[instance_ids >= 1000] // 1000, with_instances).all()


def test_target_has_void_regions_and_group_regions(streets):
    root, _ = streets
    maps = [cv2.imread(str(p), cv2.IMREAD_UNCHANGED) for p in (root / "cityscapes").rglob("*_instanceIds.png")]
    names = {id2label[int(i)].name for ids in maps for i in np.unique(ids[ids < 1000])}
    assert {"ego vehicle", "rectification border", "out of roi", "static"} <= names
    assert "person" in names, "a group of people without instances"


def test_every_class_occurs_in_both_target_splits_with_a_long_tail(streets):
    _, manifest = streets
    for split, entry in manifest["datasets"]["cityscapes"].items():
        assert entry["images"] == COUNTS[f"target_{split}"]
        assert all(entry["class_images"]), dict(zip(CITYSCAPES.names, entry["class_images"]))
        share = dict(zip(CITYSCAPES.names, np.array(entry["class_pixels"]) / sum(entry["class_pixels"])))
        assert 0.25 < share["road"] < 0.45 and share["building"] > share["vegetation"] > share["car"] > share["person"]
        assert all(share[n] < 0.015 for n in ("train", "truck", "bus", "rider", "motorcycle", "traffic light"))


def test_manifest_counts_the_pixels_of_the_files(streets):
    root, manifest = streets
    assert manifest["complete"] and manifest == json.loads((root / "streets.json").read_text())
    files = (root / "cityscapes/gtFine/val").rglob("*_labelIds.png")
    ids = np.concatenate([cv2.imread(str(p), cv2.IMREAD_UNCHANGED).ravel() for p in files])
    expected = [int((ids == d).sum()) for d in CITYSCAPES.dataset_ids]
    entry = manifest["datasets"]["cityscapes"]["val"]
    assert entry["class_pixels"] == expected
    assert entry["void_pixels"] == ids.size - sum(expected)
    table = class_table(manifest)
    assert all(name in table for name in CITYSCAPES.names)


def test_files_do_not_depend_on_workers(tmp_path):
    arguments = {"size": (40, 80), "source": 2, "target_train": 3, "target_val": 2, "seed": 5}
    generate(tmp_path / "one", workers=1, **arguments)
    generate(tmp_path / "two", workers=2, **arguments)
    one, two = _bytes_below(tmp_path / "one"), _bytes_below(tmp_path / "two")
    assert one == two and len(one) == 2 * 2 + 2 * 2 + 3 * 5 + 1


@pytest.mark.parametrize("job", [Job("synthia", "train", 7), Job("gta5", "train", 0), Job("cityscapes", "val", 11)])
def test_one_image_can_be_made_alone(streets, job):
    root, _ = streets
    files = FORMATS[job.name].files(job.split, job.index)
    image, labels = make_image(job, size=SIZE, seed=3)
    assert [(root / path).read_bytes() for path in files.labels] == labels
    assert (_open(root / files.image)[2] == image).all()


def test_images_differ_by_seed_split_and_index():
    jobs = [(Job("cityscapes", "train", 0), 0), (Job("cityscapes", "train", 0), 1), (Job("cityscapes", "val", 0), 0),
            (Job("cityscapes", "train", 1), 0), (Job("gta5", "train", 0), 0)]  # fmt: skip
    images = [make_image(job, size=(40, 80), seed=seed)[0].tobytes() for job, seed in jobs]
    assert len(set(images)) == len(jobs)


def test_odd_sizes(tmp_path):
    generate(tmp_path, size=(71, 133), source=1, target_train=1, target_val=0, seed=1)
    assert _open(next((tmp_path / "gta5/images").iterdir()))[1] == (133, 71)
    assert next((tmp_path / "cityscapes").rglob("*_instanceIds.png"))


def test_the_scene_does_not_depend_on_the_size():
    small, large = (
        _open(io.BytesIO(make_image(Job("gta5", "train", 4), size=size, seed=0)[1][0]))[2]
        for size in ((64, 128), (192, 384))
    )
    assert (small == large[1::3, 1::3]).mean() > 0.8


def test_restart_keeps_finished_files_and_makes_missing_ones(tmp_path):
    arguments = {"size": (40, 80), "source": 2, "target_train": 1, "target_val": 1, "seed": 0}
    manifest = generate(tmp_path, **arguments)
    before = _bytes_below(tmp_path)
    lost = tmp_path / "synthia/RAND_CITYSCAPES/GT/LABELS/0000001.png"
    lost.unlink()
    kept = tmp_path / "synthia/RAND_CITYSCAPES/GT/LABELS/0000000.png"
    time_of_writing = kept.stat().st_mtime_ns
    assert generate(tmp_path, **arguments) == manifest
    assert kept.stat().st_mtime_ns == time_of_writing
    assert _bytes_below(tmp_path) == before


def test_other_settings_are_refused_unless_overwritten(tmp_path):
    arguments = {"size": (40, 80), "source": 2, "target_train": 1, "target_val": 1}
    generate(tmp_path, seed=0, **arguments)
    with pytest.raises(UserError, match="--overwrite"):
        generate(tmp_path, seed=1, **arguments)
    generate(tmp_path, seed=1, **(arguments | {"source": 1}), overwrite=True)
    assert len(list((tmp_path / "gta5/images").iterdir())) == 1


def test_data_of_others_is_never_touched(tmp_path):
    (tmp_path / "cityscapes").mkdir()
    with pytest.raises(UserError, match="not generated"):
        generate(tmp_path, source=1, target_train=1, target_val=1, overwrite=True)


@pytest.mark.parametrize(
    "bad, message",
    [({"size": (8, 80)}, "at least"), ({"formats": ("kitti",)}, "kitti"), ({"formats": ()}, "none"),
     ({"source": -1}, "negative"), ({"seed": -1}, "negative")],
)  # fmt: skip
def test_impossible_settings(tmp_path, bad, message):
    with pytest.raises(UserError, match=message):
        generate(tmp_path, **({"source": 1, "target_train": 1, "target_val": 1} | bad))
    assert not any(tmp_path.iterdir())


def test_instance_ids_by_hand():
    labels = np.array([[7, 26, 26], [24, 24, 26]])
    instances = np.array([[0, 4, 9], [2, 0, 9]])  # the second 24 is a group region
    assert cityscapes_instance_ids(labels, instances).tolist() == [[7, 26000, 26001], [24000, 24, 26001]]


def test_official_panoptic_tools_give_full_marks(streets, tmp_path, capsys):
    root, _ = streets
    convert2panoptic(str(root / "cityscapes/gtFine"), str(tmp_path), useTrainId=False, setNames=["val"])
    truth, folder = tmp_path / "cityscapes_panoptic_val.json", tmp_path / "cityscapes_panoptic_val"
    prediction = json.loads(truth.read_text())
    for annotation in prediction["annotations"]:  # a prediction has no crowd regions
        annotation["segments_info"] = [s for s in annotation["segments_info"] if not s["iscrowd"]]
        path = folder / annotation["file_name"]
        colors = _open(path)[2].copy()
        ids = colors.astype(np.int64) @ (1, 256, 256**2)
        colors[~np.isin(ids, [s["id"] for s in annotation["segments_info"]])] = 0
        (tmp_path / "prediction").mkdir(exist_ok=True)
        Image.fromarray(colors).save(tmp_path / "prediction" / path.name)
    (tmp_path / "prediction.json").write_text(json.dumps(prediction))
    result = evalPanopticSemanticLabeling.evaluatePanoptic(
        str(truth), str(folder), str(tmp_path / "prediction.json"), str(tmp_path / "prediction"),
        str(tmp_path / "result.json"),
    )  # fmt: skip
    capsys.readouterr()
    assert result["All"]["n"] == CITYSCAPES.num_classes
    assert result["All"]["pq"] == pytest.approx(1.0)


def test_official_pixel_evaluator_gives_full_marks(streets, tmp_path, capsys, monkeypatch):
    root, _ = streets
    truth = sorted(str(p) for p in (root / "cityscapes/gtFine/val").rglob("*_labelIds.png"))
    predictions = [shutil.copy(path, tmp_path) for path in truth]
    arguments = evalPixelLevelSemanticLabeling.args
    # The evaluator (cityscapesScripts 2.3) still calls a NumPy function that NumPy 2.4 has removed.
    monkeypatch.setattr(np, "in1d", np.isin, raising=False)
    monkeypatch.setattr(arguments, "JSONOutput", False)
    monkeypatch.setattr(arguments, "quiet", True)
    result = evalPixelLevelSemanticLabeling.evaluateImgLists(predictions, truth, arguments)
    capsys.readouterr()
    assert result["averageScoreClasses"] == pytest.approx(1.0)
    assert all(result["classScores"][name] == pytest.approx(1.0) for name in CITYSCAPES.names)


def test_gap_moves_the_look_of_the_target_alone(tmp_path):
    def image(name, gap):
        return make_image(Job(name, "train", 3), size=SIZE, seed=3, gap=gap)

    (same, labels), (near, near_labels), (far, far_labels) = (image("cityscapes", gap) for gap in (0, 0.5, 1))
    assert labels == near_labels == far_labels
    distance = [np.abs(x.astype(float) - same).mean() for x in (near, far)]
    assert 5 < distance[0] < distance[1]
    assert np.array_equal(far, make_image(Job("cityscapes", "train", 3), size=SIZE, seed=3)[0])  # 1 is the default
    assert np.array_equal(image("synthia", 0)[0], image("synthia", 1)[0])


def test_gap_is_one_of_the_settings(tmp_path):
    counts = {"source": 0, "target_train": 1, "target_val": 0, "formats": ["cityscapes"], "size": SIZE}
    generate(tmp_path, **counts)
    manifest = tmp_path / "streets.json"
    old = json.loads(manifest.read_text())
    del old["settings"]["gap"]  # as written before there was one
    manifest.write_text(json.dumps(old))
    generate(tmp_path, **counts)
    with pytest.raises(UserError, match="choose another root"):
        generate(tmp_path, gap=0.5, **counts)
    with pytest.raises(UserError, match="gap is 1.5 but must be in 0..1"):
        generate(tmp_path / "other", gap=1.5, **counts)


@pytest.mark.parametrize("reach", [15.0, 30.0])
def test_nothing_but_a_featured_object_stands_beyond_the_reach(reach):
    layout = DOMAINS["cityscapes"].layout
    far = []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        placer = Placer(rng, layout, sample_street(rng, layout), 1.5, reach=reach)
        items = placer.place_all("car")
        crossing = placer.street.crossing  # a vehicle on a side street stands where the street is
        far += [
            item
            for item in items
            if item.place.z > reach + 12.0 and not (crossing and item.kind in ("car", "bus", "truck"))
        ]
    assert not far


def test_a_shorter_reach_makes_objects_larger():
    def median_area(reach):
        areas = []
        for index in range(12):
            _, labels = make_image(Job("cityscapes", "val", index), size=(64, 128), seed=1, reach=reach)
            ids = np.array(Image.open(io.BytesIO(labels[1])))
            areas += np.unique(ids[ids >= 1000], return_counts=True)[1].tolist()
        return np.median(areas)

    assert median_area(20.0) > 1.5 * median_area(70.0)


def test_data_written_before_there_was_a_reach_are_kept(tmp_path):
    manifest = generate(tmp_path, size=(32, 64), source=1, target_train=1, target_val=1, formats=("gta5",))
    del manifest["settings"]["reach"]
    (tmp_path / "streets.json").write_text(json.dumps(manifest))
    generate(tmp_path, size=(32, 64), source=1, target_train=1, target_val=1, formats=("gta5",))
    with pytest.raises(UserError, match="--overwrite"):
        generate(tmp_path, size=(32, 64), source=1, target_train=1, target_val=1, formats=("gta5",), reach=30.0)
    with pytest.raises(UserError, match="reach is 500"):
        generate(tmp_path / "other", size=(32, 64), source=1, formats=("gta5",), reach=500.0)
