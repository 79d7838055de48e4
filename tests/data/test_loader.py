"""The loaders: order, workers, resume, ranks, and files that cannot be read."""

import gc
import json
import logging
import pickle
import random
from itertools import islice
from multiprocessing.reduction import ForkingPickler
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from detectron2.config import get_cfg
from detectron2.data import DatasetCatalog, MetadataCatalog
from PIL import Image

from gbw_panoptic.config import add_gbw_panoptic_config
from gbw_panoptic.data import loader as loader_module
from gbw_panoptic.data.loader import (
    DomainBatch,
    DomainLoader,
    build_source_sampler,
    build_test_loader,
    build_train_loader,
)
from gbw_panoptic.data.samplers import Domain, EpochSampler, RareClassSampler
from gbw_panoptic.data.streams import SampleStream
from gbw_panoptic.errors import UserError
from gbw_panoptic.taxonomy import CITYSCAPES

NUM_SOURCE, NUM_TARGET = 6, 5
SIZE = (24, 40)
ROAD, CAR = CITYSCAPES.ids("road", "car")


@pytest.fixture
def cfg(tmp_path: Path):
    """A source of road with one car each, its statistics, target images and labelled test images, by hand."""
    generator = np.random.default_rng(0)
    source, target, statistics = [], [], {}
    for n in range(NUM_SOURCE):
        ids = np.full(SIZE, 7, np.int64)
        ids[5 : 8 + n, 4 : 10 + n] = 26001
        record = image_record(tmp_path / f"source{n}.png", generator)
        record["pan_seg_file_name"] = str(tmp_path / f"label{n}.png")
        write_ids(record["pan_seg_file_name"], ids)
        segments = [(7, ROAD), (26001, CAR)]
        record["segments_info"] = [{"id": i, "category_id": c, "iscrowd": 0} for i, c in segments]
        source.append(record)
        statistics[f"source{n}"] = {str(c): int((ids == i).sum()) for i, c in segments}
    target = [image_record(tmp_path / f"target{n}.png", generator) for n in range(NUM_TARGET)]
    pixels = [sum(image.get(str(c), 0) for image in statistics.values()) for c in range(CITYSCAPES.num_classes)]
    path = tmp_path / "class_statistics.json"
    path.write_text(json.dumps({"version": 1, "class_names": CITYSCAPES.names, "pixels": pixels, "images": statistics}))
    DatasetCatalog.register("loader_source", lambda: source)
    DatasetCatalog.register("loader_target", lambda: target)
    MetadataCatalog.get("loader_source").set(taxonomy=CITYSCAPES, class_statistics=str(path))
    MetadataCatalog.get("loader_target").set(taxonomy=CITYSCAPES)
    yield configuration()
    for name in ("loader_source", "loader_target"):
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


def image_record(path: Path, generator: np.random.Generator) -> dict:
    Image.fromarray(generator.integers(0, 256, (*SIZE, 3), dtype=np.uint8)).save(path)
    return {"file_name": str(path), "image_id": path.stem}


def write_ids(path: str, ids: np.ndarray) -> None:
    Image.fromarray(np.stack([ids % 256, ids // 256 % 256, ids // 65536], axis=-1).astype(np.uint8)).save(path)


def configuration():
    config = get_cfg()
    add_gbw_panoptic_config(config)
    config.merge_from_list(
        ["SEED", 7, "SOLVER.IMS_PER_BATCH", 2, "DATALOADER.NUM_WORKERS", 0]
        + ["DATASETS.TRAIN", ("loader_source",), "DATASETS.TARGET", ("loader_target",)]
        + ["INPUT.CROP.ENABLED", True, "INPUT.CROP.TYPE", "absolute", "INPUT.CROP.SIZE", [16, 16]]
        + ["INPUT.MIN_SIZE_TRAIN", (20, 30), "INPUT.TARGET.MIN_SIZE_TRAIN", (24,), "INPUT.GAUSSIAN_SIGMA", 2]
        + ["DATALOADER.RARE_CLASS_SAMPLING.MIN_PIXELS", 20, "DATALOADER.RARE_CLASS_SAMPLING.MIN_CROP_PIXELS", 5]
    )
    return config


def take(loader: DomainLoader, steps: int) -> list[DomainBatch]:
    return list(islice(loader, steps))


def assert_equal(first: list[DomainBatch], second: list[DomainBatch]) -> None:
    assert len(first) == len(second)
    for a, b in zip(first, second):
        for left, right in zip([*a.source, *a.target], [*b.source, *b.target], strict=True):
            assert left.keys() == right.keys()
            for key, value in left.items():
                assert torch.equal(value, right[key]) if isinstance(value, torch.Tensor) else value == right[key], key


def spoil(name: str, index: int, key: str = "file_name") -> str:
    path = Path(DatasetCatalog.get(name)[index][key])
    path.write_bytes(path.read_bytes()[:50])
    return str(path)


def test_batches_hold_both_domains(cfg) -> None:
    for batch in take(build_train_loader(cfg), 3):
        assert len(batch.source) == len(batch.target) == 2
        assert "sem_seg" in batch.source[0] and "sem_seg" not in batch.target[0]
        assert {sample["image"].shape for sample in [*batch.source, *batch.target]} == {(3, 16, 16)}


def test_source_only_training_has_empty_targets(cfg) -> None:
    cfg.DATASETS.TARGET = ()
    assert [batch.target for batch in take(build_train_loader(cfg), 2)] == [[], []]


def test_workers_make_no_difference(cfg) -> None:
    """Also after OpenCV's thread pool has been at work in the parent, which deadlocks naive workers."""
    cv2.resize(np.zeros((2000, 2000, 3), np.uint8), (3000, 3000))
    expected = take(build_train_loader(cfg), 7)
    cfg.DATALOADER.NUM_WORKERS = 2
    random.seed(99), np.random.seed(99), torch.manual_seed(99)
    assert_equal(take(build_train_loader(cfg), 7), expected)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_resume_continues_where_the_consumer_stopped(cfg, num_workers: int) -> None:
    cfg.DATALOADER.NUM_WORKERS = num_workers
    expected = take(build_train_loader(cfg), 7)
    interrupted = build_train_loader(cfg)
    first = take(interrupted, 3)  # the workers are ahead by now
    assert interrupted.consumed == 6
    resumed = build_train_loader(cfg)
    resumed.load_state_dict(json.loads(json.dumps(interrupted.state_dict())))
    assert_equal(first + take(resumed, 4), expected)
    assert_equal(take(build_train_loader(cfg, start_position=6), 4), expected[3:])


def test_iterating_anew_continues(cfg) -> None:
    loader = build_train_loader(cfg)
    assert_equal(take(loader, 2) + take(loader, 2), take(build_train_loader(cfg), 4))


@pytest.mark.parametrize("rare", [False, True])
def test_two_ranks_consume_what_one_does(cfg, monkeypatch, rare: bool) -> None:
    cfg.SOLVER.IMS_PER_BATCH = 4
    cfg.DATALOADER.RARE_CLASS_SAMPLING.ENABLED = rare
    expected = take(build_train_loader(cfg), 4)
    monkeypatch.setattr(loader_module.comm, "get_world_size", lambda: 2)
    ranks = []
    for rank in range(2):
        monkeypatch.setattr(loader_module.comm, "get_rank", lambda: rank)
        ranks.append(take(build_train_loader(cfg), 4))
    joined = [DomainBatch(a.source + b.source, a.target + b.target) for a, b in zip(*ranks)]
    assert_equal(joined, expected)


@pytest.mark.parametrize("images, ranks", [(3, 2), (0, 1), (2, 4)])
def test_batch_that_ranks_cannot_share(cfg, monkeypatch, images: int, ranks: int) -> None:
    monkeypatch.setattr(loader_module.comm, "get_world_size", lambda: ranks)
    cfg.SOLVER.IMS_PER_BATCH = images
    with pytest.raises(UserError, match=f"IMS_PER_BATCH .*found {images} for {ranks}"):
        build_train_loader(cfg)


def test_epochs_hold_every_file_once(cfg) -> None:
    cfg.DATALOADER.RARE_CLASS_SAMPLING.ENABLED = False
    batches = take(build_train_loader(cfg), NUM_SOURCE * NUM_TARGET // 2)
    source = [sample["image_id"] for batch in batches for sample in batch.source]
    target = [sample["image_id"] for batch in batches for sample in batch.target]
    assert sorted(source[:NUM_SOURCE]) == sorted(set(source)) and len(set(source)) == NUM_SOURCE
    assert all(target.count(name) == NUM_SOURCE for name in set(target)) and len(set(target)) == NUM_TARGET


def test_rare_classes_fill_the_crops(cfg) -> None:
    """Cars cover about 5 % of the source; with a low temperature nearly every crop is drawn for them."""
    cfg.DATALOADER.RARE_CLASS_SAMPLING.MIN_CROP_PIXELS = 20
    crops = [sample["sem_seg"] for batch in take(build_train_loader(cfg), 15) for sample in batch.source]
    assert np.mean([int((crop == CAR).sum()) > 20 for crop in crops]) > 0.9


def test_global_randomness_is_left_alone(cfg) -> None:
    def state() -> tuple:
        return random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()

    before = state()
    take(build_train_loader(cfg), 2), next(iter(build_test_loader(cfg, "loader_target")))
    cfg.DATALOADER.NUM_WORKERS = 1
    take(build_train_loader(cfg), 2), next(iter(build_test_loader(cfg, "loader_target")))
    assert state() == before


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("key", ["file_name", "pan_seg_file_name"])
def test_unreadable_file_stops_with_its_name(cfg, num_workers: int, key: str) -> None:
    cfg.DATALOADER.NUM_WORKERS = num_workers
    paths = [spoil("loader_source", n, key) for n in range(NUM_SOURCE)]
    with pytest.raises(UserError) as error:
        take(build_train_loader(cfg), 3)
    assert any(path in str(error.value) for path in paths) and "Traceback" not in str(error.value)


def test_bad_files_are_replaced_counted_and_logged(cfg, caplog) -> None:
    cfg.DATALOADER.RARE_CLASS_SAMPLING.ENABLED = False
    cfg.DATALOADER.MAX_BAD_FILES = 2
    bad = spoil("loader_target", 1), spoil("loader_target", 2)
    loader = build_train_loader(cfg)
    with caplog.at_level(logging.WARNING):
        batches = take(loader, 20)
    names = [sample["file_name"] for batch in batches for sample in batch.target]
    good = [record["file_name"] for n, record in enumerate(DatasetCatalog.get("loader_target")) if n not in (1, 2)]
    assert set(names) == set(good) and names.count(good[1]) == 3 * names.count(good[0])  # index 3 stands in for 1 and 2
    assert loader.bad_files == set(bad)
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 2 and "skipped file 2 of at most 2" in warnings[1]  # a file met again is no news
    cfg.DATALOADER.NUM_WORKERS = 2
    assert_equal(take(build_train_loader(cfg), 20), batches)


def test_one_bad_file_too_many_stops(cfg) -> None:
    cfg.DATALOADER.MAX_BAD_FILES = 2
    for n in (0, 2, 4):
        spoil("loader_target", n)
    with pytest.raises(UserError, match="MAX_BAD_FILES 2"):
        take(build_train_loader(cfg), 20)


def test_no_readable_file_at_all_stops(cfg) -> None:
    cfg.DATALOADER.MAX_BAD_FILES = 1000
    for n in range(NUM_TARGET):
        spoil("loader_target", n)
    with pytest.raises(UserError, match="no readable file"):
        take(build_train_loader(cfg), 2)


def test_programming_errors_are_not_taken_for_bad_files() -> None:
    def mapper(record: dict, draw) -> dict:
        raise KeyError("bug")

    stream = SampleStream([{"file_name": "a"}], EpochSampler(size=1, seed=0, domain=Domain.SOURCE), mapper, 5)
    with pytest.raises(KeyError, match="bug"):
        stream.sample(0)


def test_samplers_follow_the_configuration(cfg, tmp_path: Path) -> None:
    records = [DatasetCatalog.get("loader_source")]
    sampler = build_source_sampler(cfg, records)
    assert isinstance(sampler, RareClassSampler) and sampler.class_ids == [ROAD, CAR]
    path = tmp_path / "class_statistics.json"
    statistics = json.loads(path.read_text())
    for c, count in statistics["images"].pop("source3").items():
        statistics["pixels"][int(c)] -= count
    path.write_text(json.dumps(statistics))
    with pytest.raises(UserError, match="source3"):
        build_source_sampler(cfg, records)
    cfg.DATASETS.TRAIN = ("loader_target",)
    with pytest.raises(UserError, match="class statistics of loader_target"):
        build_source_sampler(cfg, records)
    cfg.DATALOADER.RARE_CLASS_SAMPLING.ENABLED = False
    assert isinstance(build_source_sampler(cfg, records), EpochSampler)


def test_a_class_that_is_claimed_and_never_labelled_is_a_warning(cfg, caplog) -> None:
    metadata = MetadataCatalog.get("loader_source")
    build_train_loader(cfg)
    metadata.labelled_classes = (ROAD, CAR)
    build_train_loader(cfg)
    assert "nothing teaches" not in caplog.text
    metadata.labels = (ROAD, *CITYSCAPES.ids("train", "rider"), CAR, CITYSCAPES.num_classes)
    build_train_loader(cfg)
    assert "No pixel of loader_source is labelled rider or train: nothing teaches it." in caplog.messages


@pytest.mark.parametrize("num_workers", [0, 2])
def test_test_loader_gives_whole_records_in_order(cfg, num_workers: int) -> None:
    cfg.DATALOADER.NUM_WORKERS, cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.FORMAT = num_workers, 12, "RGB"
    loader = build_test_loader(cfg, "loader_source")
    found = list(loader)
    assert len(loader) == len(found) == NUM_SOURCE
    for (sample,), record in zip(found, DatasetCatalog.get("loader_source"), strict=True):
        assert sample["image"].shape == (3, 12, 20) and sample["image"].dtype == torch.uint8
        assert (sample["height"], sample["width"]) == SIZE
        assert {key: sample[key] for key in record} == record
    cfg.INPUT.MIN_SIZE_TEST = 0
    for (sample,) in build_test_loader(cfg, "loader_target"):
        assert np.array_equal(sample["image"].permute(1, 2, 0).numpy(), np.asarray(Image.open(sample["file_name"])))


def test_every_test_image_is_on_one_rank(cfg, monkeypatch) -> None:
    found = []
    monkeypatch.setattr("detectron2.data.samplers.distributed_sampler.comm.get_world_size", lambda: 3)
    for rank in range(3):
        monkeypatch.setattr("detectron2.data.samplers.distributed_sampler.comm.get_rank", lambda: rank)
        found += [sample["image_id"] for (sample,) in build_test_loader(cfg, "loader_target")]
    assert sorted(found) == [record["image_id"] for record in DatasetCatalog.get("loader_target")]


@pytest.mark.parametrize("num_workers", [0, 1])
def test_unreadable_test_image_stops_with_its_name(cfg, num_workers: int) -> None:
    cfg.DATALOADER.NUM_WORKERS = num_workers
    path = spoil("loader_target", 3)
    with pytest.raises(UserError, match=Path(path).name):
        list(build_test_loader(cfg, "loader_target"))


def test_workers_end_with_their_iterator(cfg) -> None:
    cfg.DATALOADER.NUM_WORKERS = 2
    iterator = iter(build_train_loader(cfg))
    next(iterator)
    before = len(torch.multiprocessing.active_children())
    iterator.close()
    del iterator
    gc.collect()
    assert len(torch.multiprocessing.active_children()) == before - 2


def test_a_negative_number_of_workers_is_one_sentence(cfg) -> None:
    cfg.DATALOADER.NUM_WORKERS = -1
    with pytest.raises(UserError, match="DATALOADER.NUM_WORKERS >= 0, found -1"):
        take(build_train_loader(cfg), 1)


def test_what_a_spawned_worker_gets_can_be_pickled(cfg) -> None:
    """As on macOS and Windows, where nothing is inherited; look-ups that were remembered stay behind."""
    DatasetCatalog.register("loader_test", lambda: DatasetCatalog.get("loader_source"))
    MetadataCatalog.get("loader_test").set(taxonomy=CITYSCAPES)
    assert CITYSCAPES.contiguous_id and CITYSCAPES.thing_ids
    train, test = build_train_loader(cfg), build_test_loader(cfg, "loader_test")
    expected, record = take(train, 1), next(iter(test))[0]
    copy = pickle.loads(ForkingPickler.dumps(train._steps))
    assert_equal([DomainBatch(*copy[0][0])], expected)
    found = pickle.loads(ForkingPickler.dumps(test._images))[0]
    assert found["file_name"] == record["file_name"] and torch.equal(found["image"], record["image"])
    assert pickle.loads(pickle.dumps(CITYSCAPES)) == CITYSCAPES
    DatasetCatalog.remove("loader_test"), MetadataCatalog.remove("loader_test")
