#!/usr/bin/env python3
# Copyright (c) 2026 the otpool authors. MIT licence.
"""Writes what share of their limits layers reach, from what layer_bench measured: bench/results/limits.md. The limits are the
exponentials that a layer takes and the bytes that it reads and writes where the bags are larger than the caches.

example:
  build/release/bench/layer_bench --benchmark_filter='limit|_layer(_backward)?<float>/.*/4$' --benchmark_repetitions=5 \\
      --benchmark_out=build/layers.json --benchmark_out_format=json
  python3 bench/limits.py build/layers.json
  cmake -P bench/update_readme.cmake"""

from statistics import median

import measured

# Of four steps: exponentials and numbers from and to memory, an entry of the bags; and what the rest of the time goes to, as
# a profiler of the program says.
ROWS = {
    "sinkhorn_layer<float>/128/100/64/4": (1, 1, "two multiplications an element and step and pooling, a third; a logarithm and "
                                                 "a power of what there is one of a feature or an instance, a tenth; what "
                                                 "there is once a bag, a fifth"),
    "sinkhorn_layer<float>/32/1000/256/4": (1, 1, "two multiplications an element and step and pooling, half, on what the "
                                                  "second-level cache holds"),
    "sinkhorn_layer<float>/1/10000/1024/4": (5, 5, "what of exponentials and multiplications does not overlap with memory"),
    "badmm_layer<float>/128/100/64/4": (11, 1, "some 15 instructions to 16 elements and step beside the "
                                                "exponentials, loads, stores, and what waits for results"),
    "badmm_layer<float>/32/1000/256/4": (11, 1, "the same, and tiles and duals from the second-level cache"),
    "badmm_layer<float>/1/10000/1024/4": (14, 6, "the same, and the tiles' layout, made anew in every step"),
    "sinkhorn_layer_backward<float>/128/100/64/4": (2, 3, "vectors in double; the rank-2K product and what it is added "
                                                          "to, a fifth; asking for the tapes' memory, a thirtieth"),
    "sinkhorn_layer_backward<float>/32/1000/256/4": (2, 3, "multiplications an element and step, a quarter; the rank-2K "
                                                           "product and its way to the gradient, another"),
    "sinkhorn_layer_backward<float>/1/10000/1024/4": (10, 11, "the rank-2K product and its way to the gradient, a sixth; "
                                                             "multiplications, a seventh"),
    "badmm_layer_backward<float>/128/100/64/4": (25, 3, "cotangents, five sums, loads and stores of two matrices"),
    "badmm_layer_backward<float>/32/1000/256/4": (25, 3, "the same, from beyond the second-level cache"),
    "badmm_layer_backward<float>/1/10000/1024/4": (28, 28, "the same, and the tiles' layout, made anew in every step, a sixth"),
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
             "| bags/N/D/K | ns an element-step | exponentials alone | memory alone | what else takes time |", "|---|--:|--:|--:|---|"]
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
