"""Arrays that are kept: the same samples, nothing decoded twice, and no training that ends for the sake of a cache."""

import os

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog

from gbw_panoptic import files
from gbw_panoptic.data.mappers import SourceMapper, TargetMapper
from gbw_panoptic.data.raw_cache import RawCache
from gbw_panoptic.data.samplers import Draw


def samples(cfg) -> list[dict]:
    source, target = SourceMapper(cfg), TargetMapper(cfg)
    record = DatasetCatalog.get(cfg.DATASETS.TRAIN[0])[0]
    return [mapper(record, Draw(position, 0)) for position in range(4) for mapper in (source, target)]


def test_samples_are_equal_and_decoded_once(make_cfg, tmp_path, monkeypatch):
    expected = samples(make_cfg("quick/source_only.yaml"))
    cfg = make_cfg("quick/source_only.yaml", "DATALOADER.RAW_CACHE", str(tmp_path / "cache"))
    samples(cfg)
    monkeypatch.setattr(files, "read_image", lambda *_: pytest.fail("decoded again"))
    monkeypatch.setattr(files, "read_panoptic", lambda *_: pytest.fail("decoded again"))
    for one, two in zip(expected, samples(cfg), strict=True):
        assert one.keys() == two.keys()
        assert all(torch.equal(v, two[k]) if isinstance(v, torch.Tensor) else v == two[k] for k, v in one.items())


def test_a_file_that_changes_is_decoded_anew(tmp_path):
    path, cache = tmp_path / "a", RawCache(tmp_path / "cache")
    path.write_bytes(b"1")
    os.utime(path, ns=(1, 1))
    assert cache(lambda: np.full(3, 1), path).tolist() == cache(lambda: np.full(3, 2), path).tolist() == [1, 1, 1]
    assert cache(lambda: np.full(3, 3), path, "another fact").tolist() == [3, 3, 3]
    os.utime(path, ns=(2, 2))
    assert cache(lambda: np.full(3, 2), path).tolist() == [2, 2, 2]
    for stored in (tmp_path / "cache").rglob("*.npy"):
        stored.write_bytes(stored.read_bytes()[:40])
    assert cache(lambda: np.full(3, 4), path).tolist() == [4, 4, 4]


def test_a_folder_that_cannot_be_written_is_a_warning(tmp_path, caplog):
    path = tmp_path / "a"
    path.write_bytes(b"1")
    cache = RawCache(path / "below a file")
    assert cache(lambda: np.ones(2), path).tolist() == cache(lambda: np.ones(2), path).tolist() == [1, 1]
    assert len(caplog.messages) == 1 and "going on without it" in caplog.text


def test_a_file_that_is_not_there_is_the_reader_s_to_name(tmp_path):
    with pytest.raises(FileNotFoundError):
        RawCache(tmp_path)(lambda: open(tmp_path / "nothing"), tmp_path / "nothing")
