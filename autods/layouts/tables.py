"""Rows of text tables and lists, with their line numbers."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

from autods.containers import Container
from autods.containers.array_specs import DatasetFile
from autods.containers.sizes import WHOLE
from autods.core.patterns import compile_pattern
from autods.core.strict import repeated
from autods.errors import LayoutError

BLANKS = " \t\r\n"  # around a cell; other white space may be part of a name
TEXT_BYTES = WHOLE  # far more than any list takes; it is read whole
LINE_END = re.compile(r"\r?\n|\r")


class TextFile(DatasetFile):
    """A text file of a dataset: a manifest file itself, or a member inside one.

    A ``member`` with ``*`` is the one member that matches it.
    """

    encoding: str = "utf-8-sig"  # UTF-8, with or without a byte order mark

    def at(self, line: int) -> str:
        """Return file and line for messages."""
        return f"{self.shown}: line {line}"

    def data(self, container: Container) -> bytes:
        """Return the content; raise `LayoutError` unless there is exactly one such member."""
        member = self.name
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
    """One row of a table: its line (1-based) and its cells, stripped unless blanks are kept."""

    line: int
    cells: list[str]


def open_table(
    table: TextFile,
    container: Container,
    columns: list[str] | None,
    delimiter: str | None,
    *,
    skip: int = 0,
    rest: bool = False,
    keep_blanks: bool = False,
) -> tuple[list[str], Iterator[Row]]:
    """Return the columns of a table, which its first row names unless given, and its rows.

    ``skip`` rows at the start are passed over; the rest is as of `rows`. `LayoutError` if two
    columns have one name.
    """
    width = len(columns) if columns else None
    below = islice(
        rows(table, container, delimiter, width, rest=rest, keep_blanks=keep_blanks), skip, None
    )
    if not columns:
        header = next(below, None)
        columns = header.cells if header else []
    if again := repeated(name for name in columns if name):
        step = "Name the columns in the manifest."
        raise LayoutError.at(table.shown, f"column '{again}' once", "it twice", step=step)
    return columns, below


def rows(
    table: TextFile,
    container: Container,
    delimiter: str | None,
    columns: int | None,
    *,
    rest: bool = False,
    keep_blanks: bool = False,
) -> Iterator[Row]:
    """Yield the rows of a table that are not empty.

    ``delimiter`` is one character; ``None``: white space, the last column takes the rest of the
    line. With ``rest`` it does so too, and quotes mean nothing. Blanks at the ends of cells are
    dropped unless ``keep_blanks``. `LayoutError` names file and line of a row without ``columns``
    cells; ``None``: as many as the first row has.
    """
    try:
        for line, cells in _split(
            table.text(container), delimiter, columns, rest=rest, keep_blanks=keep_blanks
        ):
            if not any(cells):
                continue
            columns = columns or len(cells)
            if len(cells) != columns:
                expected, got = f"{columns} columns", f"{len(cells)}: {cells}"
                raise LayoutError.at(table.at(line), expected, got, "columns")
            yield Row(line, cells if keep_blanks else [cell.strip(BLANKS) for cell in cells])
    except csv.Error as error:
        raise LayoutError.at(table.shown, "a table of delimited text", error) from None


def _split(
    text: str, delimiter: str | None, columns: int | None, *, rest: bool, keep_blanks: bool
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
        skipinitialspace=not keep_blanks,
    )
    for cells in reader:
        yield reader.line_num, cells
