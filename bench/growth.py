#!/usr/bin/env python3
# Copyright (c) 2026 the otpool authors. MIT licence.
"""Draws how the time of a layer grows with the bags, as growth_bench measured: bench/growth.png, and bench/results/growth.md with
a sentence for each curve.

example:
  build/release/bench/growth_bench --benchmark_out=build/growth.json --benchmark_out_format=json
  python3 bench/growth.py build/growth.json
  cmake -P bench/update_readme.cmake"""

import math
import sys

import measured

SOLVERS = {"sinkhorn": "Sinkhorn", "badmm": "BregmanAdmm", "newton": "Newton"}
# What grows: where it is in the name of the benchmark, the label of its axis, and what stays the same.
SERIES = {
    "N": (1, "instances N", "1 bag, D = 64, K = 4"),
    "D": (2, "features D", "1 bag, N = 1000, K = 4"),
    "K": (3, "steps K", "1 bag, N = 1000, D = 64"),
    "skew": (4, "skew s: the b-th largest bag's size ~ b^-s", "128 bags, N = 100 in the mean, D = 64, K = 4"),
}


def curves(benchmarks):
    """{series: {solver: [(x, nanoseconds per element-step)]}}"""
    result = {series: {solver: [] for solver in SOLVERS} for series in SERIES}
    for benchmark in benchmarks:
        if benchmark.get("run_type") == "aggregate" and benchmark.get("aggregate_name") != "median":
            continue
        series, layer, *sizes = benchmark["run_name"].split("/")
        x = float(sizes[SERIES[series][0]])
        result[series][layer.split("_")[0]].append((x, 1e9 * benchmark["per_element_step"]))
    return result


def number(value):
    return f"{value:.{max(0, 1 - math.floor(math.log10(value)))}f}" if value < 100 else f"{value:.0f}"


def count(value):
    power = round(math.log10(value)) if value else 0
    return f"10^{power}" if power >= 4 and value == 10 ** power else f"{value:g}"


def sentence(series, solver, points):
    (first, start), (last, end) = points[0], points[-1]
    low_x, low = min(points, key=lambda point: point[1])
    high_x, high = max(points, key=lambda point: point[1])
    name = "s" if series == "skew" else series
    text = f"{SOLVERS[solver]}, {name} from {count(first)} to {count(last)}: "
    if high < 1.25 * low:
        return text + f"in proportion, {number(low)} to {number(high)} ns per element-step."
    text += f"from {number(start)} to {number(end)} ns per element-step"
    if low < 0.8 * min(start, end):
        text += f", least, {number(low)}, at {count(low_x)}"
    if high > 1.25 * max(start, end):
        text += f", most, {number(high)}, at {count(high_x)}"
    return text + "."


def markdown(run):
    measured = curves(run["benchmarks"])
    lines = []
    for series, (_, _, fixed) in SERIES.items():
        lines.append(f"\n**{series}** ({fixed})\n")
        lines += [f"- {sentence(series, solver, sorted(points))}" for solver, points in measured[series].items() if points]
    return "\n".join(lines).lstrip() + "\n"


def chart(run, path):
    import matplotlib
    matplotlib.use("Agg")
    from matplotlib import pyplot

    measured = curves(run["benchmarks"])
    figure, axes = pyplot.subplots(1, len(SERIES), figsize=(13, 3.6), sharey=True, layout="constrained")
    for axis, (series, (_, label, fixed)) in zip(axes, SERIES.items()):
        for solver, points in measured[series].items():
            if points:
                axis.plot(*zip(*sorted(points)), marker="o", markersize=3.5, label=SOLVERS[solver])
        if series != "skew":
            axis.set_xscale("log")
        axis.set_yscale("log")
        axis.set_xlabel(label, fontsize=9)
        axis.set_title(fixed, fontsize=9)
        axis.grid(True, which="major", alpha=0.3)
    axes[0].set_ylabel("ns per element-step, float")
    axes[0].legend(fontsize=8)
    figure.savefig(path, dpi=150, metadata={"Software": None})


def main():
    run = measured.read(__doc__, "growth_bench")
    (measured.RESULTS / "growth.md").write_text(markdown(run))
    try:
        chart(run, measured.RESULTS.parent / "growth.png")
    except ModuleNotFoundError as error:
        sys.exit(f"no chart: {error.name} is not installed (pip install -r bench/peers/requirements.txt)")


if __name__ == "__main__":
    main()
