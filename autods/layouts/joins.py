"""Joined tables: more columns for each row, looked up by a common column."""

from __future__ import annotations

from collections.abc import Callable

from pydantic import Field

from autods.containers import Container
from autods.errors import LayoutError
from autods.layouts.tables import Row, TextFile, open_table


class Join(TextFile):
    """A table whose columns are added to the rows of another."""

    by: str  # the column that both tables have; its values are unique in this table
    columns: list[str] | None = None  # their names; None: the first row names them
    # None: white space, the last column takes the rest of the line
    delimiter: str | None = Field(default=None, min_length=1, max_length=1)
    skip_lines: int = Field(default=0, ge=0)  # rows at the start that are not data

    def reader(
        self, container: Container, other: TextFile, known: set[str]
    ) -> Callable[[Row, dict[str, str]], None]:
        """Read the table; return a function that adds its columns to a row of ``other``.

        ``known`` are the columns that such a row has so far; those of this table are added.
        `LayoutError` if a column is known already, or a value of ``by`` is missing or twice here.
        """
        columns, table = self._read(container)
        if twice := known.intersection(columns) - {self.by, ""}:
            expected, got = f"column '{min(twice)}' in one table", f"it in {other.shown} too"
            raise LayoutError.at(self.shown, expected, got, step="Rename its columns in 'join'.")
        known.update(columns)

        def add(row: Row, values: dict[str, str]) -> None:
            key = values.get(self.by)
            if key is None or key not in table:
                expected = f"a partner in {self.shown} by column '{self.by}'"
                got = f"no row for '{key}'" if key is not None else "no such column"
                raise LayoutError.at(other.at(row.line), expected, got, "join")
            values.update(table[key])

        return add

    def _read(self, container: Container) -> tuple[list[str], dict[str, dict[str, str]]]:
        """Return the names of the columns, and the value of ``by`` to the values of its row."""
        columns, rows = open_table(
            self, container, self.columns, self.delimiter, skip=self.skip_lines
        )
        if self.by not in columns:
            got = ", ".join(columns) or "none"
            raise LayoutError.at(self.shown, f"a column '{self.by}'", got, "join")
        table: dict[str, dict[str, str]] = {}
        for row in rows:
            values = dict(zip(columns, row.cells, strict=True))
            if table.setdefault(values[self.by], values) is not values:
                expected, got = f"each '{self.by}' once", f"'{values[self.by]}' again"
                raise LayoutError.at(self.at(row.line), expected, got, "join")
        return columns, table
