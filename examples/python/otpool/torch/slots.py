"""Pooling of bags to slots, as a module of PyTorch."""

import math
from typing import Optional, Union

import torch
from torch import Tensor, nn

from ._bags import side_by_side
from ._learned import learn, positive, scores_of, threads_of
from ._operators import pool_slots, require


class SlotPooling(nn.Module):
    """Pooling to K slots that learns its prototypes w_k: y_k draws whole instances, by the plan P (K x N) of

        P = steps of Sinkhorn on  min over P >= 0  -<S, P> + alpha0 R(P) + alpha1 KL(P 1 | p0) + alpha2 KL(P^T 1 | q0)

    with S the rewards and R the entropy. The result is (B, K, D).

    features, slots: D, K. reward: "dot", s_kn = <w_k, x_n> + b_k; "sqdist", -||w_k - x_n||^2; or a module from x (sum N, D)
    to rewards (sum N, K), such as a network. steps: at least 1; `instances_first`: whether the half step of the
    instances comes first. alpha0, alpha1: where they start; alpha1, one of each slot, is fixed if 0 or inf, both are if
    not `learn_alphas`. alpha2: of the instances, in [0, inf], not learned. readout: "conditional", y_k = sum_n P_kn x_n
    / sum_n P_kn; or "joint", y_k = scale sum_n P_kn x_n, times N if `times_instances`. dummy: "none"; "partial", the
    slots get the mass `partial` of 1, and a dummy slot the rest; or "dustbin", every slot gets the mass of one
    instance. The reward of a dummy slot is learned. learn_p0, prior, threads: as in UOTPooling.

    The aggregation of SALAD (Izquierdo & Civera, CVPR 2024), for a network `scores` and less its normalisation, is
    SlotPooling(D, K, scores, steps=3, alpha0=1.0, alpha1=inf, learn_alphas=False, readout="joint",
    times_instances=True, dummy="dustbin"). OTKE (Mialon et al., ICLR 2021) on unit vectors is SlotPooling(D, K,
    steps=10, alpha0=0.1, alpha1=inf, learn_alphas=False, readout="joint", scale=K, instances_first=True).
    """

    def __init__(
        self,
        features: int,
        slots: int,
        reward: Union[str, nn.Module] = "dot",
        steps: int = 4,
        *,
        alpha0: Optional[float] = None,
        alpha1: Optional[float] = None,
        alpha2: float = math.inf,
        learn_alphas: bool = True,
        readout: str = "conditional",
        scale: float = 1.0,
        times_instances: bool = False,
        dummy: str = "none",
        partial: float = 0.5,
        instances_first: bool = False,
        learn_p0: bool = False,
        prior: Optional[nn.Module] = None,
        threads: Optional[int] = None,
    ):
        super().__init__()
        require(slots >= 1, "slots", slots, "at least 1")
        require(steps >= 1, "steps", steps, "at least 1")
        require(alpha2 >= 0, "alpha2", alpha2, "0 to inf")
        require(readout in ("conditional", "joint"), "readout", readout, "conditional or joint")
        require(dummy in ("none", "partial", "dustbin"), "dummy", dummy, "none, partial or dustbin")
        is_named = reward in ("dot", "sqdist")
        require(is_named or isinstance(reward, nn.Module), "reward", reward, "dot, sqdist or a module")
        spread = math.sqrt(8 * features if reward == "sqdist" else features)
        self.features, self.slots, self.steps = features, slots, steps
        self.alpha2, self.instances_first = float(alpha2), instances_first
        self.readout, self.scale, self.times_instances = readout, float(scale), times_instances
        self.dummy, self.partial, self.threads = dummy, float(partial), threads
        self.reward = reward
        self.prior = prior
        if is_named:
            self.prototypes = nn.Parameter(torch.randn(slots, features))
        if reward == "dot":
            self.bias = nn.Parameter(torch.zeros(slots))
        learn(self, "alpha0", spread / 2 if alpha0 is None else alpha0, 1, learn_alphas)
        require(0 < self.alpha0.exp().item() < math.inf, "alpha0", alpha0, "finite and > 0")
        learn(self, "alpha1", spread if alpha1 is None else alpha1, slots, learn_alphas)
        self.p0 = nn.Parameter(torch.zeros(slots)) if learn_p0 else None
        self.dummy_reward = nn.Parameter(torch.zeros(1)) if dummy != "none" else None

    def rewards(self, x: Tensor) -> Tensor:
        """S, as (sum N, K)."""
        if self.reward == "dot":
            return x @ self.prototypes.T + self.bias
        if self.reward == "sqdist":
            centre = self.prototypes.detach().mean(0)  # digits do not depend on the distance from the origin
            w, x = self.prototypes - centre, x - centre
            return 2 * x @ w.T - x.square().sum(1, keepdim=True) - w.square().sum(1)
        return self.reward(x)

    def forward(
        self,
        x: Tensor,
        ptr: Optional[Tensor] = None,
        batch: Optional[Tensor] = None,
        mask: Optional[Tensor] = None,
        prior: Optional[Tensor] = None,
        dim_size: Optional[int] = None,
    ) -> Tensor:
        """The slots, (B, K, D), of bags in any form that UOTPooling takes."""
        given = x.dtype
        if given in (torch.float16, torch.bfloat16):
            x = x.to(torch.float32)
        rows, offsets, log_prior = side_by_side(x, ptr, batch, mask, prior, dim_size)
        scores = log_prior if self.prior is None else scores_of(self.prior, rows, log_prior)
        to = rows.dtype
        pooled = pool_slots(
            rows,
            offsets,
            self.rewards(rows).to(to),
            scores,
            positive(self.alpha0).to(to),
            positive(self.alpha1).to(to),
            None if self.p0 is None else self.p0.to(to),
            None if self.dummy_reward is None else self.dummy_reward.to(to),
            self.steps,
            self.alpha2,
            self.instances_first,
            self.readout,
            self.scale,
            self.times_instances,
            self.dummy,
            self.partial,
            threads_of(self.threads),
        )
        return pooled.to(given).unflatten(1, (self.slots, -1))

    def extra_repr(self):
        return f"{self.features}, {self.slots}, steps={self.steps}, readout={self.readout!r}, dummy={self.dummy!r}"
