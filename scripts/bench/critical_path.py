"""Count what cutting large tasks does to a group's longest expert, with the sizes of Stream.

Nothing is trained: an expert makes one update for so many samples and epochs, the experts of a
group train at once, and a group ends with its longest expert. Each receives a base model.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from autods.streams.synthetic_features import published_shape
from bmc.engines.base import model_bytes
from bmc.network.mlp import ResidualMLP
from bmc.train.parts import parts_of
from bmc.train.sampling import steps_for

ROWS = [0, 200_000, 100_000, 50_000, 30_000, 20_000, 10_000, 5_000]


def experts(sizes: Sequence[int], most: int) -> list[int]:
    """Return the training samples of each expert, of parts the larger size."""
    counts = [(n, parts_of(n, most)) for n in sizes]
    return [-(-n // count) for n, count in counts for _ in range(count)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--groups", type=int, nargs="+", default=[16, 71], help="tasks in each")
    parser.add_argument("--rows", type=int, nargs="+", default=ROWS, help="0: uncut")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--dim", type=int, default=768)
    options = parser.parse_args()
    shape = published_shape().datasets
    sizes = [dataset.train for dataset in shape]
    base = len(model_bytes(ResidualMLP(options.dim, sum(dataset.classes for dataset in shape))))
    alone = sum(steps_for(n, options.epochs, options.batch) for n in sizes)
    print(
        f"{len(sizes)} tasks, {sum(sizes):,} samples: {alone:,} updates; base model {base:,} bytes"
    )
    print(f"{'group':>5}{'rows':>9}{'experts':>9}{'most':>6}{'updates':>11}{'share':>8}"
          f"{'at once':>9}{'sent MB':>9}")  # fmt: skip
    for group in options.groups:
        for most in options.rows:
            groups = [experts(sizes[n : n + group], most) for n in range(0, len(sizes), group)]
            counts = list(map(len, groups))
            longest = sum(steps_for(max(own), options.epochs, options.batch) for own in groups)
            print(f"{group:>5}{most or 'uncut':>9}{sum(counts):>9}{max(counts):>6}{longest:>11,}"
                  f"{longest / alone:>8.1%}{alone / longest:>9.1f}"
                  f"{base * sum(counts) / 1e6:>9,.0f}")  # fmt: skip


if __name__ == "__main__":
    main()
