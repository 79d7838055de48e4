"""The five lines of docs/methods.md on a plain Detectron2 model, built from Detectron2's own configuration."""

import re
from pathlib import Path

import pytest
import torch
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.config import get_cfg
from detectron2.data import MetadataCatalog
from detectron2.modeling import build_model
from detectron2.projects.panoptic_deeplab import add_panoptic_deeplab_config
from torch.nn.parallel import DistributedDataParallel
from two_ranks import on_two_ranks

METHODS = (Path(__file__).parents[1] / "docs" / "methods.md").read_text()
NUM_CLASSES, SIDE = 19, 32
STATE = "sem_seg_head.loss.gradient_norms"


def plain_model() -> torch.nn.Module:
    """Detectron2's Panoptic-DeepLab with a narrow ResNet-50 and its own loss."""
    cfg = get_cfg()
    add_panoptic_deeplab_config(cfg)
    cfg.MODEL.META_ARCHITECTURE, cfg.MODEL.SEM_SEG_HEAD.NAME = "PanopticDeepLab", "PanopticDeepLabSemSegHead"
    cfg.MODEL.DEVICE, cfg.MODEL.WEIGHTS = "cpu", ""
    cfg.MODEL.BACKBONE.NAME, cfg.MODEL.BACKBONE.FREEZE_AT = "build_resnet_backbone", 0
    cfg.MODEL.RESNETS.NORM, cfg.MODEL.RESNETS.WIDTH_PER_GROUP = "BN", 4
    cfg.MODEL.RESNETS.STEM_OUT_CHANNELS = cfg.MODEL.RESNETS.RES2_OUT_CHANNELS = 8
    cfg.MODEL.RESNETS.OUT_FEATURES = ["res2", "res3", "res5"]
    for head in (cfg.MODEL.SEM_SEG_HEAD, cfg.MODEL.INS_EMBED_HEAD):
        head.NORM, head.ASPP_CHANNELS, head.HEAD_CHANNELS, head.CONVS_DIM = "BN", 8, 8, 8
        head.IN_FEATURES, head.PROJECT_FEATURES = ["res2", "res3", "res5"], ["res2", "res3"]
        head.PROJECT_CHANNELS, head.ASPP_DILATIONS, head.ASPP_DROPOUT = [4, 4], [1, 2, 3], 0.0
    cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES, cfg.MODEL.SEM_SEG_HEAD.LOSS_TOP_K = NUM_CLASSES, 1.0
    cfg.INPUT.CROP.ENABLED, cfg.INPUT.CROP.TYPE, cfg.INPUT.CROP.SIZE = True, "absolute", (SIDE, SIDE)
    cfg.DATASETS.TRAIN = ("plain_detectron2_project",)
    MetadataCatalog.get("plain_detectron2_project").set(thing_dataset_id_to_contiguous_id={}, label_divisor=1000)
    torch.manual_seed(0)
    return build_model(cfg).train()


def patch(model: torch.nn.Module, options: str = "lam=0.5") -> torch.nn.Module:
    """Run the document's lines, with other ``options`` of the weighting."""
    section = METHODS.split("## GBW in your own Detectron2 project")[1]
    code = "\n".join(line[4:] for line in re.search(r"\n\n((?:    .*\n|\n)+)", section).group(1).splitlines())
    lines = [line for line in code.splitlines() if line and "import" not in line]
    assert len(lines) == 5
    assert "lam=0.5" in code
    exec(code.replace("lam=0.5", options), {"model": model})
    return model


def batch(seed: int = 0) -> list[dict]:
    """Two samples as Detectron2's Panoptic-DeepLab mapper gives them; 6 classes occur, some pixels are ignored."""
    generator = torch.Generator().manual_seed(seed)
    samples = []
    for _ in range(2):
        labels = torch.randint(0, 6, (SIDE, SIDE), generator=generator)
        labels[:3] = 255
        samples.append(
            {
                "image": torch.randint(0, 256, (3, SIDE, SIDE), generator=generator).float(),
                "sem_seg": labels,
                "sem_seg_weights": torch.rand(SIDE, SIDE, generator=generator),
                "center": torch.rand(SIDE, SIDE, generator=generator),
                "center_weights": torch.ones(SIDE, SIDE),
                "offset": torch.randn(2, SIDE, SIDE, generator=generator),
                "offset_weights": torch.ones(SIDE, SIDE),
            }
        )
    return samples


def test_a_training_step_of_a_plain_model():
    model = patch(plain_model())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    losses = model(batch())
    sum(losses.values()).backward()
    predictor = model.sem_seg_head.predictor.weight
    assert predictor.grad.abs().sum() > 0 and model.backbone.stem.conv1.weight.grad.abs().sum() > 0
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)
    before = predictor.detach().clone()
    optimizer.step()
    assert not torch.equal(before, predictor)
    statistics = model.sem_seg_head.loss.statistics["source"]
    assert statistics["weight"][statistics["share"] > 0].sum().item() == pytest.approx(6, abs=1e-5)
    assert statistics["weight"].std() > 1e-4  # the classes are not weighted alike
    assert (model.state_dict()[STATE][0] > 0).sum() == 6


def test_with_a_large_lambda_and_its_denominator_the_loss_is_detectron2s():
    expected = plain_model()(batch())
    found = patch(plain_model(), 'lam=1e9, denominator="all"')(batch())
    assert expected.keys() == found.keys()
    for name in expected:
        torch.testing.assert_close(found[name], expected[name], rtol=1e-5, atol=1e-6)


def test_the_state_is_in_detectron2s_checkpoints_and_an_older_one_loads(tmp_path):
    older, model, again = plain_model(), patch(plain_model()), patch(plain_model())
    torch.nn.init.ones_(older.sem_seg_head.predictor.weight)
    DetectionCheckpointer(older, str(tmp_path)).save("old")
    DetectionCheckpointer(model, str(tmp_path)).load(str(tmp_path / "old.pth"))
    assert (model.sem_seg_head.predictor.weight == 1).all() and not model.state_dict()[STATE].any()
    model(batch())
    DetectionCheckpointer(model, str(tmp_path)).save("new")
    DetectionCheckpointer(again).load(str(tmp_path / "new.pth"))
    assert model.state_dict()[STATE].any() and torch.equal(again.state_dict()[STATE], model.state_dict()[STATE])


def _train_on_a_rank(rank: int) -> tuple[torch.Tensor, torch.Tensor]:
    model = DistributedDataParallel(patch(plain_model()))
    for step in range(2):  # other images on each rank
        sum(model(batch(seed=10 * step + rank)).values()).backward()
    head = model.module.sem_seg_head
    return head.loss.statistics["source"]["weight"], head.predictor.weight.grad


@pytest.mark.slow
def test_two_ranks_have_the_same_weights_and_gradients(tmp_path):
    (weights, gradient), (other_weights, other_gradient) = on_two_ranks(_train_on_a_rank, tmp_path)
    assert torch.equal(weights, other_weights) and weights.std() > 0
    assert torch.equal(gradient, other_gradient) and gradient.abs().sum() > 0
