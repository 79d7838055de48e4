"""The projection against an interior-point solver, the optimality conditions, and its properties."""

import cvxopt
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gbw_panoptic.weighting import gbw_weights


def solver(g, lam):
    """The program divided by 2 lam, so that its scale does not stop the solver early."""
    n = len(g)
    cvxopt.solvers.options.update(show_progress=False, abstol=1e-12, reltol=1e-12, feastol=1e-12, maxiters=200)
    solution = cvxopt.solvers.qp(
        cvxopt.matrix(np.eye(n)),
        cvxopt.matrix(-np.asarray(g) ** 2 / (2 * lam)),
        cvxopt.matrix(-np.eye(n)),
        cvxopt.matrix(np.zeros(n)),
        cvxopt.matrix(np.ones((1, n))),
        cvxopt.matrix(float(n)),
    )
    return np.asarray(solution["x"]).ravel()


def problem(rng):
    n = int(rng.integers(1, 20))
    g = rng.exponential(size=n)
    kind = rng.integers(5)
    if kind == 0:
        g = np.round(g, 1)  # ties and zeros
    elif kind == 1:
        g = np.full(n, g[0])
    elif kind == 2:
        g *= 10.0 ** rng.uniform(-3, 1)
    elif kind == 3:
        g[rng.random(n) < 0.5] = 0
    return g, 10.0 ** rng.uniform(-1.5, 2)


@pytest.mark.parametrize("count", [300, pytest.param(10_000, marks=pytest.mark.slow)])
def test_equals_interior_point_solver(count):
    rng = np.random.default_rng(count)
    for _ in range(count):
        g, lam = problem(rng)
        weights = gbw_weights(torch.from_numpy(g), lam).numpy()
        assert np.abs(weights - solver(g, lam)).max() <= 1e-6 * len(g), (g, lam)


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


def test_works_under_compile_without_graph_breaks():
    compiled = torch.compile(gbw_weights, backend="eager", fullgraph=True)
    g = torch.rand(19)
    torch.testing.assert_close(compiled(g, 0.5, g > 0.3), gbw_weights(g, 0.5, g > 0.3))
