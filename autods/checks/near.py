"""Near-duplicates: pairs of images whose features point in the same direction.

All pairs of N rows are compared by blocked matrix products. A first product of few columns bounds
every cosine from above, so that whole rows are read for the few pairs that may pass.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from autods.core.progress import Progress, Silent
from autods.errors import FeatureMismatch
from autods.features.sets import StoredFeatures

# Two images are near-duplicates from this cosine on, chosen on other data than it is reported on:
# docs/benchmarks/audit.md.
THRESHOLD = 0.95
SKETCH = 2**29  # bytes, at most, of the first columns of all rows
WIDTHS = (32, 192)  # least and most of these columns
SAMPLE = 4096  # rows that the directions of these columns are computed from
TILE = (2048, 8192)  # rows compared with rows at once: 64 MiB of products
GATHERED = 8192  # whole rows held at once
SLACK = 1e-4  # for rounding in float32
SPARSE = 64  # cells of a product that take as long as reading one pair of rows

Rows = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Joined:
    """Feature sets by one encoder as one table of N rows, in the order given."""

    sets: Sequence[StoredFeatures]

    def __post_init__(self) -> None:
        first = self.sets[0]
        for other in self.sets:
            if other.dim != first.dim:
                raise FeatureMismatch(
                    f"features of '{first.dataset}' have {first.dim} dimensions, those of "
                    f"'{other.dataset}' {other.dim}; nothing was compared. Audit them one by one."
                )

    @cached_property
    def starts(self) -> Rows:
        """First row of each set, and N: int64 [sets + 1]."""
        return np.cumsum([0, *(stored.starts[-1] for stored in self.sets)], dtype=np.int64)

    def __len__(self) -> int:
        return int(self.starts[-1])

    def set_of(self, rows: Rows) -> Rows:
        """Return the number of each row's set: int64 [n]."""
        return np.searchsorted(self.starts, rows, side="right") - 1

    def units(self, rows: Rows) -> Floats:
        """Read rows in any order and scale them to length 1: float32 [n, d]; zeros stay zeros."""
        out = np.empty((len(rows), self.sets[0].dim), np.float32)
        owner = self.set_of(rows)
        for number in np.unique(owner):
            chosen = owner == number
            out[chosen] = self.sets[number].gather(rows[chosen] - self.starts[number])
        length = np.sqrt(np.einsum("nd,nd->n", out, out))[:, None]
        out /= np.where(length > 0, length, 1)
        return out


@dataclass(frozen=True, eq=False)
class Pairs:
    """Pairs of rows: ``a`` < ``b`` int64 [p], and their cosines float32 [p]."""

    a: Rows
    b: Rows
    cosine: Floats


def near_pairs(
    table: Joined, threshold: float = THRESHOLD, progress: Progress | None = None
) -> Iterator[Pairs]:
    """Yield every pair of rows whose cosine is at least ``threshold``, by blocks of rows.

    The pairs are those that comparing whole rows finds. Beside the pairs, memory holds some
    columns of every row (`SKETCH`) and the rows of one block.
    """
    progress = progress or Silent()
    sketch = _sketch(table)
    count, (high, wide) = len(table), TILE
    steps = range(0, count, high)
    progress.start("comparing features", count, "images")
    try:
        for top in steps:
            rows = sketch[top : top + high]
            for left in range(top, count, wide):
                bound = rows @ sketch[left : left + wide].T  # [high, wide]
                a, b = np.nonzero(bound >= threshold - SLACK)
                a, b = a + top, b + left
                keep = a < b
                if keep.any():
                    yield _exact(table, a[keep], b[keep], threshold)
            progress.advance(len(rows))
    finally:
        progress.finish()


def _sketch(table: Joined) -> Floats:
    """Return [N, k + 1]: rows along k orthonormal directions, and the length of what is left.

    The product of two such rows is never below the cosine of the whole ones (Cauchy-Schwarz on
    what is left), for any directions; the first eigenvectors bring it close.
    """
    count, dim = len(table), table.sets[0].dim
    some = np.linspace(0, count - 1, min(count, SAMPLE)).astype(np.int64)
    sample = table.units(some)
    least, most = WIDTHS
    width = min(dim, max(least, min(most, SKETCH // (4 * max(count, 1)))))
    directions = np.linalg.eigh(sample.T @ sample)[1][:, ::-1][:, :width]  # [d, k]
    directions = np.ascontiguousarray(directions, np.float32)
    out = np.empty((count, width + 1), np.float32)
    for start in range(0, count, GATHERED):
        rows = table.units(np.arange(start, min(count, start + GATHERED)))
        block = out[start : start + GATHERED]
        block[:, :width] = rows @ directions
        along = np.einsum("nk,nk->n", block[:, :width], block[:, :width])
        left = np.einsum("nd,nd->n", rows, rows) - along
        block[:, width] = np.sqrt(np.maximum(left, 0))
    return out


def _exact(table: Joined, a: Rows, b: Rows, threshold: float) -> Pairs:
    """Keep the pairs whose whole rows pass."""
    first, place_a = np.unique(a, return_inverse=True)
    second, place_b = np.unique(b, return_inverse=True)
    cosine = np.empty(len(a), np.float32)
    if len(first) * len(second) > SPARSE * len(a):  # few pairs of many rows
        for start in range(0, len(a), GATHERED):
            piece = slice(start, start + GATHERED)
            cosine[piece] = np.einsum("pd,pd->p", table.units(a[piece]), table.units(b[piece]))
    else:
        cosine[:] = (table.units(first) @ table.units(second).T)[place_a, place_b]
    passed = cosine >= threshold
    return Pairs(a[passed], b[passed], cosine[passed])
