"""Trains one small network with different poolings: by otpool.torch, and by PyTorch alone.

The network is a linear layer, a ReLU, the pooling, and a linear classifier. A folder has X.npy (sum N, D), ptr.npy (B +
1) and y.npy (B), labels 0 or 1; without one, the bags are made up. The table has the accuracy of a cross-validation,
the mean and the standard deviation over folds and seeds, and the time of an epoch's forward and backward passes and
steps.

    python train_mil.py
    python train_mil.py musk1 --seeds 3
"""

import argparse
import pathlib
import time

import numpy
import torch
from torch import nn

from otpool.torch import Attention, AttentionPooling, MaxPooling, MeanPooling, UOTPooling


def made_up():
    """Bags of noise; a bag is positive if one of its instances is far along the first feature."""
    random = numpy.random.default_rng(1)
    sizes = random.integers(5, 40, 200)
    y = random.integers(0, 2, 200)
    bags = [random.normal(size=(n, 20)) for n in sizes]
    for bag, label in zip(bags, y):
        bag[0, 0] += 3 * label
    return numpy.concatenate(bags), numpy.concatenate([[0], sizes]).cumsum(), y


def read(folder):
    return tuple(numpy.load(pathlib.Path(folder) / f"{name}.npy") for name in ("X", "ptr", "y"))


# The poolings by PyTorch alone, of rows x and the bag of every row.


class TorchMean(nn.Module):
    def forward(self, x, ptr):
        sizes = ptr.diff()
        bag_of = torch.arange(len(sizes)).repeat_interleave(sizes)
        return x.new_zeros(len(sizes), x.shape[1]).index_add(0, bag_of, x) / sizes.unsqueeze(1)


class TorchMax(nn.Module):
    def forward(self, x, ptr):
        sizes = ptr.diff()
        bag_of = torch.arange(len(sizes)).repeat_interleave(sizes).unsqueeze(1).expand_as(x)
        return x.new_full((len(sizes), x.shape[1]), -torch.inf).scatter_reduce(0, bag_of, x, "amax")


class TorchAttention(nn.Module):
    def __init__(self, scores):
        super().__init__()
        self.scores = scores

    def forward(self, x, ptr):
        sizes = ptr.diff()
        bag_of = torch.arange(len(sizes)).repeat_interleave(sizes)
        scores = self.scores(x)
        highest = x.new_full((len(sizes),), -torch.inf).scatter_reduce(0, bag_of, scores.detach(), "amax")
        weights = (scores - highest[bag_of]).exp()
        weights = weights / x.new_zeros(len(sizes)).index_add(0, bag_of, weights)[bag_of]
        return x.new_zeros(len(sizes), x.shape[1]).index_add(0, bag_of, weights.unsqueeze(1) * x)


class TorchUOT(nn.Module):
    """The same steps on padded bags."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x, ptr):
        sizes = ptr.diff()
        bags = nn.utils.rnn.pad_sequence(x.split(sizes.tolist()), batch_first=True)
        return self.layer.dense(bags, torch.arange(bags.shape[1]) < sizes.unsqueeze(1))


POOLINGS = {
    "mean": (lambda D: MeanPooling(), lambda D: TorchMean()),
    "max": (lambda D: MaxPooling(), lambda D: TorchMax()),
    "attention": (lambda D: AttentionPooling(Attention(D, 32)), lambda D: TorchAttention(Attention(D, 32))),
    "UOT, 4 steps": (lambda D: UOTPooling(D), lambda D: TorchUOT(UOTPooling(D))),
}


class Network(nn.Module):
    def __init__(self, features, hidden, pooling):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(features, hidden), nn.ReLU())
        self.pooling = pooling(hidden)
        self.classifier = nn.Linear(hidden, 1)

    def forward(self, x, ptr):
        return self.classifier(self.pooling(self.encoder(x), ptr)).squeeze(1)


def select(data, bags):
    """These bags, side by side."""
    x, ptr, y = data
    rows = [x[ptr[b] : ptr[b + 1]] for b in bags]
    return torch.cat(rows), torch.tensor([0, *map(len, rows)]).cumsum(0), y[bags]


def train(data, pooling, training, test, arguments, seed):
    """The accuracy on `test` after training, and the seconds of an epoch."""
    x, ptr, y = data
    mean, deviation = (f(select(data, training)[0], 0) for f in (torch.mean, torch.std))
    data = ((x - mean) / deviation.clamp(min=1e-6).where(deviation > 1e-6, torch.inf), ptr, y)
    torch.manual_seed(seed)
    network = Network(x.shape[1], arguments.hidden, pooling)
    logarithms = [p for name, p in network.named_parameters() if "alpha" in name]
    others = [p for name, p in network.named_parameters() if "alpha" not in name]
    optimizer = torch.optim.AdamW([dict(params=others, weight_decay=1e-3), dict(params=logarithms, lr=1e-2)], lr=1e-3)
    seconds = 0
    for _ in range(arguments.epochs):
        order = training[torch.randperm(len(training))]
        batches = [select(data, bags) for bags in order.split(arguments.batch)]
        start = time.perf_counter()
        for rows, offsets, labels in batches:
            optimizer.zero_grad()
            nn.functional.binary_cross_entropy_with_logits(network(rows, offsets), labels).backward()
            optimizer.step()
        seconds += time.perf_counter() - start
    rows, offsets, labels = select(data, test)
    with torch.no_grad():
        right = (network(rows, offsets) > 0) == (labels > 0.5)
    return right.double().mean().item(), seconds / arguments.epochs


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", help="X.npy, ptr.npy and y.npy; default: made-up bags")
    parser.add_argument("--folds", type=int, default=10)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--hidden", type=int, default=64)
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # the bags are small
    X, ptr, y = read(arguments.folder) if arguments.folder else made_up()
    data = (torch.from_numpy(X).float(), torch.from_numpy(ptr).long(), torch.from_numpy(y).float())
    name = pathlib.Path(arguments.folder).resolve().name if arguments.folder else "made-up bags"
    print(
        f"{name}: {len(y)} bags, {len(X)} instances, {X.shape[1]} features; {arguments.folds} folds, {arguments.seeds} seed(s)\n"
    )
    print("| pooling | by | accuracy | ms an epoch |\n|---|---|--:|--:|")
    for pooling, variants in POOLINGS.items():
        for library, make in zip(("otpool.torch", "PyTorch"), variants):
            results = []
            for seed in range(arguments.seeds):
                folds = torch.randperm(len(y), generator=torch.Generator().manual_seed(seed)).chunk(arguments.folds)
                for i, test in enumerate(folds):
                    training = torch.cat([fold for j, fold in enumerate(folds) if j != i])
                    results.append(train(data, make, training, test, arguments, 1000 * seed + i))
            accuracy, seconds = numpy.array(results).T
            print(
                f"| {pooling} | {library} | {100 * accuracy.mean():.1f} +- {100 * accuracy.std():.1f} % "
                f"| {1000 * seconds.mean():.1f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
