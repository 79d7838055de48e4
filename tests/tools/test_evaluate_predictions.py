"""tools/evaluate_predictions.py against panopticapi's and cityscapesScripts' evaluators, and with bad input."""

import json
import shutil
import sys
from pathlib import Path

import evaluate_predictions
import numpy as np
import panopticapi.evaluation
import pytest
from cityscapesscripts.evaluation import evalPanopticSemanticLabeling
from panopticapi.utils import id2rgb
from PIL import Image

from gbw_panoptic import files
from gbw_panoptic.data.coco_panoptic import describe_segments
from gbw_panoptic.errors import UserError
from gbw_panoptic.reporting.run_folder import RunFolder
from gbw_panoptic.taxonomy import CITYSCAPES

DATASET = "cityscapes_uda_panoptic_val"


@pytest.fixture
def truth(streets) -> Path:
    """The JSON of Streets' validation images; its PNG files lie beside it."""
    return streets / "cityscapes/gtFine/cityscapes_panoptic_val.json"


@pytest.fixture
def predictions(truth, tmp_path) -> Path:
    """pred.json and pred/: every image of the truth with shifted borders, void and wrong classes."""
    annotations = []
    (tmp_path / "pred").mkdir()
    for annotation in json.loads(truth.read_text())["annotations"]:
        ids = files.read_panoptic(truth.with_suffix("") / annotation["file_name"])
        ids = np.roll(ids, (2, 3), (0, 1))
        ids[:, :9] = 0
        ids[ids == 21] = 22  # vegetation as terrain
        name = f"{annotation['image_id']}.png"
        files.write_panoptic(tmp_path / "pred" / name, ids)
        segments = [{key: s[key] for key in ("id", "category_id")} for s in describe_segments(ids, CITYSCAPES)]
        annotations.append({"image_id": annotation["image_id"], "file_name": name, "segments_info": segments})
    return write(tmp_path / "pred.json", {"annotations": annotations[::-1]})


def write(path: Path, value: dict) -> Path:
    path.write_text(json.dumps(value))
    return path


def run(monkeypatch, *options) -> None:
    monkeypatch.setattr(sys, "argv", ["evaluate_predictions.py", "--workers", "1", *map(str, options)])
    evaluate_predictions.main()


def scores_in(path: Path) -> dict:
    return json.loads(path.read_text())["scores"]


def test_equals_cityscapesscripts_and_panopticapi(truth, predictions, tmp_path, monkeypatch, capsys):
    for program in (evalPanopticSemanticLabeling, panopticapi.evaluation):
        single = program.pq_compute_single_core  # the parallel one leaves its pool open
        monkeypatch.setattr(program, "pq_compute_multi_core", lambda *arguments, single=single: single(0, *arguments))
    arguments = str(truth), str(truth.with_suffix("")), str(predictions), str(predictions.with_suffix(""))
    official = evalPanopticSemanticLabeling.evaluatePanoptic(*arguments, str(tmp_path / "official.json"))
    api = panopticapi.evaluation.pq_compute(arguments[0], arguments[2], arguments[1], arguments[3])
    run(monkeypatch, predictions, "--dataset", DATASET)
    scores = scores_in(tmp_path / "pred_scores.json")["panoptic"]["19"]
    assert 10 < scores["PQ"] < 95
    for group, suffix in (("All", ""), ("Things", "_things"), ("Stuff", "_stuff")):
        for metric in ("PQ", "SQ", "RQ"):
            assert scores[metric + suffix] == pytest.approx(100 * official[group][metric.lower()], abs=1e-9)
            assert scores[metric + suffix] == pytest.approx(100 * api[group][metric.lower()], abs=1e-9)
    for category, values in official["per_class"].items():
        name = CITYSCAPES.names[CITYSCAPES.contiguous_id[category]]
        assert scores["per_class"][name]["PQ"] == pytest.approx(100 * values["pq"], abs=1e-9)
    printed = capsys.readouterr().out
    assert "3 images of" in printed
    assert all(f"Protocol {name}, N = " in printed for name in ("19", "16", "16-ignore", "13"))


@pytest.mark.slow
def test_processes_change_nothing(predictions, tmp_path, monkeypatch):
    for workers in (1, 2):
        options = ("--workers", workers, "--output", tmp_path / f"{workers}.json")
        run(monkeypatch, predictions, "--dataset", DATASET, *options)
    assert scores_in(tmp_path / "1.json") == scores_in(tmp_path / "2.json")


def test_files_and_areas_change_nothing(truth, predictions, tmp_path, monkeypatch):
    run(monkeypatch, predictions, "--dataset", DATASET, "--output", tmp_path / "new" / "a.json")
    lying = json.loads(truth.read_text())
    for annotation in lying["annotations"]:
        for segment in annotation["segments_info"]:
            segment["area"] = 10**6
    path = write(tmp_path / "lying.json", lying)
    options = ("--truth", path, "--truth-folder", truth.with_suffix(""), "--folder", tmp_path / "pred")
    run(monkeypatch, predictions, *options, "--output", tmp_path / "b.json")
    assert scores_in(tmp_path / "new" / "a.json") == scores_in(tmp_path / "b.json")


def test_the_result_file_can_be_reported(predictions, tmp_path, monkeypatch):
    options = ("--protocols", "16", "13", "--output", tmp_path / "run" / "inference" / "saved.json")
    run(monkeypatch, predictions, "--dataset", DATASET, *options)
    (evaluation,) = RunFolder.read(tmp_path / "run").evaluations
    assert (evaluation["model"], evaluation["images"], evaluation["protocols"]) == ("pred", 3, ["16", "13"])
    assert list(evaluation["scores"]["panoptic"]) == ["16"] and list(evaluation["scores"]["semantic"]) == ["16", "13"]


def test_truth_as_prediction_scores_100(truth, tmp_path, monkeypatch):
    run(monkeypatch, truth, "--dataset", DATASET, "--output", tmp_path / "out.json")
    scores = scores_in(tmp_path / "out.json")
    assert scores["panoptic"]["16"]["PQ"] == scores["semantic"]["19"]["mIoU"] == 100


def test_other_categories_than_cityscapes(tmp_path, monkeypatch, capsys):
    """COCO-panoptic with odd ids, a crowd and void; ids of classes that Cityscapes does not know."""
    truth = np.repeat([[70000, 256, 9, 0]], [8, 4, 4, 4], axis=1).repeat(4, axis=0)
    predicted = np.repeat([[5, 16000000, 0]], [8, 10, 2], axis=1).repeat(4, axis=0)
    for name, ids in (("truth", truth), ("pred", predicted)):
        (tmp_path / name).mkdir()
        Image.fromarray(id2rgb(ids)).save(tmp_path / name / "a.png")
    categories = [{"id": 184, "name": "tree", "isthing": 0}, {"id": 1, "name": "cat", "isthing": 1}]
    segments = [(70000, 184, 0), (256, 1, 0), (9, 1, 1)]
    segments = [{"id": i, "category_id": c, "iscrowd": crowd} for i, c, crowd in segments]
    annotation = {"image_id": 7, "file_name": "a.png", "segments_info": segments}
    write(tmp_path / "truth.json", {"annotations": [annotation], "categories": categories})
    found = [{"id": 5, "category_id": 184}, {"id": 16000000, "category_id": 1}]
    write(tmp_path / "pred.json", {"annotations": [{**annotation, "segments_info": found}]})
    run(monkeypatch, tmp_path / "pred.json", "--truth", tmp_path / "truth.json")
    scores = scores_in(tmp_path / "pred_scores.json")["panoptic"]["all"]
    # the cat of 4 columns lies in a prediction of 10, 2 of which are void: IoU 4 / 8, a miss; of the prediction's 10
    # columns, 4 + 2 lie on the crowd and on void: excused
    counts = {name: (s["tp"], s["fp"], s["fn"]) for name, s in scores["per_class"].items()}
    assert counts == {"tree": (1, 0, 0), "cat": (0, 0, 1)}
    assert scores["PQ"] == 50 and "Protocol all, N = 2: tree, cat" in capsys.readouterr().out


def _without_first(path: Path) -> None:
    write(path, {"annotations": json.loads(path.read_text())["annotations"][1:]})


def _edit_segment(path: Path, **values) -> None:
    content = json.loads(path.read_text())
    content["annotations"][0]["segments_info"][0].update(values)
    write(path, content)


def _first_png(path: Path) -> Path:
    return path.with_suffix("") / json.loads(path.read_text())["annotations"][0]["file_name"]


FAULTS = {
    "image missing": (_without_first, r"each of 3 images, found none of 1, first \S+_000019"),
    "file missing": (
        lambda path: _first_png(path).unlink(),
        r"image \S+: expected a readable file at .*\.png, found nothing",
    ),
    "no folder": (lambda path: shutil.rmtree(path.with_suffix("")), "expected a readable file"),
    "size": (
        lambda path: files.write_panoptic(_first_png(path), np.full((9, 9), 7)),
        r"image \S+: expected a prediction of the ground truth's size \(128, 256\), found \(9, 9\)",
    ),
    "category": (lambda path: _edit_segment(path, category_id=99), r"found 99 for the segment \d+ of image \S+ in"),
    "only in the PNG": (lambda path: _edit_segment(path, id=77), r"image \S+: .*found \[\d+\] only in the map"),
    "id": (lambda path: _edit_segment(path, id="7"), "the segment"),
    "id of void": (lambda path: _edit_segment(path, id=0), r"the segment id 0, which is void in image"),
    "id of 25 bits": (
        lambda path: _edit_segment(path, id=1 << 24),
        r"the segment id 16777216: ids are 1\.\.16777215 in",
    ),
    "crowd as text": (lambda path: _edit_segment(path, iscrowd="0"), "iscrowd '0' of the segment"),
    "another encoding": (
        lambda path: path.write_bytes(path.read_text().replace("_", "ä").encode("latin-1")),
        "not UTF-8",
    ),
    "key": (lambda path: write(path, {"images": []}), "found no 'annotations'"),
    "JSON": (lambda path: path.write_text("{"), "damaged file"),
    "path": (
        lambda path: write(path, {"annotations": [{"image_id": 1, "file_name": "../a.png", "segments_info": []}]}),
        "leaves its folder",
    ),
    "twice": (
        lambda path: write(path, {"annotations": 2 * json.loads(path.read_text())["annotations"]}),
        "6 of 3 images",
    ),
    "label image": (lambda path: files.write_png(_first_png(path), np.zeros((128, 256), np.uint8)), "8-bit RGB"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_are_one_sentence(fault, predictions, monkeypatch):
    damage, message = FAULTS[fault]
    damage(predictions)
    with pytest.raises(UserError, match=message) as caught:
        run(monkeypatch, predictions, "--dataset", DATASET)
    assert "\n" not in str(caught.value) and not list(predictions.parent.glob("*_scores.json"))


@pytest.mark.parametrize(
    "options, message",
    [
        (("--dataset", "nonsense"), "nonsense"),
        (("--dataset", "gta5_sem_train"), "panoptic labels"),
        (("--dataset", DATASET, "--protocols", "17"), "found 17"),
        (("--truth", "no.json"), "no.json"),
    ],
)
def test_bad_options(options, message, predictions, monkeypatch):
    with pytest.raises(UserError, match=message):
        run(monkeypatch, predictions, *options)


def test_a_truth_numbered_from_0_is_refused(tmp_path, monkeypatch):
    """The smallest such pair, once with exact overlap: it scored PQ 500, or an infinite IoU."""
    for name, ids in (("t", [[0, 1]]), ("p", [[8, 9]])):
        (tmp_path / name).mkdir()
        files.write_panoptic(tmp_path / name / "1.png", np.array(ids).repeat(5, axis=1))
    categories = [{"id": 1, "name": "ground", "isthing": 0}, {"id": 2, "name": "air", "isthing": 0}]

    def annotations(*ids):
        segments = [{"id": i, "category_id": c} for i, c in zip(ids, (1, 2))]
        return [{"image_id": 1, "file_name": "1.png", "segments_info": segments}]

    write(tmp_path / "t.json", {"annotations": annotations(0, 1), "categories": categories})
    write(tmp_path / "p.json", {"annotations": annotations(8, 9)})
    with pytest.raises(UserError, match="the segment id 0, which is void in image 1 in .*t.json"):
        run(monkeypatch, tmp_path / "p.json", "--truth", tmp_path / "t.json")


@pytest.mark.parametrize("true, predicted", [(1, "1"), ("a", 1), ("1", 1)])
def test_image_ids_of_another_kind_are_named(tmp_path, monkeypatch, true, predicted):
    categories = [{"id": 1, "name": "ground", "isthing": 0}]
    for name, image_id in (("t", true), ("p", predicted)):
        (tmp_path / name).mkdir()
        files.write_panoptic(tmp_path / name / "1.png", np.full((2, 2), 8))
        annotation = {"image_id": image_id, "file_name": "1.png", "segments_info": [{"id": 8, "category_id": 1}]}
        write(tmp_path / f"{name}.json", {"annotations": [annotation], "categories": categories})
    with pytest.raises(
        UserError, match=f"kind, such as {true!r}, found {predicted!r} in the predictions; write numbers without"
    ):
        run(monkeypatch, tmp_path / "p.json", "--truth", tmp_path / "t.json")


@pytest.mark.parametrize(
    "categories, found",
    [
        ([], "0 categories, where 1 to 999 can be scored"),
        ([{"id": 1, "name": "a"}], "isthing"),
        ([{"id": 1, "isthing": "0"}], "isthing '0' of the category"),
        ([{"id": 1, "isthing": 0}] * 2, "the category ids"),
        ([{"id": i, "isthing": 0} for i in range(1000)], "1000 categories, where 1 to 999 can be scored"),
    ],
)
def test_bad_categories(categories, found, predictions, tmp_path, monkeypatch):
    path = write(tmp_path / "truth.json", {"annotations": [], "categories": categories})
    with pytest.raises(UserError, match=f"categories with an id and isthing.*{found}"):
        run(monkeypatch, predictions, "--truth", path)
