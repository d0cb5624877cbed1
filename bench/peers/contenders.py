# Copyright (c) 2026 the otpool authors. MIT licence.
"""Who is compared, and the processes that compute for them."""

import importlib.util
import os
import selectors
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Contender:
    name: str
    label: str
    module: str  # what has to be installed; empty for otpool
    script: str
    layer_methods: tuple = ()
    solve_methods: tuple = ()
    slot_methods: tuple = ()
    assignment_methods: tuple = ()

    def methods(self, row):
        """The ways to compute a row, the likely fastest first; the fastest is timed."""
        if row.is_assignment:
            return self.assignment_methods
        if row.is_to_slots:
            return self.slot_methods
        return self.solve_methods if row.is_solve else self.layer_methods

    def is_installed(self):
        return not self.module or importlib.util.find_spec(self.module) is not None

    def command(self, otpool_worker, row):
        if self.script:
            return [sys.executable, str(HERE / self.script)]
        return [str(otpool_worker.with_name("slots_worker") if row.is_to_slots else otpool_worker)]


OTPOOL = Contender("otpool", "otpool", "", "", layer_methods=("layer",), solve_methods=("newton", "badmm", "sinkhorn"),
                   slot_methods=("pooling",), assignment_methods=("pooling",))
PEERS = (
    Contender("published", "released layer, PyTorch", "torch", "torch_worker.py", layer_methods=("published",),
              slot_methods=("published",), assignment_methods=("published",)),
    Contender("published-compiled", "released layer, torch.compile", "torch", "torch_worker.py",
              layer_methods=("published compiled",), slot_methods=("published compiled",),
              assignment_methods=("published compiled",)),
    Contender("torch", "log-domain layer, PyTorch", "torch", "torch_worker.py",
              layer_methods=("log-domain compiled", "log-domain")),
    Contender("pot", "POT", "ot", "pot_worker.py",
              solve_methods=("sinkhorn", "sinkhorn_translation_invariant", "sinkhorn_stabilized", "lbfgsb"),
              assignment_methods=("balanced sinkhorn",)),
    Contender("eigen", "Eigen's products alone", "", "", slot_methods=("products",)),
    Contender("ott", "OTT-JAX", "ott", "ott_worker.py",
              solve_methods=("kernel, momentum 1.5", "kernel", "recentred, momentum 1.5", "recentred, momentum from 200",
                             "recentred, momentum from 50", "recentred, momentum from 500",
                             "recentred, momentum from 20", "kernel, momentum from 20", "recentred",
                             "kernel, Anderson", "recentred, Anderson")),
)


class Failed(Exception):
    """A worker could not do its task; the message is its reason."""


def environment(threads):
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    eigen = "true" if threads > 1 else "false"
    xla = f"--xla_cpu_multi_thread_eigen={eigen} intra_op_parallelism_threads={threads}"
    return os.environ | dict.fromkeys(names, str(threads)) | {"XLA_FLAGS": xla, "JAX_PLATFORMS": "cpu"}


def bind(threads):
    """Keeps this process on the last cores: other processes tend to run on the first."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-threads:])


class Worker:
    """A process that computes on request. Raises Failed."""

    def __init__(self, command, arguments, answer, threads, patience):
        answer.mkdir(parents=True, exist_ok=True)
        self.answer = answer
        command = [*command, *arguments, "--answer", str(answer), "--threads", str(threads)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                        text=True, env=environment(threads), preexec_fn=lambda: bind(threads))
        try:
            word, _, rest = self.line(patience).partition(" ")
            if word != "ready":
                raise Failed(rest)
        except BaseException:
            self.close()
            raise
        self.iterations = int(rest)

    def line(self, patience):
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            if not selector.select(patience):
                raise Failed(f"no answer within {patience:.0f} s")
        text = self.process.stdout.readline().strip()
        if not text:
            error = self.process.communicate()[1].strip().splitlines()
            raise Failed(error[-1] if error else f"it ended with status {self.process.returncode}")
        return text

    def seconds(self, repeats):
        """The mean of so many computations in a row."""
        print(repeats, file=self.process.stdin, flush=True)
        return float(self.line(patience=600))

    def close(self):
        self.process.kill()
        self.process.communicate()
