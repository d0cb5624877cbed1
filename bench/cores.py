#!/usr/bin/env python3
# Copyright (c) 2026 the otpool authors. MIT licence.
"""Writes how much faster layers are on all cores, as cores_bench measured: bench/results/cores.md.

example:
  build/release/bench/cores_bench --benchmark_repetitions=9 --benchmark_enable_random_interleaving=true \\
      --benchmark_out=build/cores.json --benchmark_out_format=json
  python3 bench/cores.py build/cores.json
  cmake -P bench/update_readme.cmake"""

from statistics import median

import measured

POLICIES = {"openmp": "`OpenMp`", "onetbb": "`OneTbb`"}


def milliseconds(benchmarks):
    """{layer: {policy: times of the repetitions}}, and the number of workers"""
    times, workers = {}, 1
    for benchmark in benchmarks:
        if benchmark["run_type"] != "iteration":
            continue
        layer, policy = benchmark["run_name"].removesuffix("/real_time").rsplit("/", 1)
        times.setdefault(layer, {}).setdefault(policy, []).append(benchmark["real_time"])
        workers = max(workers, int(benchmark["workers"]))
    return times, workers


def spread(values):
    return f"{median(values):.3g} ({min(values):.3g} to {max(values):.3g})"


def markdown(run):
    times, workers = milliseconds(run["benchmarks"])
    policies = [policy for policy in POLICIES if any(policy in of for of in times.values())]
    runs = min(len(of["sequential"]) for of in times.values())
    lines = [f"{workers} cores. Medians of {runs} runs in random order, with the smallest and largest. *Times faster*: the time "
             "of one thread over the time of all, run by run.\n",
             "| bags/N/D/K | one thread, ms | " + " | ".join(f"{POLICIES[p]}, ms | times faster" for p in policies) + " |",
             "|---" + "|--:" * (1 + 2 * len(policies)) + "|"]
    for layer, of in sorted(times.items()):
        cells = [f"`{layer}`", spread(of["sequential"])]
        for policy in policies:
            cells += [spread(of[policy]), spread([one / all for one, all in zip(of["sequential"], of[policy])])]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main():
    run = measured.read(__doc__, "cores_bench")
    (measured.RESULTS / "cores.md").write_text(markdown(run))


if __name__ == "__main__":
    main()
