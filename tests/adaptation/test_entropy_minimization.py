"""Entropy minimisation on a toy model: losses by definition, ignored pixels, class weights."""

import math

import pytest
import torch
from torch import nn

from gbw_panoptic.adaptation.entropy_minimization import EntropyMinimization
from gbw_panoptic.structures.predictions import DensePrediction
from gbw_panoptic.structures.samples import DomainBatch
from gbw_panoptic.weighting import ClassWeighting, GradientBasedWeighting

C, H, W = 4, 6, 8


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, C, 1)

    def forward(self, batched_inputs, branch="source", *, dense=False, instances=True):
        images = torch.stack([x["image"] for x in batched_inputs])
        logits = self.convolution(images)
        losses = {"loss_sem_seg": logits.square().mean()} if "sem_seg" in batched_inputs[0] else {}
        prediction = DensePrediction(logits, None, None, images, 1, 2 * logits)
        return (losses, prediction) if dense else losses


def minimization(loss="entropy", *, levels=("sem_seg",), weighting=None, ratio=None):
    return EntropyMinimization(
        loss=loss,
        image_wise_ratio=ratio,
        loss_weights={"sem_seg": 0.5, "auxiliary": 0.25},
        class_weightings={level: weighting or ClassWeighting(num_classes=C) for level in levels},
    )


def batch(valid=None):
    torch.manual_seed(2)
    valid = torch.ones(H, W, dtype=torch.bool) if valid is None else valid
    return DomainBatch(
        [{"image": torch.randn(3, H, W), "sem_seg": torch.zeros(H, W)}],
        [{"image": torch.randn(3, H, W), "valid_mask": valid}],
    )


def run(strategy, data, model=None):
    torch.manual_seed(0)
    model = model or Model()
    found = {}
    for losses in strategy.terms(model, data, 0):
        sum(losses.values()).backward()
        found.update(losses)
    return model, found


def test_losses_by_definition_on_both_levels():
    data = batch()
    model, found = run(minimization(levels=("sem_seg", "auxiliary")), data)
    logits = model.convolution(data.target[0]["image"][None])
    for level, factor, z in (("sem_seg", 0.5, logits), ("auxiliary", 0.25, 2 * logits)):
        p = z.softmax(1)
        expected = factor * -(p * p.log()).sum(1).mean() / math.log(C)
        torch.testing.assert_close(found[f"target/loss_{level}_entropy"], expected)
    _, found = run(minimization("maximum_squares"), data)
    expected = 0.5 * -logits.softmax(1).square().sum(1).mean() / (2 * C)
    torch.testing.assert_close(found["target/loss_sem_seg_maximum_squares"], expected)


def test_ignored_pixels_do_not_count():
    valid = torch.zeros(H, W, dtype=torch.bool)
    valid[:, :3] = True
    whole, cut = batch(valid), batch(valid[:, :3])
    cut.target[0]["image"] = whole.target[0]["image"][..., :3]
    assert run(minimization(), whole)[1]["target/loss_sem_seg_entropy"].item() == pytest.approx(
        run(minimization(), cut)[1]["target/loss_sem_seg_entropy"].item(), rel=1e-6
    )


@pytest.mark.parametrize("loss, ratio", [("entropy", None), ("maximum_squares", None), ("maximum_squares", 0.2)])
def test_nothing_valid_is_exactly_zero_with_finite_gradients(loss, ratio):
    weighting = GradientBasedWeighting(num_classes=C, lam=0.5, gradient="logits", normalize=True)
    model, found = run(minimization(loss, weighting=weighting, ratio=ratio), batch(torch.zeros(H, W, dtype=torch.bool)))
    assert found[f"target/loss_sem_seg_{loss}"].item() == 0
    assert torch.isfinite(model.convolution.weight.grad).all()


@pytest.mark.parametrize("gradient", ["logits", "last_layer", "pixel"])
def test_gbw_weights_the_predicted_classes(gradient):
    weighting = GradientBasedWeighting(num_classes=C, lam=0.5, gradient=gradient, normalize=True)
    data = batch()
    model, found = run(minimization(weighting=weighting), data)
    p = model.convolution(data.target[0]["image"][None]).softmax(1)
    classes, weights = p.argmax(1), weighting.statistics["target"]["weight"]
    assert (
        weights[classes.unique()].sum().item() == pytest.approx(len(classes.unique()), rel=1e-5) and weights.std() > 0
    )
    w = weights[classes]
    expected = 0.5 * (w * -(p * p.log()).sum(1) / math.log(C)).sum() / w.sum()
    torch.testing.assert_close(found["target/loss_sem_seg_entropy"], expected.float())
