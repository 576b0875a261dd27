"""CSV table: one table with a row per image, labels and perhaps the split in columns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal

from pydantic import Field, model_validator
from typing_extensions import override

from autods.containers import Container
from autods.layouts.base import RawSample
from autods.layouts.listed import ListedSamples
from autods.layouts.tables import TextFile, open_table


class CsvTable(ListedSamples):
    """Images named by one table."""

    family: Literal["csv-table"]
    table: TextFile
    columns: list[str] | None = None  # their names; None: the first row names them
    delimiter: str = Field(default=",", min_length=1, max_length=1)
    skip_lines: int = Field(default=0, ge=0)  # rows at the start that are not images
    # The last of `columns` takes the rest of the line, and quotes mean nothing: for tables with
    # unquoted delimiters in their last columns.
    rest: bool = False
    keep_blanks: bool = False  # those at the ends of cells: they may be part of names
    split: str | None = None  # template of the official split, for example "{partition}"

    @model_validator(mode="after")
    def _consistent(self) -> CsvTable:
        if self.rest and not self.columns:
            raise ValueError("'rest' expects 'columns'")
        if (known := self.known_fields(self.columns)) is not None:
            self.check_templates(known, self.split)
        return self

    @override
    def files(self) -> list[str]:
        return list(dict.fromkeys([*super().files(), self.table.file]))

    def read(self, containers: Mapping[str, Container]) -> Iterator[RawSample]:
        """Yield the image of every row."""
        container = containers[self.table.file]
        columns, rows = open_table(
            self.table,
            container,
            self.columns,
            self.delimiter,
            skip=self.skip_lines,
            rest=self.rest,
            keep_blanks=self.keep_blanks,
        )
        yield from self.samples(containers, self.table, columns, rows, self.split)
