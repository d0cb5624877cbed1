"""Problems, and their solutions."""

from __future__ import annotations

from typing import Any, Callable, Optional, Union

import numpy as np

from . import _otpool
from ._arrays import Array, Floats, numbers, rows
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


class Solution:
    """How a solve ended, the potentials, and the plan, which is computed when it is first asked for.

    It views `reward` and `values` if these were float64 in C order: do not write into them as long as you need what is not
    computed yet. Copies and pickles have everything computed, and view nothing.
    """

    _COMPUTED = ("plan", "feature_marginal", "instance_marginal", "objective", "pooled")

    def __init__(self, found: Any) -> None:
        self._found = found
        self._values: dict[str, Any] = found.outcome()

    def _value(self, name: str) -> Any:
        if name not in self._values:
            self._values[name] = getattr(self._found, name)()
        return self._values[name]

    @property
    def status(self) -> str:
        """ "converged": the residual is within the tolerance. Else "iteration_limit" (also after a fixed number of iterations),
        "stopped" by the observer, "precision_limit", "mass_out_of_range" or "not_exact"."""
        return self._value("status")

    @property
    def converged(self) -> bool:
        """Whether the status is "converged"."""
        return self.status == "converged"

    @property
    def iterations(self) -> int:
        """Iterations done; 0 for a closed form."""
        return self._value("iterations")

    @property
    def residual(self) -> float:
        """The plan's largest violation of the optimality conditions, in log-marginal units:

        max( |log(r/p0) + f/alpha1|_inf , |log(c/q0) + g/alpha2|_inf ),   r, c the marginals, f, g the potentials
        """
        return self._value("residual")

    @property
    def history(self) -> list[float]:
        """The residual after each iteration, if the solver has history=True."""
        return self._value("history")

    @property
    def feature_potential(self) -> np.ndarray:
        """f, (D,). If the regularizer is Entropy, P = exp((X + f + g) / alpha0)."""
        return self._value("feature_potential")

    @property
    def instance_potential(self) -> np.ndarray:
        """g, (N,); the lowest finite number where q0 is 0."""
        return self._value("instance_potential")

    @property
    def mass_potential(self) -> float:
        """The multiplier of a fixed mass; 0 without one."""
        return self._value("mass_potential")

    @property
    def mass(self) -> float:
        """sum P"""
        return self._value("mass")

    @property
    def log_mass(self) -> float:
        """log sum P, also where sum P leaves the range of float64."""
        return self._value("log_mass")

    @property
    def plan(self) -> np.ndarray:
        """P, (N, D): how much feature d draws on instance n."""
        return self._value("plan")

    @property
    def feature_marginal(self) -> np.ndarray:
        """sum_n P_nd, (D,)."""
        return self._value("feature_marginal")

    @property
    def instance_marginal(self) -> np.ndarray:
        """sum_d P_nd, (N,)."""
        return self._value("instance_marginal")

    @property
    def objective(self) -> float:
        """-<X, P> + alpha0 R(P) + alpha1 KL(r | p0) + alpha2 KL(c | q0), without the terms whose alpha is infinite."""
        return self._value("objective")

    @property
    def pooled(self) -> np.ndarray:
        """sum_n P_nd v_nd / sum_n P_nd, (D,): the conditional mean of the values, or of the reward."""
        return self._value("pooled")

    def __getstate__(self) -> dict[str, Any]:
        for name in self._COMPUTED:
            self._value(name)
        return dict(self._values)

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._found = None
        self._values = state

    def __repr__(self) -> str:
        return (
            f"<otpool.Solution: {self.status} in {self.iterations} iterations, residual {self.residual:.3g},"
            f" {self.instance_potential.size} instances, {self.feature_potential.size} features>"
        )


def _start(warm_start: object) -> tuple[Any, Optional[np.ndarray], Optional[np.ndarray]]:
    """The solution of the extension module to start from, or the potentials."""
    if warm_start is None:
        return None, None, None
    if isinstance(warm_start, Solution):
        if warm_start._found is not None:
            return warm_start._found, None, None
        return None, warm_start.feature_potential, warm_start.instance_potential
    if isinstance(warm_start, tuple) and len(warm_start) == 2:
        return None, numbers(warm_start[0], "f of warm_start"), numbers(warm_start[1], "g of warm_start")
    raise InvalidArgument(f"warm_start is {warm_start!r}; allowed: a solution, or potentials (f, g)")


def solve(
    reward: Array,
    *,
    values: Optional[Array] = None,
    alpha0: float = 1.0,
    alpha1: Floats = INFINITY,
    alpha2: Floats = 0.0,
    p0: Optional[Array] = None,
    q0: Optional[Array] = None,
    penalty1: Penalty = KullbackLeibler(),
    penalty2: Penalty = KullbackLeibler(),
    has_masses: bool = False,
    mass: Optional[float] = None,
    regularizer: Regularizer = Entropy(),
    solver: Solver = Automatic(),
    warm_start: Union[Solution, tuple[Array, Array], None] = None,
    observer: Optional[Callable[[int, float], Any]] = None,
    threads: int = 1,
) -> Solution:
    """Solves the unbalanced optimal transport problem of one bag (Cheng & Xu, arXiv 2201.09191),

        min over P >= 0 (N, D)   -<X, P> + alpha0 R(P) + alpha1 KL(r | p0) + alpha2 KL(c | q0)

    with r_d = sum_n P_nd, c_n = sum_d P_nd and KL(a | b) = sum a log(a/b) - a + b. It computes in float64: arrays of float64 in C
    order are viewed, others are converted.

    reward: X, (N, D), finite, or -inf where a feature must not draw on an instance (then give values).
    values: what is pooled, (N, D), finite. None: the reward.
    alpha0: strength of the regularizer, 0 to inf.
    alpha1, alpha2: how strongly the feature and the instance marginal are held to p0 and q0, 0 to inf: 0 leaves one free,
        inf makes it equal. One number, or an array with one for each feature or instance.
    p0, q0: priors, (D,) > 0 and (N,) >= 0, that sum to 1 (within 1e-3). None: uniform. q0 = 0 excludes an instance.
    penalty1, penalty2: the penalty of each marginal, in place of KL.
    has_masses: whether p0 and q0 are masses of any sum.
    mass: sum P, if that is fixed.
    regularizer: R.
    solver: which solver, and how long it iterates.
    warm_start: a solution of a problem of the same shape and regularizer, to start from; or potentials (f, g), for entropic
        regularizers with 0 < alpha0 < inf. A copy of a solution counts as its potentials.
    observer: called with the number of every iteration and its residual; a true result stops the solver.
    threads: how many to run on, for large bags; 0: one per processor.

    Raises InvalidArgument for input outside its range, UnsupportedProblem where the solver does not solve the problem. Other
    threads run meanwhile.
    """
    require_regularizer(regularizer)
    require_solver(solver)
    found, f, g = _start(warm_start)
    double = np.dtype(np.float64)
    return Solution(
        _otpool.solve(
            rows(reward, "reward", double),
            None if values is None else rows(values, "values", double),
            Parameters.of(alpha0, alpha1, alpha2, p0, q0, penalty1, penalty2, has_masses, mass),
            regularizer,
            solver,
            found,
            f,
            g,
            observer,
            int(threads),
        )
    )
