"""Any label space, from raw labels to predictions: 1, 5, 133 and 300 classes, things only, stuff only, unions."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from detectron2.data import DatasetCatalog, MetadataCatalog
from PIL import Image

import own_data
from gbw_panoptic.data import register_all
from gbw_panoptic.data.label_maps import read_label_map
from gbw_panoptic.data.preparation import check, prepare
from gbw_panoptic.config.checks.strategies import acquisition_problems
from gbw_panoptic.errors import UserError
from gbw_panoptic.reporting.run_folder import RunFolder
from gbw_panoptic.taxonomy import CITYSCAPES, read_taxonomy
from gbw_panoptic.validation import validate

SPACES = {
    "one thing": [True], "one stuff": [False], "five": [True, False, True, False, True], "things only": [True] * 4,
    "stuff only": [False] * 4, "133": [i < 80 for i in range(133)], "300": [i % 2 == 0 for i in range(300)],
}  # fmt: skip
FIVE = SPACES["five"]
LABELLED = "own_panoptic_train"


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    yield tmp_path
    monkeypatch.delenv("DETECTRON2_DATASETS")
    register_all()


# --- labels ---


@pytest.mark.parametrize("space", SPACES)
def test_labels_keep_every_class_and_instance(root, space):
    things = SPACES[space]
    path = own_data.prepared(root, things)
    assert not any(report.faults for report in check("own", root, workers=1, taxonomy=path))
    register_all(taxonomy=str(path))
    metadata, taxonomy = MetadataCatalog.get(LABELLED), read_taxonomy(path)
    assert metadata.taxonomy == taxonomy and metadata.labelled_classes == tuple(range(len(things)))
    raw = json.loads((root / "panoptic.json").read_text())
    for record, annotation in zip(DatasetCatalog.get(LABELLED), raw["annotations"], strict=True):
        label = read_label_map(record, (own_data.SIZE, own_data.SIZE), taxonomy)
        pixels = np.array(Image.open(root / "labels" / annotation["file_name"])).astype(int)
        ids = pixels[..., 0] + 256 * pixels[..., 1]
        table = np.full(ids.max() + 1, taxonomy.ignore_label)
        for segment in annotation["segments_info"]:
            table[segment["id"]] = segment["category_id"] - 10
        assert np.array_equal(label.semantic, table[ids]) and label.semantic.dtype == taxonomy.label_dtype
        instances = sum(things[s["category_id"] - 10] for s in annotation["segments_info"])
        stuff = len({s["category_id"] for s in annotation["segments_info"] if not things[s["category_id"] - 10]})
        assert len(label.segments) == instances + stuff


def test_a_union_is_a_label_of_its_own(root):
    own_data.write(root, FIVE, names=["cup", "rug", "seat", "wall", "dog"])
    space = {
        "classes": [
            {"name": n, "thing": n not in ("rug", "wall")} for n in ("cup", "rug", "chair", "sofa", "wall", "dog")
        ],
        "unions": {"seat": ["chair", "sofa"]},
    }
    path = root / "taxonomy.yaml"
    path.write_text(yaml.safe_dump(space))
    (report,) = prepare("own", root, workers=1, taxonomy=path)
    assert not report.faults and not report.void_categories
    assert (
        report.statistics.class_names == ("cup", "rug", "chair", "sofa", "wall", "dog")
        and report.statistics.pixels[2:4].sum() == 0
    )
    register_all(taxonomy=str(path))
    metadata = MetadataCatalog.get(LABELLED)
    assert metadata.labels == (0, 1, 2, 3, 4, 5, 6) and metadata.labelled_classes == (0, 1, 2, 3, 4, 5)
    label = read_label_map(DatasetCatalog.get(LABELLED)[0], (own_data.SIZE, own_data.SIZE), metadata.taxonomy)
    assert set(np.unique(label.semantic).tolist()) - {255} == {0, 1, 4, 5, 6}
    assert sum(s["category_id"] == 6 for s in label.segments) > 1  # instances stay apart


def test_labels_of_another_taxonomy_are_refused_and_made_again(root):
    path = own_data.prepared(root, FIVE)
    changed = yaml.safe_load(path.read_text())
    changed["classes"][0]["thing"] = False
    path.write_text(yaml.safe_dump(changed))
    register_all(taxonomy=str(path))
    with pytest.raises(UserError, match="prepare the data again"):
        DatasetCatalog.get(LABELLED)
    (report,) = prepare("own", root, workers=1, taxonomy=path)
    assert not report.faults and not check("own", root, workers=1, taxonomy=path)[0].faults
    assert f"--taxonomy {path}" in MetadataCatalog.get(LABELLED).prepare_command
    register_all(taxonomy=str(path))
    assert len(DatasetCatalog.get(LABELLED)) == own_data.IMAGES


def test_what_is_left_out_is_said(root, caplog):
    own_data.write(root, FIVE, names=["person", "sofa", "car", "rug", "dog"])
    (report,) = prepare("own", root, workers=1)
    text = report.format()
    assert report.void_categories == ("sofa", "rug", "dog") and "void: sofa, rug, dog" in text
    assert "warning: 3 of 5 categories are no class of cityscapes, so that" in text and "% of the pixels" in text


# --- configurations ---


def test_a_configuration_follows_its_taxonomy(root):
    path = own_data.prepared(root, SPACES["300"])
    cfg = own_data.configuration("quick/source_only.yaml", path, root / "run")
    head = cfg.MODEL.SEM_SEG_HEAD
    assert (head.NUM_CLASSES, head.IGNORE_VALUE, cfg.TEST.PROTOCOLS) == (300, 65535, ("all",))
    validate(cfg)


@pytest.mark.parametrize(
    "opts, message",
    [
        (
            ("DATASETS.TRAIN", "('synthia_panoptic_train',)"),
            "DATASETS.TAXONOMY: expected the classes of synthia_panoptic_train, cityscapes",
        ),
        (("TEST.PROTOCOLS", "('alle',)"), "TEST.PROTOCOLS: .*one of all, found 'alle'"),
        (
            ("MODEL.SEM_SEG_HEAD.NUM_CLASSES", 7),
            "NUM_CLASSES: expected 5, the number of classes of own_panoptic_train, found 7",
        ),
    ],
)
def test_what_contradicts_a_taxonomy_is_one_sentence(root, opts, message):
    path = own_data.prepared(root, FIVE)
    with pytest.raises(UserError, match=message):
        validate(own_data.configuration("quick/source_only.yaml", path, root / "run", *opts))


def test_entropies_of_one_class_are_refused(root):
    path = own_data.prepared(root, [True])
    for config, message in (
        ("quick/entropy_gbw.yaml", "TRAINER.NAME: expected a trainer without entropies"),
        ("quick/active_cbda.yaml", "ACTIVE.SCORE: expected random with the one class"),
    ):
        cfg = own_data.configuration(config, path, root / "run")
        with pytest.raises(UserError, match=message):
            validate(cfg)
    assert next(acquisition_problems(cfg)).startswith("ACTIVE.SCORE: expected random")  # of tools/acquire.py


# --- training ---


@pytest.mark.slow
@pytest.mark.parametrize("config", ["quick/self_training_gbw.yaml", "quick/mask2former_source_only.yaml"])
@pytest.mark.parametrize("space", SPACES)
def test_training_and_evaluation(root, space, config):
    path = own_data.prepared(root, SPACES[space])
    own_data.train(own_data.configuration(config, path, root / "run"))
    run = RunFolder.read(root / "run")
    scores = run.evaluation("student", LABELLED)["scores"]
    names = list(read_taxonomy(path).names)
    assert list(scores["panoptic"]["all"]["per_class"]) == list(scores["semantic"]["all"]["per_class"]) == names
    assert all(np.isfinite(line["total_loss"]) for line in run.metrics if "total_loss" in line)


@pytest.mark.slow
@pytest.mark.parametrize("config", ["quick/self_training_gbw.yaml", "streets/mask2former_self_training_gbw.yaml"])
def test_training_on_unions_and_scores_at_the_common_level(root, config):
    more = {"unions": {"seat": ["class 0", "class 2"], "ground": ["class 1", "class 3"]}}
    path = own_data.write(root, FIVE, more=more)
    value = yaml.safe_load((root / "custom.yaml").read_text())
    value["own"]["categories"] = {
        "class 0": "seat",
        "class 1": "ground",
        "class 2": "class 2",
        "class 3": "class 3",
        "class 4": "class 4",
    }
    (root / "custom.yaml").write_text(yaml.safe_dump(value))
    prepare("own", root, workers=1, taxonomy=path)
    own_data.train(own_data.configuration(config, path, root / "run"))
    scores = RunFolder.read(root / "run").evaluation("student", LABELLED)["scores"]
    assert list(scores["panoptic"]) == ["all", "common"]
    assert list(scores["panoptic"]["common"]["per_class"]) == ["seat", "ground", "class 4"]


@pytest.mark.slow
def test_a_renamed_cityscapes_gives_the_same_bits(root, streets_root):
    """The target of Streets, described once with Cityscapes' names and once with others, in the same order."""
    for folder in ("gtFine/cityscapes_panoptic_val", "leftImg8bit/val"):
        shutil.copytree(streets_root / "cityscapes" / folder, root / folder)
    index = json.loads((streets_root / "cityscapes/gtFine/cityscapes_panoptic_val.json").read_text())
    for image in index["images"]:
        image["file_name"] = str(
            next((root / "leftImg8bit/val").rglob(Path(image["file_name"]).name)).relative_to(root / "leftImg8bit/val")
        )
    (root / "panoptic.json").write_text(json.dumps(index))
    split = {
        "images": "leftImg8bit/val",
        "panoptic_json": "panoptic.json",
        "panoptic_root": "gtFine/cityscapes_panoptic_val",
    }
    states = []
    for names in (CITYSCAPES.names, tuple(f"renamed {i}" for i in range(19))):
        columns = zip(names, CITYSCAPES.dataset_ids, CITYSCAPES.is_thing)
        space = {"classes": [{"name": n, "id": i, "thing": t} for n, i, t in columns]}
        (root / "taxonomy.yaml").write_text(yaml.safe_dump(space))
        entry = {"splits": {"train": split}, "categories": dict(zip(CITYSCAPES.names, names))}
        (root / "custom.yaml").write_text(yaml.safe_dump({"own": entry}))
        prepare("own", root, workers=1, taxonomy=root / "taxonomy.yaml")
        cfg = own_data.configuration(
            "quick/self_training_gbw.yaml", root / "taxonomy.yaml", root / names[0], "DATASETS.TEST", "()", "SEED", 3
        )
        torch.manual_seed(0)
        states.append(own_data.train(cfg).checkpointer.model.state_dict())
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0]) and len(states[0]) > 100


@pytest.mark.slow
@pytest.mark.parametrize("space", ["five", "300"])
def test_every_tool_on_classes_of_ones_own(root, run_tool, space):
    """Prepared, browsed, trained, adapted, reported, exported, predicted and scored as a user would, in this
    process."""
    things, last = SPACES[space], len(SPACES[space]) - 1
    names = [f"class {i}" for i, thing in enumerate(things) if thing]
    path = own_data.write(root, things, more={"protocols": {"all": {}, "things": {"classes": names, "others": "void"}}})
    data = (
        "DATASETS.TAXONOMY", path, "DATASETS.TRAIN", "('own_panoptic_train',)", "DATASETS.TEST",
        "('own_panoptic_train',)",
        "TEST.PROTOCOLS", "('things', 'all')",
    )  # fmt: skip
    run, opts = root / "run", (*own_data.SMALL, *data)

    def ok(*arguments):
        result = run_tool(*arguments)
        assert result.returncode in (0, None), result.stderr
        return result.stdout

    assert "own train: found 3, prepared 3" in ok(
        "datasets/prepare.py", "own", "--root", root, "--taxonomy", path, "--workers", 1
    )
    config = own_data.ROOT / "configs/quick/self_training_gbw.yaml"
    target = ("DATASETS.TARGET", "('own_images_train',)")
    ok(
        "tools/browse_data.py",
        "--config-file",
        config,
        "--output",
        root / "browse",
        "--num",
        1,
        "--opts",
        *opts,
        *target,
    )
    ok("tools/train_net.py", "--config-file", config, "OUTPUT_DIR", run, *opts, *target)
    page = (run / "report.html").read_text()
    assert f"class {last % 5}" in page and "sidewalk" not in page
    ok("tools/export.py", run, "--to", "safetensors", "onnx", "--output", root / "exported")
    described = json.loads((root / "exported/config.json").read_text())
    assert json.dumps(described).count("class ") >= len(things)
    ok("tools/plot_weights.py", run)
    ok("tools/report.py", run)
    ok("tools/predict.py", "--run", run, "--dataset", "own_panoptic_train", "--output", root / "predictions")
    listed = json.loads((root / "predictions/panoptic.json").read_text())
    assert [c["name"] for c in listed["categories"]] == [f"class {i}" for i in range(len(things))]
    labels = np.array(Image.open(next((root / "predictions/labelIds").glob("*.png"))))
    assert set(np.unique(labels)) <= set(range(1, len(things) + 1))
    scored = ok(
        "tools/evaluate_predictions.py", root / "predictions/panoptic.json", "--dataset", "own_panoptic_train",
        "--taxonomy", path,
        "--workers", 1,
    )  # fmt: skip
    assert "PQ" in scored and f"class {last}" in scored
    active = own_data.ROOT / "configs/quick/active_cbda.yaml"
    annotator = ("ACTIVE.ANNOTATOR", "own_panoptic_train", "ACTIVE.ITERATIONS", "(1,)")
    ok("tools/train_net.py", "--config-file", active, "OUTPUT_DIR", root / "active", *opts, *target, *annotator)
    bought = json.loads(next((root / "active").rglob("manifest.json")).read_text())
    assert bought["class_names"] == [f"class {i}" for i in range(len(things))]


COCO = own_data.ROOT.parent / "shared/data/coco_panoptic_sample"


@pytest.mark.skipif(not COCO.is_dir(), reason="the sample photographs of COCO are not part of the project")
def test_photographs_of_coco_with_its_133_classes(root):
    split = {"images": "input_images", "panoptic_json": "panoptic_examples.json", "panoptic_root": "panoptic_examples"}
    (root / "custom.yaml").write_text(
        yaml.safe_dump({"own": {"splits": {"train": {k: str(COCO / v) for k, v in split.items()}}}})
    )
    (report,) = prepare("own", root, workers=1, taxonomy=COCO / "panoptic_coco_categories.json")
    assert not report.faults and not report.void_categories and len(report.statistics.class_names) == 133
    register_all(taxonomy=str(COCO / "panoptic_coco_categories.json"))
    raw = json.loads((COCO / "panoptic_examples.json").read_text())
    names = {c["id"]: c["name"] for c in raw["categories"]}
    for record, annotation in zip(
        DatasetCatalog.get(LABELLED), sorted(raw["annotations"], key=lambda a: a["file_name"]), strict=True
    ):
        expected = sorted((names[s["category_id"]], s["area"], s["iscrowd"]) for s in annotation["segments_info"])
        found = record["segments_info"]
        classes = MetadataCatalog.get(LABELLED).taxonomy.names
        assert sorted((classes[s["category_id"]], s["area"], s["iscrowd"]) for s in found) == expected
    (report,) = prepare("own", root, workers=1)  # Cityscapes' 19: what became of the others is said
    assert len(report.void_categories) > 100 and "categories are no class of cityscapes" in report.format()
