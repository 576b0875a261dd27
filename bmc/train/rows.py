"""Where feature rows lie: in a tensor, or in files that are read when rows are asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from autods.streams.feature_set import FeatureSet, Table

Index = npt.NDArray[np.int64]


class StoredRows:
    """Feature rows [n, d] of one or more tables that stay where they are, on the host.

    Nothing is read before rows are asked for: indexing with a slice, row numbers int64 [m] or a
    mask bool [n] returns these rows as a tensor of their own. `select` and `together` make other
    rows of the same tables without reading any. Pickled, it is the paths of shards and 8 bytes a
    row: a process that unpickles it maps the same files, which are in memory once for all. Only
    rows of arrays travel themselves. Tensors that are held lie in `bmc.train.shared`.
    """

    device = torch.device("cpu")

    def __init__(self, tables: Sequence[Table], index: Index, dim: int, dtype: torch.dtype) -> None:
        self.tables = tuple(tables)
        self.index = index  # int64 [n], rows of the tables, counted one table after the other
        self.dim = dim
        self.dtype = dtype
        self._starts = np.cumsum([0, *map(len, self.tables)])

    @classmethod
    def of(cls, data: FeatureSet, dtype: torch.dtype) -> StoredRows:
        """Return the rows of a feature set."""
        return cls([data.table], data.table_rows, data.dim, dtype)

    def __len__(self) -> int:
        return len(self.index)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and width, [n, d]."""
        return len(self), self.dim

    def __getitem__(self, rows: slice | Tensor) -> Tensor:
        chosen = rows if isinstance(rows, slice) else rows.cpu().numpy()
        wanted = self.index[chosen]
        out = torch.empty(len(wanted), self.dim, dtype=self.dtype)
        self._read(wanted, out)
        return out

    def into(self, out: Tensor, rows: Tensor) -> None:
        """Write rows, int64 [m], to ``out`` [m, d] on the host, which may be pinned."""
        self._read(self.index[rows.cpu().numpy()], out)

    def to(self, *target: Any, **options: Any) -> Tensor:
        """Read all rows, as `torch.Tensor.to` takes them: for methods that need them at once."""
        return self[:].to(*target, **options)

    def select(self, rows: Tensor) -> StoredRows:
        """Return some of the rows, by numbers int64 [m] or a mask bool [n]; none is read."""
        index = self.index[rows.cpu().numpy()]
        return StoredRows(self.tables, index, self.dim, self.dtype)

    def _read(self, wanted: Index, out: Tensor) -> None:
        target, table_of = out.numpy(), self._table_of(wanted)
        for number in np.unique(table_of):
            own = table_of == number
            target[own] = self.tables[number][wanted[own] - self._starts[number]]

    def _table_of(self, index: Index) -> Index:
        return np.searchsorted(self._starts, index, side="right") - 1

    def index_over(self, tables: Sequence[Table]) -> Index:
        """Return the index of the same rows over other tables, which hold all of them."""
        starts = np.cumsum([0, *map(len, tables)])
        start = {id(table): starts[number] for number, table in enumerate(tables)}
        pairs = zip(self.tables, self._starts, strict=False)
        moved = np.array([start.get(id(table), 0) - own for table, own in pairs], np.int64)
        return self.index + moved[self._table_of(self.index)]

    def __reduce__(self) -> tuple[type[StoredRows], tuple[object, ...]]:
        tables: list[Table] = []
        table_of, index, start = self._table_of(self.index), self.index.copy(), 0
        for number in np.unique(table_of):
            table, own = self.tables[number], table_of == number
            rows = self.index[own] - self._starts[number]
            if isinstance(table, np.ndarray):  # it travels itself: its rows alone
                table, rows = table[rows], np.arange(len(rows))
            index[own] = start + rows
            tables.append(table)
            start += len(table)
        return StoredRows, (tables, index, self.dim, self.dtype)


# Feature rows [n, d]. Both kinds have a length, ``shape``, ``dtype`` and ``device``, and give
# tensors by slices, row numbers and masks.
Features = Tensor | StoredRows


def select(features: Features, rows: Tensor) -> Features:
    """Return some rows, by numbers int64 [m] or a mask bool [n]; only those of tensors are copied.

    ``rows`` may be anywhere.
    """
    if isinstance(features, StoredRows):
        return features.select(rows)
    return features[rows.to(features.device)]


def together(parts: Sequence[Features]) -> Features:
    """Return the rows of all parts in their order; only those of tensors are copied.

    If one part is stored, so is the result, in its precision.
    """
    stored = [part for part in parts if isinstance(part, StoredRows)]
    if not stored:
        return torch.cat([part for part in parts if isinstance(part, Tensor)])
    all_stored = [p if isinstance(p, StoredRows) else _held(p, stored[0]) for p in parts]
    tables = list({id(table): table for part in all_stored for table in part.tables}.values())
    index = np.concatenate([part.index_over(tables) for part in all_stored])
    return StoredRows(tables, index, stored[0].dim, stored[0].dtype)


def _held(rows: Tensor, like: StoredRows) -> StoredRows:
    """Return rows of a tensor as those of a table in memory."""
    table = rows.to(like.device, like.dtype).numpy()
    return StoredRows([table], np.arange(len(table)), like.dim, like.dtype)
