"""Three lines of Python: the same maps as tools/predict.py, without data sets, from every file that a model lies in."""

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import predict
import pytest
import torch
import yaml
from detectron2.data import DatasetCatalog, MetadataCatalog
from PIL import Image
from safetensors.torch import load_file, save_file
from tiny_runs import TINY

import gbw_panoptic
from gbw_panoptic import Result, files, from_pretrained, load
from gbw_panoptic.data import register_all
from gbw_panoptic.engine.build import build_trainer
from gbw_panoptic.engine.description import Description
from gbw_panoptic.errors import UserError
from gbw_panoptic.export.graphs import graph_of
from gbw_panoptic.inference.model import _images, set_edges
from gbw_panoptic.inference.weights import ModelFile
from gbw_panoptic.taxonomy import CITYSCAPES, LabelUnion, PROTOCOLS

ROOT = Path(__file__).parents[2]
INSTANCES = (
    "MODEL.PANOPTIC_DEEPLAB.CENTER_THRESHOLD",
    "0.0",
    "MODEL.PANOPTIC_DEEPLAB.TOP_K_INSTANCE",
    "20",
    "MODEL.PANOPTIC_DEEPLAB.STUFF_AREA",
    "0",
)


@pytest.fixture(scope="module")
def run_folder(streets_root, tmp_path_factory, configured):
    """A run of a tiny model with student and teacher that has written a checkpoint, and one of no iterations."""
    before = os.environ.get("DETECTRON2_DATASETS")
    os.environ["DETECTRON2_DATASETS"] = str(streets_root)
    register_all()
    folder = tmp_path_factory.mktemp("runs") / "run"
    cfg = configured("quick/self_training_gbw.yaml", folder, *TINY, *INSTANCES, "INPUT.MIN_SIZE_TEST", 64)
    trainer = build_trainer(cfg)
    trainer.checkpointer.save("model_final", iteration=0)
    (folder / "config.yaml").write_text(cfg.dump())
    score = {"PQ": 12.5, "SQ": 50.0, "RQ": 25.0, "PQ_things": 5.0, "PQ_stuff": 20.0}
    result = {
        "model": "teacher",
        "dataset": "cityscapes_uda_panoptic_val",
        "scores": {"panoptic": {"16": score}, "semantic": {"16": {"mIoU": 30.0}}},
    }
    files.write_json(_made(folder / "inference") / "teacher.json", result)
    if before is None:
        del os.environ["DETECTRON2_DATASETS"]
    return folder


@pytest.fixture(scope="module")
def model(run_folder):
    return load(run_folder)


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """A machine without any data set."""
    monkeypatch.setenv("DETECTRON2_DATASETS", str(_made(tmp_path / "no_data")))
    for name in [name for name in DatasetCatalog if MetadataCatalog.get(name).get("prepare_command")]:
        DatasetCatalog.pop(name), MetadataCatalog.pop(name)
    return tmp_path


def _made(folder):
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def picture(path, height=64, width=96, seed=0):
    pixels = np.random.default_rng(seed).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    Image.fromarray(pixels).resize((width, height)).save(path)
    return path


def same(one: Result, two: Result) -> bool:
    return np.array_equal(one.panoptic, two.panoptic) and np.array_equal(one.semantic, two.semantic)


def test_every_kind_of_image_gives_the_maps_of_predict_py(run_folder, elsewhere, monkeypatch):
    path = picture(elsewhere / "a.png", 70, 101)
    monkeypatch.setattr(
        sys, "argv", ["predict.py", "--run", str(run_folder), "--input", str(path), "--output", str(elsewhere / "out")]
    )
    assert predict.main() == 0
    model = load(run_folder)
    result = model.predict(str(path))
    assert model.name == "teacher" and result.name == "a" and len(result.segments) > 1
    labels = files.read_label(elsewhere / "out" / "labelIds" / "a_labelIds.png")
    assert np.array_equal(CITYSCAPES.contiguous_table()[labels], result.semantic)
    written = json.loads((elsewhere / "out" / "panoptic.json").read_text())["annotations"][0]["segments_info"]
    made = result.to_coco()["annotations"][0]["segments_info"]
    assert [{key: s[key] for key in written[0]} for s in made] == written
    result.save(elsewhere / "saved")
    for name in ("labelIds/a_labelIds.png", "panoptic/a.png"):
        assert (elsewhere / "saved" / name).read_bytes() == (elsewhere / "out" / name).read_bytes()
    pixels = np.array(Image.open(path).convert("RGB"))
    tensor = torch.from_numpy(pixels).permute(2, 0, 1)
    for source in (path, Image.open(path), pixels, tensor, tensor / 255):
        assert same(model.predict(source), result)
    for source in ([path, pixels], pixels[None], tensor[None], str(elsewhere / "*.png")):
        found = model.predict(source)
        assert isinstance(found, list) and len(found) in (1, 2) and all(same(one, result) for one in found)
    picture(_made(elsewhere / "folder") / "b.png", 40, 40)
    assert [one.name for one in model.predict(elsewhere / "folder")] == ["b"]


def test_a_checkpoint_alone_is_a_model(run_folder, model, elsewhere):
    alone = shutil.copy(run_folder / "model_final.pth", elsewhere / "alone.pth")
    image = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
    one = load(alone, scores=False)
    assert one.predictor.short_edge == 64 and same(one.predict(image), model.predict(image))
    student = load(alone, model="student", resize=0, opts=("MODEL.PANOPTIC_DEEPLAB.CENTER_THRESHOLD", 0.9))
    assert student.name == "student" and student.predictor.model.post_processing.threshold == 0.9


def test_an_older_checkpoint_needs_the_data_sets_of_its_training(run_folder, elsewhere, streets_root, monkeypatch):
    contents = torch.load(run_folder / "model_final.pth", weights_only=True)
    older = _made(elsewhere / "older")
    torch.save({"model": contents["model"]}, older / "model_final.pth")
    config = (run_folder / "config.yaml").read_text()
    (older / "config.yaml").write_text(config)
    image = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
    assert same(load(older).predict(image), load(run_folder, model="student").predict(image))  # names of the catalog
    (older / "config.yaml").write_text(config.replace("synthia_panoptic_train", "own_panoptic_train"))
    with pytest.raises(
        UserError, match="DATASETS.TRAIN: expected a registered data set, whose classes.*own_panoptic_train"
    ):
        load(older)
    (older / "config.yaml").unlink()
    with pytest.raises(UserError, match="expected the settings of the training in .*model_final.pth, found none"):
        load(older / "model_final.pth")


def test_safetensors_come_back_bit_for_bit_with_a_card(run_folder, model, elsewhere):
    folder = model.save_pretrained(elsewhere / "small")
    again = from_pretrained(folder)
    image = np.random.default_rng(0).integers(0, 256, (48, 80, 3), np.uint8)
    assert same(again.predict(image), model.predict(image)) and again.name == "teacher"
    assert again.predictor.short_edge == 64 and again.taxonomy == CITYSCAPES
    assert (folder / "model.safetensors").stat().st_size < 0.5 * (run_folder / "model_final.pth").stat().st_size
    card = (folder / "README.md").read_text()
    metadata = yaml.safe_load(card.split("---")[1])
    assert metadata["license"] == "other" and metadata["library_name"] == "gbw-panoptic" and "\t" not in card
    results = metadata["model-index"][0]["results"]
    assert {m["type"]: m["value"] for r in results for m in r["metrics"]}["PQ"] == 12.5
    assert (
        files.sha256(folder / "model.safetensors") in card
        and "CC BY-NC-SA 3.0" in card
        and "| 16 | mIoU 30.0 |" in card
    )
    assert str(run_folder) not in card + (folder / "config.json").read_text()  # nothing of the machine
    copy = again.save_pretrained(elsewhere / "copy")  # what the card says travels
    assert (copy / "README.md").read_bytes() == (folder / "README.md").read_bytes()
    assert same(load(copy / "model.safetensors").predict(image), model.predict(image))


def test_tau_takes_back_the_class_weights_of_training_with_every_file(run_folder, elsewhere):
    contents = torch.load(run_folder / "model_final.pth", weights_only=True)
    weights = torch.linspace(0.1, 4, CITYSCAPES.num_classes)
    contents["teacher"]["weightings.sem_seg.mean_weights"][0] = weights
    torch.save(contents, elsewhere / "model.pth")
    image = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
    learnt, corrected = (load(elsewhere / "model.pth", resize=0, opts=("TEST.TAU", tau)) for tau in (0, 0.7))
    pixels = torch.from_numpy(image).permute(2, 0, 1)
    with torch.inference_mode():
        logits = learnt.predictor.model([{"image": pixels}])[0]["sem_seg"]
    expected = (logits - 0.7 * weights.log()[:, None, None]).argmax(dim=0).numpy()
    found = corrected.predict(image)
    assert np.array_equal(found.semantic, expected) and not same(found, learnt.predict(image))
    assert same(load(corrected.save_pretrained(elsewhere / "small")).predict(image), found)
    assert np.array_equal(graph_of(corrected)(torch.from_numpy(image))[1].numpy(), found.panoptic)
    for part in ("model", "teacher"):
        del contents[part]["weightings.sem_seg.mean_weights"]
    torch.save(contents, elsewhere / "model.pth")
    with pytest.raises(
        UserError, match="TEST.TAU: expected 0 with .*, which holds no class weights of the source, found 0.7"
    ):
        load(elsewhere / "model.pth", opts=("TEST.TAU", 0.7))


def test_a_folder_that_lacks_a_tensor_or_is_damaged_is_refused(model, elsewhere):
    folder = model.save_pretrained(elsewhere / "small")
    weights, config = folder / "model.safetensors", json.loads((folder / "config.json").read_text())
    state = load_file(weights)
    damaged = bytearray(weights.read_bytes())
    damaged[-1] ^= 1
    weights.write_bytes(damaged)
    with pytest.raises(UserError, match="expected the weights that .*config.json describes, found other bytes"):
        from_pretrained(folder)
    first = next(name for name in state if name.endswith("weight"))
    save_file({name: tensor for name, tensor in state.items() if name != first}, weights)
    (folder / "config.json").write_text(json.dumps({**config, "sha256": files.sha256(weights)}))
    with pytest.raises(UserError, match="expected every tensor of the configured model in .*found 1 of"):
        from_pretrained(folder)
    del config["description"]["taxonomy"]["colors"]
    (folder / "config.json").write_text(json.dumps({**config, "sha256": files.sha256(weights)}))
    with pytest.raises(UserError, match="expected the key colors at taxonomy in the description of classes"):
        from_pretrained(folder)
    (folder / "config.json").write_text("[]")
    with pytest.raises(UserError, match="export the model again"):
        from_pretrained(folder)


def test_nothing_is_asked_of_a_network_unless_a_hub_id_was_given(elsewhere, monkeypatch):
    import huggingface_hub

    asked = []

    def refuse(repo_id, filename, **options):
        asked.append(repo_id)
        raise huggingface_hub.errors.LocalEntryNotFoundError("no connection")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", refuse)
    monkeypatch.setattr("huggingface_hub.hub_mixin.hf_hub_download", refuse)
    with pytest.raises(UserError, match="found nothing at out/own; .*from_pretrained"):
        load("out/own")
    assert not asked
    with pytest.raises(UserError, match="expected a folder, or a repository .* at out/own, found: no connection"):
        from_pretrained("out/own")
    assert asked and set(asked) == {"out/own"}


def test_a_repository_is_what_save_pretrained_writes(model, elsewhere, monkeypatch):
    """Both ways of the mix-in, with a folder in the place of the Hub."""
    import huggingface_hub

    repository = _made(elsewhere / "hub")

    def upload(self, repo_id, private, **_):
        assert private and repo_id == "me/model"
        self.save_pretrained(repository)
        return "address"

    def download(repo_id, filename, **_):
        return str(repository / filename)

    monkeypatch.setattr(huggingface_hub.ModelHubMixin, "push_to_hub", upload)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    monkeypatch.setattr("huggingface_hub.hub_mixin.hf_hub_download", download)
    assert model.push_to_hub("me/model") == "address"
    assert sorted(path.name for path in repository.iterdir()) == ["README.md", "config.json", "model.safetensors"]
    image = np.random.default_rng(0).integers(0, 256, (48, 80, 3), np.uint8)
    assert same(from_pretrained("me/model", revision="main", scores=False).predict(image), model.predict(image))


@pytest.mark.parametrize(
    "source, words",
    [
        (np.zeros((4, 5), np.uint8), r"uint8 \[H, W, 3\]"), (np.zeros((4, 5, 3)), "float64"),
        (np.zeros((4, 5, 4), np.uint8), "4, 5, 4"),
        (torch.zeros(4, 5, 3), r"tensor \[3, H, W\]"), (torch.full((3, 4, 5), -2.1), "undo the normalisation"),
        (7, "found int"),
        (np.zeros((0, 5, 3), np.uint8), "0, 5, 3"), ("absent.png", "absent.png"), ("nothing/*.png", "found none"),
    ],
)  # fmt: skip
def test_what_is_no_image_is_refused(source, words):
    with pytest.raises(UserError, match=words):
        next(_images(source))


def test_files_of_a_result(model, elsewhere):
    result = model.predict(picture(elsewhere / "a.png"))
    assert Image.open(result.save(elsewhere / "deep" / "x.jpg")).size[0] >= 96
    assert json.loads(result.save(elsewhere / "x.json").read_text()) == json.loads(json.dumps(result.to_coco()))
    with pytest.raises(UserError, match="found .*x.mp4; choose another suffix"):
        result.save(elsewhere / "x.mp4")
    assert all(0 <= s.score <= 1 and s.area == result.mask(s).sum() for s in result.segments)
    assert sum(s.area for s in result.segments) == (result.panoptic >= 0).sum()
    with pytest.raises(UserError, match="found 'voc'"):
        result.to_coco("voc")


def test_descriptions_travel_as_plain_values_and_newer_ones_are_understood():
    described = Description(CITYSCAPES, (PROTOCOLS["16-ignore"],))
    plain = json.loads(json.dumps(described.state_dict()))
    plain["taxonomy"]["of_a_newer_version"] = 1
    assert Description.from_plain(plain, "x") == described
    described.load_state_dict(plain)
    plain["taxonomy"]["names"][0] = "street"
    with pytest.raises(UserError, match="--resume: expected the classes of cityscapes"):
        described.load_state_dict(plain)
    plain["taxonomy"]["names"].pop()
    with pytest.raises(UserError, match="expected one entry for each class"):
        Description.from_plain(plain, "x")


def test_a_merged_checkpoint_keeps_its_description(run_folder, run_tool, elsewhere):
    made = run_tool(
        "tools/merge_checkpoints.py",
        "--anchor",
        run_folder / "model_final.pth",
        "--model",
        "teacher",
        "--output",
        elsewhere / "m.pth",
    )
    assert made.returncode == 0 and ModelFile(str(elsewhere / "m.pth")).description.taxonomy == CITYSCAPES
    assert load(elsewhere / "m.pth").name == "student"


def test_importing_the_package_is_quick_and_typed():
    code = "import sys, time; t = time.perf_counter(); import gbw_panoptic; print(time.perf_counter() - t); print('torch' in sys.modules)"
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True
    ).stdout.split()
    assert float(found[0]) < 1 and found[1] == "False"
    assert (Path(gbw_panoptic.__file__).parent / "py.typed").is_file()
    assert set(gbw_panoptic.__all__) <= set(dir(gbw_panoptic))
    with pytest.raises(AttributeError, match="nonsense"):
        gbw_panoptic.nonsense
    assert re.search(r'"\*" = \["py.typed"\]|gbw_panoptic.*py.typed', (ROOT / "pyproject.toml").read_text())


UNION = {"name": "large", "dataset_id": 34, "class_ids": [13, 14]}
ODD = {
    "label_divisor": ("1000", 0, -5), "void_ids": ([None],), "rare": ("car", ["cars"], {}, 1.5, [[1]]),
    "names": ([], ["car"] * 19, [1] * 19),
    "dataset_ids": ([7] * 19, [0, *range(2, 20)], [1000, *range(2, 20)]), "colors": ([[1, 2]] * 19, [[0, 0, 256]] * 19),
    "is_thing": ([1] * 19,),
    "unions": ([{**UNION, "class_ids": [19]}], [{**UNION, "class_ids": []}], [{**UNION, "dataset_id": 7}],
               [{**UNION, "name": "car"}]),
    "protocol_list": ([{"name": "a", "class_ids": [0], "void_ids": [], "tasks": [], "groups": [["x", ["y"]]]}],),
}  # fmt: skip


@pytest.mark.parametrize("key", ODD)
def test_an_odd_description_is_one_sentence(key):
    for value in ODD[key]:
        plain = Description(CITYSCAPES, ()).state_dict()
        plain["taxonomy"][key] = value
        with pytest.raises(UserError, match=r"expected .* in the description of classes in x, found") as raised:
            Description.from_plain(plain, "x")
        assert "\n" not in str(raised.value)


def test_a_resume_with_other_ids_or_unions_is_refused():
    divided, grouped = (
        replace(CITYSCAPES, label_divisor=2000),
        replace(CITYSCAPES, unions=(LabelUnion("large", 34, (13, 14)),)),
    )
    renumbered = replace(CITYSCAPES, dataset_ids=tuple(range(1, 20)))
    for other in (divided, grouped, renumbered):
        for own, made in ((CITYSCAPES, other), (other, CITYSCAPES)):
            with pytest.raises(UserError, match="--resume: expected the classes of .* ids, things or unions"):
                Description(own, ()).load_state_dict(Description(made, ()).state_dict())
    Description(replace(CITYSCAPES, rare=("car",)), ()).load_state_dict(Description(CITYSCAPES, ()).state_dict())


@pytest.mark.parametrize(
    ("trained", "resize", "expected"),
    [((0, 1333), 128, (128, 65536)), ((64, 128), 32, (32, 64)), ((64, 128), 0, (0, 0)), ((0, 1333), 0, (0, 65536))],
)
def test_another_short_edge_keeps_the_shape_of_the_bound_if_there_is_one(trained, resize, expected):
    options = SimpleNamespace(MIN_SIZE_TEST=trained[0], MAX_SIZE_TEST=trained[1])
    set_edges(options, resize)
    assert (options.MIN_SIZE_TEST, options.MAX_SIZE_TEST) == expected
