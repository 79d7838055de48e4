"""TEST.UNSUPERVISED in an evaluation: what is logged, that no label is read, what is held out and excluded."""

import json
import logging
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog

from gbw_panoptic.data.chosen_records import build_source_validation, build_training_records
from gbw_panoptic.engine import build_models, unsupervised
from gbw_panoptic.engine.build import build_trainer
from gbw_panoptic.engine.evaluation import evaluate
from gbw_panoptic.errors import UserError
from gbw_panoptic.evaluation import maps
from gbw_panoptic.structures import metric_names
from gbw_panoptic.trust.estimation import read_estimations
from gbw_panoptic.trust.estimators import ESTIMATORS
from gbw_panoptic.validation import validate

IMAGES = "cityscapes_uda_images_train"
NARROW = (
    "MODEL.SEM_SEG_HEAD.ASPP_CHANNELS", 8, "MODEL.SEM_SEG_HEAD.CONVS_DIM", 8, "MODEL.SEM_SEG_HEAD.HEAD_CHANNELS", 8,
    "MODEL.INS_EMBED_HEAD.ASPP_CHANNELS", 8, "MODEL.INS_EMBED_HEAD.CONVS_DIM", 8, "MODEL.INS_EMBED_HEAD.HEAD_CHANNELS",
    8,
    "INPUT.CROP.SIZE", "(32, 64)", "SOLVER.IMS_PER_BATCH", 1, "TEST.NUM_PANELS", 0, "DATASETS.TEST", "()",
    "INPUT.MIN_SIZE_TEST", 64, "TEST.UNSUPERVISED", f"('{IMAGES}',)", "TEST.UNSUPERVISED_IMAGES", 3,
)  # fmt: skip


def test_a_training_without_any_label_of_the_target_logs_them(make_cfg, own_streets, tmp_path, caplog):
    """All label files of the target are unreadable; estimates of both models reach metrics.json all the same."""
    labels = [path for path in (own_streets / "cityscapes" / "gtFine").rglob("*") if path.is_file()]
    for path in labels:
        path.write_bytes(b"unreadable")
    assert len(labels) > 20
    cfg = make_cfg("quick/self_training.yaml", *NARROW, "SOLVER.MAX_ITER", 1, "DATASETS.SOURCE_VALIDATION", 2)
    validate(cfg)
    with caplog.at_level(logging.INFO, "gbw_panoptic"):
        build_trainer(cfg).train(0, 1)
    for model in ("student", "teacher"):
        assert f"The {model} on 2 images of synthia_panoptic_train (held out), protocol" in caplog.text
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.json").read_text().splitlines()]
    for model in ("student", "teacher"):
        found = {k: v for line in lines for k, v in metric_names.estimates(line, model).items()}
        assert {*(n for n in found if "/" not in n), "centre_sharpness"} == {*ESTIMATORS, "source_PQ", "source_mIoU"}
        assert {"shares/road", "shares/train"} <= found.keys() and all(map(math.isfinite, found.values()))
        assert not any(metric_names.is_score(metric_names.estimate(model, name)) for name in found)
    estimations = read_estimations(tmp_path / "run")
    assert [(e.model, e.iteration, len(e.images)) for e in estimations] == [("student", 1, 3), ("teacher", 1, 3)]
    assert all("SYNTHIA" not in image for image in estimations[0].images)


def test_a_mask_model_is_looked_at_in_its_own_confidence(make_cfg, monkeypatch):
    cfg = make_cfg(
        "quick/mask2former_source_only.yaml", *NARROW, "TEST.UNSUPERVISED_IMAGES", 1,
        "MODEL.MASK2FORMER.OBJECT_THRESHOLD", 0.0,
        "MODEL.MASK2FORMER.OVERLAP_THRESHOLD", 0.0, "MODEL.MASK2FORMER.NUM_QUERIES", 5,
        "MODEL.MASK2FORMER.DECODER_LAYERS", 1,
    )  # fmt: skip
    seen = []
    real = unsupervised._output
    monkeypatch.setattr(
        unsupervised, "_output", lambda *args, **options: seen.append(real(*args, **options)) or seen[-1]
    )
    (found,) = evaluate(cfg, build_models(cfg), iteration=7)["unsupervised"].values()
    own = seen[0]
    assert own.confidence.shape == own.logits.shape[1:] and own.heat is None and own.features is None
    assert {"view_PQ", "mask_confidence"} <= found.keys() and not {
        "transfer",
        "centre_sharpness",
        "teacher_PQ",
    } & found.keys()


def test_the_view_is_laid_back_on_its_image(make_cfg):
    """A model that looks at colours of pixels alone agrees with itself on an image that was only mirrored."""

    class Pixels(torch.nn.Module):
        def predict(self, records):
            return records[0]["image"].float()

        def output(self, prediction, record):
            return {
                "sem_seg": torch.cat([prediction, prediction.flip(0)]),
                "panoptic_seg": (prediction[0].long() * 1000, None),
            }

        post_processing = staticmethod(lambda *_: type("Segments", (), {"region_confidence": torch.zeros(6, 9)}))

    record = {"image": torch.randint(0, 255, (3, 6, 9), dtype=torch.uint8), "height": 6, "width": 9}
    own = unsupervised._output(Pixels(), record)
    view = unsupervised._output(Pixels(), {**record, "image": record["image"].flip(-1)}, mirrored=True)
    for part in ("logits", "labels", "panoptic"):
        assert np.array_equal(getattr(own, part), getattr(view, part)), part


@pytest.mark.parametrize("name", ["cityscapes_uda_panoptic_val", "nowhere"])
def test_labelled_and_unknown_data_sets_are_refused(make_cfg, name):
    with pytest.raises(UserError, match=f"TEST.UNSUPERVISED: expected .* found '{name}'"):
        validate(make_cfg("quick/source_only.yaml", "TEST.UNSUPERVISED", f"('{name}',)"))


def test_what_training_leaves_out(make_cfg, tmp_path):
    every = [record["image_id"] for record in DatasetCatalog.get("synthia_panoptic_train")]
    target = [record["image_id"] for record in DatasetCatalog.get(IMAGES)]
    path = tmp_path / "exclude.txt"
    path.write_text(f"# found by an audit\n{every[0]}  # swapped\n\n{target[1]}\n")
    cfg = make_cfg("quick/self_training.yaml", "DATASETS.EXCLUDE", path, "DATASETS.SOURCE_VALIDATION", 3)
    held_out = [record["image_id"] for record in build_source_validation(cfg)]
    (kept,) = build_training_records(cfg, cfg.DATASETS.TRAIN, source=True)
    assert len(held_out) == 3 and every[0] not in held_out
    assert [record["image_id"] for record in kept] == [i for i in every[1:] if i not in held_out]
    trainer = build_trainer(cfg)
    source, of_target = (stream.records for stream in trainer.loader._steps.streams[:2])
    assert [r["image_id"] for r in source] == [r["image_id"] for r in kept]
    assert [r["image_id"] for r in of_target] == [i for i in target if i != target[1]]


@pytest.mark.parametrize(
    "text, words",
    [
        (
            "elsewhere\n",
            "DATASETS.EXCLUDE: expected ids of images of synthia_panoptic_train.*found 1 others, first 'elsewhere'",
        ),
        (None, "DATASETS.EXCLUDE: expected a text file with"),
        (b"\xff\xfe", "DATASETS.EXCLUDE: expected a text file with"),
    ],
)
def test_lists_of_others_are_refused(make_cfg, tmp_path, text, words):
    path = tmp_path / "list.txt"
    if text is not None:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    cfg = make_cfg("quick/source_only.yaml", "DATASETS.EXCLUDE", path)
    with pytest.raises(UserError, match=words):
        build_training_records(cfg, cfg.DATASETS.TRAIN, source=True)


def test_a_source_is_not_held_out_whole(make_cfg):
    cfg = make_cfg("quick/source_only.yaml", "DATASETS.SOURCE_VALIDATION", 12)
    with pytest.raises(UserError, match="SOURCE_VALIDATION: expected fewer than the 12 images of synthia"):
        build_source_validation(cfg)


def test_ground_truth_of_the_source_is_read_where_it_is_held_out(make_cfg, monkeypatch):
    read, names = maps.read_ground_truth, []
    monkeypatch.setattr(
        unsupervised,
        "read_ground_truth",
        lambda record, taxonomy: names.append(Path(record["file_name"])) or read(record, taxonomy),
    )
    cfg = make_cfg("quick/source_only.yaml", *NARROW, "DATASETS.SOURCE_VALIDATION", 2, "TEST.UNSUPERVISED_IMAGES", 1)
    found = evaluate(cfg, build_models(cfg), iteration=1)["unsupervised"]["student"]
    assert len(names) == 2 and {"source_PQ", "calibrated_confidence", "expected_mIoU"} <= found.keys()
