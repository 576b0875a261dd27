"""The order in which rows are drawn, and how many draws make a training."""

from __future__ import annotations

import torch
from torch import Tensor

AHEAD = 2**23  # draws that `Balanced` makes at once


class Shuffled:
    """Endless shuffled passes over ``n`` rows, cut into batches that are always full.

    A batch may span two passes, so batch normalisation never sees a small rest and
    every row is drawn once per pass. With ``drawn`` rows a pass, the others of each pass are
    left out. A draw costs what it returns: a cursor moves along the pass.
    """

    def __init__(self, n: int, generator: torch.Generator, drawn: int | None = None) -> None:
        self.n = n
        self.drawn = n if drawn is None else drawn
        self.generator = generator
        self._pass = torch.empty(0, dtype=torch.int64)
        self._next = 0  # row of the pass that is drawn next

    def take(self, count: int) -> Tensor:
        """Return the next ``count`` row numbers, int64 [count]."""
        rows = torch.empty(count, dtype=torch.int64)
        filled = 0
        while filled < count:
            if self._next == len(self._pass):
                self._pass = torch.randperm(self.n, generator=self.generator)[: self.drawn]
                self._next = 0
            part = self._pass[self._next : self._next + count - filled]
            rows[filled : filled + len(part)] = part
            self._next += len(part)
            filled += len(part)
        return rows


class Balanced:
    """A number of draws in which every group (a task) is met equally often.

    Groups follow each other in shuffled rounds, one draw of each, and the rows of a group in
    shuffled passes, so nothing is left to chance but the order. At most `AHEAD` draws are made
    ahead (240 MB while they are made).
    """

    def __init__(self, groups: Tensor, count: int, generator: torch.Generator) -> None:
        numbers = groups.cpu()
        order = torch.argsort(numbers, stable=True)
        sizes = torch.unique_consecutive(numbers[order], return_counts=True)[1]
        self.generator = generator
        self._members = torch.split(order, sizes.tolist())  # rows of each group, rising
        self._passes = [Shuffled(len(own), generator) for own in self._members]
        self._rounds = -(-count // len(sizes))  # still to be made
        self._drawn = torch.empty(0, dtype=torch.int64)
        self._next = 0

    def take(self, count: int) -> Tensor:
        """Return the next ``count`` row numbers, int64 [count], or all that are left."""
        parts = [self._drawn[self._next : self._next + count]]
        self._next += len(parts[0])
        while (missing := count - sum(map(len, parts))) and self._rounds:
            self._drawn = self._draw()
            parts.append(self._drawn[:missing])
            self._next = len(parts[-1])
        return torch.cat(parts)

    def _draw(self) -> Tensor:
        """Draw the rows of the next rounds, int64."""
        rounds = min(self._rounds, max(1, AHEAD // len(self._members)))
        self._rounds -= rounds
        turns = torch.rand(rounds, len(self._members), generator=self.generator)
        rows = torch.empty(rounds, len(self._members), dtype=torch.int64)
        for k, (own, passes) in enumerate(zip(self._members, self._passes, strict=True)):
            rows[:, k] = own[passes.take(rounds)]
        return rows.gather(1, turns.argsort(dim=1)).flatten()


def rows_per_pass(rows: int, batch_size: int, drop_last: bool) -> int:
    """Return how many rows a pass draws: those of full batches alone if ``drop_last``.

    If not even one batch is full, passes are joined all the same: nothing would be learned.
    """
    return rows - rows % batch_size if drop_last and rows >= batch_size else rows


def steps_for(rows: int, epochs: int, batch_size: int) -> int:
    """Return the number of full batches that cover ``rows`` at least ``epochs`` times."""
    return max(1, -(-rows * epochs // batch_size))
