# Copyright (c) 2026 the otpool authors. MIT licence.
"""Shared by the workers in Python. A worker is a process that computes one thing again and again, so that compare.py can time
several workers in turn. otpool_worker.cpp has the same protocol:

    arguments  see parse_arguments()
    answers    .npy files in --answer: pooled (bags, D), or to slots (slots, D), gradient (bags N, D); or the potentials f (D,) and g (N,)
    stdout     "ready ITERATIONS" or "failed REASON", once
    stdin      a line with a number: compute so many times, and answer with a line with the seconds of one
"""

import argparse
import os
import sys
import time
from pathlib import Path

import numpy as np

from residual import residual


class Failed(Exception):
    """The task cannot be done in this way; the message says why."""


def parse_arguments(description, tasks, methods):
    parser = argparse.ArgumentParser(description=f"{description} Started by compare.py.", epilog=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", required=True, choices=tasks)
    parser.add_argument("--method", required=True, choices=methods)
    parser.add_argument("--input", required=True, type=Path,
                        help="folder with X.npy (bags N, D) and for backward cotangent.npy (bags, D)")
    parser.add_argument("--answer", required=True, type=Path, help="folder for the answers")
    parser.add_argument("--bags", type=int, default=1)
    parser.add_argument("--steps", type=int, default=4, help="of a layer")
    parser.add_argument("--slots", type=int, default=0, help="with W.npy (slots, D)")
    parser.add_argument("--alpha0", type=float, default=1)
    parser.add_argument("--alpha1", type=float, default=1)
    parser.add_argument("--alpha2", type=float, default=1)
    parser.add_argument("--rho", type=float, default=1, help="of ADMM")
    parser.add_argument("--residual", type=float, default=1e-8, help="to solve to")
    parser.add_argument("--limit", type=float, default=20, help="seconds that a solve may take")
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


def write(arguments, **answers):
    for name, values in answers.items():
        np.save(arguments.answer / f"{name}.npy", values)


def serve(prepare):
    """prepare() returns (compute, iterations) or raises Failed."""
    # Libraries print to stdout, which is for the protocol.
    protocol = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    try:
        compute, iterations = prepare()
    except Failed as reason:
        print("failed", reason, file=protocol)
        return
    print("ready", iterations, file=protocol)
    for line in sys.stdin:
        repeats = int(line)
        start = time.perf_counter()
        for _ in range(repeats):
            compute()
        print((time.perf_counter() - start) / repeats, file=protocol)


def iterations_needed(solve, arguments, reward, start=1):
    """The least number of iterations, within 3 %, after which the residual is small enough.

    solve(iterations) returns (seconds, f, g). So many iterations are timed: no peer pays for finding out whether it has
    converged.
    """
    too_few, n = 0, start
    best = last = np.inf
    while True:
        seconds, f, g = solve(n)
        reached = residual(reward, f, g, arguments.alpha0, arguments.alpha1, arguments.alpha2)
        if reached <= arguments.residual:
            break
        if not np.isfinite(reached):
            raise Failed("its numbers overflow")
        if reached == last:
            raise Failed(f"it stays at a residual of {reached:.0e}")
        best, last = min(best, reached), reached
        too_few = n
        n = min(2 * n, int(n * arguments.limit / seconds))
        if n < 1.1 * too_few:
            raise Failed(f"residual {best:.0e} after {arguments.limit:.3g} s")
        if n > 1 << 20:
            raise Failed(f"residual {best:.0e} after {too_few} iterations")
    while n - too_few > max(1, 0.03 * n):
        middle = (n + too_few) // 2
        _, f, g = solve(middle)
        if residual(reward, f, g, arguments.alpha0, arguments.alpha1, arguments.alpha2) <= arguments.residual:
            n = middle
        else:
            too_few = middle
    return n


def timed(compute):
    """(seconds, result). Short work is done twice, because the first time takes longer."""
    start = time.perf_counter()
    result = compute()
    seconds = time.perf_counter() - start
    if seconds < 0.01:
        start = time.perf_counter()
        result = compute()
        seconds = min(seconds, time.perf_counter() - start)
    return seconds, result
