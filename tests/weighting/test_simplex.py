"""The projection against an interior-point solver, the optimality conditions, and its properties."""

import shutil
from collections import Counter
from fractions import Fraction

import cvxopt
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gbw_panoptic.weighting import gbw_weights


def solver(g, lam):
    """The program divided by 2 lam, so that its scale does not stop the solver early.

    Where v = g^2 / (2 lam) spans too much for an interior point, an equal program is solved: sum w is fixed, so v may
    be shifted to a maximum of 0 (here in exact fractions), and what is below -n then has weight 0, so v may end at -2n.
    """
    n = len(g)
    v = np.asarray(g) ** 2 / (2 * lam)
    if v.max() > 1000:
        exact = [Fraction(float(x)) ** 2 / (2 * Fraction(lam)) for x in g]
        v = np.array([float(max(x - max(exact), -2 * n)) for x in exact])
    cvxopt.solvers.options.update(show_progress=False, abstol=1e-12, reltol=1e-12, feastol=1e-12, maxiters=200)
    solution = cvxopt.solvers.qp(
        cvxopt.matrix(np.eye(n)),
        cvxopt.matrix(-v),
        cvxopt.matrix(-np.eye(n)),
        cvxopt.matrix(np.zeros(n)),
        cvxopt.matrix(np.ones((1, n))),
        cvxopt.matrix(float(n)),
    )
    return np.asarray(solution["x"]).ravel()


KINDS = ("ties and zeros", "all equal", "one scale", "many zeros", "many scales", "ordinary")


def problem(rng):
    """Kind, g [n], lambda and which classes are present."""
    n = int(rng.integers(1, 20))
    kind = KINDS[rng.integers(len(KINDS))]
    g = rng.exponential(size=n)
    if kind == "ties and zeros":
        g = np.round(g, 1)
    elif kind == "all equal":
        g = np.full(n, g[0] * 10.0 ** rng.uniform(-8, 8))
    elif kind == "one scale":
        g *= 10.0 ** rng.uniform(-8, 8)
    elif kind == "many zeros":
        g[rng.random(n) < 0.5] = 0
    elif kind == "many scales":
        g *= 10.0 ** rng.uniform(-6, 6, size=n)
    present = rng.random(n) < 0.7 if rng.random() < 0.3 else np.ones(n, dtype=bool)
    present[rng.integers(n)] = True
    return kind, g, 10.0 ** rng.uniform(-3, 3), present


@pytest.mark.parametrize("count", [120, pytest.param(12_000, marks=pytest.mark.slow)])
def test_equals_interior_point_solver(count):
    rng = np.random.default_rng(count)
    kinds = Counter()
    for _ in range(count):
        kind, g, lam, present = problem(rng)
        kinds.update([kind, "one class"] if present.sum() == 1 else [kind])
        weights = gbw_weights(torch.from_numpy(g), lam, torch.from_numpy(present)).numpy()
        assert np.abs(weights[present] - solver(g[present], lam)).max() <= 1e-6 * present.sum(), (g, lam, present)
        assert (weights[~present] == 1).all()
    assert all(kinds[kind] >= count // 10 for kind in KINDS) and kinds["one class"] >= count // 30


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.floats(0, 1e15, allow_nan=False), min_size=1, max_size=40),
    st.floats(1e-6, 1e6),
    st.randoms(use_true_random=False),
)
def test_optimality_conditions(values, lam, random):
    g = torch.tensor(values, dtype=torch.float64)
    present = torch.tensor([random.random() < 0.8 for _ in values])
    weights = gbw_weights(g, lam, present)
    assert (weights >= 0).all()
    assert (weights[~present] == 1).all()
    inside = weights[present]
    assert inside.sum().item() == pytest.approx(int(present.sum()), rel=1e-9)
    # stationarity: v - w is one number on the support and no larger outside (v shifted, which changes nothing)
    kept = g[present]
    if len(kept):
        v = (kept - kept.max()) * (kept + kept.max()) / (2 * lam)
        slack = v - inside
        support = inside > 0
        theta = slack[support].mean()
        tolerance = 1e-6 * (1 + theta.abs())
        assert ((slack[support] - theta).abs() <= tolerance).all()
        assert (slack[~support] <= theta + tolerance).all()


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(0, 100), min_size=2, max_size=19), st.floats(0.01, 100), st.randoms(use_true_random=False))
def test_permutation_equivariance_and_order(values, lam, random):
    g = torch.tensor(values, dtype=torch.float64)
    order = list(range(len(values)))
    random.shuffle(order)
    weights = gbw_weights(g, lam)
    torch.testing.assert_close(gbw_weights(g[order], lam), weights[order], rtol=1e-9, atol=1e-12)
    assert (weights[g.argsort()].diff() >= -1e-9).all()  # a larger gradient never weighs less


def test_limits_of_lambda():
    g = torch.tensor([0.5, 1.0, 2.0])
    torch.testing.assert_close(gbw_weights(g, 1e9), torch.ones(3))
    torch.testing.assert_close(gbw_weights(g, 1e-9), torch.tensor([0.0, 0.0, 3.0]))


def test_by_hand():
    # v = g^2 / (2 lam) = (0, 0.5, 1), K = 3: theta = (1.5 - 3) / 3 = -0.5, w = v + 0.5
    weights = gbw_weights(torch.tensor([0.0, 1.0, 2.0**0.5], dtype=torch.float64), 1.0)
    torch.testing.assert_close(weights, torch.tensor([0.5, 1.0, 1.5]).double())


@pytest.mark.parametrize("scale", [1e-30, 1e-6, 1e6, 1e18])
def test_float32_keeps_large_ties(scale):
    torch.testing.assert_close(gbw_weights(torch.full((19,), scale), 0.5), torch.ones(19))


def test_edges():
    assert gbw_weights(torch.tensor([3.0]), 0.1).tolist() == [1.0]
    assert gbw_weights(torch.zeros(4), 0.5).tolist() == [1.0] * 4
    none = torch.zeros(4, dtype=torch.bool)
    assert gbw_weights(torch.rand(4), 0.5, none).tolist() == [1.0] * 4
    assert gbw_weights(torch.rand(4).half(), 0.5).dtype == torch.float32


@pytest.mark.parametrize("lam", [0.0, -1.0, float("nan")])
def test_lambda_must_be_positive(lam):
    with pytest.raises(ValueError, match="Expected lam > 0"):
        gbw_weights(torch.ones(2), lam)


def test_shapes_are_checked():
    with pytest.raises(ValueError, match="same shape"):
        gbw_weights(torch.ones(2), 1.0, torch.ones(3, dtype=torch.bool))


def test_host_and_tensor_operations_agree_to_the_bit():
    on_tensors = torch.compile(gbw_weights, backend="eager", fullgraph=True, dynamic=False)
    rng = np.random.default_rng(1)
    for number in range(60):
        g = torch.from_numpy(np.round(rng.exponential(size=19), 1 + number % 8) * 10.0 ** rng.uniform(-6, 6))
        present = torch.from_numpy(rng.random(19) < rng.random())
        for mask in (present, None):
            assert torch.equal(gbw_weights(g, 0.5, mask), on_tensors(g, 0.5, mask)), (g, mask)


def test_works_under_compile_without_graph_breaks():
    compiled = torch.compile(gbw_weights, backend="eager", fullgraph=True)
    g = torch.rand(19)
    torch.testing.assert_close(compiled(g, 0.5, g > 0.3), gbw_weights(g, 0.5, g > 0.3))


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler")
def test_compiled_code_gives_the_same_weights():
    compiled = torch.compile(gbw_weights, fullgraph=True)
    rng = np.random.default_rng(0)
    for scale in (1e-6, 1.0, 1e4):
        g = torch.from_numpy(scale * rng.exponential(size=19)).float()
        present = g > 0.3 * scale
        torch.testing.assert_close(compiled(g, 0.5, present), gbw_weights(g, 0.5, present), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_autocast_changes_no_bit(dtype):
    g = torch.rand(19, generator=torch.Generator().manual_seed(0))
    with torch.autocast("cpu", dtype):
        weights = gbw_weights(g, 0.1, g > 0.3)
    assert weights.dtype == torch.float32 and torch.equal(weights, gbw_weights(g, 0.1, g > 0.3))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_low_precision_loses_nothing_but_its_own_rounding(dtype):
    """Squares of float16 overflow beyond 256 and are coarse everywhere; here only g itself is rounded."""
    g = (1000 * torch.rand(19, generator=torch.Generator().manual_seed(0))).to(dtype)
    weights = gbw_weights(g, 1e4)
    assert weights.dtype == torch.float32
    torch.testing.assert_close(weights.double(), gbw_weights(g.double(), 1e4), rtol=1e-6, atol=1e-6)
    assert 0 < (weights > 0).sum() < 19  # neither trivial solution
