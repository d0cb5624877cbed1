# Copyright (c) 2026 the otpool authors. MIT licence.
"""How well a plan solves a problem, computed in the same way for every contender."""

import numpy as np


def log_sum_exp(a, axis):
    top = a.max(axis=axis, keepdims=True)
    return np.squeeze(top, axis) + np.log(np.exp(a - top).sum(axis=axis))


def residual(reward, f, g, alpha0, alpha1, alpha2):
    """The largest violation of the optimality conditions, in log-marginal units, of the plan that the potentials generate:

        P = exp((X + f + g)/alpha0),  max( |log(r/p0) + f/alpha1|_inf , |log(c/q0) + g/alpha2|_inf )

    with the plan's marginals r (features) and c (instances), and uniform priors. reward (N, D), f (D), g (N).
    """
    log_plan = (reward + f + g[:, None]) / alpha0
    log_r = log_sum_exp(log_plan, axis=0)
    log_c = log_sum_exp(log_plan, axis=1)
    instances, features = reward.shape
    violations = np.concatenate([log_r + np.log(features) + f / alpha1, log_c + np.log(instances) + g / alpha2])
    return np.inf if np.isnan(violations).any() else np.abs(violations).max()


def pooled(reward, g, alpha0):
    """The conditional mean under the plan, in which the feature potentials cancel."""
    log_weights = (reward + g[:, None]) / alpha0
    weights = np.exp(log_weights - log_weights.max(axis=0))
    return (weights * reward).sum(axis=0) / weights.sum(axis=0)
