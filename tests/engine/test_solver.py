"""Parameter groups: learning rates and weight decay as DAFormer and Swin have them; updates; DAFormer's schedule."""

import copy

import pytest
import torch
from detectron2.modeling import build_model
from detectron2.projects.deeplab import build_lr_scheduler
from torch import nn

import gbw_panoptic.modeling  # noqa: F401
from gbw_panoptic.engine.solver import build_optimizer


def settings(model, optimizer):
    """Name of a parameter -> (learning rate, weight decay); every parameter once."""
    names = {parameter: name for name, parameter in model.named_parameters()}
    groups = optimizer.param_groups
    found = [(names[p], (group["lr"], group["weight_decay"])) for group in groups for p in group["params"]]
    assert len(found) == len(dict(found)) == len(names)
    return dict(found)


def expected(model):
    """By the kind of layer: norms and position tables do not decay, heads learn ten times as fast."""
    kinds = {f"{n}.{p}": m for n, m in model.named_modules() for p, _ in m.named_parameters(recurse=False)}
    result = {}
    for name, module in kinds.items():
        free = isinstance(module, (nn.LayerNorm, nn.BatchNorm2d)) or name.endswith("relative_position_bias_table")
        result[name] = (6e-5 if name.startswith("backbone.") else 6e-4, 0.0 if free else 0.01)
    return result


@pytest.mark.parametrize(
    "opts",
    [
        ("MODEL.MIT.VARIANT", "b0"),
        ("MODEL.BACKBONE.NAME", "build_swin_backbone"),
        ("MODEL.BACKBONE.NAME", "build_timm_backbone", "MODEL.TIMM.NAME", "convnext_atto"),
    ],
    ids=["mit", "swin", "convnext"],
)
def test_rates_and_decay_of_daformer(make_cfg, opts):
    cfg = make_cfg("synthia_to_cityscapes/panoptic_deeplab_mit_b5_source_only.yaml", "MODEL.DEVICE", "cpu", *opts)
    model = build_model(cfg)
    optimizer = build_optimizer(cfg, model)
    assert isinstance(optimizer, torch.optim.AdamW) and optimizer.defaults["betas"] == (0.9, 0.999)
    found, wanted = settings(model, optimizer), expected(model)
    assert found.keys() == wanted.keys()
    for name in found:
        assert found[name] == pytest.approx(wanted[name]), name
    assert len(set(found.values())) == 4


def test_embeddings_have_a_decay_of_their_own(make_cfg):
    cfg = make_cfg("quick/source_only.yaml", "SOLVER.WEIGHT_DECAY_EMBED", 0.3, "SOLVER.WEIGHT_DECAY", 0.2)
    model = nn.ModuleDict({"queries": nn.Embedding(3, 4), "layer": nn.Linear(4, 4)})
    assert {decay for _, decay in settings(model, build_optimizer(cfg, model)).values()} == {0.3, 0.2}


@pytest.mark.parametrize("name", ["SGD", "ADAM", "ADAMW"])
def test_fused_updates_are_those_of_plain_torch(make_cfg, name):
    """And a checkpoint that plain torch made goes on as it began."""
    cfg = make_cfg(
        "quick/source_only.yaml", "SOLVER.OPTIMIZER", name, "SOLVER.WEIGHT_DECAY", 0.1, "SOLVER.BASE_LR", 0.05
    )
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 7), nn.BatchNorm1d(7))
    plain_model, before = copy.deepcopy(model), copy.deepcopy(model)
    fused, plain = build_optimizer(cfg, model), build_optimizer(cfg, plain_model)
    assert all(group["fused"] for group in fused.param_groups)
    for group in plain.param_groups:
        group.update(fused=None, foreach=False)
    for _ in range(5):
        for one, other in zip(model.parameters(), plain_model.parameters()):
            one.grad = torch.randn_like(one)
            other.grad = one.grad.clone()
        fused.step()
        plain.step()
    for one, other, old in zip(model.parameters(), plain_model.parameters(), before.parameters()):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)
        assert (one - old).abs().min() > 1e-3
    fused.load_state_dict(plain.state_dict())
    assert not any(group["fused"] for group in fused.param_groups)
    fused.step()


def test_the_schedule_is_linear_up_to_1500_and_linear_down_to_0(make_cfg):
    cfg = make_cfg("synthia_to_cityscapes/panoptic_deeplab_mit_b5_source_only.yaml")
    parameter = nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=1.0)
    scheduler = build_lr_scheduler(cfg, optimizer)
    rates = []
    for _ in range(40000):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    assert rates[0] == pytest.approx(1e-6)
    assert rates[750] == pytest.approx(0.5 * (1 - 750 / 40000), rel=1e-3)
    assert rates[1500] == pytest.approx(1 - 1500 / 40000, rel=1e-3)
    assert rates[20000] == pytest.approx(0.5, rel=1e-3) and rates[39999] == pytest.approx(1 / 40000, rel=1e-2)
