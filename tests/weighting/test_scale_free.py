"""The scale-free reading of GBW: against a solver, its invariances over losses, sizes, batches, ranks and class counts,
and what lambda means there."""

import cvxopt
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch._subclasses import FakeTensorMode

from gbw_panoptic.losses import (
    center_loss_per_class,
    cross_entropy_per_class,
    entropy_per_class,
    group_sums,
    maximum_squares_per_class,
    offset_loss_per_class,
)
from gbw_panoptic.losses.adversarial import SOURCE, aligned_map, domain_loss
from gbw_panoptic.losses.masks import mask_losses
from gbw_panoptic.weighting import BRANCHES, GradientBasedWeighting, backward, gbw_weights, reweighted
from gbw_panoptic.weighting.simplex import NOISE, score_weights

B, C, SIDE, POINTS = 2, 6, 12, 1024
LOSSES = ("cross_entropy", "entropy", "maximum_squares", "alignment", "center", "offset", "mask", "dice")


def scene(seed: int) -> dict[str, torch.Tensor]:
    """Predictions whose classes are learnt unequally well, and labels of all but the last class."""
    g = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, C - 1, (B, SIDE, SIDE), generator=g)
    skill = torch.rand(C, generator=g) * 3
    logits = torch.randn(B, C, SIDE, SIDE, generator=g)
    logits.scatter_add_(1, labels.unsqueeze(1), skill[labels].unsqueeze(1))
    logits[:, -1] = -30.0
    classes = torch.arange(2 * C - 2).remainder(C - 1)
    targets = (torch.rand(len(classes), POINTS, generator=g) < 0.3).float()
    return {
        "logits": logits, "labels": labels,
        "center": torch.rand(B, 1, SIDE, SIDE, generator=g) * (1 + skill[labels].unsqueeze(1)),
        "offset": torch.randn(B, 2, SIDE, SIDE, generator=g) * (1 + skill[labels].unsqueeze(1)),
        "classes": classes, "targets": targets,
        "points": torch.randn(len(classes), POINTS, generator=g) + skill[classes, None] * (2 * targets - 1),
    }  # fmt: skip


def larger(x: torch.Tensor) -> torch.Tensor:
    """Four times the pixels (or points) of the same content."""
    return x.repeat_interleave(2, -1).repeat_interleave(2, -2) if x.shape[-1] == SIDE else x.repeat_interleave(4, -1)


def sums(loss: str, x: dict[str, torch.Tensor], factor: float = 1.0) -> tuple[torch.Tensor, torch.Tensor]:
    """Counts [C] and class gradient sums [C, D] of a loss, as its head gives them to a class weighting."""
    ones = torch.ones_like(x["center"])
    if loss in ("mask", "dice"):
        found = mask_losses(x["points"], x["targets"], torch.ones_like(x["points"]))
        slopes = (found.cross_entropy_gradient if loss == "mask" else found.dice_gradient).abs().sum(dim=1)
        count = group_sums(torch.ones(len(slopes)), x["classes"], C)
        return count, factor * group_sums(slopes, x["classes"], C).unsqueeze(1)
    if loss == "alignment":
        return alignment_sums(x["logits"], factor)
    if loss == "center":
        found = center_loss_per_class(x["center"], 0 * ones, ones, x["labels"], num_classes=C, with_gradient=True)
    elif loss == "offset":
        found = offset_loss_per_class(
            x["offset"], 0 * x["offset"], ones, x["labels"], num_classes=C, with_gradient=True
        )
    elif loss == "cross_entropy":
        found = cross_entropy_per_class(x["logits"], x["labels"], gradient="logits")
    else:
        function = entropy_per_class if loss == "entropy" else maximum_squares_per_class
        found = function(x["logits"], gradient="logits")
    return found.count[:C], factor * found.gradient


def alignment_sums(logits: torch.Tensor, factor: float) -> tuple[torch.Tensor, torch.Tensor]:
    """What the backward form reduces over the ranks, of a discriminator that sees one pixel at a time."""
    torch.manual_seed(0)
    discriminator = torch.nn.Conv2d(C, 1, 1).requires_grad_(False)
    logits = logits.clone().requires_grad_()
    weighting, reduced = weighting_of(1.0), []
    original = backward.all_reduce_sums

    def record(count, num_pixels, gradient, *, group=None):
        reduced.append((count[:C], gradient))
        return original(count, num_pixels, gradient, group=group)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backward, "all_reduce_sums", record)
        scaled = reweighted(logits, logits.detach().argmax(1), weighting=weighting, branch="target")
        (factor * domain_loss(discriminator(aligned_map(scaled, "softmax")), SOURCE, gan="vanilla")).backward()
    return reduced[0]


def weighting_of(lam: float, **options) -> GradientBasedWeighting:
    return GradientBasedWeighting(**(dict(num_classes=C, lam=lam, gradient="logits", scale_free=True) | options))


def weights(count: torch.Tensor, gradient: torch.Tensor, lam: float = 1.0) -> torch.Tensor:
    """[K] weights of the classes that are present."""
    return weighting_of(lam, num_classes=len(count)).class_weights(count, gradient, "source")[count > 0]


@pytest.mark.parametrize("loss", LOSSES)
@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 10**6), lam=st.floats(0.3, 5), factor=st.floats(-8, 8))
def test_weights_do_not_know_size_batch_ranks_units_and_absent_classes(loss, seed, lam, factor):
    x = scene(seed)
    count, gradient = sums(loss, x)
    expected = weights(count, gradient, lam)
    same = {
        "4 times larger": sums(loss, {key: larger(value) if value.dim() > 1 else value for key, value in x.items()}),
        "twice the batch": sums(loss, {key: torch.cat((value, value)) for key, value in x.items()}),
        "another unit": sums(loss, x, 10.0**factor),
    }
    halves = [sums(loss, {key: value.chunk(2)[rank] for key, value in x.items()}) for rank in (0, 1)]
    same["two ranks"] = tuple(sum(parts) for parts in zip(*halves))
    same["more classes"] = tuple(torch.cat((part, torch.zeros_like(part[:3]))) for part in (count, gradient))
    atol = (
        5e-3 if loss == "dice" else 1e-3
    )  # of a mean weight of 1; dice adds 1 to numerator and denominator, whatever the size
    for change, changed in same.items():
        torch.testing.assert_close(
            weights(*changed, lam), expected, rtol=0.01, atol=atol, msg=lambda text: f"{change}: {text}"
        )


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 10**6), lam=st.floats(0.5, 5))
def test_lambda_is_the_same_spread_of_weights_for_every_loss(seed, lam):
    x = scene(seed)
    for loss in LOSSES:
        count, gradient = sums(loss, x)
        found = weights(count, gradient, lam)
        scores = (gradient.double().norm(dim=1) / count.clamp(min=1))[count > 0].square()
        assert found.sum().item() == pytest.approx(len(found), rel=1e-6) and (found >= 0).all()
        assert found.max() <= 1 + (len(found) - 1) ** 0.5 / (2 * lam) + 1e-6
        variation = scores.std(unbiased=False) / scores.square().mean().sqrt()
        spread = min(1, variation / NOISE) / (2 * lam)
        if found.min() > 0:
            assert found.std(unbiased=False).item() == pytest.approx(
                spread.item() if variation < NOISE else 1 / (2 * lam), rel=1e-4
            )
        else:
            assert found.std(unbiased=False) < 1 / (2 * lam)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(-1, 1), min_size=1, max_size=19), st.floats(0.05, 5), st.booleans())
def test_score_weights_are_the_solvers(values, lam, scale_free):
    scores = np.array(values)
    unit = max(scores.std(), NOISE * np.sqrt((scores**2).mean())) if scale_free else 1.0
    unit, count = unit or 1.0, len(scores)
    cvxopt.solvers.options.update(show_progress=False, abstol=1e-12, reltol=1e-12, feastol=1e-12, maxiters=200)
    solution = cvxopt.solvers.qp(
        cvxopt.matrix(np.eye(count)),
        cvxopt.matrix(-(scores - scores.mean()) / (2 * lam * unit)),
        cvxopt.matrix(-np.eye(count)),
        cvxopt.matrix(np.zeros(count)),
        cvxopt.matrix(np.ones((1, count))),
        cvxopt.matrix(float(count)),
    )
    found = score_weights(torch.tensor(scores), lam, torch.ones(count, dtype=torch.bool), scale_free=scale_free)
    np.testing.assert_allclose(found.numpy(), np.asarray(solution["x"]).ravel(), rtol=0, atol=1e-6 * count)


@pytest.mark.parametrize("scale_free", [False, True])
@pytest.mark.parametrize("value", [0.0, 0.3, 1e-30, 1e30])
def test_equal_gradients_give_equal_weights(scale_free, value):
    present = torch.tensor([True, False, True, True])
    found = score_weights(torch.full((4,), value), 1.0, present, scale_free=scale_free)
    torch.testing.assert_close(found, torch.ones(4, dtype=torch.float64))


def test_no_class_is_given_up_where_normalisation_gives_up_most():
    """Gradients of one class ten times those of the others, as alignment has them."""
    g = torch.tensor([0.1, 0.1, 0.12, 0.15, 0.2, 1.5])
    normalised = gbw_weights(g / g.mean(), 0.5)
    free = score_weights(g.square(), 1.0, torch.ones(6, dtype=torch.bool), scale_free=True)
    assert (normalised == 0).sum() == 5 and normalised.max() == 6
    assert free.min() > 0.7 and free.max() < 2.2 and torch.equal(free.argsort(), g.argsort())


def test_two_steps_of_a_branch_share_no_state():
    weighting = weighting_of(1.0)
    x = [sums("cross_entropy", scene(seed)) for seed in (1, 2)]
    found = [weighting.class_weights(*part, BRANCHES[0]) for part in x]
    torch.testing.assert_close(found[1], weighting_of(1.0).class_weights(*x[1], BRANCHES[1]))


def test_no_value_is_read_on_the_host():
    with FakeTensorMode():
        weighting = weighting_of(1.0, errors="signed", guard=1.0, cooldown=(2, 4), momentum=0.5)
        found = weighting.class_weights(torch.ones(C, dtype=torch.float64), torch.rand(C, C), "source")
        assert found.shape == (C,)
