"""tools/predict.py end to end with a tiny, untrained model: what is written, what is refused, what is kept."""

import json
import os
import re
import shutil
import sys
from pathlib import Path

import cv2
import numpy as np
import predict
import pytest
import torch
from cityscapesscripts.evaluation import evalPanopticSemanticLabeling
from detectron2.data import DatasetCatalog, MetadataCatalog
from PIL import Image

from gbw_panoptic import files
from gbw_panoptic.data import register_all
from gbw_panoptic.data.coco_panoptic import load_panoptic_json
from gbw_panoptic.data.loader import build_test_loader
from gbw_panoptic.engine.build import build_models
from gbw_panoptic.engine.setup import adapt_to_machine, load_config
from gbw_panoptic.errors import UserError
from gbw_panoptic.evaluation.maps import panoptic_map, predicted_labels, predicted_panoptic_map, read_ground_truth
from gbw_panoptic.inference import Prediction, job
from gbw_panoptic.inference.inputs import Input
from gbw_panoptic.inference.journal import begin
from gbw_panoptic.taxonomy import CITYSCAPES

ROOT = Path(__file__).parents[2]
FACTORS = np.array([1, 256, 65536])


@pytest.fixture(scope="module")
def run_folder(streets_root, tmp_path_factory):
    """OUTPUT_DIR of a run that never trained: configuration, a checkpoint of student and teacher, the pointer to it."""
    register_all(str(streets_root))
    folder = tmp_path_factory.mktemp("run")
    instances = ["MODEL.PANOPTIC_DEEPLAB.CENTER_THRESHOLD", "0.0", "MODEL.PANOPTIC_DEEPLAB.TOP_K_INSTANCE", "20"]
    config = ROOT / "configs" / "quick" / "self_training_gbw.yaml"
    cfg = load_config(str(config), ["INPUT.MIN_SIZE_TEST", "64", *instances])
    adapt_to_machine(cfg)
    models = build_models(cfg)
    generator = torch.Generator().manual_seed(0)
    for parameter in models["teacher"].sem_seg_head.predictor.parameters():  # not the student's any more
        parameter.copy_(torch.randn(parameter.shape, generator=generator))
    state = {key: value.state_dict() for key, value in models.items()}
    torch.save({"model": state["student"], "teacher": state["teacher"]}, folder / "model_0000009.pth")
    (folder / "last_checkpoint").write_text("model_0000009.pth")
    (folder / "config.yaml").write_text(cfg.dump())
    return folder


@pytest.fixture
def run_tool(streets, run_folder, tmp_path, monkeypatch):
    """Runs the tool's main with --run, and gives its exit code."""

    def run(*arguments, output=tmp_path / "out", model=("--run", run_folder)):
        monkeypatch.setattr(sys, "argv", ["predict.py", *map(str, (*model, "--output", output, *arguments))])
        return predict.main()

    return run


def random_image(path, height, width, seed=0):
    smooth = np.random.default_rng(seed).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(cv2.resize(smooth, (width, height))).save(path)
    return path


def panoptic_entries(output):
    """Name -> annotation, checked against the PNG of each."""
    annotations = {a.image_id: a for a in load_panoptic_json(output / "panoptic.json", CITYSCAPES)}
    for name, annotation in annotations.items():
        ids = np.asarray(Image.open(output / "panoptic" / annotation.label_file)).astype(int) @ FACTORS
        areas = {int(value): int((ids == value).sum()) for value in np.unique(ids) if value}
        assert {s["id"]: s["area"] for s in annotation.segments_info} == areas, name
        for segment in annotation.segments_info:
            category = segment["id"] // 1000 if segment["id"] >= 1000 else segment["id"]
            assert segment["category_id"] == category and segment["iscrowd"] == 0
    return annotations


def test_images_of_any_size_get_maps_of_their_size(run_tool, tmp_path):
    sizes = [(64, 64), (65, 97), (127, 1023), (1, 1), (33, 400)]
    for height, width in sizes:
        random_image(tmp_path / "in" / f"{height}x{width}.png", height, width)
    assert run_tool("--input", tmp_path / "in") == 0
    names = {f"{height}x{width}" for height, width in sizes}
    assert panoptic_entries(tmp_path / "out").keys() == names
    for height, width in sizes:
        name = f"{height}x{width}"
        labels = files.read_label(tmp_path / "out" / "labelIds" / f"{name}_labelIds.png")
        panoptic = files.read_panoptic(tmp_path / "out" / "panoptic" / f"{name}.png")
        assert labels.shape == panoptic.shape == (height, width)
        assert np.isin(labels, CITYSCAPES.dataset_ids).all()
        overlay = files.read_image(tmp_path / "out" / "overlay" / f"{name}.png")
        assert overlay.shape[1] >= 1024 and overlay.shape[0] > height


def test_predictions_are_those_of_the_evaluation(run_tool, run_folder, tmp_path):
    """Same image, same weights: what the tool writes is what the model says through the evaluation's loader."""
    dataset = "cityscapes_uda_panoptic_val"
    assert run_tool("--dataset", dataset, "--num", 2, "--model", "student") == 0
    cfg = load_config(str(run_folder / "config.yaml"), [])
    model = build_models(cfg)["student"].eval()
    model.load_state_dict(torch.load(run_folder / "model_0000009.pth", weights_only=True)["model"])
    entries = panoptic_entries(tmp_path / "out")
    assert len(entries) == len(list((tmp_path / "out" / "panels").iterdir())) == 2
    for inputs, _ in zip(build_test_loader(cfg, dataset), range(2)):
        with torch.no_grad():
            output = model(inputs)[0]
        name = inputs[0]["image_id"]
        labels = files.read_label(tmp_path / "out" / "labelIds" / f"{name}_labelIds.png")
        assert np.array_equal(CITYSCAPES.contiguous_table()[labels], predicted_labels(output))
        panoptic = predicted_panoptic_map(output, CITYSCAPES)
        expected = {int(v): int((panoptic == v).sum()) for v in np.unique(panoptic) if v >= 0}
        found = {}
        for segment in entries[name].segments_info:
            contiguous = CITYSCAPES.contiguous_id[segment["category_id"]]
            found[contiguous * 1000 + (segment["id"] % 1000 if segment["id"] >= 1000 else 0)] = segment["area"]
        assert found == expected and len(found) > 1


class Oracle:
    """Predicts the ground truth of a data set's images, in their order."""

    taxonomy = CITYSCAPES

    def __init__(self, records):
        self.truths = (read_ground_truth(record, CITYSCAPES) for record in records)

    def __call__(self, image):
        truth = next(self.truths)
        panoptic = panoptic_map(truth.ids, truth.segments, CITYSCAPES)[0].astype(np.int32)
        return Prediction(np.where(truth.labels == 255, 0, truth.labels), panoptic)


def test_cityscapes_own_evaluators_find_the_results_and_give_100_to_the_truth(run_tool, streets, tmp_path, monkeypatch):
    dataset = "cityscapes_uda_panoptic_val"
    oracle = Oracle(DatasetCatalog.get(dataset))
    monkeypatch.setattr(predict, "build_predictor", lambda *_, **__: (oracle, "oracle"))
    assert run_tool("--dataset", dataset) == 0
    metadata = MetadataCatalog.get(dataset)
    single_core = evalPanopticSemanticLabeling.pq_compute_single_core  # the parallel one leaves its pool open
    monkeypatch.setattr(evalPanopticSemanticLabeling, "pq_compute_multi_core", lambda *args: single_core(0, *args))
    scores = evalPanopticSemanticLabeling.evaluatePanoptic(
        metadata.panoptic_json, metadata.panoptic_root, str(tmp_path / "out" / "panoptic.json"),
        str(tmp_path / "out" / "panoptic"), str(tmp_path / "scores.json"),
    )  # fmt: skip
    assert scores["All"]["pq"] == scores["Things"]["pq"] == scores["Stuff"]["pq"] == 1
    truths = sorted(streets.glob("cityscapes/gtFine/val/*/*_gtFine_labelIds.png"))
    assert len(truths) == 3
    for path in truths:
        (found,) = (tmp_path / "out" / "labelIds").glob(path.name.removesuffix("_gtFine_labelIds.png") + "*.png")
        labels, truth = files.read_label(found), files.read_label(path)
        evaluated = np.isin(truth, CITYSCAPES.dataset_ids)
        assert evaluated.any() and np.array_equal(labels[evaluated], truth[evaluated])


def test_student_and_teacher_differ_and_the_default_is_the_configured_one(run_tool, tmp_path):
    image = random_image(tmp_path / "a.png", 64, 96)
    maps = {}
    for name in ("student", "teacher", None):
        output = tmp_path / f"out_{name}"
        assert run_tool("--input", image, *(("--model", name) if name else ()), output=output) == 0
        maps[name] = files.read_label(output / "labelIds" / "a_labelIds.png")
    assert not np.array_equal(maps["student"], maps["teacher"])
    assert np.array_equal(maps[None], maps["teacher"])  # TEST.MODEL of the configuration


def test_resize_changes_what_the_model_sees_not_the_size_of_the_result(run_tool, tmp_path):
    image = random_image(tmp_path / "a.png", 70, 150)
    maps = {}
    for short_edge in (0, 32, 200):
        output = tmp_path / str(short_edge)
        assert run_tool("--input", image, "--resize", short_edge, output=output) == 0
        maps[short_edge] = files.read_label(output / "labelIds" / "a_labelIds.png")
        assert maps[short_edge].shape == (70, 150)
    assert not np.array_equal(maps[0], maps[32]) and not np.array_equal(maps[0], maps[200])
    with pytest.raises(UserError, match="--resize: expected .* found -3"):
        run_tool("--input", image, "--resize", -3)


def test_what_cannot_be_read_is_named_and_the_rest_is_done(run_tool, tmp_path, capfd):
    random_image(tmp_path / "in" / "good.png", 64, 64)
    (tmp_path / "in" / "bad.jpg").write_bytes(b"no image")
    (tmp_path / "in" / "bad.mp4").write_bytes(b"no video" * 100)
    (tmp_path / "in" / "notes.txt").write_text("not an input")
    assert run_tool("--input", tmp_path / "in", tmp_path / "absent.png", tmp_path / "*.nothing") == 2
    errors = [line for line in capfd.readouterr().err.splitlines() if "error:" in line]
    for text in ("bad.jpg", "bad.mp4", "absent.png", "*.nothing"):
        assert sum(text in line for line in errors) == 1, text
    assert panoptic_entries(tmp_path / "out").keys() == {"good"}
    assert sorted(os.listdir(tmp_path / "out" / "overlay")) == ["good.png"]


def test_a_video_becomes_a_video_and_maps_of_its_frames(run_tool, tmp_path):
    path = tmp_path / "drive.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), 12.5, (98, 64))
    for number in range(5):
        writer.write(np.full((64, 98, 3), 40 * number, np.uint8))
    writer.release()
    assert run_tool("--input", path) == 0
    assert panoptic_entries(tmp_path / "out").keys() == {f"drive/{number:06d}" for number in range(5)}
    capture = cv2.VideoCapture(str(tmp_path / "out" / "overlay" / "drive.mp4"))
    assert capture.get(cv2.CAP_PROP_FPS) == 12.5
    frames = []
    while (frame := capture.read())[0]:
        frames.append(frame[1])
    assert len(frames) == 5 and all(
        frame.shape == (64, 98, 3) for frame in frames
    )  # the rate and the size of the video
    before = (tmp_path / "out" / "panoptic.json").read_bytes()
    stamp = (tmp_path / "out" / "overlay" / "drive.mp4").stat().st_mtime_ns
    assert run_tool("--input", path, "--resume") == 0
    assert (tmp_path / "out" / "panoptic.json").read_bytes() == before
    assert (tmp_path / "out" / "overlay" / "drive.mp4").stat().st_mtime_ns == stamp


def test_an_interrupted_run_goes_on_where_it_stopped(run_tool, tmp_path, monkeypatch):
    for number in range(3):
        random_image(tmp_path / "in" / f"{number}.png", 64, 80, seed=number)
    assert run_tool("--input", tmp_path / "in", output=tmp_path / "whole") == 0
    seen = []
    image = predict.PredictionJob.image

    def interrupted(job, item):
        if len(seen) == 2:
            raise KeyboardInterrupt
        seen.append(item.name)
        image(job, item)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(predict.PredictionJob, "image", interrupted)
        run_tool("--input", tmp_path / "in")
    out = tmp_path / "out"
    assert not (out / "panoptic.json").exists()
    stamps = {path: path.stat().st_mtime_ns for path in out.rglob("*.png")}
    assert run_tool("--input", tmp_path / "in", "--resume") == 0
    assert len(stamps) == 6 and all(path.stat().st_mtime_ns == stamp for path, stamp in stamps.items())
    assert (out / "panoptic.json").read_bytes() == (tmp_path / "whole" / "panoptic.json").read_bytes()


def test_resume_refuses_to_mix_models_or_images(run_tool, tmp_path):
    first = random_image(tmp_path / "one" / "a.png", 64, 80)
    second = random_image(tmp_path / "two" / "a.png", 64, 80)
    assert run_tool("--input", first) == 0
    with pytest.raises(UserError, match="--resume: expected the model .*teacher.*found student"):
        run_tool("--input", first, "--resume", "--model", "student")
    before = {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    for resume in ((), ("--resume",)):
        with pytest.raises(UserError, match="expected the input a .*one.*found .*two.* would take its place"):
            run_tool("--input", second, *resume)
    assert {path: path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file()} == before
    old = (tmp_path / "out" / "overlay" / "a.png").stat().st_mtime_ns
    assert run_tool("--input", first) == 0  # without --resume everything is new
    assert (tmp_path / "out" / "overlay" / "a.png").stat().st_mtime_ns > old
    assert json.loads((tmp_path / "out" / "panoptic.json").read_text())["images"][0]["file_name"] == "a.png"


def test_resume_does_not_trust_clocks(run_tool, run_folder, tmp_path, monkeypatch):
    """The clock went back between two models: the first one's results look newer than the second one's run."""
    image = random_image(tmp_path / "a.png", 64, 80)
    assert run_tool("--input", image) == 0
    for path in (tmp_path / "out").rglob("*.png"):
        os.utime(path, (2**32, 2**32))
    old = files.read_label(tmp_path / "out" / "labelIds" / "a_labelIds.png")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(predict.PredictionJob, "image", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        run_tool("--input", image, "--model", "student")
    assert run_tool("--input", image, "--model", "student", "--resume") == 0
    assert not np.array_equal(files.read_label(tmp_path / "out" / "labelIds" / "a_labelIds.png"), old)


def test_the_journal_knows_inputs_by_their_content(tmp_path):
    item = Input(tmp_path / "a.png", "a")
    journal = begin(tmp_path / "out", {"weights": "1"}, [item], resume=False)
    journal.finish(item, "digest", frames=3)
    with open(journal.path, "a") as file:
        file.write(
            "\n".join(
                [
                    "null",
                    "5",
                    '{"a": 1}',
                    '["c", 5, 1]',
                    '[[], "x", 1]',
                    '["d", "x", true]',
                    '["e", "x", -1]',
                    "[" * 5000,
                    "\0\0",
                ]
            )
        )
        file.write('\n["b", "half of a li')  # the process was killed
    left = tmp_path / "out" / "labelIds" / "drive" / ".000001.png.99999999.tmp"  # and another one before
    left.parent.mkdir(parents=True)
    left.touch()
    again = begin(tmp_path / "out", {"weights": "1"}, [item], resume=True)
    assert not left.exists() and again.frames(item, "digest") == 3 and again.frames(item, "another") is None
    with pytest.raises(UserError, match="--resume: expected the weights"):
        begin(tmp_path / "out", {"weights": "2"}, [item], resume=True)
    assert begin(tmp_path / "out", {"weights": "2"}, [item], resume=False).frames(item, "digest") is None


def test_one_impossible_input_does_not_end_the_others(run_tool, tmp_path, capfd):
    folder = tmp_path / "in"
    random_image(folder / ("ü" * 125 + ".png"), 32, 64)
    os.rename(random_image(folder / "b.png", 32, 64), os.path.join(os.fsencode(folder), b"stra\xdfe.png"))
    (folder / "loop.png").symlink_to("loop.png")
    os.mkfifo(folder / "pipe.png")
    os.mkfifo(folder / "pipe.mp4")
    (folder / "photo.jpg").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n")
    (folder / "photo.heic").touch()
    assert run_tool("--input", folder, "x" * 300 + ".png") == 2
    errors = capfd.readouterr().err
    assert sum("error:" in line for line in errors.splitlines()) == 5 and "found PostScript" in errors
    assert "warning: left out: 1 files of the format .heic" in errors
    assert len(panoptic_entries(tmp_path / "out")) == 2 and (tmp_path / "out" / "overlay" / "stra%DFe.png").is_file()
    with pytest.raises(UserError, match="--strict: expected to read everything"):
        run_tool("--input", folder, "--strict")


def test_weights_that_do_not_fit_are_refused(run_tool, run_folder, tmp_path):
    image = random_image(tmp_path / "a.png", 64, 64)
    state = torch.load(run_folder / "model_0000009.pth", weights_only=True)["model"]
    config = ("--config-file", run_folder / "config.yaml", "--weights", tmp_path / "w.pth")
    backbone = {key: value for key, value in state.items() if key.startswith("backbone.")}
    for contents, message in (
        (backbone, "found [0-9]+ of [0-9]+ absent or of another shape, first sem_seg_head.*absent"),
        (
            {**state, "sem_seg_head.predictor.bias": torch.zeros(3)},
            r"first sem_seg_head.predictor.bias \(of shape \(3,\) instead of",
        ),
    ):
        torch.save(contents, tmp_path / "w.pth")
        with pytest.raises(UserError, match=message):
            run_tool("--input", image, model=config)
    torch.save(state, tmp_path / "w.pth")  # a bare state dict of the student
    assert run_tool("--input", image, model=config) == 0
    with pytest.raises(UserError, match="model teacher: expected student, as .* found teacher; take student"):
        run_tool("--input", image, "--model", "teacher", model=config)


def test_the_model_is_asked_for_in_one_sentence(run_tool, run_folder, tmp_path):
    image = random_image(tmp_path / "a.png", 64, 64)
    with pytest.raises(UserError, match="found no --weights"):
        run_tool("--input", image, model=("--config-file", run_folder / "config.yaml"))
    with pytest.raises(UserError, match="--run: expected the OUTPUT_DIR of a run"):
        run_tool("--input", image, model=("--run", tmp_path))
    demo = tmp_path / "demo"
    shutil.copytree(run_folder, demo / "run")
    (demo / "run" / "model_0000009.pth").unlink()
    with pytest.raises(UserError, match="--run: expected a checkpoint at .*model_0000009"):
        run_tool("--input", image, model=("--run", demo))


def test_truth_needs_a_labelled_data_set(run_tool):
    unlabelled = "cityscapes_uda_images_train"
    with pytest.raises(UserError, match=f"--dataset: expected a data set with labels, found {unlabelled}"):
        run_tool("--dataset", unlabelled)
    with pytest.raises(UserError, match="such as cityscapes_uda_panoptic_val, .*found 'cityscapes_uda_panoptic_vall'"):
        run_tool("--dataset", "cityscapes_uda_panoptic_vall")


def test_pictures_show_what_is_asked_for(run_tool, tmp_path, monkeypatch):
    notes = []
    draw = job.make_overlay
    monkeypatch.setattr(
        job, "make_overlay", lambda *a, **options: notes.append(options["notes"]) or draw(*a, **options)
    )
    image = random_image(tmp_path / "in" / "a.png", 48, 96)
    assert run_tool("--input", image, output=tmp_path / "plain") == 0
    output = tmp_path / "out"
    assert run_tool("--input", image, "--beside", "--scores", "--confidence", output=output) == 0
    plain, beside = (np.asarray(Image.open(folder / "overlay" / "a.png")) for folder in (tmp_path / "plain", output))
    assert beside.shape[1] > 2 * plain.shape[1]
    left = cv2.resize(
        np.asarray(Image.open(image)), (plain.shape[1], plain.shape[1] // 2), interpolation=cv2.INTER_CUBIC
    )
    np.testing.assert_array_equal(beside[: len(left), : left.shape[1]], left)
    assert notes[0] == {} and len(notes[1]) == sum(s["id"] >= 1000 for s in panoptic_entries(output)["a"].segments_info)
    assert all(re.fullmatch(r"\d+: -?\d+\.\d\d", note) for note in notes[1].values())
    confidence = np.asarray(Image.open(output / "confidence" / "a.png"))
    assert confidence.shape[0] > 48 and confidence.shape[1] >= 96
    assert not (tmp_path / "plain" / "confidence").exists()
    with pytest.raises(
        UserError, match=r"expected the pictures of the run .*\(overlay, beside, scores, confidence\), found overlay"
    ):
        run_tool("--input", image, "--resume", output=output)
    assert run_tool("--input", image, "--resume", output=tmp_path / "plain") == 0
