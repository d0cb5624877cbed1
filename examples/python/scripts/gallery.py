"""Draws the gallery of the README: plans of poolings to one vector, and which slot draws on which instance.

pip install matplotlib
python examples/python/scripts/gallery.py --output gallery.png
"""

import argparse

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

import otpool


def vector_plans(x: np.ndarray, weights: np.ndarray) -> dict[str, np.ndarray]:
    """The plans (N, D) of problems whose conditional means are poolings by name, and of some in between."""

    def plan(reward=x, **options):
        return otpool.solve(reward, values=x, **options).plan

    return {
        "mean\nalpha0 = inf": plan(alpha0=np.inf),
        "max\nalpha0 = 0": plan(alpha0=0),
        "min\nreward -x": plan(-x, alpha0=0),
        "softmax\nalpha0 = 0.1": plan(alpha0=0.1),
        "attention\nalpha0 = alpha2 = inf": plan(alpha0=np.inf, alpha2=np.inf, q0=weights),
        "in between\nalpha0 = 0.1, alpha2 = 0.3": plan(alpha0=0.1, alpha2=0.3, q0=weights),
        "transport\nalpha0 = 0, alpha2 = inf": plan(alpha0=0, alpha2=np.inf),
        "sparse\nQuadratic, alpha0 = 5": plan(alpha0=5, regularizer=otpool.Quadratic()),
    }


def slot_plans(points: np.ndarray, prototypes: np.ndarray) -> dict[str, np.ndarray]:
    """The plans (N, K) of poolings to slots."""

    def plan(**options):
        return otpool.slot_pooling(points, prototypes=prototypes, plan=True, **options)[1]

    return {
        "free slots\nalpha1 = 0, alpha2 = inf": plan(alpha0=0.2, alpha1=0, alpha2=np.inf),
        "equal slots\nalpha1 = alpha2 = inf": plan(alpha0=0.2, alpha2=np.inf),
        "partial\nmass 0.6": plan(alpha0=0.2, alpha2=np.inf, partial=0.6),
        "top-k\n8 instances a slot": plan(alpha0=5, regularizer=otpool.TopK(8)),
    }


def draw(output: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.uniform(0, 1, (24, 12))
    weights = rng.dirichlet(np.full(24, 0.4))
    centres = np.array([[-1.0, 0.0], [1.0, 0.3], [0.1, 1.3]])
    group = rng.choice(3, 90, p=[0.6, 0.25, 0.15])
    points = centres[group] + 0.33 * rng.standard_normal((90, 2))

    figure = plt.figure(figsize=(9, 7.4))
    for i, (title, plan) in enumerate(vector_plans(x, weights).items()):
        axes = figure.add_subplot(3, 4, i + 1)
        axes.imshow((plan / plan.sum(0)).T ** 0.5, cmap="magma", aspect="auto", vmin=0, vmax=1)
        axes.set_title(title, fontsize=8)
        axes.set_xticks([])
        axes.set_yticks([])
        axes.set_xlabel("instances", fontsize=7)
        axes.set_ylabel("features", fontsize=7)
    colours = np.array([[0.12, 0.47, 0.71], [1.0, 0.5, 0.05], [0.17, 0.63, 0.17]])
    for i, (title, plan) in enumerate(slot_plans(points, centres).items()):
        axes = figure.add_subplot(3, 4, 9 + i)
        drawn = plan.sum(1, keepdims=True)
        share = drawn / drawn.max()
        colour = np.where(drawn > 0, plan / np.where(drawn > 0, drawn, 1), 0) @ colours
        axes.scatter(*points.T, s=14, c=share * colour + (1 - share) * 0.88)
        axes.scatter(*centres.T, s=60, marker="x", c="black", linewidths=1.2)
        axes.set_title(title, fontsize=8)
        axes.set_xticks([])
        axes.set_yticks([])
    figure.tight_layout()
    figure.savefig(output, dpi=90, metadata={"Software": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", default="gallery.png", help="the picture (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    draw(arguments.output, arguments.seed)


if __name__ == "__main__":
    main()
