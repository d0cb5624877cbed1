#!/usr/bin/env python3
# Copyright (c) 2026 the otpool authors. MIT licence.
"""Makes tables and charts of what compare.py measured.

  peers.json -> peers.md      all rows, for bench/README.md          bench/peers.png
                speed.md      a summary in a few lines, for README.md    bench/speed.png

Other files than bench/results/peers.json give the table and the chart of all rows alone, beside them.

example: report.py bench/results/peers.json"""

import argparse
import json
import math
import statistics
import sys
from pathlib import Path

LAYER_PEERS = {"published": "released layer", "published-compiled": "released layer, torch.compile",
               "torch": "log-domain layer"}
SOLVE_PEERS = {"pot": "POT", "ott": "OTT-JAX"}
SLOT_PEERS = {"published": "released layer", "published-compiled": "released layer, torch.compile",
              "pot": "POT", "eigen": "Eigen's products alone"}


def number(value):
    """Three digits, without an exponent."""
    digits = max(0, 2 - math.floor(math.log10(value))) if value > 0 else 0
    return f"{value:.{digits}f}"


def median_and_spread(values, unit=""):
    return f"{number(statistics.median(values))}{unit} ({number(min(values))} to {number(max(values))})"


def was_timed(result):
    return bool(result and result.get("seconds"))


def time_text(result, with_method):
    if not result:
        return ""
    if "failed" in result:
        return "not solved"
    text = median_and_spread([1e3 * s for s in result["seconds"]])
    if with_method:
        text += f", {result['method']}, {result['iterations']}"
    return text if result["agrees"] else f"{text} **answers disagree**"


def ratios(row, peer):
    """The peer's time over otpool's, run by run."""
    own, other = row["contenders"].get("otpool"), row["contenders"].get(peer)
    if not was_timed(own) or not was_timed(other):
        return []
    return [theirs / ours for theirs, ours in zip(other["seconds"], own["seconds"])]


def ratio_text(row, peer):
    values = ratios(row, peer)
    return median_and_spread(values) if values else ""


def table(rows, peers, is_solve):
    measured = [peer for peer in peers if any(peer in row["contenders"] for row in rows)]
    header = ["row", "otpool, ms"]
    for peer in measured:
        header += [f"{peers[peer]}, ms", "share" if peer == "eigen" else "ratio"]
    lines = ["| " + " | ".join(header) + " |", "|---|" + "--:|" * (len(header) - 1)]
    for row in rows:
        cells = [f"`{row['name']}`", time_text(row["contenders"].get("otpool"), is_solve)]
        for peer in measured:
            result = row["contenders"].get(peer)
            # Of the layers, only the log-domain one has a choice of methods.
            text = time_text(result, is_solve)
            if peer == "torch" and was_timed(result) and result["method"].endswith("compiled"):
                text += ", compiled"
            cells += [text, ratio_text(row, peer)]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def split(run):
    layers = [row for row in run["rows"] if "layer" in row["name"]]
    solves = [row for row in run["rows"] if "solve" in row["name"]]
    return layers, solves


def to_slots(run):
    return [row for row in run["rows"] if row["name"].startswith(("salad", "otke", "assignment"))]


def unsolved(solves):
    """Which contenders did not solve which rows, and why."""
    lines = []
    for row in solves:
        for name, result in row["contenders"].items():
            if "failed" in result:
                label = SOLVE_PEERS.get(name, name)
                lines.append(f"- `{row['name']}`, {label}, within {row['limit']:g} s: {result['failed']}")
    return "\n".join(lines)


def markdown(run):
    layers, solves = split(run)
    machine = run["machine"]
    threads = "one thread" if run["threads"] == 1 else f"{run['threads']} threads"
    versions = ", ".join(f"{package} {version}" for package, version in run["versions"].items())
    parts = [f"{machine['processor']}, {threads}, {machine['date']}; {versions}. Medians of {run['repeats']} runs in turn, "
             "with the smallest and largest; *ratio*: the peer's time over otpool's, run by run."]
    if layers:
        parts.append("**Layers** (float; bags/N/D/K; alpha0 = alpha1 = alpha2 = 1; *backward*: forward and backward)")
        parts.append(table(layers, LAYER_PEERS, is_solve=False))
    slots = to_slots(run)
    for rows, title in (([row for row in slots if not row["name"].startswith("assignment")],
                         "**Poolings to slots** (float; slots/N/D; one bag, 3 steps; *backward*: forward and backward)"),
                        ([row for row in slots if row["name"].startswith("assignment")],
                         "**Assignments** (float; slots/N; from scores to shares, 3 steps)")):
        if rows:
            parts += [title, table(rows, SLOT_PEERS, is_solve=False)]
    if solves:
        parts.append("**Solving to a residual of 1e-8** (double; N/D/alpha0/alpha1 = alpha2; the reward's spread is 1), each "
                     "by its fastest method, named with its iterations")
        parts.append(table(solves, SOLVE_PEERS, is_solve=True))
        failures = unsolved(solves)
        if failures:
            parts.append(f"<details><summary>Not solved</summary>\n\n{failures}\n\n</details>")
    return "\n\n".join(parts)


# The summary: its groups of rows, by how their names begin.
GROUPS = {
    "Sinkhorn layer": ("sinkhorn_layer<", LAYER_PEERS),
    "BregmanAdmm layer": ("badmm_layer<", LAYER_PEERS),
    "Sinkhorn layer\nwith gradient": ("sinkhorn_layer_backward<", LAYER_PEERS),
    "BregmanAdmm layer\nwith gradient": ("badmm_layer_backward<", LAYER_PEERS),
    "solve to a residual\nof 1e-8": ("solve_to_1e-8<", SOLVE_PEERS),
}


def group_ratios(run, start, peer):
    """The median ratio of every row of a group that the peer was timed on."""
    rows = [ratios(row, peer) for row in run["rows"] if row["name"].startswith(start)]
    return [statistics.median(values) for values in rows if values]


def range_text(run, peer):
    """From the smallest to the largest ratio of all groups."""
    values = [ratio for start, _ in GROUPS.values() for ratio in group_ratios(run, start, peer)]
    low, high = (f"{value:.1f}" if value < 10 else f"{value:.0f}" for value in (min(values), max(values)))
    return f"{low} to {high} times"


def milliseconds(run, name):
    row = next(row for row in run["rows"] if row["name"] == name)
    return f"{1e3 * statistics.median(row['contenders']['otpool']['seconds']):.2g} ms"


def summary(run):
    machine = run["machine"]
    threads = "one thread" if run["threads"] == 1 else f"{run['threads']} threads"
    size = "<float>/32/1000/256/4"
    _, solves = split(run)
    unsolved = sum("failed" in row["contenders"].get("pot", {}) for row in solves)
    rest = f"; POT does not solve {unsolved} of the {len(solves)} problems" if unsolved else ""
    return (
        f"Four steps on 32 bags of 1000 x 256 floats take {milliseconds(run, 'sinkhorn_layer' + size)} by `Sinkhorn` and "
        f"{milliseconds(run, 'badmm_layer' + size)} by `BregmanAdmm`; with gradients\n"
        f"{milliseconds(run, 'sinkhorn_layer_backward' + size)} and {milliseconds(run, 'badmm_layer_backward' + size)}. "
        f"The authors' PyTorch layers take {range_text(run, 'published')} as long, with `torch.compile`\n"
        f"{range_text(run, 'published-compiled')}; a PyTorch layer with otpool's steps takes {range_text(run, 'torch')} as "
        f"long.\nSolving to a residual of 1e-8, OTT-JAX takes {range_text(run, 'ott')} as long and POT "
        f"{range_text(run, 'pot')}{rest}.\n"
        f"({machine['processor']}, {threads}, medians of {run['repeats']} runs, {machine['date']}.)\n")


def draw_summary(run, path):
    """A dot for the median row of each group and peer, a line from the smallest to the largest."""
    import matplotlib
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axis = pyplot.subplots(figsize=(8, 3.6), layout="constrained")
    ticks, named, y = [], set(), 0.0
    for start, peers in GROUPS.values():
        ticks.append(y + (len(peers) - 1) / 2)
        for peer, label in peers.items():
            values = group_ratios(run, start, peer)
            if values:
                axis.plot([min(values), max(values)], [y, y], color=COLORS[peer], linewidth=3, solid_capstyle="round",
                          label=None if peer in named else label)
                axis.plot(statistics.median(values), y, marker="o", color=COLORS[peer], markersize=7)
                named.add(peer)
            y += 1
        y += 1
    axis.set_yticks(ticks, GROUPS, fontsize=8)
    axis.set_ylim(y - 1, -1)
    axis.set_xscale("log")
    axis.set_xlim(0.9, None)
    axis.xaxis.set_major_formatter("{x:g}")
    axis.axvline(1, color="black", linewidth=1)
    axis.grid(True, axis="x", which="both", alpha=0.2)
    axis.set_xlabel("times as long as otpool", fontsize=8)
    figure.legend(loc="outside lower center", ncols=len(named), fontsize=8)
    figure.savefig(path, dpi=130, metadata={"Software": None})
    pyplot.close(figure)


COLORS = {"published": "#4c72b0", "published-compiled": "#9fb8d9", "torch": "#dd8452", "pot": "#55a868", "ott": "#c44e52"}


def draw_ratio(axis, y, values, color):
    """A bar from 1 to the median, the spread over it, and the number at its end."""
    middle = statistics.median(values)
    axis.barh(y, middle - 1, left=1, height=0.9, color=color)
    axis.plot([min(values), max(values)], [y, y], color="#333333", linewidth=0.8)
    slower = middle >= 1
    axis.annotate(number(middle), (max(values) if slower else min(values), y), xytext=(4 if slower else -4, 0),
                  textcoords="offset points", va="center", ha="left" if slower else "right", fontsize=6.5)


def draw_panel(axis, rows, peers, title):
    ticks, labels, y = [], [], 0.0
    for row in rows:
        ticks.append(y + (len(peers) - 1) / 2)
        labels.append(row["name"].replace("solve_to_1e-8<double>/", "").replace("<float>", ""))
        for peer in peers:
            values = ratios(row, peer)
            if values:
                draw_ratio(axis, y, values, COLORS[peer])
            elif "failed" in row["contenders"].get(peer, {}):
                axis.annotate("not solved", (1, y), xytext=(4, 0), textcoords="offset points", va="center", fontsize=6.5,
                              color=COLORS[peer])
            y += 1
        y += 0.7
    axis.set_yticks(ticks, labels, fontsize=7.5)
    axis.set_ylim(y, -1)
    axis.set_xscale("log")
    left, right = axis.get_xlim()
    axis.set_xlim(left / 1.5, right * 1.5)
    axis.xaxis.set_major_formatter("{x:g}")
    axis.axvline(1, color="black", linewidth=0.8)
    axis.set_xlabel("times as long as otpool", fontsize=8)
    axis.set_title(title, fontsize=9)
    return [(COLORS[peer], label) for peer, label in peers.items() if any(peer in row["contenders"] for row in rows)]


def chart(run, path):
    """Bars of the ratios, on a logarithmic scale, with their spreads."""
    import matplotlib
    matplotlib.use("Agg")
    from matplotlib import pyplot

    layers, solves = split(run)
    panels = [panel for panel in (
        (layers, LAYER_PEERS, "Layers, float: bags/N/D/K"),
        (solves, SOLVE_PEERS, "Solving to a residual of 1e-8, double: N/D/alpha0/alpha")) if panel[0]]
    height = max(len(rows) * (len(peers) + 0.7) for rows, peers, _ in panels)
    figure, axes = pyplot.subplots(1, len(panels), figsize=(6.5 * len(panels), 0.15 * height + 1.3), squeeze=False,
                                   layout="constrained")
    legend = [entry for axis, panel in zip(axes[0], panels) for entry in draw_panel(axis, *panel)]
    handles = [pyplot.Rectangle((0, 0), 1, 1, color=color) for color, _ in legend]
    figure.legend(handles, [label for _, label in legend], loc="outside lower center", ncols=len(legend), fontsize=8)
    figure.savefig(path, dpi=130, metadata={"Software": None})
    pyplot.close(figure)


def write(run, json_path):
    """The table beside the results and the chart; of the stored results, the summary too. Slots have a table alone."""
    json_path.with_suffix(".md").write_text(markdown(run) + "\n")
    if to_slots(run):
        return
    results = json_path.resolve().parent
    stored = results.name == "results"
    charts = {chart: results.parent / "peers.png" if stored else json_path.with_suffix(".png")}
    if stored:
        json_path.with_name("speed.md").write_text(summary(run))
        charts[draw_summary] = results.parent / "speed.png"
    try:
        for draw, path in charts.items():
            draw(run, path)
    except ModuleNotFoundError as error:
        print(f"no chart: {error.name} is not installed", file=sys.stderr)


def exit_status(rows):
    for row in rows:
        if "failed" in row["contenders"]["otpool"]:
            return 1
        if not all(result.get("agrees", True) for result in row["contenders"].values()):
            return 1
    return 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, help="what compare.py wrote")
    results = parser.parse_args().results
    write(json.loads(results.read_text()), results)
