"""What a problem and a solver are made of: regularizers, penalties, solvers.

All are immutable values, which can be compared, copied and pickled.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional, Union

import numpy as np

from ._arrays import Floats, numbers
from .errors import InvalidArgument

INFINITY = float("inf")


# Regularizers


@dataclass(frozen=True)
class Entropy:
    """R(P) = <P, log P - 1>. The plan is dense."""


@dataclass(frozen=True)
class RelativeEntropy:
    """R(P) = KL(P | p0 q0^T): POT's "kl". The plan keeps q0 where alpha0 is large."""


@dataclass(frozen=True)
class Quadratic:
    """R(P) = ||P||^2. The plan is sparse."""


@dataclass(frozen=True)
class KSparse:
    """Quadratic with at most `most` features (or slots) for every instance (Liu, Puigcerver & Blondel, ICLR 2023).

    Not convex: Newton finds the optimum, or says "not_exact".
    """

    most: int = 1


@dataclass(frozen=True)
class TopK:
    """Quadratic with at most `most` instances for every feature (or slot), for free instances (alpha2 = 0)."""

    most: int = 1


Regularizer = Union[Entropy, RelativeEntropy, Quadratic, KSparse, TopK]


# Penalties of a soft marginal m with prior p


@dataclass(frozen=True)
class KullbackLeibler:
    """alpha sum_i m_i log(m_i / p_i) - m_i + p_i. Every solver takes it."""


@dataclass(frozen=True)
class TotalVariation:
    """alpha sum_i |m_i - p_i|."""


@dataclass(frozen=True)
class ChiSquared:
    """alpha sum_i p_i (m_i / p_i - 1)^2 / 2. With alpha_i = a p_i, it is a/2 |m - p|^2."""


@dataclass(frozen=True)
class AtMost:
    """m_i <= p_i, whatever alpha is, as long as it is finite and > 0."""


@dataclass(frozen=True)
class Range:
    """low p_i <= m_i <= high p_i, 0 <= low <= 1 <= high, whatever alpha is, as long as it is finite and > 0."""

    low: float
    high: float


Penalty = Union[KullbackLeibler, TotalVariation, ChiSquared, AtMost, Range]


# Solvers


@dataclass(frozen=True)
class _Options:
    """How long a solver iterates.

    iterations: exactly this many, at least 1: a layer of K steps. None: until the residual is within the tolerance.
    tolerance: the residual that counts as converged, in (0, inf). None: 1e-8 for float64, 1e-6 for float32.
    max_iterations: at most this many. None: 200 for Newton, 10000 for the others.
    closed_forms: if there is a closed form, use it instead of iterating.
    history: keep the residual of every iteration.
    """

    iterations: Optional[int] = None
    tolerance: Optional[float] = None
    max_iterations: Optional[int] = None
    closed_forms: bool = True
    history: bool = False


@dataclass(frozen=True)
class Automatic(_Options):
    """Chooses the solver by the problem, and goes on to the next one if it does not converge. Solves everything."""


@dataclass(frozen=True)
class ClosedForm(_Options):
    """Problems without iterations: alpha2 = 0, alpha1 = 0 or alpha0 = inf. Refuses others."""


@dataclass(frozen=True)
class Sinkhorn(_Options):
    """Sinkhorn scaling in the log domain, for entropic regularizers with alpha0 > 0 and any penalty.

        f <- k1 a0 (log p0 - LSE_n((X + g)/a0)),  k1 = a1/(a1+a0)
        f <- f + t,  g <- g - t                   (translation), unless a side is free or both are hard
        g <- k2 a0 (log q0 - LSE_d((X + f)/a0)),  k2 = a2/(a2+a0)

    translation: whether to take the translation step (Sejourne, Vialard & Peyre, arXiv 2201.00730).
    memory: steps that Anderson's acceleration remembers, 0 to 64; 0 turns it off.
    instances_first: whether g is updated first. The first update of all reads a potential of 0 of the other side.
    """

    translation: bool = True
    memory: int = 8
    instances_first: bool = False


@dataclass(frozen=True)
class Newton(_Options):
    """Newton's method on the semi-dual: entropic regularizers, Quadratic and KSparse with alpha0 > 0, KullbackLeibler."""


@dataclass(frozen=True)
class ActiveSet(_Options):
    """Exact transport: alpha0 = 0 and KullbackLeibler. A dual active-set method."""


@dataclass(frozen=True)
class BregmanAdmm(_Options):
    """Bregman ADMM, for Entropy, RelativeEntropy and Quadratic, any penalty and alpha0 in [0, inf].

    rho: weight of the divergence between the copies of the plan, in (0, inf). None: 0.1 sd(X) + alpha0.
    """

    rho: Optional[float] = None


Solver = Union[Automatic, ClosedForm, Sinkhorn, Newton, ActiveSet, BregmanAdmm]

_REGULARIZERS = (Entropy, RelativeEntropy, Quadratic, KSparse, TopK)
_PENALTIES = (KullbackLeibler, TotalVariation, ChiSquared, AtMost, Range)
_SOLVERS = (Automatic, ClosedForm, Sinkhorn, Newton, ActiveSet, BregmanAdmm)


def _require_one_of(classes: tuple, given: object, name: str) -> None:
    if type(given) not in classes:
        allowed = ", ".join(each.__name__ + "()" for each in classes)
        raise InvalidArgument(f"{name} is {given!r}; allowed: {allowed}")


def require_regularizer(given: object) -> None:
    _require_one_of(_REGULARIZERS, given, "regularizer")


def require_solver(given: object) -> None:
    _require_one_of(_SOLVERS, given, "solver")


@dataclass(frozen=True)
class Side:
    """One marginal, as the extension module reads it."""

    alpha: float
    alphas: Optional[np.ndarray]
    prior: Optional[np.ndarray]
    penalty: Penalty
    has_masses: bool

    @staticmethod
    def of(
        alpha: Floats, prior: Optional[Floats], penalty: Penalty, has_masses: bool, names: tuple[str, str, str]
    ) -> Side:
        _require_one_of(_PENALTIES, penalty, names[2])
        own = np.ndim(alpha) > 0  # type: ignore[arg-type]
        return Side(
            alpha=0.0 if own else float(alpha),  # type: ignore[arg-type]
            alphas=numbers(alpha, names[0]) if own else None,
            prior=None if prior is None else numbers(prior, names[1]),
            penalty=penalty,
            has_masses=bool(has_masses),
        )


@dataclass(frozen=True)
class Parameters:
    """The parameters of a problem, as the extension module reads them."""

    alpha0: float
    features: Side
    instances: Side
    mass: Optional[float]

    @staticmethod
    def of(
        alpha0: float,
        alpha1: Floats,
        alpha2: Floats,
        p0: Optional[Floats],
        q0: Optional[Floats],
        penalty1: Penalty,
        penalty2: Penalty,
        has_masses: bool,
        mass: Optional[float],
    ) -> Parameters:
        return Parameters(
            alpha0=float(alpha0),
            features=Side.of(alpha1, p0, penalty1, has_masses, ("alpha1", "p0", "penalty1")),
            instances=Side.of(alpha2, q0, penalty2, has_masses, ("alpha2", "q0", "penalty2")),
            mass=None if mass is None else float(mass),
        )


@dataclass(frozen=True)
class BatchOptions:
    """What all poolings of a batch take, as the extension module reads it."""

    q0: Optional[np.ndarray]
    empty_bag: Optional[float]
    threads: int
