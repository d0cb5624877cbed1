"""Poolings of bags to one vector, as modules of PyTorch."""

import math
from typing import Optional

import torch
from torch import Tensor, nn

from . import _dense
from ._bags import side_by_side
from ._learned import learn, positive, scores_of, threads_of
from ._operators import pool, require


class Attention(nn.Module):
    """Scores w^T tanh(V x_n) of Ilse, Tomczak & Welling, "Attention-based Deep Multiple Instance Learning" (ICML 2018).

    x (sum N, D) -> (sum N). As a pooling's prior, q0 is their softmax in every bag.
    """

    def __init__(self, features: int, hidden: int = 64):
        super().__init__()
        bound = 1 / math.sqrt(features)
        self.V = nn.Parameter(torch.empty(hidden, features).uniform_(-bound, bound))
        self.w = nn.Parameter(torch.empty(hidden).uniform_(-1 / math.sqrt(hidden), 1 / math.sqrt(hidden)))

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(x @ self.V.T) @ self.w


class GatedAttention(Attention):
    """Scores w^T (tanh(V x_n) * sigmoid(U x_n)) of the same paper."""

    def __init__(self, features: int, hidden: int = 64):
        super().__init__(features, hidden)
        self.U = nn.Parameter(torch.empty_like(self.V).uniform_(-1 / math.sqrt(features), 1 / math.sqrt(features)))

    def forward(self, x: Tensor) -> Tensor:
        return (torch.tanh(x @ self.V.T) * torch.sigmoid(x @ self.U.T)) @ self.w


class _Pooling(nn.Module):
    """What the poolings have in common. Half precision is computed in float32."""

    steps, tolerance = 1, 1e-6

    def __init__(self, prior=None, threads=None):
        super().__init__()
        self.prior, self.threads = prior, threads
        self.p0 = None

    def alphas(self) -> Optional[Tensor]:
        """alpha0, alpha1, alpha2 and rho: (1, 4), or (K, 4) if every step has its own. float64. None for a closed form."""
        return None

    def forward(
        self,
        x: Tensor,
        ptr: Optional[Tensor] = None,
        batch: Optional[Tensor] = None,
        mask: Optional[Tensor] = None,
        prior: Optional[Tensor] = None,
        dim_size: Optional[int] = None,
    ) -> Tensor:
        """The pooled vectors, (B, D). The bags are one of

        - x (sum N, D), the instances of all bags one after the other, and ptr (B + 1), where each begins;
        - the same and `batch` (sum N), the number of every instance's bag, which must not decrease; `dim_size` is then
          B, by default the last number + 1;
        - x (B, N, D), or (N, D) for one bag; a nested tensor of B matrices (N_b, D).

        mask: bool, True for the instances that count, of the shape of x without D. prior: q0, numbers >= 0 that are divided
        by their sum in every bag; constants; they multiply what the module's prior computes. Instances with 0
        are excluded.
        """
        if torch.onnx.is_in_onnx_export():
            require(
                ptr is None and batch is None, "ptr or batch", "given in an export", "neither: x (B, N, D) and mask"
            )
            return self.dense(x, mask, prior)
        given = x.dtype
        if given in (torch.float16, torch.bfloat16):
            x = x.to(torch.float32)
        rows, offsets, log_prior = side_by_side(x, ptr, batch, mask, prior, dim_size)
        scores = log_prior if self.prior is None else scores_of(self.prior, rows, log_prior)
        solved_in = torch.float64 if self.solver == "badmm-q" else rows.dtype  # that solver takes no other type
        pooled = pool(
            rows.to(solved_in),
            offsets,
            None if scores is None else scores.to(solved_in),
            self.alphas(),
            None if self.p0 is None else self.p0.to(solved_in),
            self.solver,
            self.steps,
            self.tolerance,
            threads_of(self.threads),
        )
        return pooled if given == pooled.dtype else pooled.to(given)

    def dense(self, x: Tensor, mask: Optional[Tensor] = None, prior: Optional[Tensor] = None) -> Tensor:
        """The same in standard operations of PyTorch, for x (B, N, D) on any device: the module's export to ONNX is this.

        Slower than the module on the CPU, with K copies of x for the backward pass. Raises UnsupportedProblem for the
        solvers "badmm-e", "badmm-q" and "optimum".
        """
        require(x.dim() == 3, "shape of x", tuple(x.shape), "(B, N, D)")
        log_prior = x.new_zeros(x.shape[:2])
        if prior is not None:
            log_prior = prior.to(x.dtype).log()
        if mask is not None:
            log_prior = log_prior.masked_fill(~mask, -torch.inf)
            x = x.masked_fill(~mask.unsqueeze(2), 0)
        scores = log_prior if self.prior is None else scores_of(self.prior, x, log_prior)
        p0 = x.new_zeros(x.shape[2]) if self.p0 is None else self.p0.to(x.dtype)
        return _dense.pool(x, scores, self.alphas(), p0, self.solver, self.steps)


class MeanPooling(_Pooling):
    """y = the mean of the instances: alpha0 = inf. With a prior in the call, y = sum_n q0_n x_n."""

    solver = "mean"

    def __init__(self, threads: Optional[int] = None):
        super().__init__(threads=threads)


class MaxPooling(_Pooling):
    """y = the max over the instances: alpha0 = 0, alpha2 = 0. Instances that attain it share the gradient."""

    solver = "max"

    def __init__(self, threads: Optional[int] = None):
        super().__init__(threads=threads)


class AttentionPooling(_Pooling):
    """y = sum_n softmax(prior(x))_n x_n: alpha0 = inf, alpha2 = inf. `prior` maps (sum N, D) to scores (sum N).

    AttentionPooling(Attention(D)) is the attention of Ilse et al. (ICML 2018), with GatedAttention the gated one.
    """

    solver = "mean"

    def __init__(self, prior: nn.Module, threads: Optional[int] = None):
        super().__init__(prior, threads)


class UOTPooling(_Pooling):
    """The UOT-pooling layer of Cheng & Xu (arXiv 2201.09191): y_d = sum_n P_dn x_dn / sum_n P_dn, where

        P = K steps on  min over P >= 0  -<X, P> + alpha0 R(P) + alpha1 KL(P 1 | p0) + alpha2 KL(P^T 1 | q0)

    of the bag X (D x N). The alphas are learned: alpha = exp(parameter), which is bounded to [e^-40, e^40].

    features: D. steps: K, at least 1. solver: "sinkhorn" (R the entropy), "badmm-e" (Bregman ADMM, entropy), "badmm-q"
    (Bregman ADMM, R(P) = ||P||^2), each differentiated step by step; or "optimum": Sinkhorn until the residual is
    within `tolerance`, differentiated by the implicit function theorem. per_step: whether every step has its own
    alphas. alpha0, alpha1, alpha2, rho: where they start; an alpha of 0 or inf is fixed, and all are if not
    `learn_alphas`. alpha0 may be 0 or inf with "optimum" alone, which needs alpha0 > 0 unless alpha2 is 0. The defaults
    are for features with a spread of about 1: close to softmax pooling at half the spread. learn_p0: whether p0 is
    learned, as a softmax of D logits; else it is uniform. prior: a module from x (sum N, D) to scores (sum N) whose
    softmax in every bag is q0, such as Attention; None: uniform. threads: None for as many as PyTorch takes.

    Parameters have the names and meaning of the library's UotLayer. There are no second derivatives. Modules may run in
    several threads.
    """

    def __init__(
        self,
        features: int,
        steps: int = 4,
        solver: str = "sinkhorn",
        *,
        per_step: bool = False,
        alpha0: Optional[float] = None,
        alpha1: float = 10.0,
        alpha2: float = 0.1,
        rho: Optional[float] = None,
        learn_alphas: bool = True,
        learn_p0: bool = False,
        prior: Optional[nn.Module] = None,
        tolerance: float = 1e-6,
        threads: Optional[int] = None,
    ):
        super().__init__(prior, threads)
        solvers = ("sinkhorn", "badmm-e", "badmm-q", "optimum")
        require(solver in solvers, "solver", solver, ", ".join(solvers[:3]) + " or optimum")
        require(steps >= 1, "steps", steps, "at least 1")
        require(not (per_step and solver == "optimum"), "per_step", True, "False, as the optimum has no steps")
        self.features, self.solver, self.steps, self.tolerance = features, solver, steps, tolerance
        if alpha0 is None:
            alpha0 = features / 2 if solver == "badmm-q" else 0.5
        if rho is None:
            rho = 1.1 if solver == "badmm-q" else 0.1 + alpha0
        sets = steps if per_step else 1
        learn(self, "alpha0", alpha0, sets, learn_alphas)
        learn(self, "alpha1", alpha1, sets, learn_alphas)
        learn(self, "alpha2", alpha2, sets, learn_alphas)
        if solver.startswith("badmm"):
            require(0 < rho < math.inf, "rho", rho, "finite and > 0")
            learn(self, "rho", rho, sets, learn_alphas)
        else:
            self.rho = None
        self.p0 = nn.Parameter(torch.zeros(features)) if learn_p0 else None

    def alphas(self) -> Optional[Tensor]:
        values = [positive(raw) for raw in (self.alpha0, self.alpha1, self.alpha2)]
        values.append(torch.ones_like(values[0]) if self.rho is None else positive(self.rho))
        return torch.stack(torch.broadcast_tensors(*values), dim=1)

    def extra_repr(self):
        return f"{self.features}, steps={self.steps}, solver={self.solver!r}"
