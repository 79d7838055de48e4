"""The meta-architecture against Detectron2's own Panoptic-DeepLab, and at the edges."""

from dataclasses import replace

import pytest
import torch
from detectron2.data import MetadataCatalog
from detectron2.modeling import build_model
from detectron2.modeling.postprocessing import sem_seg_postprocess
from detectron2.projects.panoptic_deeplab import PanopticDeepLab

import gbw_panoptic.modeling  # noqa: F401
from gbw_panoptic.data.loader import build_train_loader
from gbw_panoptic.structures.instances import scores_of_map


@pytest.fixture
def pair(make_cfg):
    """Ours and Detectron2's model with the same weights."""
    cfg = make_cfg("quick/source_only.yaml", "MODEL.SEM_SEG_HEAD.ASPP_DROPOUT", 0.0,
                   "MODEL.INS_EMBED_HEAD.ASPP_DROPOUT", 0.0,
                   # Detectron2's own: mean over all pixels; its "cross_entropy" cannot take pixel weights
                   "MODEL.SEM_SEG_HEAD.LOSS_TYPE", "hard_pixel_mining", "MODEL.SEM_SEG_HEAD.LOSS_TOP_K", 1.0,
                   "WEIGHTING.LOSS_DENOMINATOR", "all")  # fmt: skip
    torch.manual_seed(0)
    ours = build_model(cfg)
    theirs_cfg = cfg.clone()
    theirs_cfg.INPUT.CROP.ENABLED = False  # global image pooling there, too
    theirs_cfg.MODEL.SEM_SEG_HEAD.NAME = "PanopticDeepLabSemSegHead"
    theirs_cfg.MODEL.INS_EMBED_HEAD.NAME = "PanopticDeepLabInsEmbedHead"
    theirs = PanopticDeepLab(theirs_cfg)
    theirs.load_state_dict({k: v for k, v in ours.state_dict().items() if "weightings" not in k})
    return cfg, ours, theirs


def source_batch(cfg, size=2):
    loader = iter(build_train_loader(cfg))
    return [sample for _ in range(size) for sample in next(loader).source]


def test_losses_and_gradients_equal_detectron2(pair):
    cfg, ours, theirs = pair
    batch = source_batch(cfg)
    batch[0]["sem_seg"][:, :40] = 255
    expected, found = theirs.train()(batch), ours.train()(batch)
    assert expected.keys() == found.keys()
    for name in expected:
        torch.testing.assert_close(found[name], expected[name], rtol=1e-5, atol=1e-6)
    sum(expected.values()).backward()
    sum(found.values()).backward()
    gradients = dict(theirs.named_parameters())
    for name, parameter in ours.named_parameters():
        torch.testing.assert_close(parameter.grad, gradients[name].grad, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("seed", [0, 3])
def test_instance_scores_equal_detectron2(pair, seed):
    """Mean probability of the class times the heatmap at the centroid, one mask at a time there.

    The same map goes into both: in maps of their own, a pixel as near to one centre as to another may differ by
    rounding, as one does with seed 3, and with it everything that is counted over an instance.
    """
    cfg, ours, theirs = pair
    thing_ids = MetadataCatalog.get(cfg.DATASETS.TRAIN[0]).taxonomy.thing_ids
    torch.manual_seed(seed)
    for head in (ours.ins_embed_head.center_predictor, ours.sem_seg_head.predictor):
        for parameter in head.parameters():
            torch.nn.init.normal_(parameter, std=0.2)
    with torch.no_grad():
        ours.sem_seg_head.predictor.bias[list(thing_ids)] += (
            3  # an untrained model may well see no thing at all, or no centre
        )
        ours.ins_embed_head.center_predictor.bias += 3
    theirs.load_state_dict({k: v for k, v in ours.state_dict().items() if "weightings" not in k})
    theirs.predict_instances = True
    record = {"image": torch.randint(0, 256, (3, 96, 160), dtype=torch.uint8), "height": 128, "width": 200}
    ours.post_processing = replace(ours.post_processing, score_instances=True)
    with torch.no_grad():
        expected, found = theirs.eval()([record])[0], ours.eval()([record])[0]
        center = sem_seg_postprocess(ours.predict([record]).center[0], (96, 160), 128, 200)
    panoptic, instances = expected["panoptic_seg"][0], expected["instances"]
    values, scores = scores_of_map(panoptic, expected["sem_seg"], center, thing_ids=thing_ids, label_divisor=1000)
    assert len(values) > 3 and torch.equal(values // 1000, instances.pred_classes)
    for value, mask in zip(values, instances.pred_masks, strict=True):
        assert torch.equal(panoptic == value, mask)
    torch.testing.assert_close(scores, instances.scores, rtol=1e-4, atol=1e-6)
    own = found["panoptic_seg"][0]
    assert (own != panoptic).sum() <= 5  # of 25600
    assert torch.equal(
        found["instance_scores"][0], own[torch.isin(own // 1000, torch.tensor(sorted(thing_ids)))].unique()
    )


def test_instance_scores_are_off_by_default(pair):
    record = {"image": torch.zeros((3, 64, 64), dtype=torch.uint8), "height": 64, "width": 64}
    assert "instance_scores" not in pair[1].eval()([record])[0]


def test_the_semantic_head_alone_predicts_the_same(pair):
    model, records = pair[1].eval(), [{"image": torch.randint(0, 256, (3, 64, 96), dtype=torch.uint8)}]
    alone = model.predict(records, instances=False)
    assert alone.center is None and alone.offset is None
    assert torch.equal(alone.sem_seg, model.predict(records).sem_seg)


def test_inference_equals_detectron2(pair):
    cfg, ours, theirs = pair
    torch.manual_seed(0)
    for parameter in ours.ins_embed_head.center_predictor.parameters():
        torch.nn.init.normal_(parameter, std=0.2)  # so that there are centres
    theirs.load_state_dict({k: v for k, v in ours.state_dict().items() if "weightings" not in k})
    theirs.predict_instances = False
    record = {"image": torch.randint(0, 256, (3, 128, 256), dtype=torch.uint8), "height": 128, "width": 256}
    with torch.no_grad():
        expected, found = theirs.eval()([record])[0], ours.eval()([record])[0]
    torch.testing.assert_close(found["sem_seg"], expected["sem_seg"])
    assert torch.equal(found["panoptic_seg"][0], expected["panoptic_seg"][0])
    assert found["panoptic_seg"][0].unique().numel() > 1


@pytest.mark.parametrize("size", [(64, 64), (65, 131), (100, 190), (33, 250)])
def test_any_size_and_a_different_output_size(make_cfg, size):
    model = build_model(make_cfg("quick/source_only.yaml")).eval()
    records = [
        {"image": torch.zeros(3, *size, dtype=torch.uint8), "height": 71, "width": 93},
        {"image": torch.zeros(3, 64, 96, dtype=torch.uint8)},
    ]
    first, second = model(records)
    assert first["sem_seg"].shape == (19, 71, 93) and first["panoptic_seg"][0].shape == (71, 93)
    assert second["sem_seg"].shape == (19, 64, 96)


def test_weights_of_one_are_the_unweighted_loss_bit_for_bit(make_cfg):
    plain = make_cfg("quick/source_only.yaml", "MODEL.SEM_SEG_HEAD.ASPP_DROPOUT", 0.0,
                     "MODEL.INS_EMBED_HEAD.ASPP_DROPOUT", 0.0)  # fmt: skip
    warm = plain.clone()
    warm.WEIGHTING.SEMANTIC = warm.WEIGHTING.CENTER = warm.WEIGHTING.OFFSET = "gbw"
    warm.GBW.WARMUP_ITERS = 10
    torch.manual_seed(0)
    first = build_model(plain).train()
    second = build_model(warm).train()
    second.load_state_dict(first.state_dict(), strict=False)
    batch = source_batch(plain)
    one, two = first(batch), second(batch)
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_batch_without_any_instance(make_cfg):
    cfg = make_cfg("quick/self_training_gbw.yaml")
    model = build_model(cfg).train()
    batch = source_batch(cfg)
    for sample in batch:
        sample["instance_ids"].zero_()
        sample["instance_classes"] = torch.empty(0, dtype=torch.int64)
        sample["center_classes"].fill_(255)
        for key in ("center", "offset", "offset_weights"):
            sample[key].zero_()
    losses = model(batch)
    sum(losses.values()).backward()
    assert losses["loss_offset"].item() == 0
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)
