"""Joined tables: further columns for each row, looked up by one that both have."""

from __future__ import annotations

from collections.abc import Callable

from pydantic import Field

from autods.containers import Container
from autods.errors import LayoutError
from autods.layouts.tables import Row, TextFile, checked_columns, rows


class Join(TextFile):
    """A table whose columns are added to the rows of another.

    Attributes
    ----------
    by
        The column that both tables have; its values stand once in this table.
    columns
        Names of this table's columns; ``None``: its first row names them.
    delimiter
        One character; ``None``: white space, the last column takes the rest of the line.
    skip_lines
        Rows at its start that are not data.
    """

    by: str
    columns: list[str] | None = None
    delimiter: str | None = Field(default=None, min_length=1, max_length=1)
    skip_lines: int = Field(default=0, ge=0)

    def reader(
        self, container: Container, other: TextFile, known: set[str]
    ) -> Callable[[Row, dict[str, str]], None]:
        """Read the table; return what adds its columns to the values of a row of ``other``.

        Parameters
        ----------
        known
            Names of the columns that such a row has without this table; those of this table
            are added.

        Raises
        ------
        LayoutError
            When a value of ``by`` stands twice here, or is looked up in vain, or a column is
            known already.
        """
        columns, table = self._read(container)
        if twice := known.intersection(columns) - {self.by, ""}:
            raise LayoutError(
                f"{self.shown}: expected column '{min(twice)}' in one table, got it in both it and "
                f"{other.shown}; nothing was indexed. Name its columns anew in 'join'."
            )
        known.update(columns)

        def add(row: Row, values: dict[str, str]) -> None:
            key = values.get(self.by)
            if key is None or key not in table:
                got = f"no row for '{key}'" if key is not None else "no such column"
                raise LayoutError(
                    f"{other.shown}: line {row.line}: expected a partner in {self.shown} by column "
                    f"'{self.by}', got {got}; nothing was indexed. Correct 'join' in the manifest."
                )
            values.update(table[key])

        return add

    def _read(self, container: Container) -> tuple[list[str], dict[str, dict[str, str]]]:
        """Return the names of the columns, and the value of ``by`` to the values of its row."""
        width = len(self.columns) if self.columns else None
        found = rows(self, container, self.delimiter, width)
        for _ in range(self.skip_lines):
            next(found, None)
        first = None if self.columns else next(found, None)
        columns = checked_columns(self, self.columns or (first.cells if first else []))
        if self.by not in columns:
            raise LayoutError(
                f"{self.shown}: expected a column '{self.by}', got {', '.join(columns) or 'none'}; "
                "nothing was indexed. Correct 'join' in the manifest."
            )
        table: dict[str, dict[str, str]] = {}
        for row in found:
            values = dict(zip(columns, row.cells, strict=True))
            if table.setdefault(values[self.by], values) is not values:
                raise LayoutError(
                    f"{self.shown}: line {row.line}: expected each '{self.by}' once, got "
                    f"'{values[self.by]}' again; nothing was indexed. Correct 'join'."
                )
        return columns, table
