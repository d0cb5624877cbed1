# Copyright (c) 2026 the otpool authors. MIT licence.
"""UOT-pooling layers in PyTorch: batches (bags, N, D), K steps, parameters alpha0, alpha1, alpha2 and rho > 0, uniform priors.

published_*: the arithmetic of the layers that the authors released (SDS-Lab/ROT-Pooling, a02e62c), none of their code.
sinkhorn, badmm: the steps of otpool, in the log domain.
All return the pooled vectors, (bags, D).

published_salad, _otke, _assignment: the arithmetic of released poolings to slots, none of their code; the second argument are
prototypes (slots, D). They return (bags, slots, D), the last one shares (bags, N, slots).
"""

import math

import torch


def log_uniform_priors(x):
    """log p0 and log q0, which broadcast over the bags."""
    _, instances, features = x.shape
    return -math.log(features), -math.log(instances)


def published_sinkhorn(x, steps, alpha0, alpha1, alpha2, rho=None):
    log_p, _ = log_uniform_priors(x)
    log_q = math.log(1 / x.shape[1] + 1e-8)
    a = torch.zeros_like(x[:, :1, :])
    b = torch.zeros_like(x[:, :, :1])
    y = x / alpha0
    for _ in range(steps):
        lse_instances = torch.logsumexp(y, dim=1, keepdim=True)
        lse_features = torch.logsumexp(y, dim=2, keepdim=True)
        a = alpha1 / (alpha1 + alpha0) * (a / alpha0 + log_p - lse_instances)
        b = alpha2 / (alpha2 + alpha0) * (b / alpha0 + log_q - lse_features)
        y = x / alpha0 + a + b
    return x.shape[2] * (y.exp() * x).sum(dim=1)


def published_badmm(x, steps, alpha0, alpha1, alpha2, rho):
    log_p, _ = log_uniform_priors(x)
    log_q = math.log(1 / x.shape[1] + 1e-8)
    log_s = torch.full_like(x, log_p + log_q)
    log_mu = torch.full_like(x[:, :1, :], log_p)
    log_eta = torch.full_like(x[:, :, :1], log_q)
    z = torch.zeros_like(x)
    z1 = torch.zeros_like(log_mu)
    z2 = torch.zeros_like(log_eta)
    for _ in range(steps):
        y = (x - z) / rho + log_s
        log_t = y + log_eta - torch.logsumexp(y, dim=2, keepdim=True)
        y = (z + rho * log_t) / (alpha0 + rho)
        log_s = y + log_mu - torch.logsumexp(y, dim=1, keepdim=True)
        t = log_t.exp()
        s = log_s.exp()
        z = z + rho * (t - s)
        log_mu = torch.log_softmax((rho * log_mu + alpha1 * log_p - z1) / (rho + alpha1), dim=2)
        log_eta = torch.log_softmax((rho * log_eta + alpha2 * log_q - z2) / (rho + alpha2), dim=1)
        z1 = z1 + rho * (log_mu.exp() - s.sum(dim=1, keepdim=True))
        z2 = z2 + rho * (log_eta.exp() - t.sum(dim=2, keepdim=True))
    return x.shape[2] * (t * x).sum(dim=1)


def conditional_mean(log_plan, x):
    """sum_n P_nd x_nd / sum_n P_nd"""
    return (torch.softmax(log_plan, dim=1) * x).sum(dim=1)


def sinkhorn(x, steps, alpha0, alpha1, alpha2, rho=None):
    """otpool::Sinkhorn, its translation step included."""
    log_p, log_q = log_uniform_priors(x)
    scaled = x / alpha0
    damping1 = alpha1 / (alpha1 + alpha0)
    damping2 = alpha2 / (alpha2 + alpha0)
    g = torch.zeros_like(x[:, :, :1])  # potentials in units of alpha0
    for _ in range(steps):
        f = damping1 * (log_p - torch.logsumexp(scaled + g, dim=1, keepdim=True))
        mass1 = torch.logsumexp(log_p - f * (alpha0 / alpha1), dim=2, keepdim=True)
        mass2 = torch.logsumexp(log_q - g * (alpha0 / alpha2), dim=1, keepdim=True)
        f = f + (mass1 - mass2) / (alpha0 / alpha1 + alpha0 / alpha2)
        g = damping2 * (log_q - torch.logsumexp(scaled + f, dim=2, keepdim=True))
    return conditional_mean(scaled + g, x)


def badmm(x, steps, alpha0, alpha1, alpha2, rho):
    """otpool::BregmanAdmm with its scaled dual step, and Entropy."""
    log_p, log_q = log_uniform_priors(x)
    damping1 = alpha1 / (alpha1 + rho + alpha0)
    damping2 = alpha2 / (alpha2 + rho)
    log_s = torch.full_like(x, log_p + log_q)
    z = torch.zeros_like(x)
    for _ in range(steps):
        log_t = (x - z) / rho + log_s
        log_sum = torch.logsumexp(log_t, dim=2, keepdim=True)
        shift = damping2 * (log_q - log_sum)
        log_t = log_t + (shift - torch.logsumexp(log_sum + shift, dim=1, keepdim=True))
        log_s = (z + rho * log_t) / (rho + alpha0)
        log_sum = torch.logsumexp(log_s, dim=1, keepdim=True)
        shift = damping1 * (log_p - log_sum)
        log_s = log_s + (shift - torch.logsumexp(log_sum + shift, dim=2, keepdim=True))
        d = log_t - log_s
        z = z - rho * d.sign() * torch.expm1(-d.abs())
    return conditional_mean(log_s, x)


def published_salad(x, prototypes, steps, alpha0, dustbin=1.0):
    """SALAD (Izquierdo & Civera, CVPR 2024), in the log domain; before it normalises, with scores by one linear layer. Their
    readout repeats the bag for every slot; here it is a product of matrices, which is faster."""
    bags, instances, _ = x.shape
    slots = prototypes.shape[0]
    scores = torch.matmul(prototypes, x.transpose(1, 2))
    scores = torch.cat([scores, scores.new_full((bags, 1, instances), dustbin)], dim=1) / alpha0
    log_q = -math.log(instances)
    log_p = torch.full_like(scores[:, :, :1], log_q)
    log_p[:, -1] += math.log(instances - slots)
    g = torch.zeros_like(scores[:, :1, :])
    for _ in range(steps):
        f = log_p - torch.logsumexp(scores + g, dim=2, keepdim=True)
        g = log_q - torch.logsumexp(scores + f, dim=1, keepdim=True)
    plan = (scores + f + g - log_q).exp()
    return torch.matmul(plan[:, :-1], x)


def published_otke(x, prototypes, steps, alpha0):
    """OTKE (Mialon et al., ICLR 2021), by products with exponentials; the instances' half step is first."""
    scores = torch.matmul(prototypes, x.transpose(1, 2))
    kernel = (scores / alpha0).exp()
    slots, instances = kernel.shape[1:]
    u = torch.ones_like(kernel[:, :, :1])
    for _ in range(steps):
        v = 1 / instances / torch.matmul(kernel.transpose(1, 2), u)
        u = 1 / slots / torch.matmul(kernel, v)
    return torch.matmul(slots * u * kernel * v.transpose(1, 2), x)


def published_assignment(scores, _, steps, alpha0):
    """The assignment of SwAV (Caron et al., NeurIPS 2020), which sums and divides exponentials."""
    plan = (scores / alpha0).exp()
    instances, slots = plan.shape[1:]
    plan = plan / plan.sum(dim=(1, 2), keepdim=True)
    for _ in range(steps):
        plan = plan / plan.sum(dim=1, keepdim=True) / slots
        plan = plan / plan.sum(dim=2, keepdim=True) / instances
    return plan * instances
