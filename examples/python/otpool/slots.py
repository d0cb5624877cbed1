"""Poolings to K slots: rows of the plan are slots (prototypes, queries, clusters), and a slot draws on whole instances.

They take `x`, `ptr` and the common options of otpool.poolings. Prototypes are (K, D). Rewards and scores are (sum N, K). The result
is (B, K, D), or (K, D) without `ptr`. With plan=True it is a pair: the result and the plans, (sum N, K).
"""

from __future__ import annotations

from typing import Any, Optional

import numpy as np

from . import _otpool
from ._arrays import Array, Floats, rows
from .errors import InvalidArgument
from .options import (
    INFINITY,
    Automatic,
    Entropy,
    KullbackLeibler,
    Parameters,
    Penalty,
    Regularizer,
    Solver,
    require_regularizer,
    require_solver,
)
from .poolings import Batch, as_type_of, dtype_for

_COSTS = ("sqdist", "dot", "reldist", "relsqdist")
_READOUTS = ("conditional", "joint", "residual", "joint_residual")
_DOUBLE = np.dtype(np.float64)


def _require_word(word: str, allowed: tuple, name: str) -> None:
    if word not in allowed:
        raise InvalidArgument(f"{name} is {word!r}; allowed: " + ", ".join(f'"{each}"' for each in allowed))


def _result(batch: Batch, x: Array, found: Any) -> Any:
    if isinstance(found, tuple):
        return as_type_of(x, batch.result(found[0])), as_type_of(x, found[1])
    return as_type_of(x, batch.result(found))


def slot_pooling(
    x: Array,
    ptr: Optional[Array] = None,
    *,
    prototypes: Optional[Array] = None,
    reward: Optional[Array] = None,
    cost: str = "sqdist",
    alpha0: float = 1.0,
    alpha1: Floats = INFINITY,
    alpha2: float = 0.0,
    p0: Optional[Array] = None,
    q0: Optional[Array] = None,
    penalty1: Penalty = KullbackLeibler(),
    penalty2: Penalty = KullbackLeibler(),
    has_masses: bool = False,
    mass: Optional[float] = None,
    regularizer: Regularizer = Entropy(),
    solver: Solver = Automatic(),
    readout: str = "conditional",
    partial: Optional[float] = None,
    dustbin: Optional[float] = None,
    plan: bool = False,
    empty_bag: Optional[float] = None,
    threads: int = 1,
) -> Any:
    """Pooling to slots by unbalanced optimal transport: P is the plan of solve() for the reward S (N, K) of each bag.

    S is `reward`, or computed from prototypes w_k by `cost`: "sqdist" -||w_k - x_n||^2, "dot" <w_k, x_n>, "reldist" and
    "relsqdist" the negative distance and its square over the bag's largest. alpha1 and p0 are those of the slots.

    readout, with m_k = sum_n P_nk x_n / r_k and r_k = sum_n P_nk: "conditional" m_k; "joint" K r_k m_k; "residual" m_k - w_k;
    "joint_residual" K r_k (m_k - w_k).
    partial: the slots get this mass of 1 and a dummy slot the rest, in (0, 1].
    dustbin: every slot gets the mass of one instance, and a slot of this reward all the rest; N must be above K.
    """
    require_regularizer(regularizer)
    require_solver(solver)
    _require_word(cost, _COSTS, "cost")
    _require_word(readout, _READOUTS, "readout")
    if partial is not None and dustbin is not None:
        raise InvalidArgument("partial is given with dustbin; allowed: one of them")
    if prototypes is None and (reward is None or readout in ("residual", "joint_residual")):
        raise InvalidArgument(
            "prototypes is None; allowed: an array (K, D), or a reward and a readout without residuals"
        )
    parameters = Parameters.of(alpha0, alpha1, alpha2, p0, None, penalty1, penalty2, has_masses, mass)
    batch = Batch(x, ptr, q0, empty_bag, threads, dtype_for(regularizer))
    found = _otpool.slots_by_transport(
        parameters,
        regularizer,
        solver,
        cost,
        readout,
        None if partial is None else float(partial),
        None if dustbin is None else float(dustbin),
        batch.like_x(prototypes, "prototypes"),
        batch.x,
        batch.ptr,
        batch.like_x(reward, "reward"),
        batch.options,
        bool(plan),
    )
    return _result(batch, x, found)


def _by_name(
    name: str,
    x: Array,
    ptr: Optional[Array],
    prototypes: Optional[Array],
    options: dict[str, Any],
    *,
    reward: Optional[Array] = None,
    cost: str = "dot",
    number: float = 0.0,
    alpha0: float = 1.0,
    iterations: int = 1,
) -> Any:
    _require_word(cost, _COSTS, "cost")
    if prototypes is None and reward is None:
        raise InvalidArgument("prototypes is None; allowed: an array (K, D), or a reward (sum N, K)")
    unknown = set(options) - {"q0", "empty_bag", "threads", "plan"}
    if unknown:
        raise TypeError(f"unexpected keyword arguments {sorted(unknown)}")
    batch = Batch(x, ptr, options.get("q0"), options.get("empty_bag"), options.get("threads", 1))
    found = _otpool.slots_by_name(
        name,
        cost,
        float(number),
        float(alpha0),
        int(iterations),
        batch.like_x(prototypes, "prototypes"),
        batch.x,
        batch.ptr,
        batch.like_x(reward, "reward"),
        batch.options,
        bool(options.get("plan", False)),
    )
    return _result(batch, x, found)


def otke_pooling(
    x: Array,
    ptr: Optional[Array] = None,
    *,
    prototypes: Array,
    alpha0: float = 0.1,
    iterations: int = 10,
    **options: Any,
) -> Any:
    """OTKE (Mialon et al., ICLR 2021): rewards <w_k, x_n>, both marginals hard and uniform, Sinkhorn steps that end on the slots,
    y_k = K sum_n P_nk x_n. Make instances and prototypes unit vectors before. options: q0, empty_bag, threads, plan."""
    return _by_name("otke", x, ptr, prototypes, options, alpha0=alpha0, iterations=iterations)


def salad_pooling(
    x: Array,
    ptr: Optional[Array] = None,
    *,
    dustbin: float,
    scores: Optional[Array] = None,
    prototypes: Optional[Array] = None,
    cost: str = "dot",
    iterations: int = 3,
    **options: Any,
) -> Any:
    """The aggregation of SALAD (Izquierdo & Civera, CVPR 2024): scores (sum N, K), or computed from prototypes; a dustbin takes the
    mass (N-K)/N; Sinkhorn steps that end on the instances; y_k = N sum_n P_nk x_n. options: q0, empty_bag, threads, plan."""
    return _by_name(
        "salad", x, ptr, prototypes, options, reward=scores, cost=cost, number=dustbin, iterations=iterations
    )


def otsurv_pooling(x: Array, ptr: Optional[Array] = None, *, prototypes: Array, rho: float, **options: Any) -> Any:
    """OTSurv (Ren et al., MICCAI 2025): relative distances, soft slots (alpha1 = 1) that get about the mass rho in all, hard
    instances, alpha0 = 0.1; y_k = sum_n P_nk x_n / rho. options: q0, empty_bag, threads, plan."""
    return _by_name("otsurv", x, ptr, prototypes, options, number=rho)


def motcat_pooling(x: Array, ptr: Optional[Array] = None, *, prototypes: Array, **options: Any) -> Any:
    """The co-attention of MOTCat (Xu & Chen, arXiv 2306.08330): relative squared distances, alpha0 = 0.1, alpha1 = alpha2 = 0.5;
    y_k = sum_n P_nk x_n. options: q0, empty_bag, threads, plan."""
    return _by_name("motcat", x, ptr, prototypes, options)


def netvlad_pooling(
    x: Array,
    ptr: Optional[Array] = None,
    *,
    centres: Array,
    reward: Optional[Array] = None,
    cost: str = "sqdist",
    alpha0: float = 1.0,
    **options: Any,
) -> Any:
    """NetVLAD (Arandjelovic et al., CVPR 2016): an instance is shared by softmax_k(s_nk / alpha0), and y_k = sum_n share_nk
    (x_n - c_k). s is the reward, or computed from the centres. options: q0, empty_bag, threads, plan."""
    return _by_name("netvlad", x, ptr, centres, options, reward=reward, cost=cost, alpha0=alpha0)


def slot_attention_pooling(
    x: Array,
    ptr: Optional[Array] = None,
    *,
    reward: Optional[Array] = None,
    prototypes: Optional[Array] = None,
    cost: str = "dot",
    alpha0: float = 1.0,
    **options: Any,
) -> Any:
    """The attention step of slot attention (Locatello et al., NeurIPS 2020): an instance is shared by softmax_k(s_nk / alpha0), and
    y_k is the mean of the instances with these weights. options: q0, empty_bag, threads, plan."""
    return _by_name("slot_attention", x, ptr, prototypes, options, reward=reward, cost=cost, alpha0=alpha0)


def lot_embedding(x: Array, ptr: Optional[Array] = None, *, reference: Array, **options: Any) -> Any:
    """The linear optimal transport embedding (Wang et al., IJCV 2013; WEGL: Kolouri et al., ICLR 2021): where exact transport moves
    each point of the reference (K, D), less that point. options: q0, empty_bag, threads, plan."""
    return _by_name("lot", x, ptr, reference, options)


def top_k_pooling(
    x: Array,
    ptr: Optional[Array] = None,
    *,
    reward: Array,
    most: int,
    alpha0: float = 1.0,
    q0: Optional[Array] = None,
    plan: bool = False,
    empty_bag: Optional[float] = None,
    threads: int = 1,
) -> Any:
    """A slot draws on the `most` instances of the largest rewards (sum N, K), with weights that are the projection of their rewards
    over 2 alpha0 onto the simplex. Computes in float64."""
    batch = Batch(x, ptr, q0, empty_bag, threads, _DOUBLE)
    of_batch = batch.like_x(reward, "reward")
    return _result(
        batch, x, _otpool.top_k(int(most), float(alpha0), batch.x, batch.ptr, of_batch, batch.options, bool(plan))
    )


def soft_moe(scores: Array) -> tuple[np.ndarray, np.ndarray]:
    """The weights of a soft mixture of experts (Puigcerver et al., ICLR 2024), of scores (N, K): dispatch, softmax over instances,
    and combine, softmax over slots; each (N, K)."""
    return _otpool.soft_moe(rows(scores, "scores", _DOUBLE))


def sinkhorn_assignment(scores: Array, *, alpha0: float = 0.05, iterations: int = 3) -> np.ndarray:
    """Shares of N instances in K slots, (N, K), of scores (N, K): rows sum to 1 and columns to N/K, up to the number of steps (SwAV:
    Caron et al., NeurIPS 2020)."""
    return _otpool.sinkhorn_assignment(rows(scores, "scores", _DOUBLE), float(alpha0), int(iterations))


def ppot_assignment(log_probabilities: Array, *, rho: float, alpha0: float = 0.1) -> np.ndarray:
    """The assignment of PPOT (Zhang, Ren & He, ICLR 2024): shares of N instances in K clusters, (N, K), of log probabilities (N, K);
    the clusters get about the mass rho of 1."""
    return _otpool.ppot_assignment(rows(log_probabilities, "log_probabilities", _DOUBLE), float(rho), float(alpha0))


def plasma_alignment(
    query: Array,
    candidate: Array,
    *,
    alpha0: float = 1.0,
    iterations: int = 20,
    threshold: float = 0.5,
    diagonal: int = 10,
) -> tuple[np.ndarray, float]:
    """PLASMA's alignment (Wang et al., ICLR 2026) of a query (K, D) with a candidate (N, D): the plan times N, (N, K), and its score
    in [0, 1]. `diagonal` is the length that the score asks for, at most K and N."""
    of_query, of_candidate = rows(query, "query", _DOUBLE), rows(candidate, "candidate", _DOUBLE)
    return _otpool.plasma_alignment(
        of_query, of_candidate, float(alpha0), int(iterations), float(threshold), int(diagonal)
    )


def sliced_embedding(x: Array, *, directions: Array, reference: Array) -> np.ndarray:
    """The embedding by sliced optimal transport (PSWE: Naderializadeh et al., NeurIPS 2021) of one bag (N, D): of every slice
    <w_l, x_n>, with directions (L, D), a sorted reference (N, L) less the sorted slice, (N, L)."""
    of_x, of_directions = rows(x, "x", _DOUBLE), rows(directions, "directions", _DOUBLE)
    return _otpool.sliced_embedding(of_x, of_directions, rows(reference, "reference", _DOUBLE))
