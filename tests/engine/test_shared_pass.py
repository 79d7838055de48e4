"""Source and mixed images in one pass of the student: the same losses and gradients as in two, for both
architectures."""

import pytest
import torch
from test_segment_training import SMALL
from tiny_runs import TINY

from gbw_panoptic.engine import build_trainer
from gbw_panoptic.errors import UserError
from gbw_panoptic.validation import validate

NORMS = (
    "MODEL.RESNETS.NORM", "FrozenBN", "MODEL.SEM_SEG_HEAD.NORM", "GN", "MODEL.INS_EMBED_HEAD.NORM", "GN",
    "MODEL.SEM_SEG_HEAD.ASPP_DROPOUT", 0.0, "MODEL.INS_EMBED_HEAD.ASPP_DROPOUT", 0.0,
)  # fmt: skip
WIDE = tuple(  # GN has 32 groups
    word for key in ("ASPP_CHANNELS", "CONVS_DIM", "HEAD_CHANNELS") for head in ("SEM_SEG_HEAD", "INS_EMBED_HEAD")
    for word in (f"MODEL.{head}.{key}", 32)
)  # fmt: skip
PROJECTIONS = ("MODEL.SEM_SEG_HEAD.PROJECT_CHANNELS", "[32, 32]", "MODEL.INS_EMBED_HEAD.PROJECT_CHANNELS", "[32, 32]")
CASES = {
    "quick/self_training_gbw.yaml": (*TINY, *NORMS, *WIDE, *PROJECTIONS, "SOLVER.MAX_ITER", 3),
    "streets/mask2former_self_training.yaml": (
        *SMALL,
        "MODEL.RESNETS.NORM",
        "FrozenBN",
        "SELF_TRAINING.SEGMENTS.BURN_IN_ITERS",
        0,
    ),
}


def step(cfg) -> tuple[dict, list]:
    """Losses and gradients of a first step."""
    validate(cfg)
    trainer = build_trainer(cfg)
    trainer.model.train()
    trainer.strategy.before_step(trainer.model, 0)
    torch.manual_seed(0)
    losses = {}
    for terms in trainer.strategy.terms(trainer.model, next(iter(trainer.loader)), 0):
        sum(terms.values()).backward()
        losses.update({name: value.detach() for name, value in terms.items()})
    return losses, [p.grad for p in trainer.model.parameters() if p.grad is not None]


@pytest.mark.parametrize("name", CASES)
def test_one_pass_equals_two(make_cfg, name):
    (two, their_gradients), (one, gradients) = (
        step(make_cfg(name, *CASES[name], "SELF_TRAINING.SHARED_PASS", shared)) for shared in (False, True)
    )
    assert list(one) == list(two) and any(k.startswith("mixed/") for k in one)
    for key, value in two.items():
        torch.testing.assert_close(one[key], value, rtol=1e-4, atol=1e-6)
    difference = [ours - theirs for ours, theirs in zip(gradients, their_gradients, strict=True)]
    norms = [torch.stack([x.norm() for x in parts]).norm() for parts in (difference, their_gradients)]
    assert norms[0] < 1e-3 * norms[1], norms


def test_batch_norm_is_refused(make_cfg):
    with pytest.raises(
        UserError, match="SHARED_PASS: expected a network whose results do not depend on the batch, found batch norm in"
    ):
        build_trainer(make_cfg("quick/self_training.yaml", *TINY, "SELF_TRAINING.SHARED_PASS", True))


@pytest.mark.parametrize("name", ["quick/source_only.yaml", "quick/active_ripu.yaml"])
def test_trainers_that_have_no_such_pass_refuse_it(make_cfg, name):
    with pytest.raises(UserError, match="SELF_TRAINING.SHARED_PASS"):
        validate(make_cfg(name, "SELF_TRAINING.SHARED_PASS", True))
