#!/usr/bin/env python3
# Copyright (c) 2026 the otpool authors. MIT licence.
"""Compares otpool with its peers: the layers that were released with the method, and correct ones, in PyTorch; POT; OTT-JAX.

All compute on the same arrays, with the same number of threads, on the same cores, in turn. Each contender takes its
fastest method that reaches the answer. The answers are checked against each other. Compilation, and finding out how many
iterations are needed, is not timed. Prints a table and writes bench/results/peers.json. report.py makes the tables and
charts of it."""

import argparse
import datetime
import importlib.metadata
import json
import platform
import statistics
import sys
import tempfile
from fnmatch import fnmatch
from pathlib import Path

try:
    import numpy as np
except ModuleNotFoundError:
    sys.exit("compare.py needs numpy, even for --help; the peers come with it:\n"
             "  python3 -m venv build/venv && build/venv/bin/pip install -r bench/peers/requirements.txt\n"
             "  build/venv/bin/python bench/peers/compare.py --help")

import report
from contenders import OTPOOL, PEERS, Failed, Worker
from residual import pooled, residual
from rows import all_rows, every_row, quick_rows, slot_rows

ROOT = Path(__file__).resolve().parents[2]
EPILOG = """
names of rows:
  <layer><float>/bags/N/D/K              pools `bags` bags of N instances with D features, K steps; _backward: and the
                                         gradient with respect to bags and parameters
  solve_to_1e-8<double>/N/D/alpha0/alpha solves the problem of a bag, alpha1 = alpha2 = alpha
  salad<float>/slots/N/D, otke<float>/... pools one bag to slots, 3 steps; _backward: and the gradient with respect to bag
                                         and prototypes
  assignment<float>/slots/N              the shares of SwAV, from scores

examples:
  python3 -m venv build/venv && build/venv/bin/pip install -r bench/peers/requirements.txt
  build/venv/bin/python bench/peers/compare.py --quick                  a few small rows, nothing written
  build/venv/bin/python bench/peers/compare.py                          everything, on a machine that does nothing else
  build/venv/bin/python bench/peers/compare.py --rows 'badmm*' --update
  build/venv/bin/python bench/peers/compare.py --slots                  poolings to slots, bench/results/slot_peers.json
  build/venv/bin/python bench/peers/compare.py --rows 'solve*/0.1/*' --peers pot --output build/pot.json
  cmake -P bench/update_readme.cmake                                    puts the new tables into the READMEs

exit status: 0; 1 if answers disagree or otpool does not solve a row; 2 for bad usage; 3 if otpool_worker, or
for slots slots_worker, is not built"""

# The largest differences that count as agreement: for layers, in float, relative to the largest entry; for solves, of the
# pooled vectors, relative to the reward's spread.
LAYER_TOLERANCE = 1e-4
GRADIENT_TOLERANCE = 1e-3
SOLVE_TOLERANCE = 1e-5
RESIDUAL = 1e-8


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, epilog=EPILOG,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    peers = [peer.name for peer in PEERS]
    parser.add_argument("--rows", nargs="+", metavar="PATTERN", help="only rows whose names match, as 'solve*'")
    parser.add_argument("--peers", nargs="+", choices=peers, default=peers, metavar="PEER",
                        help=f"some of: {', '.join(peers)}; default: all")
    parser.add_argument("--repeats", type=int, help="runs of every contender (default 11, quick 3)")
    parser.add_argument("--limit", type=float, help="seconds that a solve may take (default 20, quick 3)")
    parser.add_argument("--threads", type=int, default=1, help="threads and cores (default 1); otpool takes one in any case")
    parser.add_argument("--slots", action="store_true", help="the rows of poolings to slots instead of the others")
    parser.add_argument("--quick", action="store_true", help="to see that it works: a few rows, few repeats")
    parser.add_argument("--otpool", type=Path, default=ROOT / "build/release/bench/peers/otpool_worker",
                        help="the program (default: %(default)s)")
    parser.add_argument("--output", type=Path,
                        help="default: bench/results/peers.json, with --slots slot_peers.json there, with --quick none")
    parser.add_argument("--update", action="store_true", help="keep the output's other rows")
    parser.add_argument("--list", action="store_true", help="print the names of the rows")
    arguments = parser.parse_args()
    arguments.repeats = arguments.repeats or (3 if arguments.quick else 11)
    arguments.limit = arguments.limit or (3 if arguments.quick else 20)
    if not arguments.quick and not arguments.output:
        arguments.output = ROOT / "bench/results" / ("slot_peers.json" if arguments.slots else "peers.json")
    arguments.chosen = list(slot_rows()) if arguments.slots else quick_rows() if arguments.quick else all_rows()
    if arguments.rows:
        among = slot_rows() if arguments.slots else every_row()
        arguments.chosen = [row for row in among if any(fnmatch(row.name, p) for p in arguments.rows)]
    if not arguments.chosen:
        parser.error(f"no row matches {' '.join(arguments.rows)}; --list prints their names")
    if arguments.repeats < 1 or arguments.threads < 1:
        parser.error("--repeats and --threads are at least 1")
    return arguments


def say(text):
    print(text, file=sys.stderr, flush=True)


class Comparison:
    """One row: its arrays, its workers, their answers and times."""

    def __init__(self, row, arguments, folder):
        self.row = row
        self.arguments = arguments
        self.folder = folder
        row.write_arrays(folder)
        self.reward = np.load(folder / "X.npy") if row.is_solve else None

    def start(self, contender, method, limit):
        arguments = ["--method", method, "--input", str(self.folder), *self.row.arguments(),
                     "--residual", str(RESIDUAL), "--limit", str(limit)]
        return Worker(contender.command(self.arguments.otpool, self.row), arguments,
                      self.folder / f"{contender.name} {method}", self.arguments.threads, patience=300 + 20 * limit)

    def fastest(self, contender):
        """The worker of the fastest of its methods, as (worker, seconds, method). Raises Failed with every method's reason."""
        best = None
        reasons = []
        for method in contender.methods(self.row):
            # Do not wait for a method that is twice as slow.
            limit = min(self.arguments.limit, max(2 * best[1], 0.001)) if best else self.arguments.limit
            try:
                worker = self.start(contender, method, limit)
            except Failed as failed:
                reasons.append(f"{method}: {failed}")
                continue
            worker.seconds(1)
            seconds = min(worker.seconds(1) for _ in range(3))
            if best and best[1] <= seconds:
                worker.close()
                continue
            if best:
                best[0].close()
            best = (worker, seconds, method)
        if not best:
            raise Failed("; ".join(reasons))
        return best

    def check(self, contender, worker, reference):
        """How far the answers are from the reference's, as the result records it."""
        if contender.name == "eigen":
            return {"agrees": True}  # it is a part of otpool's work

        def answer(of, name):
            return np.load(of.answer / f"{name}.npy").astype(float)

        if self.row.is_solve:
            f, g, g0 = answer(worker, "f"), answer(worker, "g"), answer(reference, "g")
            alphas = (self.row.alpha0, self.row.alpha1, self.row.alpha2)
            apart = np.abs(pooled(self.reward, g, alphas[0]) - pooled(self.reward, g0, alphas[0])).max()
            reached = residual(self.reward, f, g, *alphas)
            return {"residual": reached, "difference": apart,
                    "agrees": bool(apart <= SOLVE_TOLERANCE and reached <= 1.01 * RESIDUAL)}

        def relative(name):
            expected = answer(reference, name)
            return np.abs(answer(worker, name) - expected).max() / np.abs(expected).max()

        result = {"difference": relative("pooled")}
        result["agrees"] = bool(result["difference"] <= LAYER_TOLERANCE)
        has_gradient = self.row.is_to_slots or not contender.name.startswith("published")  # otpool has none of these
        if self.row.is_backward and has_gradient:
            result["gradient_difference"] = max(relative("gradient"), relative("parameters"))
            result["agrees"] &= bool(result["gradient_difference"] <= GRADIENT_TOLERANCE)
        return result

    def reference_of(self, contender, own):
        """The worker to compare a contender with: otpool's solver, or its copy of the released layers."""
        if self.row.is_to_slots or not contender.name.startswith("published"):
            return own
        worker = self.start(OTPOOL, "published", self.arguments.limit)
        worker.close()
        return worker

    def run(self, contenders):
        """{contender: {method, iterations, seconds, ...} or {failed}}"""
        results, workers, repeats = {}, {}, {}
        try:
            for contender in contenders:
                if not contender.methods(self.row):
                    continue
                try:
                    worker, seconds, method = self.fastest(contender)
                except Failed as failed:
                    results[contender.name] = {"failed": str(failed)}
                    continue
                workers[contender.name] = worker
                repeats[contender.name] = max(1, round(0.02 / seconds))
                checked = self.check(contender, worker, self.reference_of(contender, workers.get("otpool", worker)))
                results[contender.name] = {"method": method, "iterations": worker.iterations, **checked, "seconds": []}
            for _ in range(self.arguments.repeats):
                for name, worker in workers.items():
                    results[name]["seconds"].append(worker.seconds(repeats[name]))
        finally:
            for worker in workers.values():
                worker.close()
        return results


def machine():
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        models = [line.split(":")[1].strip() for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        model = models[0] if models else model
    return {"processor": model, "date": datetime.date.today().isoformat()}


def versions(peers):
    peers = [peer for peer in peers if peer.module]
    packages = {"torch": ["torch"], "ot": ["POT"], "ott": ["ott-jax", "jax"]}
    modules = {peer.module for peer in peers}
    return {package: importlib.metadata.version(package) for module in sorted(modules) for package in packages[module]}


def save(output, run):
    if not output:
        return
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(run, indent=1) + "\n")


def short(result):
    if "failed" in result:
        return f"failed ({result['failed']})"
    text = f"{1e3 * statistics.median(result['seconds']):.3g} ms ({result['method']})"
    return text if result["agrees"] else text + " DISAGREES"


def main():
    arguments = parse_arguments()
    if arguments.list:
        print("\n".join(row.name for row in every_row()))
        return 0
    for program in {OTPOOL.command(arguments.otpool, row)[0] for row in arguments.chosen}:
        if not Path(program).exists():
            say(f"{program} does not exist; build it: cmake --preset release && cmake --build build/release --target "
                f"{Path(program).name}, or name otpool_worker, beside which it is: --otpool FILE")
            return 3
    peers = [peer for peer in PEERS if peer.name in arguments.peers]
    for peer in peers:
        if not peer.is_installed():
            say(f"{peer.label} is skipped: {peer.module} is not installed (pip install -r bench/peers/requirements.txt)")
    peers = [peer for peer in peers if peer.is_installed()]

    old = {}
    if arguments.update and arguments.output and arguments.output.exists():
        old = {row["name"]: row for row in json.loads(arguments.output.read_text())["rows"]}
    run = {"machine": machine(), "versions": versions(peers), "threads": arguments.threads,
           "repeats": arguments.repeats, "rows": []}
    measured = {}
    for row in arguments.chosen:
        with tempfile.TemporaryDirectory() as folder:
            results = Comparison(row, arguments, Path(folder)).run([OTPOOL, *peers])
        measured[row.name] = {"name": row.name, "limit": arguments.limit, "contenders": results}
        say(f"{row.name}: " + ", ".join(f"{name} {short(result)}" for name, result in results.items()))
        known = old | measured
        run["rows"] = [known[other.name] for other in every_row() if other.name in known]
        save(arguments.output, run)  # after every row: a run takes long

    print(report.markdown(run))
    if arguments.output:
        report.write(run, arguments.output)
    return report.exit_status(measured.values())


if __name__ == "__main__":
    sys.exit(main())
