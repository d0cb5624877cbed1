#!/usr/bin/env python3
# Copyright (c) 2026 the otpool authors. MIT licence.
"""Writes what share of their limits layers reach, from what layer_bench measured: bench/results/limits.md. The limits are the
exponentials that a layer takes and the bytes that it reads and writes where the bags are larger than the caches.

example:
  build/release/bench/layer_bench --benchmark_filter='limit|_layer(_backward)?<float>/.*/4$' --benchmark_repetitions=5 \\
      --benchmark_out=build/layers.json --benchmark_out_format=json
  python3 bench/limits.py build/layers.json
  cmake -P bench/update_readme.cmake"""

import argparse
import json
from pathlib import Path
from statistics import median

# Of four steps: exponentials and numbers from and to memory, an entry of the bags; and what the rest of the time goes to.
ROWS = {
    "sinkhorn_layer<float>/128/100/64/4": (1, 1, "two multiplications an element and step, from the second-level cache; "
                                                 "logarithms, exponentials and sums of what there is one of a row or column"),
    "sinkhorn_layer<float>/32/1000/256/4": (1, 1, "two multiplications an element and step, on exponentials that the "
                                                  "second-level cache holds"),
    "sinkhorn_layer<float>/1/10000/1024/4": (5, 7, "the two multiplications while a block is in the first-level cache"),
    "badmm_layer<float>/128/100/64/4": (11, 1, "what is made of the exponentials, in registers; the tiles' layout"),
    "badmm_layer<float>/32/1000/256/4": (11, 1, "the dual, which leaves the second-level cache between the steps"),
    "badmm_layer<float>/1/10000/1024/4": (11, 14, "the tiles' layout, made anew in every step: a store a cycle"),
    "sinkhorn_layer_backward<float>/128/100/64/4": (2, 3, "vectors of rows and columns in double, and memory for the tape"),
    "sinkhorn_layer_backward<float>/32/1000/256/4": (2, 3, "the rank-2K product; memory for tape and gradient"),
    "sinkhorn_layer_backward<float>/1/10000/1024/4": (14, 17, "the rank-2K product; page faults of the gradient"),
    "badmm_layer_backward<float>/128/100/64/4": (25, 3, "cotangents, five sums and two stores an element and step"),
    "badmm_layer_backward<float>/32/1000/256/4": (25, 5, "the same; memory for the cotangents"),
    "badmm_layer_backward<float>/1/10000/1024/4": (25, 46, "the same; page faults of the cotangents' memory"),
}


def nanoseconds(benchmarks):
    """{name: median nanoseconds an element-step}"""
    times = {}
    for benchmark in benchmarks:
        if benchmark["run_type"] == "iteration":
            times.setdefault(benchmark["run_name"], []).append(1e9 * benchmark["per_element_step"])
    return {name: median(values) for name, values in times.items()}


def markdown(run):
    times = nanoseconds(run["benchmarks"])
    exponential, read = times["limit/exp<float>"], times["limit/read<float>"]
    lines = [f"One thread, float: an exponential takes {exponential:.2f} ns, a number from memory {read:.2f} ns; medians.\n",
             "| bags/N/D/K | ns an element-step | share of it: exponentials | memory | the rest |", "|---|--:|--:|--:|---|"]
    for name, (exponentials, numbers, rest) in ROWS.items():
        if name not in times:
            continue
        steps = int(name.rsplit("/", 1)[1])
        shares = [count / steps * limit / times[name] for count, limit in ((exponentials, exponential), (numbers, read))]
        lines.append(f"| `{name}` | {times[name]:.2f} | {shares[0]:.0%} | {shares[1]:.0%} | {rest} |")
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("measured", type=Path, help="the JSON that layer_bench wrote")
    measured = parser.parse_args().measured
    if not measured.exists():
        parser.error(f"{measured} does not exist; layer_bench --help says how to make it")
    run = json.loads(measured.read_text())
    (Path(__file__).resolve().parent / "results/limits.md").write_text(markdown(run))


if __name__ == "__main__":
    main()
