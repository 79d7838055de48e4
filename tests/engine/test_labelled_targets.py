"""A few target images with labels, beside every trainer: which images, what is read, what is learnt, and what a report
says."""

import json
from pathlib import Path

import pytest
import torch
from detectron2.data import DatasetCatalog
from hypothesis import given
from hypothesis import strategies as st
from tiny_runs import TINY

from gbw_panoptic.config import KEYS
from gbw_panoptic.data.chosen_records import drawn, labelled_records, named
from gbw_panoptic.data.loader import build_train_loader
from gbw_panoptic.engine import build_trainer
from gbw_panoptic.engine.build import resume_or_load
from gbw_panoptic.errors import UserError
from gbw_panoptic.reporting.report import facts
from gbw_panoptic.reporting.run_folder import RunFolder
from gbw_panoptic.validation import validate

NAME = "cityscapes_uda_panoptic_train"
FROM = ("DATASETS.TARGET_LABELLED.NAME", NAME)
SMALL = (*TINY, "TEST.EVAL_PERIOD", 0, "SOLVER.MAX_ITER", 1, "SOLVER.CHECKPOINT_PERIOD", 100)
TRAINERS = {
    "quick/source_only.yaml": (), "quick/self_training_gbw.yaml": (), "quick/adversarial_gbw.yaml": (),
    "quick/entropy_gbw.yaml": (), "quick/active_ripu.yaml": ("ACTIVE.ITERATIONS", "()"),
}  # fmt: skip


def records(number):
    return [{"image_id": f"city_{i:03}", "file_name": f"/data/city/city_{i:03}.png"} for i in range(number)]


@pytest.mark.parametrize("config", TRAINERS)
def test_every_trainer_learns_from_them_and_opens_no_other_label(make_cfg, own_streets, tmp_path, config):
    """All other labels of the target are damaged: opening one ends the run."""
    chosen, *others = DatasetCatalog.get(NAME)
    assert str(own_streets) in chosen["file_name"]
    for record in others:
        Path(record["pan_seg_file_name"]).write_bytes(b"not an image")
    size = () if "ripu" in config or "adversarial" in config else ("INPUT.CROP.SIZE", "(64, 96)")
    options = (*SMALL, "INPUT.CROP.SIZE", "(64, 128)", *size, "WEIGHTING.SEMANTIC", "gbw", "SOLVER.IMS_PER_BATCH", 2)
    one = ("DATASETS.TARGET_LABELLED.FILES", (Path(chosen["file_name"]).name,))
    cfg = make_cfg(config, *options, *FROM, *one, *TRAINERS[config])
    validate(cfg)
    trainer = build_trainer(cfg)
    resume_or_load(trainer, "", resume=False)
    trainer.train(0, 1)
    last = json.loads((tmp_path / "run" / "metrics.json").read_text().splitlines()[-1])
    assert all(last[f"labelled/loss_{head}"] > 0 for head in ("sem_seg", "center", "offset"))
    assert last["gbw/target/sem_seg/weight/road"] != 1 and last["source/loss_sem_seg"] > 0
    batch = next(iter(build_train_loader(cfg)))
    assert {sample["image_id"] for sample in batch.labelled} == {chosen["image_id"]} and len(batch.labelled) == 2


def test_samples_are_those_of_their_position_at_the_targets_size(make_cfg):
    cfg = make_cfg("quick/self_training.yaml", *SMALL, *FROM, "DATASETS.TARGET_LABELLED.SHARE", 0.4)
    one, two = build_train_loader(cfg), build_train_loader(cfg, start_position=1)
    first, second = (next(batches) for batches in [iter(one)] * 2)
    assert torch.equal(second.labelled[0]["image"], next(iter(two)).labelled[0]["image"])
    assert first.labelled[0]["image_id"] != second.labelled[0]["image_id"]  # an epoch has every image once
    assert (first.labelled[0]["sem_seg"] != 255).any() and "valid_mask" not in first.labelled[0]
    plain = next(iter(build_train_loader(make_cfg("quick/self_training.yaml", *SMALL))))
    assert plain.labelled == [] and torch.equal(plain.target[0]["image"], first.target[0]["image"])


@given(st.integers(1, 80), st.floats(0.001, 1), st.floats(0.001, 1), st.integers(0, 99))
def test_smaller_shares_are_parts_of_larger_ones_whatever_the_order(number, one, two, seed):
    images, small, large = records(number), min(one, two), max(one, two)
    few, many = drawn(images, small, seed), drawn(images[::-1], large, seed)
    assert few == many[: len(few)] and len(few) == max(round(small * number), 1)
    assert len({record["image_id"] for record in many}) == len(many)


def test_names_are_ids_files_or_ends_of_paths():
    images = [*records(3), {"image_id": "other_city_000", "file_name": "/data/other/city_000.png"}]
    assert named(images, ["city_002", "city_001.png", "other/city_000.png"], NAME) == [images[2], images[1], images[3]]
    for name, count in (("city_000.png", 2), ("y_001.png", 0), ("nowhere", 0)):
        with pytest.raises(UserError, match=f"found '{name}', which is that of {count}"):
            named(images, [name], NAME)


@pytest.mark.parametrize(
    "opts, words",
    [
        (("FILES", "('a',)", "SHARE", 0.1), "SHARE: expected 0 with FILES"),
        (("SHARE", 0.1, "NAME", ""), "NAME: expected a data set of target images with instance labels, found ''"),
        (
            ("SHARE", 0.1, "NAME", "cityscapes_uda_images_train"),
            "with instance labels, found 'cityscapes_uda_images_train'",
        ),
        (("SHARE", 1.5), r"SHARE: expected a share in 0\.\.1"),
        ((), "NAME: expected '' without FILES and SHARE"),
    ],
)
def test_contradictions_are_one_sentence(make_cfg, opts, words):
    keys = [f"DATASETS.TARGET_LABELLED.{x}" if index % 2 == 0 else x for index, x in enumerate(opts)]
    with pytest.raises(UserError, match=words) as caught:
        validate(make_cfg("quick/source_only.yaml", *FROM, *keys))
    assert "\n" not in str(caught.value)


def test_none_are_the_default_and_reports_have_a_row_of_their_own(make_cfg, tmp_path):
    cfg = make_cfg("quick/source_only.yaml")
    assert labelled_records(cfg.DATASETS.TARGET_LABELLED) == []
    for options, row in (((), None), (("SHARE", 0.05), f"5 % of the images, drawn with seed 0: {NAME}"),
                         (("FILES", ("a.png", "b.png")), f"2 images: {NAME}")):  # fmt: skip
        keys = [f"DATASETS.TARGET_LABELLED.{x}" if index % 2 == 0 else x for index, x in enumerate(options)]
        (tmp_path / "config.yaml").write_text(make_cfg("quick/source_only.yaml", *FROM, *keys).dump())
        assert dict(facts(RunFolder.read(tmp_path))).get("target images with labels") == row
    assert len([key for key in KEYS if key.startswith("DATASETS.TARGET_LABELLED.")]) == 5
