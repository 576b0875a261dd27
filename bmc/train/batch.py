"""What an update of stacked copies computes with, one batch or several at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

# row numbers and other draws of n batches, [n, m, ...] each -> what the step takes, [n, m, B, ...]
Gather = Callable[..., tuple[Tensor, ...]]


@dataclass(frozen=True)
class Batch:
    """One batch of each of the m stacked copies, or n of them, with n as the first dimension.

    Attributes
    ----------
    data
        What the fetch function returned for these rows: tensors [m, B, ...].
    keep
        bool [m, B + extra rows, dropout_width], the activations that survive dropout.
    """

    data: tuple[Tensor, ...]
    keep: Tensor

    def __len__(self) -> int:
        return len(self.keep)

    def at(self, number: int) -> Batch:
        """Return one of n batches."""
        return Batch(tuple(tensor[number] for tensor in self.data), self.keep[number])

    def part(self, rows: slice) -> Batch:
        """Return some of n batches."""
        return Batch(tuple(tensor[rows] for tensor in self.data), self.keep[rows])

    def gathered(self, gather: Gather | None) -> Batch:
        """Return n batches with what their draws stand for."""
        return self if gather is None else Batch(gather(*self.data), self.keep)
