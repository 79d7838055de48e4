"""More instances in an image than a class has numbers: no class changes between the network and the score."""

import numpy as np
import pytest
import torch

from gbw_panoptic import files
from gbw_panoptic.adaptation.mean_teacher.pseudo_instances import instances_from_panoptic
from gbw_panoptic.evaluation import saved
from gbw_panoptic.evaluation.accumulator import ScoreAccumulator
from gbw_panoptic.inference import Prediction
from gbw_panoptic.inference.result_folder import ResultFolder
from gbw_panoptic.modeling import PostProcessing
from gbw_panoptic.structures.segments import Segments
from gbw_panoptic.taxonomy import CITYSCAPES

HEIGHT, WIDTH = 40, 60
CAR, PERSON = (CITYSCAPES.names.index(name) for name in ("car", "person"))


def scene(cars: int, persons: int) -> np.ndarray:
    """Classes [H, W] where every pixel of a thing is an instance; the rest is road."""
    labels = np.zeros(HEIGHT * WIDTH, np.uint8)
    labels[:cars], labels[cars : cars + persons] = CAR, PERSON
    return labels.reshape(HEIGHT, WIDTH)


def by_centers(labels: np.ndarray) -> torch.Tensor:
    process = PostProcessing(
        thing_ids=CITYSCAPES.thing_ids, label_divisor=1000, stuff_area=0, threshold=0.1, nms_kernel=1, top_k=5000
    )
    heat = torch.rand(1, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(0)) * 0.5 + 0.4
    return process(torch.from_numpy(labels).long(), heat, torch.zeros(2, HEIGHT, WIDTH))


def by_segments(labels: np.ndarray) -> torch.Tensor:
    """Of a mask model: road is one segment, every other pixel one of its own."""
    classes, things = torch.from_numpy(labels).long().flatten(), torch.from_numpy(labels > 0).flatten()
    ids = torch.where(things, things.cumsum(0) + 1, 1)
    scores = torch.rand(int(ids.max()), generator=torch.Generator().manual_seed(0))
    of_segment = torch.zeros(len(scores), dtype=torch.int64).scatter_(0, ids - 1, classes)
    confidence = scores[ids - 1].view(HEIGHT, WIDTH)
    segments = Segments(ids.view(HEIGHT, WIDTH), of_segment, scores, torch.zeros(0), confidence, confidence)
    return segments.panoptic(thing_ids=CITYSCAPES.thing_ids, label_divisor=1000)


def write_truth(folder, labels: np.ndarray) -> None:
    """COCO's format, whose ids go to 2^24; road is the last segment."""
    ids = np.where(labels > 0, np.arange(1, labels.size + 1).reshape(labels.shape), labels.size + 1)
    folder.mkdir()
    files.write_panoptic(folder / "a.png", ids)
    segments = [
        {"id": int(i), "category_id": CITYSCAPES.dataset_ids[labels.flat[np.flatnonzero(ids == i)[0]]]}
        for i in np.unique(ids)
    ]
    annotation = {"image_id": "a", "file_name": "a.png", "segments_info": segments}
    files.write_json(folder.with_suffix(".json"), {"annotations": [annotation], "categories": CITYSCAPES.categories()})


@pytest.mark.parametrize("predict", [by_centers, by_segments])
@pytest.mark.parametrize("cars, persons", [(900, 900), (1200, 600)])
def test_no_class_changes_between_the_network_and_the_score(tmp_path, predict, cars, persons):
    labels = scene(cars, persons)
    panoptic = predict(labels)
    folder = ResultFolder(tmp_path, CITYSCAPES, panoptic=True)
    folder.write_maps("a", "a.png", Prediction(labels, panoptic.int().numpy()))
    folder.close()

    write_truth(tmp_path / "truth", labels)
    _, classes = saved.read_categories(tmp_path / "truth.json")
    truth, predicted = (
        saved.contiguous(saved.read_annotations(tmp_path / f"{name}.json", tmp_path / name), classes, name)
        for name in ("truth", "panoptic")
    )
    protocols = saved.choose_protocols(CITYSCAPES, ["19"])
    total = ScoreAccumulator(CITYSCAPES, protocols)
    total.add_state(saved.score(saved.pair_up(truth, predicted)[0], taxonomy=CITYSCAPES, protocols=protocols))
    scores = total.scores()
    matrix = total.confusion.matrix
    assert matrix.sum() == np.trace(matrix) == labels.size
    for name, count in (("car", cars), ("person", persons)):
        found = scores["panoptic"]["19"]["per_class"][name]
        assert found["tp"] + found["fn"] == count and found["tp"] + found["fp"] == min(count, 1000)
        assert found["tp"] == min(count, 999)

    ids, of_instance = instances_from_panoptic(
        panoptic, label_divisor=1000, thing_ids=CITYSCAPES.thing_ids, max_instances=5000
    )
    assert int(ids.max()) == min(cars, 999) + min(persons, 999)
    assert np.array_equal(of_instance[ids[ids > 0] - 1].numpy(), labels[(ids > 0).numpy()])
