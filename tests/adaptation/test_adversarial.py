"""Adversarial alignment: who is trained by what, order of the updates, class weights, edges."""

import copy

import pytest
import torch
from torch import nn

from gbw_panoptic.adaptation.adversarial import MIN_SIZE, AdversarialAlignment, discriminator
from gbw_panoptic.structures.predictions import DensePrediction
from gbw_panoptic.structures.samples import DomainBatch
from gbw_panoptic.weighting import ClassWeighting, GradientBasedWeighting

C, H, W = 4, 64, 32


class Model(nn.Module):
    """A 1x1 convolution on images, with the call of a meta-architecture."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, C, 1)
        self.instances = nn.Conv2d(3, 3, 1)

    def forward(self, batched_inputs, branch="source", *, dense=False, instances=True):
        images = torch.stack([x["image"] for x in batched_inputs])
        logits, more = self.convolution(images), self.instances(images)
        prediction = DensePrediction(logits, more[:, :1], more[:, 1:], images, 1, logits * 2)
        losses = {"loss_sem_seg": logits.square().mean()} if "sem_seg" in batched_inputs[0] else {}
        return (losses, prediction) if dense else losses


def alignment(levels=("sem_seg",), *, extra=0, weighting=None, **options):
    torch.manual_seed(0)
    discriminators = nn.ModuleDict({level: discriminator(C + (extra if level == "sem_seg" else 0)) for level in levels})
    return AdversarialAlignment(
        **{
            "discriminators": discriminators,
            "optimizer": torch.optim.SGD(discriminators.parameters(), lr=1.0),
            "learning_rate": lambda iteration: 0.1 / (1 + iteration),
            "loss_weights": {"sem_seg": 0.5, "auxiliary": 0.25},
            "align": "softmax",
            "gan": "vanilla",
            "align_instances": bool(extra),
            "class_weighting": weighting or ClassWeighting(num_classes=C),
            **options,
        }
    )


def batch():
    torch.manual_seed(1)
    return DomainBatch(
        [{"image": torch.randn(3, H, W), "sem_seg": torch.zeros(H, W)} for _ in range(2)],
        [{"image": torch.randn(3, H, W) + 1} for _ in range(2)],
    )


def gradients(module):
    return [None if p.grad is None else p.grad.clone() for p in module.parameters()]


def same(first, second):
    return all((a is None and b is None) or torch.equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("align", ["softmax", "entropy"])
@pytest.mark.parametrize("gan", ["vanilla", "least_squares"])
def test_generator_and_discriminator_steps_leave_each_other_alone(align, gan):
    strategy, model = alignment(("sem_seg", "auxiliary"), align=align, gan=gan), Model()
    terms = strategy.terms(model, batch(), 0)
    names = []
    seen = []
    for losses in terms:
        names.append(sorted(losses))
        sum(losses.values()).backward()
        seen.append((gradients(model), gradients(strategy.discriminators)))
    assert names == [
        ["source/loss_sem_seg"],
        ["target/loss_auxiliary_alignment", "target/loss_sem_seg_alignment"],
        ["discriminator/loss_auxiliary", "discriminator/loss_sem_seg"],
    ]
    (_, after_source), (model_aligned, after_alignment), (model_after, after_discriminators) = seen
    assert all(g is None for g in after_source + after_alignment)  # the generator step gives them no gradient
    assert same(model_aligned, model_after)  # and the discriminator step the model none
    assert all(g is not None and g.abs().max() > 0 for g in after_discriminators)
    assert not same(seen[0][0], model_aligned)


def test_update_is_one_optimizer_step_at_the_schedule_s_rate():
    strategy, model = alignment(), Model()
    before = copy.deepcopy(strategy.discriminators.state_dict())
    for losses in strategy.terms(model, batch(), 3):
        sum(losses.values()).backward()
    assert all(torch.equal(before[k], v) for k, v in strategy.discriminators.state_dict().items())
    grads = dict(strategy.discriminators.named_parameters())
    grads = {k: v.grad.clone() for k, v in grads.items()}
    strategy.after_step(3)
    for name, value in strategy.discriminators.state_dict().items():
        torch.testing.assert_close(value, before[name] - 0.025 * grads[name])


def test_losses_by_hand():
    strategy, model, data = alignment(), Model(), batch()
    found = {}
    for losses in strategy.terms(model, data, 0):
        sum(losses.values()).backward()
        found.update(losses)
    with torch.no_grad():
        source = torch.stack([x["image"] for x in data.source])
        target = torch.stack([x["image"] for x in data.target])
        judge = strategy.discriminators["sem_seg"]
        is_source = 1 - torch.sigmoid(judge(model.convolution(source).softmax(1)))
        is_target = torch.sigmoid(judge(model.convolution(target).softmax(1)))
    torch.testing.assert_close(found["target/loss_sem_seg_alignment"], -0.5 * (1 - is_target).log().mean())
    expected = -0.5 * is_source.log().mean() - 0.5 * is_target.log().mean()
    torch.testing.assert_close(found["discriminator/loss_sem_seg"], expected)
    accuracy = strategy.health["discriminator/sem_seg_accuracy_target"]
    torch.testing.assert_close(accuracy, (is_target > 0.5).float().mean())
    assert strategy.trained == {"discriminator": strategy.discriminators}  # whose gradients the trainer checks
    assert strategy.health["alignment/gradient_norm"] > 0


def test_instance_heads_are_aligned_only_when_asked_for():
    for extra, trained in ((0, False), (2, True)):
        strategy, model = alignment(extra=extra), Model()
        terms = strategy.terms(model, batch(), 0)
        next(terms)
        sum(next(terms).values()).backward()
        gradient = model.instances.weight.grad
        assert (gradient is not None and gradient.abs().max() > 0) == trained


def test_class_weights_scale_the_alignment_gradient_by_predicted_class():
    """The definition: the gradient at a pixel's logits times the weight of its argmax (up to the common
    denominator)."""

    def logit_gradients(weighting):
        strategy, model = alignment(weighting=weighting), Model()
        terms = strategy.terms(model, batch(), 0)
        next(terms)
        kept = []

        def keep(module, inputs, output):
            if output.requires_grad:
                output.register_hook(kept.append)

        model.convolution.register_forward_hook(keep)
        sum(next(terms).values()).backward()
        with torch.no_grad():
            classes = model.convolution(torch.stack([x["image"] for x in batch().target])).argmax(1)
        return kept[0], classes

    gbw = GradientBasedWeighting(num_classes=C, lam=0.5, gradient="logits", normalize=True)
    plain, classes = logit_gradients(ClassWeighting(num_classes=C))
    weighted, _ = logit_gradients(gbw)
    weights = gbw.statistics["target"]["weight"]
    assert (
        weights[classes.unique()].sum().item() == pytest.approx(len(classes.unique()), rel=1e-5) and weights.std() > 0
    )
    factor = weights[classes] * classes.numel() / weights[classes].sum()
    torch.testing.assert_close(weighted, plain * factor.unsqueeze(1), rtol=1e-4, atol=1e-9)


def test_discriminator_is_five_strides_of_two():
    judge = discriminator(3)
    assert judge(torch.zeros(1, 3, 128, 64)).shape == (1, 1, 4, 2)
    assert judge(torch.zeros(1, 3, MIN_SIZE, MIN_SIZE)).shape == (1, 1, 1, 1)
    channels = [m.out_channels for m in judge if isinstance(m, nn.Conv2d)]
    assert channels == [64, 128, 256, 512, 1]
