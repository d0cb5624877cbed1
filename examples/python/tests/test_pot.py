"""otpool.pot against POT itself, and against the optimality of what both compute."""

import inspect
import itertools
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import logsumexp

import otpool
from otpool import pot

theirs = pytest.importorskip("ot").unbalanced
METHODS = ["sinkhorn", "sinkhorn_stabilized", "sinkhorn_translation_invariant", "sinkhorn_reg_scaling"]

pytestmark = pytest.mark.filterwarnings("ignore:If reg_type", "ignore:Method not implemented", "ignore:Reg_type")


def random_problem(seed, dim_a=6, dim_b=5):
    rng = np.random.default_rng(seed)
    return rng.uniform(0.1, 1, dim_a), rng.uniform(0.1, 1, dim_b), rng.uniform(0, 2, (dim_a, dim_b))


@pytest.mark.parametrize("name", pot.__all__)
def test_signatures_are_theirs(name):
    def arguments(function):
        return [(each.name, each.default, each.kind) for each in inspect.signature(function).parameters.values()]

    if not hasattr(theirs, name):
        pytest.skip(f"this POT has no {name}")
    assert arguments(getattr(pot, name)) == arguments(getattr(theirs, name))


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 7),
    st.integers(1, 7),
    st.floats(0.1, 3),
    st.one_of(
        st.floats(0.1, 5), st.tuples(st.floats(0.1, 5), st.just(np.inf)), st.tuples(st.just(np.inf), st.floats(0.1, 5))
    ),
    st.sampled_from(METHODS),
    st.sampled_from(["kl", "entropy"]),
    st.booleans(),
)
def test_sinkhorn_finds_their_plan(seed, dim_a, dim_b, reg, reg_m, method, reg_type, has_c):
    a, b, M = random_problem(seed, dim_a, dim_b)
    c = np.random.default_rng(seed + 1).uniform(0.5, 2, M.shape) if has_c else None
    options = dict(reg_type=reg_type, c=c, numItermax=20000, stopThr=1e-12, log=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected, their_log = theirs.sinkhorn_unbalanced(a, b, M, reg, reg_m, **options)
        found, log = pot.sinkhorn_unbalanced(a, b, M, reg, reg_m, method, **{**options, "stopThr": 1e-9})
    assert log["err"][-1] <= 1e-9
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-9)
    for name in ("logu", "logv"):
        np.testing.assert_allclose(log[name], their_log[name], atol=1e-5)
    for name in ("cost", "total_cost"):
        assert log[name] == pytest.approx(their_log[name], rel=1e-5, abs=1e-7)
    for kind, name in (("linear", "cost"), ("total", "total_cost")):
        cost = pot.sinkhorn_unbalanced2(
            a, b, M, reg, reg_m, method, reg_type, c, returnCost=kind, numItermax=20000, stopThr=1e-9
        )
        assert cost == pytest.approx(log[name])


@pytest.mark.parametrize("method, reg_type", list(itertools.product(METHODS, ["kl", "entropy"])))
def test_log_has_a_fixed_point(method, reg_type):
    """With POT's defaults; the equations of its scalings."""
    a, b, M = random_problem(3, 100, 80)
    reg, reg_m = 0.7, 1.3
    plan, log = pot.sinkhorn_unbalanced(a, b, M, reg, reg_m, method, reg_type, log=True)
    log_c = 0 if reg_type == "entropy" else np.log(a)[:, None] + np.log(b)
    fi = reg_m / (reg_m + reg)
    log_v = fi * (np.log(b) - logsumexp(log["logu"][:, None] + log_c - M / reg, axis=0))
    log_u = fi * (np.log(a) - logsumexp(log["logv"] + log_c - M / reg, axis=1))
    np.testing.assert_allclose(log["logu"], log_u, atol=1e-5)
    np.testing.assert_allclose(log["logv"], log_v, atol=1e-5)
    np.testing.assert_allclose(plan, np.exp(log_u[:, None] + log_v + log_c - M / reg), rtol=1e-4)


def test_small_reg_where_theirs_has_no_numbers_left():
    a, b, M = random_problem(4, 20, 15)
    reg, reg_m = 1e-3, 1.0
    plan, log = pot.sinkhorn_unbalanced(a, b, M, reg, reg_m, log=True, numItermax=10000)
    assert log["err"][-1] <= 1e-6
    log_c = np.log(a)[:, None] + np.log(b)
    log_u = reg_m / (reg_m + reg) * (np.log(a) - logsumexp(log["logv"] + log_c - M / reg, axis=1))
    np.testing.assert_allclose(log["logu"], log_u, rtol=1e-5)
    assert np.isfinite(plan).all() and plan.sum() > 0.1


def test_many_histograms():
    a, _, M = random_problem(5)
    b = np.random.default_rng(6).uniform(0.1, 1, (5, 3))
    for function in ("sinkhorn_unbalanced", "sinkhorn_unbalanced2"):
        expected, their_log = getattr(theirs, function)(a, b, M, 0.5, 1, reg_type="entropy", stopThr=1e-12, log=True)
        found, log = getattr(pot, function)(a, b, M, 0.5, 1, reg_type="entropy", stopThr=1e-9, log=True)
        np.testing.assert_allclose(found, expected, rtol=1e-6)
        np.testing.assert_allclose(log["logu"], their_log["logu"], atol=1e-6)
        np.testing.assert_allclose(log["logv"], their_log["logv"], atol=1e-6)
        np.testing.assert_array_equal(getattr(pot, function)(a, b, M, 0.5, 1, reg_type="entropy", stopThr=1e-9), found)


def test_warm_starts():
    a, b, M = random_problem(7, 30, 20)
    options = dict(stopThr=1e-9, numItermax=10000, log=True)
    cold, log = pot.sinkhorn_unbalanced(a, b, M, 0.05, 1, **options)
    warm, again = pot.sinkhorn_unbalanced(a, b, M, 0.05, 1, warmstart=(log["logu"], log["logv"]), **options)
    assert len(again["err"]) <= 2 < len(log["err"])
    np.testing.assert_allclose(warm, cold, rtol=1e-6)


def test_forms_of_arguments():
    a, b, M = random_problem(8, 5, 5)
    expected = pot.sinkhorn_unbalanced(a, b, M, 0.5, (1.0, 1.0))
    for reg_m in (1, 1.0, [1], (1, 1), np.ones(1), np.ones(2), np.float64(1)):
        np.testing.assert_array_equal(pot.sinkhorn_unbalanced(a, b, M, 0.5, reg_m), expected)
    np.testing.assert_array_equal(pot.sinkhorn_unbalanced(a.tolist(), b.tolist(), M.tolist(), 0.5, 1), expected)
    uniform = np.full(5, 0.2)
    np.testing.assert_array_equal(
        pot.sinkhorn_unbalanced([], [], M, 0.5, 1), pot.sinkhorn_unbalanced(uniform, uniform, M, 0.5, 1)
    )
    in_float = pot.sinkhorn_unbalanced(a, b, M.astype(np.float32), 0.5, 1)
    assert in_float.dtype == np.float32
    np.testing.assert_allclose(in_float, expected, rtol=1e-4)


def test_tensors():
    torch = pytest.importorskip("torch")
    a, b, M = random_problem(9)
    expected, expected_log = pot.sinkhorn_unbalanced(a, b, M, 0.5, 1, log=True)
    for dtype in (torch.float32, torch.float64):
        given = [torch.tensor(each, dtype=dtype) for each in (a, b, M)]
        found, log = pot.sinkhorn_unbalanced(*given, 0.5, torch.ones(2), log=True)
        assert found.dtype == dtype
        np.testing.assert_allclose(found.numpy(), expected, rtol=1e-4)
        np.testing.assert_allclose(log["logu"].numpy(), expected_log["logu"], rtol=1e-4, atol=1e-5)
        assert pot.mm_unbalanced2(*given, 1).dtype == dtype


def test_zeros_are_excluded():
    a, b, M = random_problem(10)
    a[2] = 0
    b[3] = 0
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        expected = theirs.sinkhorn_unbalanced(a, b, M, 0.5, 1, stopThr=1e-12, reg_type="entropy")
    for reg_type in ("kl", "entropy"):
        plan, log = pot.sinkhorn_unbalanced(a, b, M, 0.5, 1, reg_type=reg_type, log=True)
        assert (plan[2] == 0).all() and (plan[:, 3] == 0).all() and plan.sum() > 0
        assert np.isfinite(log["total_cost"])
    kept = np.ix_(np.delete(np.arange(6), 2), np.delete(np.arange(5), 3))
    np.testing.assert_allclose(plan[kept], expected[kept], rtol=1e-4)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from(["kl", "l2"]), st.floats(0.2, 3), st.floats(0.5, 10))
def test_mm_finds_their_plan(seed, div, reg, reg_m):
    a, b, M = random_problem(seed)
    options = dict(reg=reg, div=div, log=True)
    expected, their_log = theirs.mm_unbalanced(a, b, M, reg_m, numItermax=20000, stopThr=1e-12, **options)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "not converged")  # costs and plans are compared
        found, log = pot.mm_unbalanced(a, b, M, reg_m, **options)
    assert log["total_cost"] <= their_log["total_cost"] + 1e-7
    assert log["total_cost"] == pytest.approx(their_log["total_cost"], rel=1e-5, abs=1e-6)
    np.testing.assert_allclose(found, expected, atol=1e-4)
    np.testing.assert_array_equal(log["G"][-1], found)


@pytest.mark.filterwarnings("ignore:not converged")  # costs are compared
@pytest.mark.parametrize("div", ["kl", "l2"])
@pytest.mark.parametrize("seed", range(5))
def test_mm_without_regularizer_is_at_least_as_good(div, seed):
    a, b, M = random_problem(seed, 12, 10)
    expected = theirs.mm_unbalanced2(a, b, M, 2.0, div=div, returnCost="total", numItermax=100000, stopThr=1e-14)
    found = pot.mm_unbalanced2(a, b, M, 2.0, div=div, returnCost="total")
    assert found <= expected + 1e-7
    assert found == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize(
    "reg_div, regm_div, reg", list(itertools.product(["kl", "entropy", "l2"], ["kl", "l2", "tv"], [0.5, 2.0]))
)
def test_lbfgsb_is_at_least_as_good(reg_div, regm_div, reg):
    a, b, M = random_problem(11, 4, 3)
    options = dict(reg_div=reg_div, regm_div=regm_div, log=True)
    expected, their_log = theirs.lbfgsb_unbalanced(a, b, M, reg, 1.5, numItermax=10000, **options)
    found, log = pot.lbfgsb_unbalanced(a, b, M, reg, 1.5, numItermax=50000, **options)
    assert log["res"].converged
    assert log["total_cost"] <= their_log["total_cost"] + 1e-7
    if regm_div != "tv":  # where L-BFGS stops short: the objective has kinks
        assert log["total_cost"] == pytest.approx(their_log["total_cost"], abs=1e-5)
        np.testing.assert_allclose(found, expected, atol=1e-3)
    for kind, name in (("linear", "cost"), ("total", "total_cost")):
        cost = pot.lbfgsb_unbalanced2(
            a, b, M, reg, 1.5, reg_div=reg_div, regm_div=regm_div, returnCost=kind, numItermax=50000
        )
        assert cost == pytest.approx(log[name])


def test_errors():
    a, b, M = random_problem(12)
    for function in (pot.sinkhorn_unbalanced2, pot.lbfgsb_unbalanced2):
        with pytest.raises(ValueError, match="Unknown returnCost"):
            function(a, b, M, 1, 1, returnCost="no")
    with pytest.raises(ValueError, match="Unknown method"):
        pot.sinkhorn_unbalanced(a, b, M, 1, 1, method="no")
    with pytest.raises(ValueError, match="Unknown div"):
        pot.mm_unbalanced(a, b, M, 1, div="no")
    with pytest.raises(ValueError, match="Unknown reg_div"):
        pot.lbfgsb_unbalanced(a, b, M, 1, 1, reg_div="no")
    with pytest.raises(ValueError, match="Unknown regm_div"):
        pot.lbfgsb_unbalanced(a, b, M, 1, 1, regm_div="no")
    with pytest.raises(otpool.UnsupportedProblem, match="functions as reg_div"):
        pot.lbfgsb_unbalanced(a, b, M, 1, 1, reg_div=(np.sum, np.ones_like))
    with pytest.raises(ValueError, match=r"^shape of a is \(5,\); allowed: \(6,\), as M says, or empty"):
        pot.sinkhorn_unbalanced(b, b, M, 1, 1)
    with pytest.raises(ValueError, match="sum of q0 is .*both marginals are hard"):
        pot.sinkhorn_unbalanced(a, b, M, 1, np.inf)
    with pytest.warns(UserWarning, match="^not converged: iteration_limit after 2 iterations"):
        pot.sinkhorn_unbalanced(a, b, M, 0.1, 1, numItermax=2)


def test_verbose_prints(capsys):
    a, b, M = random_problem(13)
    pot.sinkhorn_unbalanced(a, b, M, 0.5, 1, verbose=True)
    assert "Err" in capsys.readouterr().out
    pot.sinkhorn_unbalanced(a, b, M, 0.5, 1)
    assert capsys.readouterr().out == ""
