"""The meta-architecture on Streets: what it returns, for which task, and that samples of segments do as labels do."""

import pytest
import torch
from detectron2.modeling import build_model

import gbw_panoptic.modeling  # noqa: F401
from gbw_panoptic.data.loader import build_train_loader
from gbw_panoptic.structures.segments import SegmentTargets
from gbw_panoptic.modeling.masks.merging import semantic_logits

CONFIG = "streets/mask2former_source_only.yaml"
SMALL = ("INPUT.CROP.SIZE", "(64, 128)", "SOLVER.IMS_PER_BATCH", 2)


@pytest.fixture
def build(make_cfg):
    def built(*opts):
        cfg = make_cfg(CONFIG, *SMALL, *opts)
        torch.manual_seed(0)
        return build_model(cfg), next(iter(build_train_loader(cfg))).source

    return built


def total(model, samples, **options):
    torch.manual_seed(1)
    return model.train()(samples, **options)


def test_training_and_evaluation(build):
    model, samples = build("TEST.INSTANCE_AP", True, "MODEL.MASK2FORMER.OBJECT_THRESHOLD", 0.0,
                           "MODEL.MASK2FORMER.OVERLAP_THRESHOLD", 0.0)  # fmt: skip
    losses, dense = total(model, samples, dense=True)
    assert list(losses) == ["loss_class", "loss_mask", "loss_dice"]
    sum(losses.values()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    assert dense.sem_seg.shape == (2, 19, 64, 128) and dense.center is None and dense.offset is None
    torch.testing.assert_close(dense.sem_seg.exp().sum(dim=1), torch.ones(2, 64, 128))

    model.eval()
    records = [{**samples[0], "height": 96, "width": 200}, {"image": samples[1]["image"][:, :50, :90]}]
    outputs = model(records)
    assert outputs[0]["sem_seg"].shape == (19, 96, 200) and outputs[1]["sem_seg"].shape == (19, 50, 90)
    for output in outputs:
        panoptic = output["panoptic_seg"][0]
        assert panoptic.shape == output["sem_seg"].shape[1:] and panoptic.dtype == torch.int64
        things = {v for v in panoptic.unique().tolist() if v > 0 and v % 1000}
        assert set(output["instance_scores"][0].tolist()) == things
    prediction = model.predict(samples)
    sizes = {"stride": prediction.stride, "image_size": prediction.image_size}
    expected = semantic_logits(prediction.class_logits, prediction.mask_logits, **sizes)
    alone = model([{"image": samples[0]["image"]}])[0]["sem_seg"]
    torch.testing.assert_close(alone, expected[0], atol=1e-4, rtol=1e-4)


def test_the_dense_output_trains_the_model_without_labels(build):
    model, samples = build()
    images = [{"image": x["image"]} for x in samples]
    losses, dense = total(model, images, dense=True, instances=False)
    assert losses == {}
    dense.sem_seg.square().mean().backward()
    assert model.mask_head.class_predictor.weight.grad.any() and model.backbone.stem.conv1.weight.grad.any()


def test_samples_of_segments_do_as_labels_do(build):
    model, samples = build()
    expected = total(model, samples)
    segments = [
        {"image": x["image"], "segments": SegmentTargets.of_labels(x["segment_ids"], x["segment_classes"])}
        for x in samples
    ]
    found = total(model, segments, branch="mixed")
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_the_semantic_task_has_a_segment_for_each_class_and_no_panoptic_map(build):
    model, samples = build("MODEL.TASK", "semantic", "TEST.PROTOCOLS", "('16',)")
    assert all(len(x["segment_classes"].unique()) == len(x["segment_classes"]) for x in samples)
    sum(total(model, samples).values()).backward()
    assert set(model.eval()(samples)[0]) == {"sem_seg"}


@pytest.mark.parametrize("gradient", ["logits", "last_layer", "pixel"])
def test_gbw_weights_every_loss_and_says_how(build, gradient):
    model, samples = build("WEIGHTING.CLASSIFICATION", "gbw", "WEIGHTING.MASK", "gbw", "GBW.GRADIENT", gradient,
                           "MODEL.MASK2FORMER.NUM_QUERIES", 50)  # fmt: skip
    losses = total(model, samples)
    assert all(x.isfinite() for x in losses.values())
    for weighting in model.weightings.values():
        statistics = weighting.statistics["source"]
        present = statistics["share"] > 0
        torch.testing.assert_close(statistics["weight"][present].sum(), present.sum().float())
        assert statistics["gradient"][present].min() > 0
        assert statistics["weight"][present].std() > 0


def test_weights_of_one_change_no_bit_of_the_losses(build):
    model, samples = build()
    expected = total(model, samples)
    weighted, _ = build(
        "WEIGHTING.CLASSIFICATION", "manual", "WEIGHTING.MASK", "manual", "WEIGHTING.CLASS_WEIGHTS", [1.0] * 19
    )
    found = total(weighted, samples)
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_losses_are_float32_under_autocast(build):
    model, samples = build()
    with torch.autocast("cpu", torch.bfloat16):
        losses, dense = total(model, samples, dense=True)
    sums = dense.sem_seg.exp().sum(dim=1)
    torch.testing.assert_close(sums, torch.ones_like(sums))
    expected = total(model, samples)
    for name, value in losses.items():
        assert value.dtype == torch.float32
        assert value.item() == pytest.approx(expected[name].item(), rel=0.1)
