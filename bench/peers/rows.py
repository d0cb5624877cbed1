# Copyright (c) 2026 the otpool authors. MIT licence.
"""The rows of the comparisons. Their names are those of otpool's benchmarks."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Row:
    name: str
    task: str
    bags: int
    instances: int  # a bag
    features: int  # of an assignment: slots
    steps: int = 0  # of a layer
    slots: int = 0
    alpha0: float = 1
    alpha1: float = 1
    alpha2: float = 1
    rho: float = 1

    @property
    def is_solve(self):
        return self.task == "solve"

    @property
    def is_assignment(self):
        return self.task == "assignment"

    @property
    def is_to_slots(self):
        return self.slots > 0

    @property
    def is_backward(self):
        return self.task.endswith("_backward")

    def write_arrays(self, folder):
        """Standard normal bags, so that alpha0 is in units of the reward's spread."""
        random = np.random.default_rng(1)
        dtype = np.float64 if self.is_solve else np.float32
        np.save(folder / "X.npy", random.standard_normal((self.bags * self.instances, self.features)).astype(dtype))
        if self.is_to_slots and not self.is_assignment:  # their scores are standard normal, too
            prototypes = random.standard_normal((self.slots, self.features)) / self.features**0.5
            np.save(folder / "W.npy", prototypes.astype(dtype))
        if self.is_backward:
            pooled = (self.bags, self.features * max(1, self.slots))
            np.save(folder / "cotangent.npy", random.standard_normal(pooled).astype(dtype))

    def arguments(self):
        """The arguments of a worker."""
        names = ("task", "bags", "steps", "slots", "alpha0", "alpha1", "alpha2", "rho")
        return [text for name in names for text in (f"--{name}", str(getattr(self, name)))]


def layer_rows():
    # At alpha0 = 1, because elsewhere the released Sinkhorn soon gives zeros and NaN. rho is BregmanAdmm's default.
    sizes = ((128, 100, 64, 4), (32, 1000, 256, 4), (1, 10000, 1024, 4))
    for task in ("sinkhorn_layer", "badmm_layer", "sinkhorn_layer_backward", "badmm_layer_backward"):
        for size in sizes:
            name = f"{task}<float>/" + "/".join(map(str, size))
            yield Row(name, task, *size, rho=1.1)


def solve_rows():
    for instances, features in ((100, 64), (1000, 256)):
        for alpha0 in (0.001, 0.1, 1, 10):
            for alpha in (0.1, 1, 100):
                name = f"solve_to_1e-8<double>/{instances}/{features}/{alpha0:g}/{alpha:g}"
                yield Row(name, "solve", 1, instances, features, alpha0=alpha0, alpha1=alpha, alpha2=alpha)


def slot_rows():
    for task, counts in (("salad", (16, 64)), ("otke", (16, 64)), ("salad_backward", (64,)), ("otke_backward", (64,))):
        for slots in counts:
            for instances in (1000, 100000):
                for features in (128, 1024):
                    name = f"{task}<float>/{slots}/{instances}/{features}"
                    yield Row(name, task, 1, instances, features, 3, slots)
    for slots in (16, 64):
        for instances in (1000, 100000):
            yield Row(f"assignment<float>/{slots}/{instances}", "assignment", 1, instances, slots, 3, slots)


def all_rows():
    return [*layer_rows(), *solve_rows()]


def every_row():
    return [*all_rows(), *slot_rows()]


def quick_rows():
    """A few small rows of each kind."""
    chosen = ("sinkhorn_layer<float>/128", "badmm_layer_backward<float>/128", "solve_to_1e-8<double>/100/64/0.1/1",
              "solve_to_1e-8<double>/100/64/1/100")
    return [row for row in all_rows() if row.name.startswith(chosen[:2]) or row.name in chosen]
