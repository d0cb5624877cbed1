"""solve(): conditions of optimality, a linear programme, values of options; copies, pickles, memory, threads."""

import copy
import gc
import itertools
import pickle
import sys
import threading
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

import otpool

ALPHAS = st.one_of(st.just(np.inf), st.just(0.0), st.floats(0.05, 5))


def random_problem(seed, instances, features):
    rng = np.random.default_rng(seed)
    p0 = rng.uniform(0.2, 1, features)
    q0 = rng.uniform(0.2, 1, instances)
    return rng.uniform(-1, 1, (instances, features)), p0 / p0.sum(), q0 / q0.sum()


def violation(marginal, prior, potential, alpha):
    """The condition of a side's optimum, |log(m / p) + potential / alpha|."""
    if alpha == 0:
        return np.abs(potential).max()
    of_penalty = 0 if np.isinf(alpha) else potential / alpha
    return np.abs(np.log(marginal / prior) + of_penalty).max()


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 7),
    st.integers(1, 6),
    st.floats(0.05, 3),
    ALPHAS,
    ALPHAS,
    st.sampled_from([otpool.Entropy(), otpool.RelativeEntropy()]),
    st.sampled_from(
        [
            otpool.Automatic(),
            otpool.Sinkhorn(closed_forms=False),
            otpool.Newton(closed_forms=False),
            otpool.BregmanAdmm(closed_forms=False),
        ]
    ),
)
def test_entropic_plans_are_optimal(seed, instances, features, alpha0, alpha1, alpha2, regularizer, solver):
    X, p0, q0 = random_problem(seed, instances, features)
    found = otpool.solve(
        X, alpha0=alpha0, alpha1=alpha1, alpha2=alpha2, p0=p0, q0=q0, regularizer=regularizer, solver=solver
    )
    assert found.converged and found.residual <= 1e-8
    f, g, P = found.feature_potential, found.instance_potential, found.plan
    expected = np.exp((X + f[None, :] + g[:, None]) / alpha0)
    if regularizer == otpool.RelativeEntropy():
        expected *= q0[:, None] * p0[None, :]
    # An entry counts by its share of its feature, as in the residual.
    assert (np.abs(P - expected).sum(0) <= 1e-7 * P.sum(0)).all()
    assert violation(P.sum(0), p0, f, alpha1) <= 1e-7
    assert violation(P.sum(1), q0, g, alpha2) <= 1e-7
    np.testing.assert_allclose(found.feature_marginal, P.sum(0), rtol=1e-12)
    np.testing.assert_allclose(found.instance_marginal, P.sum(1), rtol=1e-12)
    np.testing.assert_allclose(found.mass, P.sum(), rtol=1e-12)
    np.testing.assert_allclose(found.pooled, (P * X).sum(0) / P.sum(0), rtol=1e-9, atol=1e-12)


def kl(a, b):
    return (a * np.log(np.where(a > 0, a, 1) / b) - a + b).sum()


def test_objective_is_the_formula():
    X, p0, q0 = random_problem(1, 5, 3)
    found = otpool.solve(X, alpha0=0.3, alpha1=0.7, alpha2=1.1, p0=p0, q0=q0)
    P = found.plan
    expected = -(X * P).sum() + 0.3 * (P * (np.log(P) - 1)).sum() + 0.7 * kl(P.sum(0), p0) + 1.1 * kl(P.sum(1), q0)
    assert found.objective == pytest.approx(expected, abs=1e-12)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 6), st.integers(1, 5), st.floats(0.05, 3), st.floats(0.1, 5))
def test_quadratic_plans_are_optimal(seed, instances, features, alpha0, alpha2):
    X, p0, q0 = random_problem(seed, instances, features)
    found = otpool.solve(X, alpha0=alpha0, alpha2=alpha2, p0=p0, q0=q0, regularizer=otpool.Quadratic())
    assert found.converged
    f, g = found.feature_potential, found.instance_potential
    expected = np.maximum(X + f[None, :] + g[:, None], 0) / (2 * alpha0)
    np.testing.assert_allclose(found.plan, expected, atol=1e-7)
    assert violation(found.plan.sum(0), p0, f, np.inf) <= 1e-7
    assert violation(found.plan.sum(1), q0, g, alpha2) <= 1e-7


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 6), st.integers(1, 5))
def test_exact_transport_has_the_value_of_the_linear_programme(seed, instances, features):
    X, p0, q0 = random_problem(seed, instances, features)
    found = otpool.solve(X, alpha0=0, alpha2=np.inf, p0=p0, q0=q0, solver=otpool.ActiveSet())
    constraints = [np.kron(np.eye(instances), np.ones(features)), np.kron(np.ones(instances), np.eye(features))]
    programme = linprog(-X.ravel(), A_eq=np.vstack(constraints), b_eq=np.concatenate([q0, p0]))
    assert found.converged
    assert found.objective == pytest.approx(programme.fun, abs=1e-8)
    np.testing.assert_allclose(found.plan.sum(0), p0, atol=1e-9)
    np.testing.assert_allclose(found.plan.sum(1), q0, atol=1e-9)


@pytest.mark.parametrize(
    "penalty",
    [otpool.TotalVariation(), otpool.ChiSquared(), otpool.AtMost(), otpool.Range(0.5, 1.5)],
)
def test_penalties_have_their_optimum(penalty):
    """No feasible plan nearby has a lower objective."""
    X, p0, q0 = random_problem(3, 5, 4)
    alpha0, alpha2 = 0.3, 0.2
    found = otpool.solve(X, alpha0=alpha0, alpha2=alpha2, p0=p0, q0=q0, penalty2=penalty)
    assert found.converged

    def value(P):
        t = P.sum(1) / q0
        if penalty == otpool.TotalVariation():
            psi = np.abs(t - 1)
        elif penalty == otpool.ChiSquared():
            psi = (t - 1) ** 2 / 2
        elif penalty == otpool.AtMost():
            psi = np.where(t <= 1 + 1e-7, 0, np.inf)
        else:
            psi = np.where((t >= 0.5 - 1e-7) & (t <= 1.5 + 1e-7), 0, np.inf)
        return -(X * P).sum() + alpha0 * (P * (np.log(P) - 1)).sum() + alpha2 * (q0 * psi).sum()

    P = found.plan
    least = value(P)
    assert found.objective == pytest.approx(least, abs=1e-6)
    rng = np.random.default_rng(4)
    for size in (1e-1, 1e-2, 1e-3):
        for _ in range(200):
            other = P * np.exp(size * rng.standard_normal(P.shape))
            other *= p0 / other.sum(0)  # the features are hard
            assert value(other) >= least - 1e-7


def test_an_alpha_for_each_line():
    X, p0, q0 = random_problem(5, 4, 3)
    alpha2 = np.array([0.0, 0.5, np.inf, 2.0])
    found = otpool.solve(X, alpha0=0.2, alpha1=1.5, alpha2=alpha2, p0=p0, q0=q0)
    assert found.converged
    c, g = found.plan.sum(1), found.instance_potential
    assert abs(g[0]) < 1e-12
    assert c[2] == pytest.approx(q0[2], rel=1e-7)
    for n in (1, 3):
        assert np.log(c[n] / q0[n]) + g[n] / alpha2[n] == pytest.approx(0, abs=1e-7)


def test_masses_and_a_fixed_mass():
    X, p0, q0 = random_problem(6, 4, 3)
    masses = otpool.solve(X, alpha0=0.2, alpha1=np.inf, alpha2=0.3, p0=5 * p0, q0=2 * q0, has_masses=True)
    np.testing.assert_allclose(masses.plan.sum(0), 5 * p0, rtol=1e-7)
    fixed = otpool.solve(X, alpha0=0.2, alpha1=0.5, alpha2=0.3, mass=0.8)
    assert fixed.plan.sum() == pytest.approx(0.8, rel=1e-7)


def test_forbidden_pairs_and_excluded_instances():
    X, p0, q0 = random_problem(7, 4, 3)
    X[1, 2] = -np.inf
    q0[3] = 0
    found = otpool.solve(X, values=np.ones_like(X), alpha0=0.2, alpha2=1, q0=q0 / q0.sum())
    assert found.converged
    assert found.plan[1, 2] == 0 and (found.plan[3] == 0).all()
    np.testing.assert_allclose(found.pooled, 1)


def test_iterations_history_observer_warm_start():
    X, p0, q0 = random_problem(8, 6, 4)
    options = dict(alpha0=0.02, alpha1=1, alpha2=1)
    steps = otpool.solve(X, **options, solver=otpool.Sinkhorn(iterations=7, history=True))
    assert steps.iterations == 7 and len(steps.history) == 7 and steps.status == "iteration_limit"
    seen = []
    stopped = otpool.solve(
        X, **options, solver=otpool.Sinkhorn(), observer=lambda i, residual: seen.append((i, residual)) or i == 3
    )
    assert stopped.status == "stopped" and [i for i, _ in seen] == [1, 2, 3]
    cold = otpool.solve(X, **options, solver=otpool.Sinkhorn())
    for start in (cold, pickle.loads(pickle.dumps(cold)), (cold.feature_potential, cold.instance_potential)):
        warm = otpool.solve(X, **options, solver=otpool.Sinkhorn(), warm_start=start)
        assert warm.converged and warm.iterations <= 2 < cold.iterations
    with pytest.raises(RuntimeError, match="from the observer"):
        otpool.solve(X, **options, solver=otpool.Sinkhorn(), observer=raising)


def raising(iteration, residual):
    raise RuntimeError("from the observer")


ERRORS = [
    (dict(alpha0=-1), r"^alpha0 is -1; allowed: 0 to inf$"),
    (dict(alpha2=np.nan), r"^alpha2 is nan; allowed: 0 to inf$"),
    (dict(p0=[0.5, 0.6]), "^number of|^length of p0|p0"),
    (dict(regularizer="entropy"), r"^regularizer is 'entropy'; allowed: Entropy\(\), "),
    (dict(solver=otpool.Sinkhorn), r"^solver is <class .*; allowed: Automatic\(\), "),
    (dict(penalty2=1), r"^penalty2 is 1; allowed: KullbackLeibler\(\), "),
    (dict(penalty1=otpool.Range(2, 1)), r"^low of Range is 2; allowed: 0 to 1$"),
    (dict(solver=otpool.Newton(tolerance=0)), r"^tolerance is 0; allowed: finite and > 0$"),
    (dict(regularizer=otpool.TopK(0)), r"^most is 0; allowed: at least 1$"),
    (dict(threads=-1), r"^threads is -1; allowed: at least 1, or 0 for one per processor$"),
    (dict(warm_start="cold"), r"^warm_start is 'cold'; allowed: "),
    (dict(values=np.ones((2, 2))), r"^shape of values is 2 x 2; allowed: 3 x 4, the shape of the reward$"),
]


@pytest.mark.parametrize("options, message", ERRORS)
def test_invalid_arguments_are_named(options, message):
    X = random_problem(9, 4, 3)[0]
    with pytest.raises(otpool.InvalidArgument, match=message) as error:
        otpool.solve(X, **options)
    assert isinstance(error.value, ValueError) and isinstance(error.value, otpool.Error)


def test_invalid_rewards_are_named():
    X = random_problem(9, 4, 3)[0]
    X[2, 1] = np.nan
    with pytest.raises(ValueError, match="^reward at feature 1, instance 2 is nan; allowed: finite numbers"):
        otpool.solve(X)
    for wrong, message in [
        (np.zeros(3), r"^shape of reward is \(3,\); allowed: two dimensions"),
        (np.zeros((2, 0)), "^shape of reward is 0 x 2"),
        (np.array([["a"]]), "^type of reward is <U1; allowed: real numbers"),
        (np.zeros((2, 2), complex), "^type of reward is complex128; allowed: real numbers"),
    ]:
        with pytest.raises(ValueError, match=message):
            otpool.solve(wrong)


def test_unsupported_problems_are_named():
    X = random_problem(9, 4, 3)[0]
    with pytest.raises(NotImplementedError, match="^ClosedForm does not solve a problem with alpha0 finite"):
        otpool.solve(X, alpha2=1, solver=otpool.ClosedForm())
    with pytest.raises(otpool.UnsupportedProblem, match="^Sinkhorn does not solve a problem with this regularizer"):
        otpool.solve(X, alpha2=1, solver=otpool.Sinkhorn(), regularizer=otpool.Quadratic())


def test_other_arrays_are_the_same_numbers():
    X = random_problem(10, 5, 4)[0].astype(np.float32)
    expected = otpool.solve(X, alpha0=0.3, alpha2=1).plan
    double = X.astype(np.float64)
    for other in (X.tolist(), double, np.asfortranarray(double), memoryview(double), np.repeat(double, 2, axis=0)[::2]):
        np.testing.assert_array_equal(otpool.solve(other, alpha0=0.3, alpha2=1).plan, expected)
    integers = np.arange(6).reshape(3, 2)
    np.testing.assert_array_equal(otpool.solve(integers).plan, otpool.solve(integers.astype(float)).plan)


def test_tensors_are_viewed():
    torch = pytest.importorskip("torch")
    X = torch.rand(5, 4, dtype=torch.float64)
    np.testing.assert_array_equal(otpool.solve(X, alpha2=1).plan, otpool.solve(X.numpy(), alpha2=1).plan)
    with pytest.raises(ValueError, match=r"^reward is a tensor that requires a gradient; allowed: .*reward.detach\(\)"):
        otpool.solve(X.requires_grad_())


def solutions():
    X = random_problem(11, 5, 4)[0]
    for regularizer in (otpool.Entropy(), otpool.RelativeEntropy(), otpool.Quadratic()):
        yield otpool.solve(X, alpha0=0.3, alpha2=1, regularizer=regularizer)


NAMES = (
    "status converged iterations residual history feature_potential instance_potential mass_potential mass log_mass"
    " plan feature_marginal instance_marginal objective pooled"
).split()


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda each: pickle.loads(pickle.dumps(each))])
def test_solutions_are_copied_and_pickled(copied):
    for solution in solutions():
        other = copied(solution)
        for name in NAMES:
            np.testing.assert_array_equal(getattr(other, name), getattr(solution, name))
        assert repr(other) == repr(solution)


def test_options_are_values():
    for each in (otpool.Sinkhorn(iterations=3), otpool.KSparse(2), otpool.Range(0.5, 2), otpool.BregmanAdmm(rho=0.1)):
        for other in (copy.copy(each), copy.deepcopy(each), pickle.loads(pickle.dumps(each))):
            assert other == each and hash(other) == hash(each)
    assert otpool.Sinkhorn() != otpool.Newton()


def test_a_reward_is_viewed_and_released():
    X = random_problem(12, 6, 4)[0]
    before = sys.getrefcount(X)
    found = otpool.solve(X, alpha2=1)
    assert sys.getrefcount(X) > before  # no copy was made
    plan = found.plan
    del found
    gc.collect()
    assert sys.getrefcount(X) == before
    assert plan.sum() == pytest.approx(1)  # owns its numbers


def test_no_memory_is_lost():
    X = random_problem(13, 60, 20)[0]

    def solve_all():
        for regularizer, solver in itertools.product(
            [otpool.Entropy(), otpool.Quadratic()], [otpool.Automatic(), otpool.BregmanAdmm(iterations=2)]
        ):
            found = otpool.solve(X, alpha0=1, alpha2=1, regularizer=regularizer, solver=solver)
            pickle.dumps(found)
            otpool.pooling(X, [0, 20, 60], alpha2=1, regularizer=regularizer, solver=solver)
        with pytest.raises(ValueError):
            otpool.solve(X, alpha0=-1)

    def resident():
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * 4096

    # What is lost is lost in every window; Python's own caches grow now and then.
    tracemalloc.start()
    solve_all()
    grown = []
    for _ in range(8):
        gc.collect()
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(50):
            solve_all()
        gc.collect()
        grown.append(tracemalloc.get_traced_memory()[0] - before)
    tracemalloc.stop()
    assert min(grown) < 5_000  # 100 bytes a round, of four solves and more; a plan has 9.6 kB
    if sys.platform == "linux":
        before = resident()
        for _ in range(300):
            solve_all()
        assert resident() - before < 6_000_000  # 300 x 4 plans have 11.5 MB, and each solve works in more


def test_other_threads_run_meanwhile():
    X = random_problem(14, 400, 300)[0]
    ticks = []
    done = threading.Event()

    def tick():
        while not done.wait(0.001):
            ticks.append(None)

    thread = threading.Thread(target=tick)
    thread.start()
    # A solve that kept others out would see two ticks at most, however long it takes: before it begins and after it ends.
    for iterations in (300, 3000, 30000):
        ticks.clear()
        otpool.solve(X, alpha0=0.01, alpha1=1, alpha2=1, solver=otpool.Sinkhorn(iterations=iterations))
        seen = len(ticks)
        if seen > 2:
            break
    done.set()
    thread.join()
    assert seen > 2


def test_solves_on_many_threads_are_the_same():
    X = random_problem(15, 60, 30)[0]
    expected = otpool.solve(X, alpha0=0.05, alpha2=1).plan
    results = [None] * 8

    def solve(i):
        results[i] = otpool.solve(X, alpha0=0.05, alpha2=1).plan

    threads = [threading.Thread(target=solve, args=(i,)) for i in range(len(results))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for plan in results:
        np.testing.assert_array_equal(plan, expected)
    large = random_problem(16, 4000, 100)[0]
    one = otpool.solve(large, alpha2=1, solver=otpool.Sinkhorn(iterations=3)).plan
    two = otpool.solve(large, alpha2=1, solver=otpool.Sinkhorn(iterations=3), threads=2).plan
    np.testing.assert_array_equal(one, two)
