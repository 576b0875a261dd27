"""CSV table: one table with a row per image, labels and perhaps the split in columns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal

from pydantic import Field

from autods.containers import Container
from autods.errors import LayoutError
from autods.layouts.base import RawSample
from autods.layouts.listed import ListedSamples
from autods.layouts.patterns import check_fields, fields
from autods.layouts.tables import TextFile, rows


class CsvTable(ListedSamples):
    """Images named by one table.

    Attributes
    ----------
    table
        The table: file, member inside it, encoding.
    columns
        Names of the columns; ``None``: the first row names them.
    delimiter
        One character between cells.
    split
        Template of the official split name, for example ``"{partition}"``.
    """

    family: Literal["csv-table"]
    table: TextFile
    columns: list[str] | None = None
    delimiter: str = Field(default=",", min_length=1, max_length=1)
    split: str | None = None

    def files(self) -> list[str]:
        """Return the manifest files that this layout reads."""
        return list(dict.fromkeys([self.file, self.table.file]))

    def read(self, containers: Mapping[str, Container]) -> Iterator[RawSample]:
        """Yield the image of every row."""
        width = len(self.columns) if self.columns else None
        found = rows(self.table, containers[self.table.file], self.delimiter, width)
        columns = self.columns
        if columns is None:
            header = next(found, None)
            columns = header.cells if header else []
        self._check(columns)
        yield from self.samples(containers[self.file], self.table, columns, found, self.split)

    def _check(self, columns: list[str]) -> None:
        for template in [self.path, *self.labels.values(), self.split or ""]:
            try:
                check_fields("template", template, columns)
            except ValueError:
                missing = sorted(fields(template) - set(columns))
                raise LayoutError(
                    f"{self.table.shown}: line 1: expected a column '{missing[0]}', got "
                    f"{', '.join(columns) or 'an empty table'}; nothing was indexed. Correct the "
                    "manifest."
                ) from None
