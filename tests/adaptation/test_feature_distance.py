"""Feature distance: cells against a loop, the loss by hand, edges, what is copied."""

import pytest
import torch
from torch import nn

from gbw_panoptic.adaptation.mean_teacher.feature_distance import FeatureDistance, dominated_cells, mean_distance
from detectron2.layers import ShapeSpec

IGNORE = 255


@pytest.mark.parametrize("size, stride", [((16, 24), 4), ((15, 22), 4), ((12, 12), 6)])
def test_cells_equal_a_loop(size, stride):
    generator = torch.Generator().manual_seed(0)
    coarse = torch.randint(0, 4, (2, 8, 12), generator=generator)
    labels = coarse.repeat_interleave(3, 1).repeat_interleave(3, 2)[:, : size[0], : size[1]].clone()
    labels[0, :3], labels[1, 4:] = IGNORE, 2
    cells = -(-size[0] // stride), -(-size[1] // stride)
    found = dominated_cells(labels, (1, 2), stride=stride, size=cells, min_share=0.75, ignore_label=IGNORE)
    for b in range(2):
        for y in range(cells[0]):
            for x in range(cells[1]):
                part = labels[b, y * stride : (y + 1) * stride, x * stride : (x + 1) * stride]
                shares = [(part == c).sum().item() / stride**2 for c in (1, 2)]
                assert found[b, y, x] == (max(shares) >= 0.75)
    assert found.any() and not found.all()


def test_two_classes_that_only_together_reach_the_share_do_not_count():
    labels = torch.tensor([[[1, 2], [1, 2]]])
    options = dict(stride=2, size=(1, 1), ignore_label=IGNORE)
    assert not dominated_cells(labels, (1, 2), min_share=0.75, **options).any()
    labels[0, 0, 1] = 1
    assert dominated_cells(labels, (1, 2), min_share=0.75, **options).all()  # exactly three quarters


def test_mean_distance_by_hand_and_at_its_edges():
    one = torch.zeros(1, 2, 2, 2, requires_grad=True)
    two = torch.zeros(1, 2, 2, 2)
    two[0, :, 0, 0], two[0, :, 1, 1] = torch.tensor([3.0, 4.0]), torch.tensor([0.0, 1.0])
    mask = torch.tensor([[[True, False], [True, True]]])
    assert mean_distance(one, two, mask).item() == pytest.approx((5 + 0 + 1) / 3)
    for other, cells in ((two, torch.zeros_like(mask)), (torch.zeros_like(two), mask)):  # no cell; equal features
        loss = mean_distance(one, other, cells)
        loss.backward()
        assert loss == 0 and (one.grad == 0).all()


class Backbone(nn.Module):
    def __init__(self):
        super().__init__()
        self.early = nn.Conv2d(3, 4, 2, stride=2)
        self.late = nn.Sequential(nn.Conv2d(4, 6, 2, stride=2), nn.BatchNorm2d(6))

    def output_shape(self):  # the last one of the largest stride, wherever it stands
        return {"late": ShapeSpec(channels=6, stride=4), "early": ShapeSpec(channels=4, stride=2)}

    def forward(self, x):
        early = self.early(x)
        return {"early": early, "late": self.late(early)}


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone = Backbone()
        self.head = nn.Conv2d(6, 3, 1)

    def forward(self, samples, branch):
        assert branch == "source"
        images = torch.stack([s["image"] for s in samples]) / 255
        return {"loss_sem_seg": self.head(self.backbone(images)["late"]).square().mean()}


def make(weight=0.005):
    torch.manual_seed(0)
    model = Model().train()
    distance = FeatureDistance(model.backbone, weight=weight, class_ids=(1,), min_share=0.75, ignore_label=IGNORE)
    return model, distance


def batch(label=1):
    return [{"image": torch.rand(3, 8, 12) * 255, "sem_seg": torch.full((8, 12), label)} for _ in range(2)]


def test_loss_equals_two_passes_and_leaves_no_hook():
    model, distance = make()
    samples = batch()
    losses = distance.source_losses(model, samples)
    images = torch.stack([s["image"] for s in samples]) / 255
    student = model.backbone(images)["late"]
    expected = (student - distance.initial(images)["late"]).square().sum(1).sqrt().mean() * 0.005
    torch.testing.assert_close(losses["loss_feature_distance"], expected)
    assert losses["loss_sem_seg"] > 0 and not model.backbone._forward_hooks
    sum(losses.values()).backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in model.parameters())
    assert all(p.grad is None for p in distance.initial.parameters())


def test_no_thing_is_exactly_zero_with_finite_gradients():
    for label in (0, IGNORE):
        model, distance = make()
        loss = distance.source_losses(model, batch(label))["loss_feature_distance"]
        loss.backward()
        assert loss == 0 and all((p.grad == 0).all() for p in model.backbone.parameters())


def test_only_the_backbone_is_copied_frozen_in_evaluation_mode():
    model, distance = make()
    assert {name for name, _ in distance.initial.named_modules()} == {n for n, _ in model.backbone.named_modules()}
    assert not distance.initial.training and not any(p.requires_grad for p in distance.initial.parameters())
    before = {name: tensor.clone() for name, tensor in distance.initial.state_dict().items()}
    distance.source_losses(model, batch())  # the student's batch norm moves
    assert all(torch.equal(tensor, before[name]) for name, tensor in distance.initial.state_dict().items())
    distance.start_from(model)
    assert not torch.equal(distance.initial.late[1].running_mean, before["late.1.running_mean"])
    assert torch.equal(distance.initial.late[1].running_mean, model.backbone.late[1].running_mean)


def test_a_failing_pass_leaves_no_hook():
    model, distance = make()
    with pytest.raises(KeyError):
        distance.source_losses(model, [{}])
    assert not model.backbone._forward_hooks
