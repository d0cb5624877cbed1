"""What the modules share: positive numbers that are learned, scores of a prior, threads."""

import math

import torch
from torch import nn

from ._operators import require


def learn(module, name, value, count, is_learned=True):
    """Gives the module a parameter of `count` entries log(value); a buffer if it is fixed, as 0 and inf are."""
    require(value >= 0, name, value, "0 to inf")
    if is_learned and 0 < value < math.inf:
        module.register_parameter(name, nn.Parameter(torch.full((count,), math.log(value))))
    else:
        module.register_buffer(name, torch.full((1,), math.log(value) if value > 0 else -math.inf))


def positive(raw):
    """exp(raw) in float64, in [e^-40, e^40] if it is learned."""
    numbers = raw.to(torch.float64)
    return (numbers.clamp(-40, 40) if isinstance(raw, nn.Parameter) else numbers).exp()


def scores_of(prior, rows, log_prior):
    """prior(rows) + log_prior, if that is not None."""
    scores = prior(rows).to(rows.dtype)
    return scores if log_prior is None else scores + log_prior


def threads_of(threads):
    """What operators take: 0 for as many threads as PyTorch takes when they run."""
    if threads is None:
        return 0
    require(threads >= 1, "threads", threads, "at least 1, or None for as many as PyTorch takes")
    return threads
