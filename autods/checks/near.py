"""Near-duplicates: pairs of images whose features point in the same direction.

All pairs of N rows are compared by blocked matrix products. A first product of few columns bounds
every cosine from above, so that whole rows are read for the few pairs that may pass.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Protocol

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


class Table(Protocol):
    """N rows of d numbers that are read as vectors of length 1."""

    @property
    def dim(self) -> int:
        """Numbers of a row, d."""

    def __len__(self) -> int: ...

    def units(self, rows: Rows) -> Floats:
        """Return rows in any order: float32 [n, d], of length 1 or zeros."""


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

    @property
    def dim(self) -> int:
        """Numbers of a row."""
        return self.sets[0].dim

    def __len__(self) -> int:
        return int(self.starts[-1])

    def set_of(self, rows: Rows) -> Rows:
        """Return the number of each row's set: int64 [n]."""
        return np.searchsorted(self.starts, rows, side="right") - 1

    def units(self, rows: Rows) -> Floats:
        """Read rows in any order and scale them to length 1: float32 [n, d]; zeros stay zeros."""
        out = np.empty((len(rows), self.dim), np.float32)
        owner = self.set_of(rows)
        for number in np.unique(owner):
            chosen = owner == number
            out[chosen] = self.sets[number].gather(rows[chosen] - self.starts[number])
        length = np.sqrt(np.einsum("nd,nd->n", out, out))[:, None]
        out /= np.where(length > 0, length, 1)
        return out


@dataclass(frozen=True, eq=False)
class Pairs:
    """Pairs of rows: ``a`` < ``b`` int64 [p], and their cosines float32 [p].

    ``pixels`` is the correlation of their images, float32 [p], NaN where it is not known.
    """

    a: Rows
    b: Rows
    cosine: Floats
    pixels: Floats

    def __getitem__(self, chosen: npt.NDArray[np.bool_] | Rows | slice) -> Pairs:
        return Pairs(*(getattr(self, field.name)[chosen] for field in fields(self)))


def near_pairs(
    table: Table,
    threshold: float = THRESHOLD,
    progress: Progress | None = None,
    others: Sequence[Table] = (),
    what: str = "comparing features",
) -> Iterator[Pairs]:
    """Yield every pair of rows whose cosine is at least ``threshold``, by blocks of rows.

    With ``others``, tables of as many rows, row ``b`` of a pair is read from each of them, too, and
    the largest cosine counts.

    The pairs are those that comparing whole rows finds. Beside the pairs, memory holds some
    columns of every row (`SKETCH`) and the rows of one block.
    """
    progress = progress or Silent()
    tables = (table, *others)
    directions = _directions(table, SKETCH // len(tables))
    sketches = [_sketch(one, directions) for one in tables]
    count, (high, wide) = len(table), TILE
    progress.start(what, count, "images")
    try:
        for top in range(0, count, high):
            rows = sketches[0][top : top + high]
            for left in range(top, count, wide):
                bound = rows @ sketches[0][left : left + wide].T  # [high, wide]
                for sketch in sketches[1:]:
                    np.maximum(bound, rows @ sketch[left : left + wide].T, out=bound)
                a, b = np.nonzero(bound >= threshold - SLACK)
                a, b = a + top, b + left
                keep = a < b
                if keep.any():
                    yield _exact(tables, a[keep], b[keep], threshold)
            progress.advance(len(rows))
    finally:
        progress.finish()


def _directions(table: Table, memory: int) -> Floats:
    """Return [d, k], orthonormal: the first eigenvectors of some rows; k columns fit in memory."""
    count, dim = len(table), table.dim
    some = np.linspace(0, count - 1, min(count, SAMPLE)).astype(np.int64)
    sample = table.units(some)
    least, most = WIDTHS
    width = min(dim, max(least, min(most, memory // (4 * max(count, 1)))))
    if len(sample) < dim:  # the same directions, sooner
        directions = np.linalg.svd(sample, full_matrices=False)[2][:width].T
    else:
        directions = np.linalg.eigh(sample.T @ sample)[1][:, ::-1][:, :width]
    return np.ascontiguousarray(directions, np.float32)


def _sketch(table: Table, directions: Floats) -> Floats:
    """Return [N, k + 1]: rows along k orthonormal directions, and the length of what is left.

    The product of two such rows is never below the cosine of the whole ones (Cauchy-Schwarz on
    what is left), for any directions; the first eigenvectors bring it close.
    """
    count, width = len(table), directions.shape[1]
    out = np.empty((count, width + 1), np.float32)
    for start in range(0, count, GATHERED):
        rows = table.units(np.arange(start, min(count, start + GATHERED)))
        block = out[start : start + GATHERED]
        block[:, :width] = rows @ directions
        along = np.einsum("nk,nk->n", block[:, :width], block[:, :width])
        left = np.einsum("nd,nd->n", rows, rows) - along
        block[:, width] = np.sqrt(np.maximum(left, 0))
    return out


def _exact(tables: Sequence[Table], a: Rows, b: Rows, threshold: float) -> Pairs:
    """Keep the pairs whose whole rows pass."""
    first, place_a = np.unique(a, return_inverse=True)
    second, place_b = np.unique(b, return_inverse=True)
    if len(first) * len(second) > SPARSE * len(a):  # few pairs of many rows
        cosine = cosines(tables[0], tables, a, b)
    else:
        rows = tables[0].units(first)
        products = ((rows @ one.units(second).T)[place_a, place_b] for one in tables)
        cosine = np.max(list(products), axis=0)
    return Pairs(a, b, cosine, np.full(len(a), np.nan, np.float32))[cosine >= threshold]


def cosines(table: Table, others: Sequence[Table], a: Rows, b: Rows) -> Floats:
    """Return the largest cosine of rows ``a`` of a table with rows ``b`` of others: float32 [p]."""
    out = np.empty(len(a), np.float32)
    for start in range(0, len(a), GATHERED):
        piece = slice(start, start + GATHERED)
        rows = table.units(a[piece])
        products = [np.einsum("pd,pd->p", rows, other.units(b[piece])) for other in others]
        out[piece] = np.max(products, axis=0)
    return out
