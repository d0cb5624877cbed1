"""The layers that the authors of the method released, for weights trained with them."""

from typing import Optional

import torch
from torch import Tensor, nn

from .. import _otpool
from ..errors import UnsupportedProblem
from ._bags import side_by_side
from ._learned import threads_of
from ._operators import _library, require

_library.define(
    "pool_published(Tensor x, Tensor ptr, Tensor? scores, Tensor parameters, str method, int steps, int threads) -> Tensor"
)


def _pool_published(x, ptr, scores, parameters, method, steps, threads):
    tensors = [t if t is None else t.detach().contiguous() for t in (x, ptr, scores, parameters)]
    return torch.from_dlpack(_otpool.layer_pool_published(*tensors, method, steps, threads or torch.get_num_threads()))


_library.impl("pool_published", _pool_published, "CPU")
_library.impl("pool_published", lambda x, ptr, *_: x.new_empty((ptr.shape[0] - 1, x.shape[1])), "Meta")


class PublishedPooling(nn.Module):
    """The forward pass of a layer of SDS-Lab/ROT-Pooling, step by step, in float64. It has their state dict.

    It is for inference with weights that were trained with these layers. They do not solve the problem that they are
    named after (include/otpool/layer/published.md says what they compute), so to train use UOTPooling. A gradient is
    refused.

    features: D. steps: K. method: "sinkhorn", "badmm-e" or "badmm-q". q0: "fixed", uniform; or "learned", the softmax
    of w2 tanh(W1 x_n). per_step: whether the weights have an entry for each step.
    """

    def __init__(
        self,
        features: int,
        steps: int = 4,
        method: str = "badmm-e",
        q0: str = "fixed",
        per_step: bool = True,
        threads: Optional[int] = None,
    ):
        super().__init__()
        methods = ("sinkhorn", "badmm-e", "badmm-q")
        require(method in methods, "method", method, "sinkhorn, badmm-e or badmm-q")
        require(q0 in ("fixed", "learned"), "q0", q0, "fixed or learned")
        require(steps >= 1, "steps", steps, "at least 1")
        self.features, self.steps, self.method, self.q0, self.threads = features, steps, method, q0, threads
        for name in ("rho", "a1", "a2", "a3"):
            self.register_parameter(name, nn.Parameter(torch.zeros(steps if per_step else 1)))
        self.linear_r1 = nn.Linear(features, 2 * features, bias=False)
        self.linear_r2 = nn.Linear(2 * features, 1, bias=False)

    def forward(
        self,
        x: Tensor,
        ptr: Optional[Tensor] = None,
        batch: Optional[Tensor] = None,
        mask: Optional[Tensor] = None,
        prior: Optional[Tensor] = None,
        dim_size: Optional[int] = None,
    ) -> Tensor:
        """The pooled vectors, (B, D), of bags in any form that UOTPooling takes."""
        if torch.is_grad_enabled() and (x.requires_grad or any(p.requires_grad for p in self.parameters())):
            raise UnsupportedProblem(
                "PublishedPooling does not solve a problem with a gradient; allowed: torch.no_grad(), or UOTPooling to train"
            )
        rows, offsets, scores = side_by_side(x.to(torch.float64), ptr, batch, mask, prior, dim_size)
        require(rows.shape[1] == self.features, "features of x", rows.shape[1], self.features)
        if self.q0 == "learned":
            hidden = torch.tanh(rows @ self.linear_r1.weight.to(torch.float64).T)
            learned = (hidden @ self.linear_r2.weight.to(torch.float64).T).squeeze(1)
            scores = learned if scores is None else learned + scores
        parameters = torch.stack([self.a1, self.a2, self.a3, self.rho], dim=1).to(torch.float64)
        threads = threads_of(self.threads)
        pooled = torch.ops.otpool.pool_published(rows, offsets, scores, parameters, self.method, self.steps, threads)
        return pooled.to(x.dtype)
