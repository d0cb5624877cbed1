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

# Arguments of Sinkhorn(), the likely fastest first: compare.py drops methods that are far behind. "momentum from 50" is
# adaptive from iteration 50 on; the errors that it adapts to are computed every 10 iterations. Two things never helped here:
# a larger constant momentum, which diverges, and lowering alpha0 from a larger value (Epsilon's decay).
KERNEL = {"lse_mode": False}
RECENTRED = {"recenter_potentials": True}
CONSTANT = {"momentum": acceleration.Momentum(value=1.5)}
ANDERSON = {"anderson": acceleration.AndersonAcceleration(memory=5)}


def adaptive(start):
    return {"momentum": acceleration.Momentum(start=start), "inner_iterations": 10}


METHODS = {
    "kernel, momentum 1.5": KERNEL | CONSTANT,
    "kernel": KERNEL,
    "recentred, momentum 1.5": RECENTRED | CONSTANT,
    "recentred, momentum from 200": RECENTRED | adaptive(200),
    "recentred, momentum from 50": RECENTRED | adaptive(50),
    "recentred, momentum from 500": RECENTRED | adaptive(500),
    "recentred, momentum from 20": RECENTRED | adaptive(20),
    "kernel, momentum from 20": KERNEL | adaptive(20),
    "recentred": RECENTRED,
    "kernel, Anderson": KERNEL | ANDERSON,
    "recentred, Anderson": RECENTRED | ANDERSON,
}


def compiled(arguments, reward, blocks):
    """A function that computes exactly so many blocks of inner_iterations, and never stops earlier."""
    options = {"inner_iterations": 1} | METHODS[arguments.method]
    iterations = blocks * options["inner_iterations"]
    needs_errors = options["inner_iterations"] > 1
    solver = sinkhorn.Sinkhorn(min_iterations=0 if needs_errors else iterations, max_iterations=iterations, threshold=0,
                               **options)

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
    def solver(blocks):
        return compiled(arguments, on_device, blocks)

    def potentials(blocks):
        seconds, (f, g) = timed(solver(blocks))
        return seconds, np.asarray(f), np.asarray(g)

    blocks = iterations_needed(potentials, arguments, reward, start=8)
    solve = solver(blocks)
    f, g = solve()
    write(arguments, f=f, g=g)
    return solve, blocks * METHODS[arguments.method].get("inner_iterations", 1)


if __name__ == "__main__":
    arguments = parse_arguments("OTT-JAX.", ["solve"], METHODS)
    jax.config.update("jax_enable_x64", True)
    serve(lambda: prepare(arguments))
