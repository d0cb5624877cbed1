#!/usr/bin/env python3
# Copyright (c) 2026 the otpool authors. MIT licence.
"""Writes how near layers are to their limits, as layer_bench measured: bench/results/limits.md. The limits are the exponentials
that a layer computes, and the numbers that it reads from memory or writes there if the bags are larger than the caches.

example:
  build/release/bench/layer_bench --benchmark_filter='limit|_layer(_backward)?<float>/.*/4$' --benchmark_repetitions=5 \\
      --benchmark_out=build/layers.json --benchmark_out_format=json
  python3 bench/limits.py build/layers.json
  cmake -P bench/update_readme.cmake"""

from statistics import median

import measured

# For four steps, per entry of the bags: exponentials, and numbers read from memory or written there. And where the rest of the
# time goes, as a profiler shows.
ROWS = {
    "sinkhorn_layer<float>/128/100/64/4": (
        1, 1, "a third: two multiplications per element and step, and pooling; a tenth: a logarithm and a power per feature "
              "or instance; a fifth: work done once per bag"),
    "sinkhorn_layer<float>/32/1000/256/4": (
        1, 1, "half: two multiplications per element and step, and pooling, from the second-level cache"),
    "sinkhorn_layer<float>/1/10000/1024/4": (
        5, 5, "exponentials and multiplications, where they do not overlap with memory"),
    "badmm_layer<float>/128/100/64/4": (
        11, 1, "about 15 instructions per 16 elements and step, beside exponentials, loads and stores; waiting for results"),
    "badmm_layer<float>/32/1000/256/4": (11, 1, "the same; tiles and duals come from the second-level cache"),
    "badmm_layer<float>/1/10000/1024/4": (14, 6, "the same; the tiles are laid out again in every step"),
    "sinkhorn_layer_backward<float>/128/100/64/4": (
        2, 3, "vectors in double; a fifth: the rank-2K product and adding it; a thirtieth: allocating the tapes"),
    "sinkhorn_layer_backward<float>/32/1000/256/4": (
        2, 3, "a quarter: multiplications per element and step; another: the rank-2K product and writing it to the gradient"),
    "sinkhorn_layer_backward<float>/1/10000/1024/4": (
        10, 11, "a sixth: the rank-2K product and writing it to the gradient; a seventh: multiplications"),
    "badmm_layer_backward<float>/128/100/64/4": (25, 3, "cotangents, five sums, loads and stores of two matrices"),
    "badmm_layer_backward<float>/32/1000/256/4": (25, 3, "the same, from beyond the second-level cache"),
    "badmm_layer_backward<float>/1/10000/1024/4": (28, 28, "the same; a sixth: the tiles are laid out again in every step"),
}


def nanoseconds(benchmarks):
    """{name: median nanoseconds per element-step}"""
    times = {}
    for benchmark in benchmarks:
        if benchmark["run_type"] == "iteration":
            times.setdefault(benchmark["run_name"], []).append(1e9 * benchmark["per_element_step"])
    return {name: median(values) for name, values in times.items()}


def markdown(run):
    times = nanoseconds(run["benchmarks"])
    exponential, read = times["limit/exp<float>"], times["limit/read<float>"]
    lines = [f"One thread, float, medians. An exponential takes {exponential:.2f} ns, reading a number from memory {read:.2f} "
             "ns.\n",
             "| bags/N/D/K | ns per element-step | exponentials alone | memory alone | what else takes time |",
             "|---|--:|--:|--:|---|"]
    for name, (exponentials, numbers, rest) in ROWS.items():
        if name not in times:
            continue
        steps = int(name.rsplit("/", 1)[1])
        shares = [count / steps * limit / times[name] for count, limit in ((exponentials, exponential), (numbers, read))]
        lines.append(f"| `{name}` | {times[name]:.2f} | {shares[0]:.0%} | {shares[1]:.0%} | {rest} |")
    return "\n".join(lines) + "\n"


def main():
    run = measured.read(__doc__, "layer_bench")
    (measured.RESULTS / "limits.md").write_text(markdown(run))


if __name__ == "__main__":
    main()
