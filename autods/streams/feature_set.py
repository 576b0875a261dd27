"""Features and labels of one split of one task, stored or in memory."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import torch

NORMALISATIONS = ("l2", "none")
SERIAL = 32_768  # numbers that torch converts without waking its thread pool
GATHERED = 256  # rows fetched at once: amortises the calls, stays in the processor's cache
KEPT = 2**28  # bytes: a stored set of at most so many is normalised once, a larger one by batches

Rows = npt.NDArray[np.int64]


class Table(Protocol):
    """Rows [N, d] that are read when they are asked for: an array, or files."""

    def __len__(self) -> int:
        """Return N."""

    def __getitem__(self, rows: Rows, /) -> npt.NDArray[Any]:
        """Copy rows, int64 [m] in any order: [m, d]."""


@dataclass(frozen=True, eq=False, repr=False)
class FeatureSet:
    """Features and labels of one split of one task.

    Attributes
    ----------
    features
        Array [n, d], float16; may be memory-mapped.
    labels
        int64 [n], global class numbers of the stream.
    """

    features: npt.NDArray[Any]
    labels: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)

    def __repr__(self) -> str:
        return f"FeatureSet({len(self):,} samples, {self.dim} dimensions)"

    @property
    def dim(self) -> int:
        """Width d of the features."""
        return int(self.features.shape[1])

    @property
    def table(self) -> Table:
        """What the rows are read from; other sets may share it."""
        return self.features

    @property
    def table_rows(self) -> Rows:
        """Rows of `table` that these are: int64 [n]."""
        return np.arange(len(self))

    def rows(self, index: Rows) -> npt.NDArray[Any]:
        """Copy some rows of ``features``, int64 [m] in any order: [m, d]. Only these are read."""
        return np.take(self.features, index, axis=0)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the features."""
        return self.features.dtype

    def gather(self, index: Rows, out: npt.NDArray[Any]) -> None:
        """Write rows of ``features``, int64 [m] in any order, to ``out`` [m, d].

        For passes over all rows: a stored set of at most `KEPT` bytes is read at the first call and
        kept, of a larger one only these rows are read.
        """
        np.take(self.features, index, axis=0, out=out, mode="clip")  # "raise" would buffer

    def batches(
        self, batch_size: int, seed: int | Sequence[int], dtype: torch.dtype | None = None
    ) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Yield one epoch of shuffled batches; every sample exactly once, the last may be short.

        Parameters
        ----------
        batch_size
            Samples per batch, b.
        seed
            Seed of the order; pass ``(seed, epoch)`` for another order in every epoch.
        dtype
            Type of the features; default float32.

        Yields
        ------
        Features [b, d] of ``dtype`` and labels int64 [b], CPU tensors; never the stored memory.
        """
        import torch

        labels = torch.from_numpy(self.labels)
        order = np.random.Generator(np.random.PCG64(seed)).permutation(len(self))
        rows = batch_size * max(1, GATHERED // batch_size)
        # One buffer for all: fresh memory for every gather would be paged in again and again.
        buffer = np.empty((min(rows, len(order)), self.dim), self.dtype)
        for start in range(0, len(order), rows):
            chosen = order[start : start + rows]
            gathered = buffer[: len(chosen)]
            self.gather(chosen, gathered)
            x = torch.empty(gathered.shape, dtype=dtype or torch.float32)  # [rows, d]
            # One thread outruns the memory; waiting for a second one that is busy elsewhere
            # (another run, a worker) was measured to cost a factor of 50.
            pieces = torch.split(torch.from_numpy(gathered).view(-1), SERIAL)
            for target, piece in zip(torch.split(x.view(-1), SERIAL), pieces, strict=True):
                target.copy_(piece)
            y = labels[torch.from_numpy(chosen)]  # [rows]
            yield from zip(torch.split(x, batch_size), torch.split(y, batch_size), strict=True)


class StoredFeatureSet(FeatureSet):
    """A feature set that is loaded when its ``features`` [n, d] are first asked for, then kept.

    With a table it need not be: `rows` reads from there, and so do `batches` of a set above `KEPT`.
    """

    _load: Callable[[], npt.NDArray[Any]]
    _dim: int
    _stored: tuple[Table, Rows] | None

    def __init__(
        self,
        load: Callable[[], npt.NDArray[Any]],
        labels: npt.NDArray[np.int64],
        dim: int,
        stored: tuple[Table, Rows] | None = None,
    ) -> None:
        object.__setattr__(self, "labels", labels)  # the base class is frozen
        object.__setattr__(self, "_load", load)
        object.__setattr__(self, "_dim", dim)
        object.__setattr__(self, "_stored", stored)

    @cached_property
    def features(self) -> npt.NDArray[Any]:
        """Array [n, d], float16; a view of the memory map unless the rows had to be changed."""
        return self._load()

    @property
    def dim(self) -> int:
        """Width d of the features."""
        return self._dim

    @property
    def table(self) -> Table:
        """What the rows are read from: files, or the features once they are made."""
        return self.features if self._stored is None else self._stored[0]

    @property
    def table_rows(self) -> Rows:
        """Rows of `table` that these are: int64 [n]."""
        return super().table_rows if self._stored is None else self._stored[1]

    def rows(self, index: Rows) -> npt.NDArray[Any]:
        """Copy some rows of ``features``, int64 [m] in any order: [m, d]. Only these are read."""
        return super().rows(index) if self._stored is None else self.table[self.table_rows[index]]

    @property
    def dtype(self) -> np.dtype[Any]:
        """float16."""
        return np.dtype(np.float16)

    def gather(self, index: Rows, out: npt.NDArray[Any]) -> None:
        """Write rows to ``out``; see `FeatureSet.gather`."""
        if self._stored is not None and 2 * len(self) * self._dim > KEPT:
            out[:] = self.rows(index)
        else:
            super().gather(index, out)


def l2_normalize(features: npt.NDArray[Any], block: int | None = None) -> npt.NDArray[np.float16]:
    """Scale rows [n, d] to length 1, in float32 by blocks of rows; zero rows stay zero.

    A row's bits do not depend on the block. torch converts float16 ten times as fast as NumPy, to
    the same bits; a program that has imported it gets that.
    """
    torch = sys.modules.get("torch")
    out = np.empty(features.shape, np.float16)
    step = block or max(1, SERIAL // features.shape[1])
    for start in range(0, len(features), step):
        part = slice(start, start + step)
        if torch is None:
            rows = features[part].astype(np.float32)
        else:  # a copy first: it warns of arrays that are read-only
            rows = torch.from_numpy(np.array(features[part])).float().numpy()
        length = np.sqrt(np.einsum("nd,nd->n", rows, rows))[:, None]
        rows /= np.where(length > 0, length, 1)
        out[part] = rows if torch is None else torch.from_numpy(rows).half().numpy()
    return out
