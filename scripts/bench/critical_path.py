"""Count what cutting large tasks does to a group's longest expert, with the sizes of Stream.

Nothing is trained: an expert makes one update for so many samples and epochs, the experts of a
group train at once, and a group ends with its longest expert.
"""

from __future__ import annotations

import argparse

from autods.streams.synthetic_features import published_shape
from bmc.train.parts import parts_of
from bmc.train.sampling import steps_for


def count(sizes: list[int], group: int, most: int, epochs: int, batch: int) -> dict[str, float]:
    """Return experts in all, the most in a group, updates one after the other, mean at once."""
    longest, made, largest, total = 0, 0, 0, 0
    for first in range(0, len(sizes), group):
        experts = [
            n // p
            for n in sizes[first : first + group]
            for p in [parts_of(n, most)]
            for _ in range(p)
        ]
        steps = [steps_for(n, epochs, batch) for n in experts]
        longest, made = longest + max(steps), made + sum(steps)
        largest, total = max(largest, len(experts)), total + len(experts)
    return {"experts": total, "largest": largest, "longest": longest, "at once": made / longest}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--groups", type=int, nargs="+", default=[16, 71])
    parser.add_argument(
        "--rows",
        type=int,
        nargs="+",
        default=[0, 200_000, 100_000, 50_000, 30_000, 20_000, 10_000, 5_000],
    )
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--batch", type=int, default=64)
    options = parser.parse_args()
    sizes = [dataset.train for dataset in published_shape().datasets]
    alone = sum(steps_for(n, options.epochs, options.batch) for n in sizes)
    print(f"{len(sizes)} tasks, {sum(sizes):,} samples; one after the other {alone:,} updates")
    print(
        f"{'group':>5}{'rows':>9}{'experts':>9}{'most':>6}{'updates':>11}{'share':>8}{'at once':>9}"
    )
    for group in options.groups:
        for most in options.rows:
            made = count(sizes, group, most, options.epochs, options.batch)
            print(
                f"{group:>5}{most or 'uncut':>9}{made['experts']:>9}{made['largest']:>6}"
                f"{made['longest']:>11,}{made['longest'] / alone:>8.1%}{made['at once']:>9.1f}"
            )


if __name__ == "__main__":
    main()
