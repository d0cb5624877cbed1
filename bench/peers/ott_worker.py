# Copyright (c) 2026 the otpool authors. MIT licence.
"""OTT-JAX's Sinkhorn, compiled, in double. Cost -X, tau = alpha / (alpha + alpha0); its unbalanced problem is that of Entropy."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from ott.geometry import geometry
from ott.problems.linear import linear_problem
from ott.solvers.linear import acceleration, sinkhorn

from worker import iterations_needed, parse_arguments, serve, timed, write

# What Sinkhorn() is given. The first that are likely to win come first: compare.py drops who is far behind. Lowering
# alpha0 from a larger value (Epsilon's decay) never paid here.
def momentum(value):
    return {"momentum": acceleration.Momentum(value=value)}


ANDERSON = {"anderson": acceleration.AndersonAcceleration(memory=5)}
KERNEL = {"lse_mode": False}
RECENTRED = {"recenter_potentials": True}
METHODS = {
    "kernel, momentum 1.5": KERNEL | momentum(1.5),
    "recentred, momentum 1.5": RECENTRED | momentum(1.5),
    "recentred, momentum 1.8": RECENTRED | momentum(1.8),
    "recentred, momentum 1.95": RECENTRED | momentum(1.95),
    "kernel": KERNEL,
    "kernel, momentum 1.8": KERNEL | momentum(1.8),
    "kernel, Anderson": KERNEL | ANDERSON,
    "recentred": RECENTRED,
    "recentred, Anderson": RECENTRED | ANDERSON,
}


def compiled(arguments, reward, iterations):
    # No error is computed before the last iteration, and none stops it.
    solver = sinkhorn.Sinkhorn(min_iterations=iterations, max_iterations=iterations, inner_iterations=1, threshold=0,
                               **METHODS[arguments.method])

    def solve(reward):
        cost = geometry.Geometry(cost_matrix=-reward, epsilon=arguments.alpha0)
        problem = linear_problem.LinearProblem(cost, tau_a=arguments.alpha2 / (arguments.alpha2 + arguments.alpha0),
                                               tau_b=arguments.alpha1 / (arguments.alpha1 + arguments.alpha0))
        solution = solver(problem)
        return solution.g, solution.f

    executable = jax.jit(solve).lower(reward).compile()
    return lambda: jax.block_until_ready(executable(reward))


def prepare(arguments):
    reward = np.load(arguments.input / "X.npy")
    on_device = jnp.asarray(reward)

    @functools.cache
    def solver(iterations):
        return compiled(arguments, on_device, iterations)

    def potentials(iterations):
        solve = solver(iterations)
        seconds, (f, g) = timed(solve)
        return seconds, np.asarray(f), np.asarray(g)

    iterations = iterations_needed(potentials, arguments, reward, start=8)
    solve = solver(iterations)
    f, g = solve()
    write(arguments, f=f, g=g)
    return solve, iterations


if __name__ == "__main__":
    arguments = parse_arguments("OTT-JAX.", ["solve"], METHODS)
    jax.config.update("jax_enable_x64", True)
    serve(lambda: prepare(arguments))
