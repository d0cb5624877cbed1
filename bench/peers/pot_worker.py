# Copyright (c) 2026 the otpool authors. MIT licence.
"""POT's solvers of the unbalanced entropic problem. Cost M = -X; POT's reg_type "entropy" is otpool's Entropy up to a
constant, its reg and reg_m are alpha0 and (alpha2, alpha1)."""

import warnings

import numpy as np
import ot

from worker import iterations_needed, parse_arguments, serve, timed, write

SINKHORNS = ("sinkhorn", "sinkhorn_translation_invariant", "sinkhorn_stabilized")
METHODS = (*SINKHORNS, "lbfgsb", "balanced sinkhorn")


class Solver:
    def __init__(self, arguments, reward):
        self.arguments = arguments
        instances, features = reward.shape
        self.q0 = np.full(instances, 1 / instances)
        self.p0 = np.full(features, 1 / features)
        self.cost = -reward

    def __call__(self, iterations, log=False):
        a = self.arguments
        problem = (self.q0, self.p0, self.cost, a.alpha0, (a.alpha2, a.alpha1))
        if a.method == "lbfgsb":
            return ot.unbalanced.lbfgsb_unbalanced(*problem, reg_div="entropy", regm_div="kl", numItermax=iterations,
                                                   stopThr=0, log=log)
        return ot.unbalanced.sinkhorn_unbalanced(*problem, method=a.method, reg_type="entropy", numItermax=iterations,
                                                 stopThr=0, log=log)

    def potentials(self, iterations):
        """(seconds, f, g)"""
        a = self.arguments
        seconds, (plan, log) = timed(lambda: self(iterations, log=True))
        if a.method == "lbfgsb":  # it gives none, so they are read off the plan
            f = -a.alpha1 * np.log(plan.sum(axis=0) / self.p0)
            g = -a.alpha2 * np.log(plan.sum(axis=1) / self.q0)
        else:
            f, g = a.alpha0 * log["logv"], a.alpha0 * log["logu"]
        return seconds, f, g


def prepare_assignment(arguments):
    """A fixed number of steps of ot.sinkhorn, the slots first."""
    scores = np.load(arguments.input / "X.npy")
    instances, slots = scores.shape
    q0 = np.full(instances, 1 / instances, dtype=scores.dtype)
    p0 = np.full(slots, 1 / slots, dtype=scores.dtype)

    def assign():
        plan = ot.sinkhorn(q0, p0, -scores, arguments.alpha0, method="sinkhorn", numItermax=arguments.steps, stopThr=0)
        return instances * plan

    # The last step of ot.sinkhorn is that of the instances, so that the plan is otpool's.
    write(arguments, pooled=assign())
    return assign, arguments.steps


def prepare(arguments):
    if arguments.task == "assignment":
        return prepare_assignment(arguments)
    reward = np.load(arguments.input / "X.npy")
    solver = Solver(arguments, reward)
    iterations = iterations_needed(solver.potentials, arguments, reward)
    _, f, g = solver.potentials(iterations)
    write(arguments, f=f, g=g)
    return lambda: solver(iterations), iterations


if __name__ == "__main__":
    arguments = parse_arguments("POT.", ["solve", "assignment"], METHODS)
    warnings.simplefilter("ignore")  # about overflow, and that c is overwritten
    np.seterr(all="ignore")
    serve(lambda: prepare(arguments))
