"""Poolings to slots, against their formulas."""

import itertools

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment
from scipy.special import log_softmax, softmax

import otpool

PTR = np.array([0, 6, 13])
rng = np.random.default_rng(1)
X = rng.standard_normal((13, 4))
W = rng.standard_normal((3, 4))
BAGS = [X[:6], X[6:]]


def test_netvlad():
    def formula(x):
        distance = ((x[:, None, :] - W[None]) ** 2).sum(2)
        share = softmax(-distance / 0.5, axis=1)
        return np.einsum("nk,nkd->kd", share, x[:, None, :] - W[None])

    expected = np.stack([formula(x) for x in BAGS])
    np.testing.assert_allclose(otpool.netvlad_pooling(X, PTR, centres=W, alpha0=0.5), expected, rtol=1e-9, atol=1e-12)
    in_float = otpool.netvlad_pooling(X.astype(np.float32), PTR, centres=W, alpha0=0.5)
    assert in_float.dtype == np.float32
    np.testing.assert_allclose(in_float, expected, rtol=1e-3, atol=1e-4)


def test_slot_attention():
    def formula(x):
        share = softmax(x @ W.T, axis=1)
        return (share / share.sum(0)).T @ x

    expected = np.stack([formula(x) for x in BAGS])
    np.testing.assert_allclose(otpool.slot_attention_pooling(X, PTR, prototypes=W), expected, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(otpool.slot_attention_pooling(X, PTR, reward=X @ W.T), expected, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(otpool.slot_attention_pooling(BAGS[0], prototypes=W), expected[0], rtol=1e-9, atol=1e-12)


def scaled(K, rows_first, steps, of_rows, of_columns):
    """Sinkhorn's scalings of a kernel (N, K), from ones: which side comes first reads ones of the other."""
    u, v = np.ones(K.shape[0]), np.ones(K.shape[1])
    for _ in range(steps):
        if rows_first:
            u = of_rows / (K @ v)
            v = of_columns / (K.T @ u)
        else:
            v = of_columns / (K.T @ u)
            u = of_rows / (K @ v)
    return u[:, None] * K * v[None]


def test_otke():
    def formula(x):
        N = len(x)
        P = scaled(np.exp(x @ W.T / 0.7), True, 4, np.full(N, 1 / N), np.full(3, 1 / 3))
        return 3 * P.T @ x, P

    expected = [formula(x) for x in BAGS]
    pooled, plan = otpool.otke_pooling(X, PTR, prototypes=W, alpha0=0.7, iterations=4, plan=True)
    np.testing.assert_allclose(pooled, np.stack([y for y, _ in expected]), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(plan, np.concatenate([P for _, P in expected]), rtol=1e-9)
    alone = otpool.otke_pooling(X, PTR, prototypes=W, alpha0=0.7, iterations=4)
    np.testing.assert_allclose(alone, pooled, rtol=1e-12, atol=1e-14)
    np.testing.assert_array_equal(otpool.otke_pooling(X, PTR, prototypes=W, alpha0=0.7, iterations=4, threads=2), alone)


def test_salad():
    def formula(x):
        N = len(x)
        K = np.exp(np.hstack([x @ W.T, np.full((N, 1), 0.3)]))
        P = scaled(K, False, 3, np.full(N, 1 / N), np.array([1 / N] * 3 + [(N - 3) / N]))
        return N * P[:, :3].T @ x, P[:, :3]

    expected = [formula(x) for x in BAGS]
    for given in ({"prototypes": W}, {"scores": X @ W.T}):
        pooled, plan = otpool.salad_pooling(X, PTR, dustbin=0.3, plan=True, **given)
        np.testing.assert_allclose(pooled, np.stack([y for y, _ in expected]), rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(plan, np.concatenate([P for _, P in expected]), rtol=1e-9)
    with pytest.raises(ValueError, match="number of instances is 3; allowed: more than 3, the number of slots"):
        otpool.salad_pooling(X[:3], dustbin=0.3, prototypes=W)


def relative_distances(x, power):
    of = [each - each.min(1, keepdims=True) for each in (x, W)]
    distance = np.linalg.norm(of[0][:, None] - of[1][None], axis=2) ** power
    return -distance / distance.max()


def test_motcat_is_a_soft_problem():
    pooled, plan = otpool.motcat_pooling(X, PTR, prototypes=W, plan=True)
    for b, x in enumerate(BAGS):
        P = otpool.solve(relative_distances(x, 2), alpha0=0.1, alpha1=0.5, alpha2=0.5).plan
        np.testing.assert_allclose(plan[PTR[b] : PTR[b + 1]], P, rtol=1e-5)
        np.testing.assert_allclose(pooled[b], P.T @ x, rtol=1e-5, atol=1e-6)


def test_otsurv_is_a_partial_problem():
    rho = 0.6
    pooled, plan = otpool.otsurv_pooling(X, PTR, prototypes=W, rho=rho, plan=True)
    for b, x in enumerate(BAGS):
        reward = np.hstack([relative_distances(x, 1), np.zeros((len(x), 1))])
        found = otpool.solve(reward, alpha0=0.1, alpha1=[1, 1, 1, np.inf], alpha2=np.inf, p0=[rho / 3] * 3 + [1 - rho])
        np.testing.assert_allclose(plan[PTR[b] : PTR[b + 1]], found.plan[:, :3], rtol=1e-5)
        np.testing.assert_allclose(pooled[b], found.plan[:, :3].T @ x / rho, rtol=1e-5, atol=1e-6)


def test_lot_embedding_is_an_assignment():
    x = BAGS[0]
    reference = rng.standard_normal((6, 4))
    rows, columns = linear_sum_assignment(((reference[:, None] - x[None]) ** 2).sum(2))
    np.testing.assert_allclose(otpool.lot_embedding(x, reference=reference), x[columns] - reference[rows], rtol=1e-9)


@pytest.mark.parametrize(
    "regularizer, cost, readout",
    list(
        itertools.product(
            [otpool.Entropy(), otpool.RelativeEntropy(), otpool.Quadratic(), otpool.KSparse(2)],
            ["sqdist", "dot", "reldist", "relsqdist"],
            ["conditional", "joint", "residual", "joint_residual"],
        )
    ),
)
def test_slot_pooling_reads_the_plan_of_solve(regularizer, cost, readout):
    alpha2 = 0.0 if isinstance(regularizer, otpool.KSparse) else 0.7
    options = dict(alpha0=0.5, alpha1=0.9, alpha2=alpha2, regularizer=regularizer, p0=[0.2, 0.3, 0.5])
    pooled, plan = otpool.slot_pooling(X, PTR, prototypes=W, cost=cost, readout=readout, plan=True, **options)
    for b, x in enumerate(BAGS):
        reward = {
            "sqdist": -((x[:, None] - W[None]) ** 2).sum(2),
            "dot": x @ W.T,
            "reldist": relative_distances(x, 1),
            "relsqdist": relative_distances(x, 2),
        }[cost]
        P = otpool.solve(reward, **options).plan
        np.testing.assert_allclose(plan[PTR[b] : PTR[b + 1]], P, rtol=1e-5, atol=1e-7)
        mass = P.sum(0)[:, None]
        drawn = (mass > 0).ravel()  # a slot without mass pools where its vanishing mass would be
        assert drawn.sum() >= 2
        expected = P.T @ x / np.where(mass > 0, mass, 1) - (W if "residual" in readout else 0)
        if "joint" in readout:
            expected = 3 * mass * expected
        np.testing.assert_allclose(pooled[b][drawn], expected[drawn], rtol=1e-4, atol=1e-5)


def test_partial_and_dustbin_leave_mass_out():
    plan = otpool.slot_pooling(X, PTR, prototypes=W, alpha2=np.inf, partial=0.4, plan=True)[1]
    np.testing.assert_allclose([plan[:6].sum(), plan[6:].sum()], 0.4, rtol=1e-6)
    plan = otpool.slot_pooling(X, PTR, prototypes=W, alpha2=np.inf, dustbin=0.0, plan=True)[1]
    np.testing.assert_allclose([plan[:6].sum(), plan[6:].sum()], [3 / 6, 3 / 7], rtol=1e-6)


def test_top_k():
    reward = X @ W.T
    pooled, plan = otpool.top_k_pooling(X, PTR, reward=reward, most=1, plan=True)
    for b, x in enumerate(BAGS):
        np.testing.assert_allclose(pooled[b], x[reward[PTR[b] : PTR[b + 1]].argmax(0)])
    assert (np.count_nonzero(plan[:6], axis=0) == 1).all()


def test_assignments_of_scores():
    scores = X @ W.T
    dispatch, combine = otpool.soft_moe(scores)
    np.testing.assert_allclose(dispatch, softmax(scores, axis=0), rtol=1e-9)
    np.testing.assert_allclose(combine, softmax(scores, axis=1), rtol=1e-9)
    N = len(X)
    expected = N * scaled(np.exp(scores / 0.5), False, 3, np.full(N, 1 / N), np.full(3, 1 / 3))
    np.testing.assert_allclose(otpool.sinkhorn_assignment(scores, alpha0=0.5), expected, rtol=1e-9)
    shares = otpool.ppot_assignment(log_softmax(scores, axis=1), rho=0.5)
    assert shares.shape == (N, 3)
    assert shares.sum() == pytest.approx(N * 0.5, rel=1e-6) and (shares.sum(1) <= 1 + 1e-6).all()


def test_plasma_aligns_a_chain_with_itself():
    query = 20 * np.eye(12)
    plan, score = otpool.plasma_alignment(query, query)
    np.testing.assert_allclose(plan, np.eye(12), atol=1e-5)
    assert score == pytest.approx(1, abs=1e-5)


def test_sliced_embedding():
    directions = rng.standard_normal((5, 4))
    reference = np.sort(rng.standard_normal((6, 5)), axis=0)
    expected = reference - np.sort(BAGS[0] @ directions.T, axis=0)
    np.testing.assert_allclose(
        otpool.sliced_embedding(BAGS[0], directions=directions, reference=reference), expected, rtol=1e-12, atol=1e-14
    )


def test_errors_are_named():
    for options, message in [
        (dict(), r"^prototypes is None; allowed: an array \(K, D\)"),
        (dict(prototypes=W, cost="cosine"), '^cost is \'cosine\'; allowed: "sqdist", "dot"'),
        (dict(prototypes=W, readout="sum"), "^readout is 'sum'; allowed: "),
        (dict(prototypes=W[:, :2]), "features of the prototypes is 2; allowed: 4, those of the instances"),
        (dict(prototypes=W, partial=0.5, dustbin=1), "^partial is given with dustbin"),
        (dict(prototypes=W, partial=2), "mass of the slots is 2; allowed: above 0, at most 1"),
        (dict(reward=np.ones((5, 3))), "^columns of the reward is 5; allowed: 13"),
    ]:
        with pytest.raises(otpool.InvalidArgument, match=message):
            otpool.slot_pooling(X, PTR, **options)
    with pytest.raises(TypeError, match="unexpected keyword arguments"):
        otpool.otke_pooling(X, PTR, prototypes=W, alpha2=1)
