"""Rows of text tables and lists, with their line numbers."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict

from autods.containers import Container
from autods.core.patterns import compile_pattern
from autods.errors import LayoutError

BLANKS = " \t\r\n"  # around a cell; other white space may be part of a name
TEXT_BYTES = 1 << 30  # far more than any list takes; it is read whole
LINE_END = re.compile(r"\r?\n|\r")


class TextFile(BaseModel):
    """A text file of a dataset: a manifest file itself, or a member inside one.

    A ``member`` with ``*`` is the one member that matches it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    file: str
    member: str | None = None
    encoding: str = "utf-8-sig"  # UTF-8, with or without a byte order mark

    @property
    def shown(self) -> str:
        """Name of the file for messages."""
        return self.file if self.member is None else f"{self.file}/{self.member}"

    def at(self, line: int) -> str:
        """Return file and line for messages."""
        return f"{self.shown}: line {line}"

    def data(self, container: Container) -> bytes:
        """Return the content; raise `LayoutError` unless there is exactly one such member."""
        member = self.member or self.file
        if "*" in member:
            pattern = compile_pattern(member)
            found = [m.name for m in container.members() if pattern.fullmatch(m.name)]
            if len(found) != 1:
                got = ", ".join(found[:3]) or "none"
                raise LayoutError.at(self.shown, "exactly one member of this name", got, "member")
            member = found[0]
        if (size := container.find(member).size) > TEXT_BYTES:
            expected = f"a table of up to {TEXT_BYTES:,} bytes"
            raise LayoutError.at(self.shown, expected, f"{size:,}", "member")
        return container.read(member)

    def text(self, container: Container) -> str:
        """Return the decoded content; raise `LayoutError` for another encoding."""
        try:
            return self.data(container).decode(self.encoding)
        except (UnicodeDecodeError, LookupError) as error:
            expected = f"text in {self.encoding}"
            raise LayoutError.at(self.shown, expected, error, "encoding") from None


class Row(NamedTuple):
    """One row of a table: its line (1-based) and its cells, stripped."""

    line: int
    cells: list[str]


def checked_columns(table: TextFile, columns: list[str]) -> list[str]:
    """Return the columns of a table; raise `LayoutError` if a name occurs twice."""
    for position, name in enumerate(columns):
        if name and name in columns[:position]:
            step = "Name the columns in the manifest."
            raise LayoutError.at(table.shown, f"column '{name}' once", "it twice", step=step)
    return columns


def rows(
    table: TextFile,
    container: Container,
    delimiter: str | None,
    columns: int | None,
    *,
    rest: bool = False,
) -> Iterator[Row]:
    """Yield the rows of a table that are not empty.

    ``delimiter`` is one character; ``None``: white space, the last column takes the rest of the
    line. With ``rest`` it does so too, and quotes mean nothing. `LayoutError` names file and
    line of a row without ``columns`` cells; ``None``: as many as the first row has.
    """
    try:
        for line, cells in _split(table.text(container), delimiter, columns, rest):
            if not any(cells):
                continue
            columns = columns or len(cells)
            if len(cells) != columns:
                expected, got = f"{columns} columns", f"{len(cells)}: {cells}"
                raise LayoutError.at(table.at(line), expected, got, "columns")
            yield Row(line, [cell.strip(BLANKS) for cell in cells])
    except csv.Error as error:
        raise LayoutError.at(table.shown, "a table of delimited text", error) from None


def _split(
    text: str, delimiter: str | None, columns: int | None, rest: bool
) -> Iterator[tuple[int, list[str]]]:
    if delimiter is None:
        # Bytes divide at ASCII blanks only, str also at others, which may be part of a name.
        for line, content in enumerate(LINE_END.split(text), start=1):
            yield line, [c.decode() for c in content.encode().split(None, (columns or 0) - 1)]
        return
    if rest:
        for line, content in enumerate(LINE_END.split(text), start=1):
            yield line, content.split(delimiter, (columns or 0) - 1)
        return
    # Quotes mean something in comma-separated files only; a tab-separated one has stray quotes.
    reader = csv.reader(
        io.StringIO(text, newline=""),
        delimiter=delimiter,
        quoting=csv.QUOTE_NONE if delimiter == "\t" else csv.QUOTE_MINIMAL,
        skipinitialspace=True,
    )
    for cells in reader:
        yield reader.line_num, cells
