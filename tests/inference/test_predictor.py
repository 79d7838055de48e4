"""Sizes, channel order and memory, with models made for the purpose."""

import numpy as np
import pytest
import torch
from detectron2.data import MetadataCatalog
from detectron2.modeling import build_model
from torch import nn

from gbw_panoptic.errors import UserError
from gbw_panoptic.inference.predictor import Predictor, build_predictor
from gbw_panoptic.inference.result_folder import panoptic_ids
from gbw_panoptic.taxonomy import CITYSCAPES

CAR, SKY = CITYSCAPES.ids("car", "sky")


class RedIsCar(nn.Module):
    """Red pixels are one car, all else is sky; notes what it was given."""

    def forward(self, batched_inputs):
        (record,) = batched_inputs
        self.record = record
        size = (record["height"], record["width"])
        red = nn.functional.interpolate(record["image"][None, :1].float(), size)[0, 0] > 128
        logits = torch.zeros(CITYSCAPES.num_classes, *red.shape)
        logits[CAR], logits[SKY] = red, ~red
        panoptic = torch.where(red, CAR * 1000 + 1, SKY * 1000)
        return [{"sem_seg": logits, "panoptic_seg": (panoptic, None)}]


def predictor(**options):
    defaults = {"image_format": "RGB", "short_edge": 0, "max_size": 0}
    return Predictor(RedIsCar(), taxonomy=CITYSCAPES, **{**defaults, **options})


def half_red(height, width):
    image = np.zeros((height, width, 3), np.uint8)
    image[:, : width // 2, 0] = 255
    return image


@pytest.mark.parametrize("size", [(64, 64), (65, 97), (3, 500), (1, 2)])
@pytest.mark.parametrize("options", [{}, {"short_edge": 32, "max_size": 64}, {"max_pixels": 1000}])
def test_maps_have_the_image_s_size(size, options):
    prediction = predictor(**options)(half_red(*size))
    assert prediction.labels.dtype == np.uint8 and prediction.panoptic.dtype == np.int32
    assert prediction.labels.shape == prediction.panoptic.shape == size
    assert (prediction.labels == prediction.panoptic // 1000).all()
    if size[1] > 4:
        expected = np.where(half_red(*size)[..., 0] > 0, CAR, SKY)
        middle = size[1] // 2
        tolerance = -(-size[1] // 16)  # the border between the halves is known to a pixel of what the model sees
        assert (prediction.labels == expected)[:, : middle - tolerance].all()
        assert (prediction.labels == expected)[:, middle + tolerance :].all()


def test_confidence_is_the_probability_of_the_class():
    assert predictor()(half_red(8, 16)).confidence is None
    for options in ({}, {"max_pixels": 50}):
        confidence = predictor(confidence=True, **options)(half_red(8, 16)).confidence
        assert confidence.shape == (8, 16) and confidence.dtype == np.float32
        np.testing.assert_allclose(confidence, np.e / (np.e + CITYSCAPES.num_classes - 1), rtol=1e-5)


def test_scores_of_instances_are_handed_on():
    class Sure(RedIsCar):
        def forward(self, batched_inputs):
            (output,) = super().forward(batched_inputs)
            return [{**output, "instance_scores": (torch.tensor([CAR * 1000 + 1]), torch.tensor([0.75]))}]

    tool = Predictor(Sure(), taxonomy=CITYSCAPES, image_format="RGB", short_edge=0, max_size=0)
    assert tool(half_red(8, 16)).scores == {CAR * 1000 + 1: 0.75} and predictor()(half_red(8, 16)).scores == {}


def test_the_model_sees_the_configured_size_and_its_logits_are_bounded():
    tool = predictor(short_edge=40, max_size=100, max_pixels=5000)
    tool(half_red(100, 200))
    assert tool.model.record["image"].shape == (3, 40, 80)
    assert (tool.model.record["height"], tool.model.record["width"]) == (50, 100)
    assert not tool.model.training


def test_channel_order():
    blue_first = predictor(image_format="BGR")
    assert (blue_first(half_red(8, 8)).labels == SKY).all()  # channel 0 is blue now
    assert blue_first.model.record["image"][2, 0, 0] == 255


def test_too_little_memory_is_a_sentence(monkeypatch):
    tool = predictor()

    def fail(*_):
        raise RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(RedIsCar, "forward", fail)
    with pytest.raises(UserError, match="at 20x10 pixels.*smaller --resize"):
        tool(half_red(10, 20))


def test_panoptic_ids_are_those_of_cityscapes():
    panoptic = np.array([[-1, SKY * 1000, CAR * 1000 + 1, CAR * 1000 + 12]])
    ids = panoptic_ids(panoptic, CITYSCAPES)
    assert ids.dtype == np.int32 and ids.tolist() == [[0, 23, 26001, 26012]]  # cityscapesScripts, labels.py


@pytest.mark.parametrize(
    "config, opts",
    [
        ("source_only", ("WEIGHTING.SEMANTIC", "median_frequency", "MODEL.SEM_SEG_HEAD.LOSS_TYPE", "logit_adjustment")),
        ("source_only", ("WEIGHTING.SEMANTIC", "median_frequency", "MODEL.SEM_SEG_HEAD.LOSS_TYPE", "seesaw")),
        (
            "mask2former_source_only",
            ("WEIGHTING.CLASSIFICATION", "inverse_frequency", "WEIGHTING.MASK", "effective_number"),
        ),
    ],
)
def test_a_model_predicts_where_its_source_is_not_prepared(make_cfg, tmp_path, config, opts):
    cfg = make_cfg(f"quick/{config}.yaml", *opts)
    model = build_model(cfg)
    torch.save({"model": model.state_dict()}, tmp_path / "model.pth")
    metadata = MetadataCatalog.get(cfg.DATASETS.TRAIN[0])
    del metadata.class_statistics
    metadata.class_statistics = str(tmp_path / "absent.json")
    with pytest.raises(UserError, match="absent.json"):
        build_model(cfg)
    tool, name = build_predictor(cfg, str(tmp_path / "model.pth"))
    assert name == "student"
    image = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
    tool.short_edge = 0
    prediction = tool(image)
    assert prediction.labels.shape == prediction.panoptic.shape == (64, 96)
    expected = Predictor(model, taxonomy=CITYSCAPES, image_format="RGB", short_edge=0, max_size=tool.max_size)(image)
    assert (prediction.labels == expected.labels).all() and (prediction.panoptic == expected.panoptic).all()
