"""Poolings of a bag, or of a batch of bags, to one vector each.

All take `x`, the instances of all bags as rows, (sum N, D), and `ptr`, where each bag begins and the last one ends (B + 1 integers
from 0 to sum N), as in PyTorch Geometric. Without `ptr`, all instances are one bag. float32 and float64 in C order are not copied.

Common options:

q0: weights of the instances, (sum N,), >= 0, which are divided by their sum in each bag; a mask of booleans will do. 0 excludes an
    instance, whatever its numbers. attention_pooling, dynamic_routing_pooling and pooling weigh by it; elsewhere only its zeros
    count. None: uniform.
empty_bag: fills the result of a bag without instances. None: such a bag is an error.
threads: how many to run on; 0: one per processor. Other Python threads run meanwhile.

The result is (B, D), or (D,) without `ptr`, of the type of `x`.
"""

from __future__ import annotations

from typing import Optional

import numpy as np

from . import _otpool
from ._arrays import Array, Floats, as_numpy, numbers, offsets, rows
from .errors import InvalidArgument
from .options import (
    INFINITY,
    Automatic,
    BatchOptions,
    Entropy,
    KullbackLeibler,
    Parameters,
    Penalty,
    Regularizer,
    RelativeEntropy,
    Solver,
    require_regularizer,
    require_solver,
)


class Batch:
    """Instances, where bags begin, and options, as the extension module takes them."""

    def __init__(
        self,
        x: Array,
        ptr: Optional[Array],
        q0: Optional[Array],
        empty_bag: Optional[float],
        threads: int,
        dtype: Optional[np.dtype] = None,
    ) -> None:
        self.x = rows(x, "x", dtype)
        self.is_one_bag = ptr is None
        self.ptr = np.array([0, len(self.x)], dtype=np.int64) if ptr is None else offsets(ptr)
        self.options = BatchOptions(
            q0=None if q0 is None else numbers(q0, "q0"),
            empty_bag=None if empty_bag is None else float(empty_bag),
            threads=int(threads),
        )

    def like_x(self, array: Optional[Array], name: str) -> Optional[np.ndarray]:
        """Another matrix, in the type of x."""
        return None if array is None else rows(array, name, self.x.dtype)

    def result(self, pooled: np.ndarray) -> np.ndarray:
        """Without the axis of bags, if there is no ptr."""
        return pooled[0] if self.is_one_bag else pooled


def _by_name(name: str, parameter: float, batch: Batch, reward: Optional[Array] = None) -> np.ndarray:
    of_batch = batch.like_x(reward, "reward")
    return batch.result(_otpool.pool_by_name(name, float(parameter), batch.x, batch.ptr, of_batch, batch.options))


def mean_pooling(
    x: Array,
    ptr: Optional[Array] = None,
    *,
    q0: Optional[Array] = None,
    empty_bag: Optional[float] = None,
    threads: int = 1,
) -> np.ndarray:
    """y_d = (1/N) sum_n x_nd, over the instances that q0 does not exclude: alpha0 = inf. (Weights are attention_pooling's.)"""
    return _by_name("mean", 0, Batch(x, ptr, q0, empty_bag, threads))


def sum_pooling(
    x: Array,
    ptr: Optional[Array] = None,
    *,
    q0: Optional[Array] = None,
    empty_bag: Optional[float] = None,
    threads: int = 1,
) -> np.ndarray:
    """y_d = sum_n x_nd: the mean, times the number of instances that q0 does not exclude."""
    return _by_name("sum", 0, Batch(x, ptr, q0, empty_bag, threads))


def max_pooling(
    x: Array,
    ptr: Optional[Array] = None,
    *,
    reward: Optional[Array] = None,
    q0: Optional[Array] = None,
    empty_bag: Optional[float] = None,
    threads: int = 1,
) -> np.ndarray:
    """y_d = max_n x_nd: alpha0 = 0. With a reward (sum N, D), y_d is x_nd where the reward is largest. Ties share."""
    return _by_name("max", 0, Batch(x, ptr, q0, empty_bag, threads), reward)


def min_pooling(
    x: Array,
    ptr: Optional[Array] = None,
    *,
    q0: Optional[Array] = None,
    empty_bag: Optional[float] = None,
    threads: int = 1,
) -> np.ndarray:
    """y_d = min_n x_nd: the max with reward -x."""
    return _by_name("min", 0, Batch(x, ptr, q0, empty_bag, threads))


def softmax_pooling(
    x: Array,
    ptr: Optional[Array] = None,
    *,
    temperature: float,
    reward: Optional[Array] = None,
    q0: Optional[Array] = None,
    empty_bag: Optional[float] = None,
    threads: int = 1,
) -> np.ndarray:
    """y_d = sum_n x_nd exp(r_nd / t) / sum_n exp(r_nd / t), t in [0, inf], r the reward (sum N, D), or x."""
    return _by_name("softmax", temperature, Batch(x, ptr, q0, empty_bag, threads), reward)


def log_sum_exp_pooling(
    x: Array,
    ptr: Optional[Array] = None,
    *,
    temperature: float,
    q0: Optional[Array] = None,
    empty_bag: Optional[float] = None,
    threads: int = 1,
) -> np.ndarray:
    """y_d = t log (1/N) sum_n exp(x_nd / t), t in [0, inf]: the max at 0, the mean at inf."""
    return _by_name("log_sum_exp", temperature, Batch(x, ptr, q0, empty_bag, threads))


def generalized_mean_pooling(
    x: Array,
    ptr: Optional[Array] = None,
    *,
    power: float,
    q0: Optional[Array] = None,
    empty_bag: Optional[float] = None,
    threads: int = 1,
) -> np.ndarray:
    """y_d = ((1/N) sum_n x_nd^p)^(1/p), x >= 0, p in [-inf, inf] (GeM)."""
    return _by_name("generalized_mean", power, Batch(x, ptr, q0, empty_bag, threads))


def mixed_pooling(
    x: Array,
    ptr: Optional[Array] = None,
    *,
    weight: float,
    q0: Optional[Array] = None,
    empty_bag: Optional[float] = None,
    threads: int = 1,
) -> np.ndarray:
    """y = w mean + (1 - w) max, w in [0, 1] (Lee, Gallagher & Tu, AISTATS 2016)."""
    return _by_name("mixed", weight, Batch(x, ptr, q0, empty_bag, threads))


def gated_mean_max_pooling(
    x: Array,
    ptr: Optional[Array] = None,
    *,
    weights: Array,
    bias: float = 0.0,
    q0: Optional[Array] = None,
    empty_bag: Optional[float] = None,
    threads: int = 1,
) -> np.ndarray:
    """y = w mean + (1 - w) max, w = sigmoid(<weights, mean> + bias) for each bag; weights: (D,)."""
    batch = Batch(x, ptr, q0, empty_bag, threads)
    gate = numbers(weights, "weights", batch.x.dtype)
    return batch.result(_otpool.pool_by_gate(gate, float(bias), batch.x, batch.ptr, batch.options))


def dynamic_routing_pooling(
    x: Array,
    ptr: Optional[Array] = None,
    *,
    iterations: int = 3,
    q0: Optional[Array] = None,
    empty_bag: Optional[float] = None,
    threads: int = 1,
) -> np.ndarray:
    """Attention whose scores are updated from the pooled vector (Yan et al., ACML 2018): scores s = 0, then `iterations` times

    y = sum_n softmax(s)_n x_n,   s_n += <x_n, |y| y / (1 + |y|^2)>
    """
    return _by_name("dynamic_routing", int(iterations), Batch(x, ptr, q0, empty_bag, threads))


def attention_pooling(
    x: Array,
    ptr: Optional[Array] = None,
    *,
    scores: Optional[Array] = None,
    V: Optional[Array] = None,
    w: Optional[Array] = None,
    U: Optional[Array] = None,
    q0: Optional[Array] = None,
    empty_bag: Optional[float] = None,
    threads: int = 1,
) -> np.ndarray:
    """y = sum_n q0_n x_n: alpha0 = alpha2 = inf. The weights q0 are one of

    - q0, given;
    - softmax(scores), (sum N,); a score of -inf excludes an instance;
    - softmax(w^T tanh(V x_n)), with V (L, D) and w (L,); with U (L, D) gated, softmax(w^T (tanh(V x_n) * sigmoid(U x_n)))
      (Ilse, Tomczak & Welling, ICML 2018). Then q0 may be given, too, and multiplies them.
    """
    if scores is not None and (q0 is not None or V is not None):
        raise InvalidArgument("scores is given with q0 or V; allowed: one of them")
    if (V is None) != (w is None) or (U is not None and V is None):
        raise InvalidArgument("V, w, U is incomplete; allowed: V and w, or V, U and w, or none")
    if V is not None:
        batch = Batch(x, ptr, q0, empty_bag, threads)
        of_network = (batch.like_x(V, "V"), batch.like_x(U, "U"), numbers(w, "w", batch.x.dtype))
        return batch.result(_otpool.pool_by_attention(*of_network, batch.x, batch.ptr, batch.options))
    if scores is not None:
        given = numbers(scores, "scores")
        where = np.array([0, len(given)], dtype=np.int64) if ptr is None else offsets(ptr)
        q0 = _otpool.softmax_of_bags(given, where)
    return _by_name("attention", 0, Batch(x, ptr, q0, empty_bag, threads))


def pooling(
    x: Array,
    ptr: Optional[Array] = None,
    *,
    reward: Optional[Array] = None,
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
    empty_bag: Optional[float] = None,
    threads: int = 1,
) -> np.ndarray:
    """Pooling by unbalanced optimal transport: the plan P of solve() for every bag, with the reward (sum N, D) or x itself, and

        y_d = sum_n P_nd x_nd / sum_n P_nd    (readout="conditional"),   or D sum_n P_nd x_nd ("joint")

    Parameters are those of solve(), but for q0, (sum N,), which is divided by its sum in each bag unless has_masses. Sparse
    regularizers (Quadratic, KSparse, TopK) compute in float64, of which float32 bags are converted.
    """
    require_regularizer(regularizer)
    require_solver(solver)
    if readout not in ("conditional", "joint"):
        raise InvalidArgument(f'readout is {readout!r}; allowed: "conditional", "joint"')
    parameters = Parameters.of(alpha0, alpha1, alpha2, p0, None, penalty1, penalty2, has_masses, mass)
    batch = Batch(x, ptr, q0, empty_bag, threads, dtype_for(regularizer))
    pooled = _otpool.pool_by_transport(
        parameters,
        regularizer,
        solver,
        readout == "joint",
        batch.x,
        batch.ptr,
        batch.like_x(reward, "reward"),
        batch.options,
    )
    return as_type_of(x, batch.result(pooled))


def dtype_for(regularizer: Regularizer) -> Optional[np.dtype]:
    """float64 for sparse regularizers; else None, for the type of the bag."""
    is_entropic = isinstance(regularizer, (Entropy, RelativeEntropy))
    return None if is_entropic else np.dtype(np.float64)


def as_type_of(x: Array, pooled: np.ndarray) -> np.ndarray:
    """The pooled vectors in float32 if the bag is, else as they are."""
    is_float = as_numpy(x, "x").dtype == np.float32
    return pooled.astype(np.float32) if is_float and pooled.dtype != np.float32 else pooled
