"""Poolings to one vector, against their textbook formulas."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import logsumexp, softmax

import otpool

PTR = np.array([0, 3, 4, 9])
TOLERANCE = {np.float32: 3e-5, np.float64: 1e-11}


def bags(dtype, low=-1.0):
    rng = np.random.default_rng(1)
    return rng.uniform(low, 1, (PTR[-1], 4)).astype(dtype)


def by_bag(x, ptr, formula):
    x = x.astype(np.float64)
    return np.stack([formula(x[first:last]) for first, last in zip(ptr[:-1], ptr[1:])])


def squash(y):
    return np.linalg.norm(y) * y / (1 + y @ y)


def routed(x, iterations):
    scores = np.zeros(len(x))
    for _ in range(iterations):
        scores += x @ squash(softmax(scores) @ x)
    return softmax(scores) @ x


rng = np.random.default_rng(2)
SCORES = rng.standard_normal(PTR[-1])
V, U, w = rng.standard_normal((5, 4)), rng.standard_normal((5, 4)), rng.standard_normal(5)
GATE = rng.standard_normal(4)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def gated_mix(x):
    weight = sigmoid(GATE @ x.mean(0) + 0.3)
    return weight * x.mean(0) + (1 - weight) * x.max(0)


FORMULAS = [
    (otpool.mean_pooling, {}, lambda x: x.mean(0)),
    (otpool.sum_pooling, {}, lambda x: x.sum(0)),
    (otpool.max_pooling, {}, lambda x: x.max(0)),
    (otpool.min_pooling, {}, lambda x: x.min(0)),
    (otpool.softmax_pooling, {"temperature": 0.3}, lambda x: (softmax(x / 0.3, axis=0) * x).sum(0)),
    (otpool.log_sum_exp_pooling, {"temperature": 0.3}, lambda x: 0.3 * (logsumexp(x / 0.3, axis=0) - np.log(len(x)))),
    (otpool.generalized_mean_pooling, {"power": 3}, lambda x: (x**3).mean(0) ** (1 / 3)),
    (otpool.generalized_mean_pooling, {"power": -1}, lambda x: 1 / (1 / x).mean(0)),
    (otpool.mixed_pooling, {"weight": 0.3}, lambda x: 0.3 * x.mean(0) + 0.7 * x.max(0)),
    (otpool.gated_mean_max_pooling, {"weights": GATE, "bias": 0.3}, gated_mix),
    (otpool.dynamic_routing_pooling, {"iterations": 2}, lambda x: routed(x, 2)),
    (otpool.attention_pooling, {}, lambda x: x.mean(0)),
    (otpool.attention_pooling, {"V": V, "w": w}, lambda x: softmax(np.tanh(x @ V.T) @ w) @ x),
    (
        otpool.attention_pooling,
        {"V": V, "U": U, "w": w},
        lambda x: softmax((np.tanh(x @ V.T) * sigmoid(x @ U.T)) @ w) @ x,
    ),
    (otpool.pooling, {"alpha0": 0.3}, lambda x: (softmax(x / 0.3, axis=0) * x).sum(0)),
]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("function, options, formula", FORMULAS)
def test_named_poolings_are_their_formulas(function, options, formula, dtype):
    x = bags(dtype, 0.1)
    expected = by_bag(x, PTR, formula)
    pooled = function(x, PTR, **options)
    assert pooled.dtype == dtype and pooled.shape == (3, 4)
    np.testing.assert_allclose(pooled, expected, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])
    np.testing.assert_allclose(function(x[:3], **options), expected[0], rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])
    np.testing.assert_array_equal(function(x, PTR, threads=2, **options), pooled)
    for other in (PTR.tolist(), PTR.astype(np.int32), PTR.astype(np.uint8)):
        np.testing.assert_array_equal(function(x, other, **options), pooled)


@pytest.mark.parametrize("function, options, formula", FORMULAS)
def test_masks_exclude_instances(function, options, formula):
    x = bags(np.float64, 0.1)
    mask = np.ones(len(x), bool)
    mask[[1, 5, 8]] = False
    kept_ptr = np.array([mask[:end].sum() for end in PTR])
    expected = by_bag(x[mask], kept_ptr, formula)
    hidden = x.copy()
    hidden[~mask] = 7  # of no matter
    np.testing.assert_allclose(function(hidden, PTR, q0=mask, **options), expected, rtol=1e-11)


@pytest.mark.parametrize("function, options, formula", FORMULAS)
def test_empty_bags(function, options, formula):
    x = bags(np.float64, 0.1)
    ptr = [0, 3, 3, 9]
    with pytest.raises(ValueError, match="^bag 1 is empty; allowed: at least one instance, or a fill value"):
        function(x, ptr, **options)
    pooled = function(x, ptr, empty_bag=-2, **options)
    np.testing.assert_array_equal(pooled[1], -2)
    np.testing.assert_allclose(pooled[0], formula(x[:3]), rtol=1e-11)
    assert function(x[:0], [0], **options).shape == (0, 4)


def test_attention_weights():
    x = bags(np.float64)
    np.testing.assert_allclose(
        otpool.attention_pooling(x, PTR, scores=SCORES),
        np.stack([softmax(SCORES[a:b]) @ x[a:b] for a, b in zip(PTR[:-1], PTR[1:])]),
        rtol=1e-12,
    )
    weights = np.array([1, 2, 0, 5, 1, 1, 1, 1, 0.0])
    expected = np.stack([weights[a:b] @ x[a:b] / weights[a:b].sum() for a, b in zip(PTR[:-1], PTR[1:])])
    np.testing.assert_allclose(otpool.attention_pooling(x, PTR, q0=weights), expected, rtol=1e-12)
    with np.errstate(divide="ignore"):
        scores = np.log(weights)
    np.testing.assert_allclose(otpool.attention_pooling(x, PTR, scores=scores), expected, rtol=1e-12)


def test_rewards_of_their_own():
    x = bags(np.float64)
    reward = np.random.default_rng(3).standard_normal(x.shape)
    pooled = otpool.max_pooling(x, PTR, reward=reward)
    for b, (first, last) in enumerate(zip(PTR[:-1], PTR[1:])):
        chosen = reward[first:last].argmax(0)
        np.testing.assert_allclose(pooled[b], x[first:last][chosen, np.arange(4)])


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.lists(st.integers(1, 6), min_size=1, max_size=4),
    st.integers(1, 5),
    st.floats(0.1, 3),
    st.one_of(st.just(0.0), st.floats(1e-3, 3)),
    st.sampled_from([np.float32, np.float64]),
    st.sampled_from([otpool.Entropy(), otpool.RelativeEntropy(), otpool.Quadratic()]),
    st.sampled_from([otpool.Automatic(), otpool.BregmanAdmm(iterations=5), otpool.Newton()]),
    st.sampled_from(["conditional", "joint"]),
)
def test_pooling_reads_the_plan_of_solve(seed, sizes, features, alpha0, alpha2, dtype, regularizer, solver, readout):
    rng = np.random.default_rng(seed)
    ptr = np.cumsum([0, *sizes])
    x = rng.uniform(-1, 1, (ptr[-1], features)).astype(dtype)
    options = dict(alpha0=alpha0, alpha1=0.8, alpha2=alpha2, regularizer=regularizer, solver=solver)
    pooled = otpool.pooling(x, ptr, readout=readout, **options)
    assert pooled.dtype == dtype
    for b, (first, last) in enumerate(zip(ptr[:-1], ptr[1:])):
        plan = otpool.solve(x[first:last], **options).plan
        scale = features if readout == "joint" else 1 / plan.sum(0)
        expected = scale * (plan * x[first:last]).sum(0)
        np.testing.assert_allclose(pooled[b], expected, rtol=1e-4, atol=2e-5 if dtype == np.float32 else 1e-6)


def sinkhorn_steps(X, alpha0, alpha2, p0, q0, steps):
    """Potentials after steps f, g, from g = 0; hard features. (The translation, between them, changes no conditional mean.)"""
    g = np.zeros(len(X))
    for _ in range(steps):
        f = alpha0 * (np.log(p0) - logsumexp((X + g[:, None]) / alpha0, axis=0))
        kappa = alpha2 / (alpha2 + alpha0)
        g = kappa * alpha0 * (np.log(q0) - logsumexp((X + f) / alpha0, axis=1))
    return f, g


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_steps_of_sinkhorn(dtype):
    x = bags(dtype)[:3]
    p0, q0 = np.full(4, 0.25), np.full(3, 1 / 3)
    solver = otpool.Sinkhorn(iterations=4, translation=False)
    f, g = sinkhorn_steps(x.astype(float), 0.2, 0.5, p0, q0, 4)
    P = np.exp((x + f + g[:, None]) / 0.2)
    expected = (P * x).sum(0) / P.sum(0)
    pooled = otpool.pooling(x, alpha0=0.2, alpha2=0.5, solver=solver)
    np.testing.assert_allclose(pooled, expected, rtol=TOLERANCE[dtype] * 10, atol=TOLERANCE[dtype])


@pytest.mark.parametrize(
    "options, message",
    [
        (dict(ptr=[0, 3]), r"^offsets\[1\] is 3; allowed: the number of instances, 9"),
        (dict(ptr=[1, 9]), r"^offsets\[0\] is 1; allowed: 0"),
        (dict(ptr=[0, 5, 4, 9]), r"^offsets\[2\] is 4; allowed: at least offsets\[1\] = 5"),
        (dict(ptr=[0.0, 9.0]), "^ptr is an array of float64 of shape"),
        (dict(ptr=[]), "^ptr is an array of"),
        (dict(q0=np.ones(8)), "^length of the instance prior is 8; allowed: 9"),
        (dict(q0=np.zeros(9)), "q0"),
        (dict(q0=-np.ones(9)), "q0"),
        (dict(q0=np.full(9, np.nan)), "q0"),
        (dict(readout="sum"), '^readout is \'sum\'; allowed: "conditional", "joint"'),
        (dict(reward=np.ones((9, 3))), "reward"),
        (dict(alpha0=-1), "alpha0 is -1; allowed: 0 to inf"),
    ],
)
def test_invalid_arguments_are_named(options, message):
    with pytest.raises(otpool.InvalidArgument, match=message):
        otpool.pooling(bags(np.float64), **options)


def test_numbers_that_float32_does_not_hold_are_refused():
    with pytest.raises(ValueError, match="^alpha2 is 1.*e[+]300; allowed: 0, inf, or a number in the range"):
        otpool.pooling(bags(np.float32), alpha2=1e300)
    with pytest.raises(ValueError, match="^alpha0 is .*e-30.; allowed: 0, inf"):
        otpool.pooling(bags(np.float32), alpha0=1e-300)


def test_wrong_entries_are_named():
    x = bags(np.float64)
    x[4, 2] = np.inf
    with pytest.raises(ValueError, match="^bag 2 at feature 2, instance 0 is inf; allowed: finite numbers"):
        otpool.max_pooling(x, PTR)
    with pytest.raises(ValueError, match="entry of the bag is -"):
        otpool.generalized_mean_pooling(-bags(np.float64, 0.1), PTR, power=2)
    with pytest.raises(ValueError, match="^scores is given with q0 or V; allowed: one of them"):
        otpool.attention_pooling(bags(np.float64), PTR, scores=SCORES, q0=SCORES)
    with pytest.raises(ValueError, match=r"^scores\[2\] is nan"):
        otpool.attention_pooling(bags(np.float64)[:3], scores=[0, 1, np.nan])
    with pytest.raises(ValueError, match="^scores of bag 0 is -inf"):
        otpool.attention_pooling(bags(np.float64)[:2], scores=[-np.inf, -np.inf])
