"""The layers as standard operations on padded bags: what torch.onnx.export writes, and what the tests compare with."""

import torch

from ..errors import UnsupportedProblem


def pool(x, scores, alphas, p0, solver, steps):
    """The pooled vectors (B, D) of x (B, N, D) with q0 = softmax(scores), scores (B, N), by the steps of the library.

    A score of -inf excludes the instance, which must hold finite numbers.
    """
    log_q = torch.log_softmax(scores, dim=1).unsqueeze(2)  # (B, N, 1)
    active = torch.isfinite(log_q)
    if solver == "mean":
        return (log_q.exp() * x).sum(1)
    if solver == "max":
        return torch.where(active, x, -torch.inf).amax(1)
    if solver != "sinkhorn":
        raise UnsupportedProblem(f'dense() does not solve a problem with solver="{solver}"; allowed: "sinkhorn"')
    alphas = alphas.to(x.dtype)
    g = _sinkhorn(x, log_q, torch.log_softmax(p0, dim=0), alphas, steps)
    weights = torch.softmax(torch.where(active, (x + g) / alphas[-1, 0], -torch.inf), dim=1)
    return (weights * x).sum(1)


def _sinkhorn(x, log_q, log_p, alphas, steps):
    """The potentials g of the instances, (B, N, 1), after K steps from g = 0.

    A translation of f and g would not change the pooled vectors, so there is none.
    """
    active = torch.isfinite(log_q)
    g = torch.zeros_like(log_q)
    for k in range(steps):
        alpha0, alpha1, alpha2 = alphas[min(k, alphas.shape[0] - 1), :3].unbind()
        of_instances = torch.where(active, (x + g) / alpha0, -torch.inf)
        f = _damping(alpha1, alpha0) * alpha0 * (log_p - torch.logsumexp(of_instances, dim=1, keepdim=True))
        of_features = torch.logsumexp((x + f) / alpha0, dim=2, keepdim=True)
        g = _damping(alpha2, alpha0) * alpha0 * (torch.where(active, log_q, 0) - of_features)
    return g


def _damping(alpha, alpha0):
    is_hard = torch.isinf(alpha)
    finite = torch.where(is_hard, 1.0, alpha)  # or derivatives would be inf / inf
    return torch.where(is_hard, 1.0, finite / (finite + alpha0))
