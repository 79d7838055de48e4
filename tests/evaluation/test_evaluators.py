"""The evaluator on small scenes: against Detectron2's own, by hand, over ranks, and with bad input."""

import json
import logging
import multiprocessing
import tracemalloc
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import panopticapi.evaluation
import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.samplers import InferenceSampler
from detectron2.evaluation import COCOPanopticEvaluator
from detectron2.utils.events import EventStorage
from panopticapi.utils import id2rgb
from PIL import Image
from two_ranks import on_two_ranks

from gbw_panoptic.errors import UserError
from gbw_panoptic.evaluation import evaluators
from gbw_panoptic.data.statistics import ClassStatistics
from gbw_panoptic.evaluation.evaluators import DomainAdaptationEvaluator, build_evaluator
from gbw_panoptic.taxonomy import CITYSCAPES, PROTOCOLS

ALL_PROTOCOLS = [PROTOCOLS[name] for name in ("16", "16-ignore", "13", "19")]


@dataclass
class Scene:
    """One image: its record, its true panoptic map (contiguous id * 1000 + instance, -1 = void) and its segment ids."""

    record: dict
    panoptic: np.ndarray
    ids: np.ndarray


def model_output(panoptic: np.ndarray) -> dict:
    """What a model that predicts this panoptic map returns; void pixels get the logits of road."""
    labels = torch.from_numpy(np.where(panoptic < 0, 0, panoptic // 1000))
    logits = torch.nn.functional.one_hot(labels, CITYSCAPES.num_classes).permute(2, 0, 1).float()
    return {"sem_seg": logits, "panoptic_seg": (torch.from_numpy(panoptic), None)}


def make_scene(folder: Path, name: str, seed: int, size: tuple[int, int] = (31, 47)) -> Scene:
    """Random rectangles of all classes; segment ids are Cityscapes', one truck region is a crowd."""
    rng = np.random.default_rng(seed)
    panoptic = np.zeros(size, np.int64)
    counts = dict.fromkeys(range(19), 0)
    for _ in range(30):
        label = int(rng.integers(19))
        counts[label] += 1
        top, left = rng.integers(0, size[0] - 4), rng.integers(0, size[1] - 4)
        bottom, right = top + rng.integers(4, 14), left + rng.integers(4, 14)
        panoptic[top:bottom, left:right] = 1000 * label + (counts[label] if CITYSCAPES.is_thing[label] else 0)
    panoptic[:4, :9] = -1
    (truck,) = CITYSCAPES.ids("truck")
    panoptic[-4:, -9:] = 1000 * truck  # a crowd: no instance number
    dataset_ids = np.array(CITYSCAPES.dataset_ids)[panoptic // 1000]
    ids = np.where(panoptic % 1000 > 0, dataset_ids * 1000 + panoptic % 1000, dataset_ids)
    ids[panoptic < 0] = 0
    segments = [
        {
            "id": int(ids[panoptic == value][0]),
            "category_id": int(value // 1000),
            "iscrowd": int(value == 1000 * truck),
            "area": int((panoptic == value).sum()),
        }
        for value in np.unique(panoptic[panoptic >= 0])
    ]
    record = {"file_name": str(folder / f"{name}.png"), "image_id": name, "height": size[0], "width": size[1]}
    Image.fromarray(rng.integers(0, 256, (*size, 3), np.uint8)).save(record["file_name"])
    record["pan_seg_file_name"] = str(folder / f"{name}_panoptic.png")
    Image.fromarray(id2rgb(ids)).save(record["pan_seg_file_name"])
    return Scene({**record, "segments_info": segments}, panoptic, ids)


@pytest.fixture
def scenes(tmp_path) -> list[Scene]:
    """Three scenes whose files lie in tmp_path/data."""
    folder = tmp_path / "data"
    folder.mkdir()
    return [make_scene(folder, f"scene_{i}", seed=i) for i in range(3)]


def evaluator_of(scenes, **arguments) -> DomainAdaptationEvaluator:
    arguments = {"protocols": ALL_PROTOCOLS, **arguments}
    return DomainAdaptationEvaluator([scene.record for scene in scenes], CITYSCAPES, **arguments)


def imperfect(scene) -> np.ndarray:
    """A prediction with shifted borders, void and a swapped class."""
    predicted = np.roll(scene.panoptic, (1, 2), (0, 1))
    predicted[:, :5] = -1
    predicted[predicted // 1000 == 2] = 3000
    return predicted


def evaluate(evaluator, scenes, predict=imperfect) -> dict:
    for scene in scenes:
        evaluator.process([{"file_name": scene.record["file_name"]}], [model_output(predict(scene))])
    return evaluator.evaluate()


def test_truth_as_prediction_scores_100(scenes):
    results = evaluate(evaluator_of(scenes), scenes, lambda scene: scene.panoptic)
    assert list(results) == ["panoptic", "semantic"]
    assert list(results["panoptic"]) == ["16", "16-ignore", "19"]  # 13 is semantic only
    assert list(results["semantic"]) == ["16", "16-ignore", "13", "19"]
    for scores in results["panoptic"].values():
        assert [scores[key] for key in ("PQ", "SQ", "RQ", "PQ_things", "PQ_stuff")] == pytest.approx([100] * 5)
    for scores in results["semantic"].values():
        assert [scores[key] for key in ("mIoU", "mean_recall", "fwIoU")] == pytest.approx([100] * 3)
    assert results["panoptic"]["19"]["N"] == 19 and results["panoptic"]["16"]["N"] == 16


def test_equals_detectron2s_evaluator(scenes, tmp_path, request, monkeypatch):
    single_core = panopticapi.evaluation.pq_compute_single_core  # the parallel one leaves its pool open
    monkeypatch.setattr(panopticapi.evaluation, "pq_compute_multi_core", lambda *arguments: single_core(0, *arguments))
    name = f"evaluators_test_{request.node.name}"
    to_dataset = dict(enumerate(CITYSCAPES.dataset_ids))
    annotations = [
        {
            "image_id": scene.record["image_id"],
            "file_name": scene.record["pan_seg_file_name"].split("/")[-1],
            "segments_info": [
                {**s, "category_id": to_dataset[s["category_id"]]} for s in scene.record["segments_info"]
            ],
        }
        for scene in scenes
    ]
    truth = {"images": [], "annotations": annotations, "categories": CITYSCAPES.categories()}
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    MetadataCatalog.get(name).set(
        panoptic_json=str(tmp_path / "truth.json"),
        panoptic_root=str(tmp_path / "data"),
        label_divisor=1000,
        thing_dataset_id_to_contiguous_id={to_dataset[c]: c for c in CITYSCAPES.thing_ids},
        stuff_dataset_id_to_contiguous_id={to_dataset[c]: c for c in CITYSCAPES.stuff_ids},
    )
    official = COCOPanopticEvaluator(name)
    official.reset()
    for scene in scenes:
        official.process([scene.record], [model_output(imperfect(scene))])
    expected = official.evaluate()["panoptic_seg"]
    ours = evaluate(evaluator_of(scenes), scenes)["panoptic"]["19"]
    assert 5 < expected["PQ"] < 95
    for key, theirs in {"PQ": "PQ", "SQ": "SQ", "RQ": "RQ", "PQ_things": "PQ_th", "SQ_stuff": "SQ_st"}.items():
        assert ours[key] == pytest.approx(expected[theirs])


def test_void_predictions_are_misses_not_excused(scenes):
    nothing = evaluate(evaluator_of(scenes), scenes, lambda scene: np.full_like(scene.panoptic, -1))
    assert nothing["panoptic"]["19"]["PQ"] == 0 and nothing["panoptic"]["19"]["N"] == 19


def test_segments_info_is_accepted_as_well(scenes):
    evaluator = evaluator_of(scenes)
    for scene in scenes:
        values = np.unique(scene.panoptic[scene.panoptic >= 0])
        ids = torch.from_numpy(np.searchsorted(values, scene.panoptic) + (scene.panoptic >= 0))
        segments = [{"id": i + 1, "category_id": int(value // 1000)} for i, value in enumerate(values)]
        output = {**model_output(scene.panoptic), "panoptic_seg": (ids, segments)}
        evaluator.process([{"file_name": scene.record["file_name"]}], [output])
    assert evaluator.evaluate()["panoptic"]["19"]["PQ"] == pytest.approx(100)


def test_protocols_treat_classes_that_the_source_lacks(scenes):
    """Trucks predicted as cars: an error under 16, excused under 16-ignore (their truth is void there)."""
    truck, car = CITYSCAPES.ids("truck", "car")

    def no_trucks(scene):
        is_truck = scene.panoptic // 1000 == truck
        return np.where(is_truck, scene.panoptic + 1000 * (car - truck) + 500, scene.panoptic)

    results = evaluate(evaluator_of(scenes), scenes, no_trucks)
    assert results["panoptic"]["16"]["PQ/car"] < results["panoptic"]["16-ignore"]["PQ/car"] == 100
    assert results["semantic"]["16"]["IoU/car"] < results["semantic"]["16-ignore"]["IoU/car"] == 100
    assert "PQ/truck" not in results["panoptic"]["16"] and results["panoptic"]["19"]["PQ/truck"] == 0


def test_semantic_task_needs_no_panoptic_output(scenes):
    evaluator = evaluator_of(scenes, task="semantic")
    for scene in scenes:
        evaluator.process(
            [{"file_name": scene.record["file_name"]}], [{"sem_seg": model_output(scene.panoptic)["sem_seg"]}]
        )
    results = evaluator.evaluate()
    assert list(results) == ["semantic"] and results["semantic"]["13"]["mIoU"] == pytest.approx(100)


def test_records_with_semantic_labels_only(scenes, tmp_path):
    for scene in scenes:
        del scene.record["pan_seg_file_name"], scene.record["segments_info"]
        scene.record["sem_seg_file_name"] = scene.record["file_name"].replace(".png", "_labels.png")
        labels = np.where(scene.panoptic < 0, 255, scene.panoptic // 1000).astype(np.uint8)
        Image.fromarray(labels).save(scene.record["sem_seg_file_name"])
    results = evaluate(evaluator_of(scenes, output_dir=str(tmp_path / "out"), num_panels=1), scenes)
    assert list(results) == ["semantic"] and 5 < results["semantic"]["19"]["mIoU"] < 95
    assert len(list((tmp_path / "out" / "panels" / "student").iterdir())) == 1


def test_ranks_merge_to_the_same_numbers(scenes, monkeypatch):
    expected = evaluate(evaluator_of(scenes), scenes)
    first, second = evaluator_of(scenes), evaluator_of(scenes)
    states = []
    monkeypatch.setattr(evaluators.comm, "gather", lambda state: states.append(state) or [state])
    evaluate(second, scenes[2:])
    monkeypatch.setattr(evaluators.comm, "gather", lambda state: [state, states[0]])
    merged = evaluate(first, scenes[:2])
    for task, protocols in expected.items():
        for name, scores in protocols.items():
            assert merged[task][name] == pytest.approx(scores)


def _evaluate_on_a_rank(rank: int, folder: Path) -> dict:
    scenes = [make_scene(folder, f"rank{rank}_scene_{i}", seed=i) for i in range(3)]
    for i, scene in enumerate(scenes):
        scene.record["file_name"] = f"{i}.png"  # the same on every rank
    return evaluate(evaluator_of(scenes), [scenes[i] for i in InferenceSampler(len(scenes))])


def test_two_ranks_equal_one(scenes, tmp_path):
    """An odd number of images over two processes: each counts once, and only the main rank has results."""
    main, other = on_two_ranks(_evaluate_on_a_rank, tmp_path, tmp_path, start_method="fork")
    assert other == {}
    expected = evaluate(evaluator_of(scenes), scenes)
    for task, protocols in expected.items():
        for name, scores in protocols.items():
            assert main[task][name] == pytest.approx(scores, abs=1e-9)


def test_memory_is_flat_over_500_images_and_no_process_is_left(scenes):
    scene = make_scene(Path(scenes[0].record["file_name"]).parent, "large", seed=3, size=(64, 96))
    names = [f"image_{i}.png" for i in range(500)]
    records = [{**scene.record, "file_name": name} for name in names]
    evaluator = DomainAdaptationEvaluator(records, CITYSCAPES, protocols=ALL_PROTOCOLS)
    output = model_output(imperfect(scene))
    before = _child_processes()
    for i, name in enumerate(names):
        if i == 400:
            tracemalloc.start()  # slow: the last hundred show what grows
        evaluator.process([{"file_name": name}], [output])
    now, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    evaluator.evaluate()
    pixels = scene.panoptic.size
    assert now / 100 < 256 < pixels  # a name and a count per image, no map
    assert peak < 64 * pixels  # a few maps of the image at hand
    assert _child_processes() <= before


def _child_processes() -> set[int]:
    lists = Path("/proc/self/task").glob("*/children")  # Linux tells of processes that multiprocessing does not know
    return {int(pid) for path in lists for pid in path.read_text().split()} | {
        process.pid for process in multiprocessing.active_children()
    }


def test_an_image_counts_once(scenes):
    with pytest.raises(UserError, match="1 several times"):
        evaluate(evaluator_of(scenes), [scenes[0], scenes[1], scenes[0]])


def test_reset_forgets(scenes):
    evaluator = evaluator_of(scenes)
    evaluate(evaluator, scenes)
    evaluator.reset()
    assert evaluate(evaluator, scenes[:1], lambda s: s.panoptic)["panoptic"]["19"]["PQ"] == pytest.approx(100)


def test_nothing_is_written_without_a_folder(scenes, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    evaluate(evaluator_of(scenes, num_panels=2), scenes)
    assert sorted(tmp_path.rglob("*")) == before


def test_built_from_a_configuration(scenes, tmp_path, request, caplog):
    name = f"evaluators_test_{request.node.name}"
    pixels = dict(enumerate([1000] * 17 + [3, 2]))
    ClassStatistics(CITYSCAPES.names, {"image": pixels}).save(tmp_path / "statistics.json")
    DatasetCatalog.register(name, lambda: [scene.record for scene in scenes])
    MetadataCatalog.get(name).set(taxonomy=CITYSCAPES, class_statistics=str(tmp_path / "statistics.json"))
    cfg = SimpleNamespace(
        MODEL=SimpleNamespace(TASK="panoptic"),
        TEST=SimpleNamespace(PROTOCOLS=("19", "13"), RARE_CLASSES=2, NUM_PANELS=2, INSTANCE_AP=False),
        DATASETS=SimpleNamespace(TRAIN=(name,), TEST=(name,)),
        SOLVER=SimpleNamespace(AMP=SimpleNamespace(ENABLED=False, PRECISION="bfloat16")),
        OUTPUT_DIR=str(tmp_path / "run"),
    )
    with caplog.at_level(logging.INFO, "gbw_panoptic"):
        results = evaluate(build_evaluator(cfg, name, model_name="teacher", iteration=40), scenes)
    written = json.loads((tmp_path / "run" / "inference" / "teacher.json").read_text())
    assert (written["model"], written["dataset"], written["iteration"], written["images"]) == ("teacher", name, 40, 3)
    assert written["precision"] == "float32"
    assert written["protocols"] == ["19", "13"]
    complete = written["scores"]["panoptic"]["19"]
    assert complete["PQ"] == results["panoptic"]["19"]["PQ"] and set(complete["per_class"]) == set(CITYSCAPES.names)
    assert {"tp", "fp", "fn", "iou", "recall"} <= set(complete["per_class"]["car"])
    assert written["scores"]["semantic"]["19"]["rare_classes"] == ["bicycle", "motorcycle"]
    pixels = np.array(written["confusion"]["pixels"])
    assert pixels.shape == (19, 20) and written["confusion"]["classes"] == list(CITYSCAPES.names)
    per_class = written["scores"]["semantic"]["19"]["per_class"].values()
    assert np.diag(pixels).tolist() == [scores["tp"] for scores in per_class]
    assert pixels.sum(axis=1).tolist() == [scores["tp"] + scores["fn"] for scores in per_class]
    recalls = [results["semantic"]["19"][f"recall/{c}"] for c in ("bicycle", "motorcycle")]
    assert results["semantic"]["19"]["rare_recall"] == pytest.approx(np.mean(recalls))
    panels = sorted((tmp_path / "run" / "inference" / "panels" / "teacher").iterdir())
    assert [p.name for p in panels] == ["scene_0.png", "scene_1.png"]
    shown = f"protocol 19, N = 19 classes: PQ {complete['PQ']:.1f}, things {complete['PQ_things']:.1f}, stuff {complete['PQ_stuff']:.1f}"
    assert shown in caplog.text
    assert "metrics" in written["seconds_per_image"] and "reading ground truth" in written["seconds_per_image"]


def with_scores(panoptic: np.ndarray) -> dict:
    """A model output with a confidence of every thing."""
    values = torch.from_numpy(np.unique(panoptic[(panoptic >= 0) & (panoptic % 1000 > 0)]))
    return {**model_output(panoptic), "instance_scores": (values, torch.linspace(0.2, 0.9, len(values)))}


def test_average_precision_of_instances(tmp_path, caplog):
    scenes = [make_scene(tmp_path, f"scene_{i}", seed=i, size=(160, 320)) for i in range(2)]
    for scene in scenes:  # instances of fewer than 100 pixels do not count
        assert sum((scene.panoptic == v).sum() >= 100 for v in np.unique(scene.panoptic) if v % 1000) > 3
    found = {}
    for name, predict in (("truth", lambda scene: scene.panoptic), ("imperfect", imperfect)):
        evaluator = evaluator_of(scenes, instance_ap=True)
        for scene in scenes:
            panoptic = np.where(predict(scene) == 1000 * CITYSCAPES.ids("truck")[0], -1, predict(scene))  # no crowds
            evaluator.process([{"file_name": scene.record["file_name"]}], [with_scores(panoptic)])
        with caplog.at_level(logging.INFO, "gbw_panoptic"):
            found[name] = evaluator.evaluate()
    assert list(found["truth"]) == ["panoptic", "instance", "semantic"]
    assert list(found["truth"]["instance"]) == ["16", "16-ignore", "19"]
    assert [found["truth"]["instance"]["19"][key] for key in ("AP", "AP50")] == pytest.approx([100, 100])
    precision = found["imperfect"]["instance"]["19"]["AP"]
    assert 0 < precision < 100 and f", AP {precision:.1f}," in caplog.text
    assert {"AP/car", "N"} <= set(found["truth"]["instance"]["19"])


def test_average_precision_needs_scores(scenes):
    with pytest.raises(UserError, match="TEST.INSTANCE_AP"):
        evaluate(evaluator_of(scenes, instance_ap=True), scenes)


def test_results_fit_detectron2s_event_storage(scenes):
    """Detectron2's EvalHook flattens the results and logs each as a number."""
    from detectron2.evaluation.testing import flatten_results_dict

    flat = flatten_results_dict({"student": evaluate(evaluator_of(scenes), scenes)})
    with EventStorage() as storage:
        storage.put_scalars(**flat)
    assert {"student/panoptic/16/PQ", "student/semantic/16/mIoU", "student/semantic/13/recall/car"} <= set(flat)


def test_bad_input(scenes):
    evaluator = evaluator_of(scenes)
    output = model_output(scenes[0].panoptic)
    with pytest.raises(UserError, match="elsewhere.png"):
        evaluator.process([{"file_name": "elsewhere.png"}], [output])
    small = model_output(scenes[0].panoptic[:8, :8])
    with pytest.raises(UserError, match=r"scene_0.*size \(31, 47\), found \(8, 8\)"):
        evaluator.process([scenes[0].record], [small])
    scenes[1].record["pan_seg_file_name"] += ".missing"
    with pytest.raises(UserError, match="missing"):
        evaluator_of(scenes).process([scenes[1].record], [output])
    del scenes[2].record["pan_seg_file_name"]
    with pytest.raises(UserError, match="DATASETS.TEST"):
        evaluator_of(scenes).process([scenes[2].record], [output])
