"""The functions of POT's `ot.unbalanced` that otpool's solvers cover, with the same arguments and results.

They solve, for gamma >= 0 of shape (dim_a, dim_b),

    min  <gamma, M> + reg div(gamma, c) + reg_m1 div_m(gamma 1, a) + reg_m2 div_m(gamma^T 1, b)

Arrays are NumPy's, nested lists, or tensors of PyTorch on the CPU without gradients; the results are of the same kind and type as M.
What differs from POT is a table in the README of the package.
"""

from __future__ import annotations

import warnings
from typing import Any, Optional

import numpy as np

from ._arrays import as_numpy
from .errors import InvalidArgument, UnsupportedProblem
from .options import Automatic, ChiSquared, Entropy, KullbackLeibler, Penalty, Quadratic, Sinkhorn, TotalVariation
from .solving import Solution, solve

__all__ = [
    "lbfgsb_unbalanced",
    "lbfgsb_unbalanced2",
    "mm_unbalanced",
    "mm_unbalanced2",
    "sinkhorn_knopp_unbalanced",
    "sinkhorn_stabilized_unbalanced",
    "sinkhorn_unbalanced",
    "sinkhorn_unbalanced2",
    "sinkhorn_unbalanced_translation_invariant",
]

_METHODS = ("sinkhorn", "sinkhorn_stabilized", "sinkhorn_translation_invariant", "sinkhorn_reg_scaling")
_NOTHING = 1e-300  # stands for 0 where POT takes a logarithm


class _Problem:
    """The arguments that all functions share, as arrays of float64."""

    def __init__(self, a: Any, b: Any, M: Any, reg_m: Any, reg: Any = 0.0) -> None:
        self.like = M
        self.M = np.asarray(as_numpy(M, "M"), dtype=np.float64)
        if self.M.ndim != 2:
            raise InvalidArgument(f"shape of M is {self.M.shape}; allowed: (dim_a, dim_b)")
        dim_a, dim_b = self.M.shape
        self.a = _histogram(a, "a", dim_a)
        self.b = _histogram(b, "b", dim_b)
        self.reg_m1, self.reg_m2 = _pair(reg_m)
        self.reg = float(reg)

    def returned(self, array: Any) -> Any:
        """The array, or number, as one of the kind and type of M."""
        if hasattr(self.like, "detach"):
            import torch  # type: ignore[import-not-found, unused-ignore]

            return torch.from_numpy(np.ascontiguousarray(array)).to(self.like.dtype)
        is_float = isinstance(self.like, np.ndarray) and self.like.dtype == np.float32
        return np.asarray(array, dtype=np.float32 if is_float else np.float64)[()]

    def solve(self, reward: np.ndarray, **options: Any) -> tuple[np.ndarray, Solution, np.ndarray]:
        """The plan (dim_a, dim_b), the solution, and which columns it has: those with b > 0."""
        kept = self.b > 0
        columns: Any = slice(None) if kept.all() else kept
        reward = np.ascontiguousarray(reward[:, columns])
        found = solve(
            reward,
            values=None if np.isfinite(reward).all() else np.zeros_like(reward),
            p0=self.b[columns],
            q0=self.a,
            has_masses=True,
            **options,
        )
        plan = np.zeros_like(self.M)
        plan[:, columns] = found.plan
        return plan, found, kept


def _histogram(given: Any, name: str, size: int) -> np.ndarray:
    array = np.asarray(as_numpy(given, name), dtype=np.float64)
    if array.shape[:1] == (0,):
        return np.full(size, 1 / size)
    if array.shape[0] != size or array.ndim > 1:
        raise InvalidArgument(f"shape of {name} is {array.shape}; allowed: ({size},), as M says, or empty")
    return array


def _pair(reg_m: Any) -> tuple[float, float]:
    given = np.atleast_1d(as_numpy(reg_m, "reg_m")).astype(np.float64).ravel()
    if given.size not in (1, 2):
        raise InvalidArgument(f"length of reg_m is {given.size}; allowed: a number, or 1 or 2 of them")
    return float(given[0]), float(given[-1])


def _reference(problem: _Problem, c: Any) -> np.ndarray:
    if c is None:
        return problem.a[:, None] * problem.b[None, :]
    given = np.asarray(as_numpy(c, "c"), dtype=np.float64)
    if given.shape != problem.M.shape or not (given >= 0).all():
        raise InvalidArgument(f"c is an array of shape {given.shape}; allowed: {problem.M.shape}, the shape of M, >= 0")
    return given


def _warn_unless_converged(found: Solution, tolerance: float) -> None:
    if not found.converged:
        warnings.warn(
            f"not converged: {found.status} after {found.iterations} iterations, residual {found.residual:.3g}"
            f" (stopThr {tolerance:.3g})",
            stacklevel=4,
        )


def _xlogy(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return x * np.log(np.where(x > 0, y, 1.0))


def _kl(p: np.ndarray, q: np.ndarray, mass: bool = True) -> float:
    """sum p log(p / q), with - p + q if `mass`."""
    with np.errstate(divide="ignore", invalid="ignore"):
        divergence = float(_xlogy(p, p / q).sum())
    return divergence + float((q - p).sum()) if mass else divergence


def _weighted(strength: float, divergence: float) -> float:
    """The term of a marginal; a hard one has none."""
    return 0.0 if np.isinf(strength) or strength == 0 else strength * divergence


def _observer(verbose: bool) -> Any:
    if not verbose:
        return None

    def show(iteration: int, residual: float) -> None:
        if iteration % 50 == 1:
            print("{:5s}|{:12s}".format("It.", "Err") + "\n" + "-" * 19)
        print(f"{iteration:5d}|{residual:8e}|")

    return show


def _start(problem: _Problem, warmstart: Any) -> Optional[tuple[np.ndarray, np.ndarray]]:
    """The potentials f and g of log u and log v."""
    if warmstart is None:
        return None
    log_u, log_v = (np.asarray(as_numpy(given, "warmstart"), dtype=np.float64) for given in warmstart)
    return problem.reg * log_v[problem.b > 0], problem.reg * log_u


def sinkhorn_knopp_unbalanced(
    a: Any,
    b: Any,
    M: Any,
    reg: float,
    reg_m: Any,
    reg_type: str = "kl",
    c: Any = None,
    warmstart: Any = None,
    numItermax: int = 1000,
    stopThr: float = 1e-6,
    verbose: bool = False,
    log: bool = False,
    **kwargs: Any,
) -> Any:
    """The plan of the entropic problem, div = KL, by otpool.Sinkhorn.

    reg_type: "kl" for div(gamma, c) = KL(gamma, c), c = a b^T if it is None; "entropy" for <gamma, log gamma - 1>.
    b: (dim_b,), or (dim_b, n_hists): the linear costs from a to each column, with reg_type="entropy".
    warmstart: the logarithms of the scalings u and v to start from.
    stopThr: the residual (Solution.residual) that counts as converged.
    log: whether to return a dictionary, too: err, logu, logv, cost, total_cost.
    """
    many = np.asarray(as_numpy(b, "b"))
    if many.ndim == 2:
        return _many_histograms(a, b, M, reg, reg_m, warmstart, numItermax, stopThr, verbose, log)
    if reg_type.lower() not in ("kl", "entropy"):
        raise InvalidArgument(f'reg_type is {reg_type!r}; allowed: "kl", "entropy"')
    problem = _Problem(a, b, M, reg_m, reg)
    if reg_type.lower() == "entropy":
        warnings.warn("If reg_type = entropy, then the matrix c is overwritten by the one matrix.", stacklevel=2)
        reference = np.ones_like(problem.M)
    else:
        reference = _reference(problem, c)
    with np.errstate(divide="ignore"):
        reward = problem.reg * np.log(reference) - problem.M
    reward[problem.a == 0] = 0  # excluded
    plan, found, kept = problem.solve(
        reward,
        alpha0=problem.reg,
        alpha1=problem.reg_m2,
        alpha2=problem.reg_m1,
        solver=Sinkhorn(max_iterations=int(numItermax), tolerance=float(stopThr), history=bool(log)),
        warm_start=_start(problem, warmstart),
        observer=_observer(verbose),
    )
    _warn_unless_converged(found, stopThr)
    if not log:
        return problem.returned(plan)
    log_v = np.full(len(problem.b), np.log(_NOTHING))
    log_u = np.full(len(problem.a), np.log(_NOTHING))
    log_u[problem.a > 0] = found.instance_potential[problem.a > 0] / problem.reg
    log_v[kept] = found.feature_potential / problem.reg
    cost = float((plan * problem.M).sum())
    # POT leaves out the masses of KL here.
    total = cost + problem.reg * _kl(plan, reference, mass=False)
    total += _weighted(problem.reg_m1, _kl(plan.sum(1), problem.a, mass=False))
    total += _weighted(problem.reg_m2, _kl(plan.sum(0), problem.b, mass=False))
    return problem.returned(plan), {
        "err": found.history or [found.residual],
        "logu": problem.returned(log_u),
        "logv": problem.returned(log_v),
        "cost": problem.returned(cost),
        "total_cost": problem.returned(total),
    }


def _many_histograms(
    a: Any,
    b: Any,
    M: Any,
    reg: float,
    reg_m: Any,
    warmstart: Any,
    numItermax: int,
    stopThr: float,
    verbose: bool,
    log: bool,
) -> Any:
    columns = np.asarray(as_numpy(b, "b"), dtype=np.float64).T
    double = np.asarray(as_numpy(M, "M"), dtype=np.float64)
    starts: list[Any] = [None] * len(columns)
    if warmstart is not None:
        log_u, log_v = (np.asarray(as_numpy(given, "warmstart"), dtype=np.float64) for given in warmstart)
        log_u = np.broadcast_to(log_u, (len(double), len(columns)))
        starts = list(zip(log_u.T, log_v.T))
    results = []
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "If reg_type")
        for column, start in zip(columns, starts):
            results.append(
                sinkhorn_knopp_unbalanced(
                    a, column, double, reg, reg_m, "entropy", None, start, numItermax, stopThr, verbose, True
                )[1]
            )
    returned = _Problem(a, [], M, reg_m).returned
    costs = returned(np.array([result["cost"] for result in results]))
    if not log:
        return costs
    return costs, {
        "err": max((result["err"] for result in results), key=len),
        "logu": returned(np.stack([result["logu"] for result in results], axis=1)),
        "logv": returned(np.stack([result["logv"] for result in results], axis=1)),
    }


def sinkhorn_stabilized_unbalanced(
    a: Any,
    b: Any,
    M: Any,
    reg: float,
    reg_m: Any,
    reg_type: str = "kl",
    c: Any = None,
    warmstart: Any = None,
    tau: float = 1e5,
    numItermax: int = 1000,
    stopThr: float = 1e-6,
    verbose: bool = False,
    log: bool = False,
    **kwargs: Any,
) -> Any:
    """sinkhorn_knopp_unbalanced(), which is stable for any reg. `tau` changes nothing."""
    return sinkhorn_knopp_unbalanced(a, b, M, reg, reg_m, reg_type, c, warmstart, numItermax, stopThr, verbose, log)


def sinkhorn_unbalanced_translation_invariant(
    a: Any,
    b: Any,
    M: Any,
    reg: float,
    reg_m: Any,
    reg_type: str = "kl",
    c: Any = None,
    warmstart: Any = None,
    numItermax: int = 1000,
    stopThr: float = 1e-6,
    verbose: bool = False,
    log: bool = False,
    **kwargs: Any,
) -> Any:
    """sinkhorn_knopp_unbalanced(), which takes the translation step anyway."""
    return sinkhorn_knopp_unbalanced(a, b, M, reg, reg_m, reg_type, c, warmstart, numItermax, stopThr, verbose, log)


def sinkhorn_unbalanced(
    a: Any,
    b: Any,
    M: Any,
    reg: float,
    reg_m: Any,
    method: str = "sinkhorn",
    reg_type: str = "kl",
    c: Any = None,
    warmstart: Any = None,
    numItermax: int = 1000,
    stopThr: float = 1e-6,
    verbose: bool = False,
    log: bool = False,
    **kwargs: Any,
) -> Any:
    """sinkhorn_knopp_unbalanced() for every method of POT's."""
    if method.lower() not in _METHODS:
        raise ValueError(f"Unknown method '{method}'.")
    return sinkhorn_knopp_unbalanced(a, b, M, reg, reg_m, reg_type, c, warmstart, numItermax, stopThr, verbose, log)


def sinkhorn_unbalanced2(
    a: Any,
    b: Any,
    M: Any,
    reg: float,
    reg_m: Any,
    method: str = "sinkhorn",
    reg_type: str = "kl",
    c: Any = None,
    warmstart: Any = None,
    returnCost: str = "linear",
    numItermax: int = 1000,
    stopThr: float = 1e-6,
    verbose: bool = False,
    log: bool = False,
    **kwargs: Any,
) -> Any:
    """The cost of sinkhorn_unbalanced(): <gamma, M> ("linear"), or with all terms ("total", as in the log dictionary)."""
    if np.asarray(as_numpy(b, "b")).ndim == 2:
        if reg_type == "kl":
            warnings.warn("Reg_type not implemented yet. Use entropy.", stacklevel=2)
        return sinkhorn_unbalanced(
            a, b, M, reg, reg_m, method, reg_type, c, warmstart, numItermax, stopThr, verbose, log
        )
    result = sinkhorn_unbalanced(
        a, b, M, reg, reg_m, method, reg_type, c, warmstart, numItermax, stopThr, verbose, True
    )[1]
    return _cost(result, returnCost, log)


def _cost(result: dict[str, Any], returnCost: str, log: bool) -> Any:
    if returnCost not in ("linear", "total"):
        raise ValueError(f"Unknown returnCost = {returnCost}")
    cost = result["cost" if returnCost == "linear" else "total_cost"]
    return (cost, result) if log else cost


def mm_unbalanced(
    a: Any,
    b: Any,
    M: Any,
    reg_m: Any,
    c: Any = None,
    reg: float = 0,
    div: str = "kl",
    G0: Any = None,
    numItermax: int = 1000,
    stopThr: float = 1e-15,
    verbose: bool = False,
    log: bool = False,
) -> Any:
    """The plan of the problem with one kind of divergence, also without a regularizer (reg = 0), where it is exact.

    div: "kl", or "l2" (half of the squared difference), for the regularizer and the marginals.
    G0 changes nothing: the problem is convex. log: err, G (the last plan alone), cost, total_cost.
    """
    if div.lower() not in ("kl", "l2"):
        raise ValueError(f"Unknown div = {div}. Must be either 'kl' or 'l2'")
    problem = _Problem(a, b, M, reg_m, reg)
    plan, result = _solve_convex(problem, c, div.lower(), div.lower(), numItermax, stopThr, verbose)
    result["G"] = [plan]
    del result["res"]
    return (plan, result) if log else plan


def mm_unbalanced2(
    a: Any,
    b: Any,
    M: Any,
    reg_m: Any,
    c: Any = None,
    reg: float = 0,
    div: str = "kl",
    G0: Any = None,
    returnCost: str = "linear",
    numItermax: int = 1000,
    stopThr: float = 1e-15,
    verbose: bool = False,
    log: bool = False,
) -> Any:
    """The cost of mm_unbalanced(): <gamma, M> ("linear"), or with all terms ("total")."""
    result = mm_unbalanced(a, b, M, reg_m, c, reg, div, G0, numItermax, stopThr, verbose, True)[1]
    return _cost(result, returnCost, log)


def lbfgsb_unbalanced(
    a: Any,
    b: Any,
    M: Any,
    reg: float,
    reg_m: Any,
    c: Any = None,
    reg_div: Any = "kl",
    regm_div: str = "kl",
    G0: Any = None,
    numItermax: int = 1000,
    stopThr: float = 1e-15,
    method: str = "L-BFGS-B",
    verbose: bool = False,
    log: bool = False,
) -> Any:
    """The plan of the problem with other divergences, by otpool.Automatic.

    reg_div: "kl", "entropy" or "l2" (half of it squared); regm_div: "kl", "l2" or "tv". Functions raise UnsupportedProblem.
    G0 and method change nothing: the problem is convex. log: err, cost, total_cost, and res, the Solution.
    """
    if regm_div.lower() not in ("kl", "l2", "tv"):
        raise ValueError(f"Unknown regm_div = {regm_div}. Must be either 'kl', 'l2' or 'tv'")
    if isinstance(reg_div, str) and reg_div.lower() not in ("entropy", "kl", "l2"):
        raise ValueError(f"Unknown reg_div = {reg_div}. Must be either 'entropy', 'kl' or 'l2', or a tuple")
    if not isinstance(reg_div, str):
        raise UnsupportedProblem(
            'lbfgsb_unbalanced() does not solve a problem with functions as reg_div; allowed: "kl", "entropy" or "l2"'
        )
    problem = _Problem(a, b, M, reg_m, reg)
    plan, result = _solve_convex(problem, c, reg_div.lower(), regm_div.lower(), numItermax, stopThr, verbose)
    return (plan, result) if log else plan


def lbfgsb_unbalanced2(
    a: Any,
    b: Any,
    M: Any,
    reg: float,
    reg_m: Any,
    c: Any = None,
    reg_div: Any = "kl",
    regm_div: str = "kl",
    G0: Any = None,
    returnCost: str = "linear",
    numItermax: int = 1000,
    stopThr: float = 1e-15,
    method: str = "L-BFGS-B",
    verbose: bool = False,
    log: bool = False,
) -> Any:
    """The cost of lbfgsb_unbalanced(): <gamma, M> ("linear"), or with all terms ("total")."""
    result = lbfgsb_unbalanced(
        a, b, M, reg, reg_m, c, reg_div, regm_div, G0, numItermax, stopThr, method, verbose, True
    )[1]
    return _cost(result, returnCost, log)


def _solve_convex(
    problem: _Problem, c: Any, reg_div: str, regm_div: str, numItermax: int, stopThr: float, verbose: bool
) -> tuple[Any, dict[str, Any]]:
    """The plan, and a log dictionary. Steps of otpool's solvers are not theirs, so numItermax is only a lower bound."""
    reg = problem.reg
    reference = _reference(problem, c)
    reward = -problem.M
    if reg > 0 and reg_div == "kl":
        with np.errstate(divide="ignore"):
            reward = reward + reg * np.log(reference)
        reward[problem.a == 0] = 0  # excluded
    if reg > 0 and reg_div == "l2":
        reward = reward + reg * reference
    penalty: Penalty = KullbackLeibler()
    alpha1: Any = problem.reg_m2
    alpha2: Any = problem.reg_m1
    if regm_div != "kl" and not (problem.a.all() and problem.b.all()):
        raise UnsupportedProblem(
            f'a problem with entries 0 of a or b and "{regm_div}"; allowed: a > 0 and b > 0, or "kl"'
        )
    if regm_div == "tv":
        penalty = TotalVariation()
    if regm_div == "l2":
        penalty = ChiSquared()
        alpha1, alpha2 = alpha1 * problem.b, alpha2 * problem.a
    # Other marginals than "kl" take BregmanAdmm, which may need thousands of iterations for a digit.
    tolerance = max(float(stopThr), 1e-9 if regm_div == "kl" else 1e-6)
    plan, found, _ = problem.solve(
        reward,
        alpha0=reg / 2 if reg_div == "l2" else reg,
        alpha1=alpha1,
        alpha2=alpha2,
        regularizer=Quadratic() if reg_div == "l2" else Entropy(),
        penalty1=penalty,
        penalty2=penalty,
        solver=Automatic(tolerance=tolerance, max_iterations=max(int(numItermax), 10000)),
        observer=_observer(verbose),
    )
    _warn_unless_converged(found, tolerance)

    def distance(marginal: np.ndarray, prior: np.ndarray) -> float:
        if regm_div == "tv":
            return float(np.abs(marginal - prior).sum())
        if regm_div == "l2":
            return float(((marginal - prior) ** 2).sum()) / 2
        return _kl(marginal, prior)

    cost = float((plan * problem.M).sum())
    total = cost + _weighted(problem.reg_m1, distance(plan.sum(1), problem.a))
    total += _weighted(problem.reg_m2, distance(plan.sum(0), problem.b))
    if reg > 0 and reg_div == "l2":
        total += reg / 2 * float(((plan - reference) ** 2).sum())
    elif reg > 0:
        total += reg * (_kl(plan, reference) if reg_div == "kl" else float((_xlogy(plan, plan) - plan).sum()))
    result = {
        "err": [found.residual],
        "cost": problem.returned(cost),
        "total_cost": problem.returned(total),
        "res": found,
    }
    return problem.returned(plan), result
